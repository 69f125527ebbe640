"""What each PTX instruction does: `compile_instruction` makes a function (machine, mask) of it.

mask: the threads that take part, None for all.  Registers hold arrays over threads, or NumPy numbers where all threads agree.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from ptx import bulk, collective, warpgroup
from ptx.parse import TYPES, Instruction, Kernel, Operand, PtxError

Action = Callable[[Any, Any], None]
UNSIGNED = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}
WIDER = {np.int32: np.int64, np.uint32: np.uint64, np.int16: np.int32, np.uint16: np.uint32}
LOCAL = 1 << 40  # generic addresses of local memory; those of shared memory begin at 0


def seen_as(value: Any, kind: Any) -> Any:
    """The same bits as another type; of a wider register the low part."""
    if value.dtype == kind:
        return value
    size = np.dtype(kind).itemsize
    if value.dtype.itemsize == size:
        return value.view(kind)
    return value.astype(UNSIGNED[size]).view(kind)


def reader(kernel: Kernel, o: Operand, kind: Any) -> Callable[[Any], Any]:
    """How an operand is read as a type."""
    if o.kind == "reg":
        name = o.name

        def read(machine: Any) -> Any:
            try:
                return seen_as(machine.R[name], kind)
            except KeyError:
                raise PtxError(f"the register {name} is read before it is written") from None

        return read
    if o.kind == "imm":
        value = _immediate(o.value, kind)
        return lambda machine: value
    if o.kind == "special":
        return lambda machine: machine.special[o.name].astype(kind)
    if o.kind == "not":
        inner = reader(kernel, o.parts[0], np.bool_)
        return lambda machine: ~inner(machine)
    if o.kind == "symbol":
        return reader(kernel, Operand("imm", value=_symbol(kernel, o.name)), kind)
    raise PtxError(f"an operand that cannot be read: {o}")


def _symbol(kernel: Kernel, name: str) -> int:
    if name in kernel.shared:
        return kernel.shared[name]
    if name in kernel.local:
        return kernel.local[name]
    raise PtxError(f"the symbol {name} is not declared")


def _immediate(value: Any, kind: Any) -> Any:
    if not isinstance(value, int):
        return seen_as(value, kind) if np.dtype(kind).kind != "b" else np.bool_(value)
    kind = np.dtype(kind)
    if kind.kind == "b":
        return np.bool_(value)
    if kind.kind == "f":
        return kind.type(value)
    return np.array(value & ((1 << 8 * kind.itemsize) - 1), UNSIGNED[kind.itemsize]).view(kind)[()]


def type_of(words: list[str]) -> Any:
    """The last type among an instruction's words."""
    return next(TYPES[w] for w in reversed(words) if w in TYPES)


# ---- arithmetic --------------------------------------------------------------------------------------------------
def _trunc_divide(x: Any, y: Any) -> Any:
    y = np.where(y == 0, y.dtype.type(1), y)
    if x.dtype.kind == "u":
        return x // y
    q = np.abs(x) // np.abs(y)
    return np.where((x < 0) != (y < 0), -q, q)


def _remainder(x: Any, y: Any) -> Any:
    return np.fmod(x, np.where(y == 0, y.dtype.type(1), y))


def _shift(f: Any) -> Any:
    def shift(x: Any, n: Any) -> Any:
        bits = 8 * x.dtype.itemsize
        big = n >= bits
        z = x >> x.dtype.type(bits - 1) if x.dtype.kind == "i" else x.dtype.type(0)
        return np.where(big, z, f(x, np.where(big, np.uint32(0), n).astype(x.dtype)))

    return shift


def _high(x: Any, y: Any) -> Any:
    wider = WIDER.get(x.dtype.type)
    if wider:
        return ((x.astype(wider) * y.astype(wider)) >> wider(32)).astype(x.dtype)
    exact = np.asarray(x).astype(object) * np.asarray(y).astype(object) >> 64  # Python's numbers, which have no end
    return np.asarray(exact, object).astype(x.dtype)


BINARY = {
    "add": np.add, "sub": np.subtract, "and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor, "rem": _remainder,
}  # fmt: skip
UNARY = {
    "neg": np.negative, "abs": np.abs, "not": np.invert, "sqrt": np.sqrt, "rcp": lambda x: x.dtype.type(1) / x,
    "rsqrt": lambda x: x.dtype.type(1) / np.sqrt(x), "ex2": np.exp2, "lg2": np.log2, "sin": np.sin, "cos": np.cos,
    "tanh": np.tanh,
}  # fmt: skip
COMPARE = {
    "eq": np.equal, "ne": np.not_equal, "lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal,
    "lo": np.less, "ls": np.less_equal, "hi": np.greater, "hs": np.greater_equal,
}  # fmt: skip


def compile_instruction(kernel: Kernel, i: Instruction) -> Action:
    maker = MAKERS.get(i.words[0])
    if maker is None:
        return _unknown(i)
    return maker(kernel, i)


def _unknown(i: Instruction) -> Action:
    def fail(machine: Any, mask: Any) -> None:
        raise PtxError(f"the interpreter does not know {'.'.join(i.words)}")

    return fail


def _target(o: Operand) -> str:
    return "" if o.kind == "none" else o.name


def _binary(function: Any) -> Any:
    def make(kernel: Kernel, i: Instruction) -> Action:
        kind, name = type_of(i.words), _target(i.operands[0])
        f = function
        if f is None:
            f = {"f": np.divide}.get(np.dtype(kind).kind, _trunc_divide)
        a, b = (reader(kernel, o, kind) for o in i.operands[1:3])
        return lambda machine, mask: machine.put(name, f(a(machine), b(machine)), mask)

    return make


def _extreme(number: Any, plain: Any) -> Any:
    def make(kernel: Kernel, i: Instruction) -> Action:
        kind = type_of(i.words)
        floating = np.dtype(kind).kind == "f"
        return _binary((plain if "NaN" in i.words else number) if floating else plain)(kernel, i)

    return make


def _unary(function: Any) -> Any:
    def make(kernel: Kernel, i: Instruction) -> Action:
        kind, name = type_of(i.words), _target(i.operands[0])
        a = reader(kernel, i.operands[1], kind)
        return lambda machine, mask: machine.put(name, function(a(machine)), mask)

    return make


def _shifts(function: Any) -> Any:
    def make(kernel: Kernel, i: Instruction) -> Action:
        f, name = _shift(function), _target(i.operands[0])
        a, n = reader(kernel, i.operands[1], type_of(i.words)), reader(kernel, i.operands[2], np.uint32)
        return lambda machine, mask: machine.put(name, f(a(machine), n(machine)), mask)

    return make


def _multiply(kernel: Kernel, i: Instruction) -> Action:
    kind, name = type_of(i.words), _target(i.operands[0])
    a, b = (reader(kernel, o, kind) for o in i.operands[1:3])
    if "wide" in i.words:
        wide = WIDER[kind]
        return lambda machine, mask: machine.put(name, a(machine).astype(wide) * b(machine).astype(wide), mask)
    f = _high if "hi" in i.words else np.multiply
    return lambda machine, mask: machine.put(name, f(a(machine), b(machine)), mask)


def _multiply_add(kernel: Kernel, i: Instruction) -> Action:
    kind, name = type_of(i.words), _target(i.operands[0])
    a, b = (reader(kernel, o, kind) for o in i.operands[1:3])
    if "wide" in i.words:
        wide = WIDER[kind]
        c = reader(kernel, i.operands[3], wide)
        return lambda m, mask: m.put(name, a(m).astype(wide) * b(m).astype(wide) + c(m), mask)
    c = reader(kernel, i.operands[3], kind)
    if kind is np.float32:  # one rounding: the product of two float32 is exact in float64
        wide = np.float64
        return lambda m, mask: m.put(name, (a(m).astype(wide) * b(m) + c(m)).astype(kind), mask)
    if "hi" in i.words:
        return lambda m, mask: m.put(name, _high(a(m), b(m)) + c(m), mask)
    return lambda m, mask: m.put(name, a(m) * b(m) + c(m), mask)


def _compare(kernel: Kernel, i: Instruction) -> Action:
    kind, how, name = type_of(i.words), i.words[1], _target(i.operands[0])
    a, b = (reader(kernel, o, kind) for o in i.operands[1:3])
    floating = np.dtype(kind).kind == "f"

    def test(x: Any, y: Any) -> Any:
        if how == "nan":
            return np.isnan(x) | np.isnan(y)
        if how == "num":
            return ~(np.isnan(x) | np.isnan(y))
        if floating and how.endswith("u") and how[:-1] in COMPARE:
            return COMPARE[how[:-1]](x, y) | np.isnan(x) | np.isnan(y)
        made = COMPARE[how](x, y)
        return made & ~(np.isnan(x) | np.isnan(y)) if floating and how == "ne" else made

    if len(i.operands) == 3:
        return lambda machine, mask: machine.put(name, test(a(machine), b(machine)), mask)
    c = reader(kernel, i.operands[3], np.bool_)
    join = {"and": np.logical_and, "or": np.logical_or, "xor": np.logical_xor}[i.words[2]]
    return lambda machine, mask: machine.put(name, join(test(a(machine), b(machine)), c(machine)), mask)


def _select(kernel: Kernel, i: Instruction) -> Action:
    kind, name = type_of(i.words), _target(i.operands[0])
    a, b, p = (reader(kernel, o, k) for o, k in zip(i.operands[1:], (kind, kind, np.bool_), strict=True))

    def act(machine: Any, mask: Any) -> None:
        made = np.where(p(machine), a(machine), b(machine))
        machine.put(name, made if made.ndim else made[()], mask)

    return act


def _move(kernel: Kernel, i: Instruction) -> Action:
    kind, (to, source) = type_of(i.words), i.operands
    if to.kind == "vector":
        part = UNSIGNED[np.dtype(kind).itemsize // len(to.parts)]
        read, bits = reader(kernel, source, kind), 8 * np.dtype(part).itemsize

        def unpack(machine: Any, mask: Any) -> None:
            value = read(machine)
            for n, o in enumerate(to.parts):
                machine.put(_target(o), (value >> value.dtype.type(bits * n)).astype(part), mask)

        return unpack
    if source.kind == "vector":
        part = UNSIGNED[np.dtype(kind).itemsize // len(source.parts)]
        reads, bits = [reader(kernel, o, part) for o in source.parts], 8 * np.dtype(part).itemsize

        def pack(machine: Any, mask: Any) -> None:
            value = kind(0)
            for n, read in enumerate(reads):
                value = value | (read(machine).astype(kind) << kind(bits * n))
            machine.put(to.name, value, mask)

        return pack
    read = reader(kernel, source, kind)
    return lambda machine, mask: machine.put(to.name, read(machine), mask)


ROUND = {"rni": np.rint, "rmi": np.floor, "rpi": np.ceil, "rzi": np.trunc}


def to_bf16(x: Any) -> Any:
    bits = np.asarray(x, np.float32).view(np.uint32)
    near = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
    return np.where(np.isnan(x), np.uint16(0x7FC0), near.astype(np.uint16))


def from_bf16(x: Any) -> Any:
    return (np.asarray(x).astype(np.uint32) << np.uint32(16)).view(np.float32)


def to_tf32(x: Any) -> Any:
    """Halves away from 0; what is left in the last 13 bits is not said, so it is something."""
    bits = np.asarray(x, np.float32).view(np.uint32)
    return np.where(np.isnan(x), np.uint32(0x7FFFFFFF), np.where(np.isinf(x), bits, bits + np.uint32(0x1000)))


def _convert(kernel: Kernel, i: Instruction) -> Action:
    to, source = [w for w in i.words if w in TYPES][:2]
    name, target = _target(i.operands[0]), TYPES[to]
    if to == "bf16x2":
        high, low = (reader(kernel, o, np.float32) for o in i.operands[1:3])
        return lambda m, mask: m.put(
            name, to_bf16(high(m)).astype(np.uint32) << np.uint32(16) | to_bf16(low(m)).astype(np.uint32), mask
        )
    read = reader(kernel, i.operands[1], TYPES[source])
    if to == "tf32":
        return lambda m, mask: m.put(name, to_tf32(read(m)), mask)
    rounding = next((ROUND[w] for w in i.words if w in ROUND), None)
    whole, from_float = np.dtype(target).kind in "iu", np.dtype(TYPES[source]).kind == "f"

    def act(machine: Any, mask: Any) -> None:
        x = read(machine)
        if source == "bf16":
            x = from_bf16(x)
        if to == "bf16":
            made = to_bf16(x)
        elif whole and from_float:
            limits = np.iinfo(target)
            x = np.nan_to_num((rounding or np.trunc)(np.asarray(x, np.float64)))
            top = float(limits.max) if limits.bits < 64 else np.nextafter(float(limits.max), 0)
            made = np.clip(x, float(limits.min), top).astype(target)
        else:
            made = (rounding(x) if rounding and from_float else x).astype(target)
        made = np.clip(made, 0, 1) if "sat" in i.words and made.dtype.kind == "f" else made
        machine.put(name, np.asarray(made)[()], mask)

    return act


def _address_space(kernel: Kernel, i: Instruction) -> Action:
    """cvta: generic addresses of global and shared memory are their own, those of local memory begin at LOCAL."""
    name, read = i.operands[0].name, reader(kernel, i.operands[1], np.uint64)
    shift = np.uint64(0 if "local" not in i.words else (1 << 64) - LOCAL if "to" in i.words else LOCAL)
    return lambda machine, mask: machine.put(name, read(machine) + shift, mask)


def _bits(kernel: Kernel, i: Instruction) -> Action:
    """popc, clz, brev, bfe, bfi, prmt, lop3, shf."""
    word, name = i.words[0], _target(i.operands[0])
    kind = type_of(i.words)
    width = 8 * np.dtype(kind).itemsize
    reads = [reader(kernel, o, kind if word not in ("bfe", "bfi") or n < (1 if word == "bfe" else 2) else np.uint32)
             for n, o in enumerate(i.operands[1:])]  # fmt: skip

    def apply(v: list[Any]) -> Any:
        if word == "popc":
            return np.bitwise_count(v[0]).astype(np.uint32)
        if word == "clz":
            return np.array([width - int(x).bit_length() for x in np.atleast_1d(v[0])], np.uint32)
        if word == "brev":
            return np.array([int(f"{int(x):0{width}b}"[::-1], 2) for x in np.atleast_1d(v[0])], kind)
        if word == "bfe":
            cut = (v[0] >> v[1].astype(kind)) & kind((1 << int(np.max(v[2]))) - 1)
            return cut
        if word == "bfi":
            at, count = int(np.max(v[2])), int(np.max(v[3]))
            part = kind(((1 << count) - 1) << at & ((1 << width) - 1))
            return (v[1] & ~part) | ((v[0] << kind(at)) & part)
        if word == "shf":
            both = v[0].astype(np.uint64) | v[1].astype(np.uint64) << np.uint64(32)
            n = (v[2] & np.uint32(31) if "wrap" in i.words else np.minimum(v[2], np.uint32(32))).astype(np.uint64)
            made = both << n >> np.uint64(32) if "l" in i.words else both >> n
            return made.astype(np.uint32)
        if word == "lop3":
            table, made = int(np.max(v[3])), np.uint32(0)
            for bit in range(8):
                if table >> bit & 1:
                    terms = (v[n] if bit >> (2 - n) & 1 else ~v[n] for n in range(3))
                    made = made | np.bitwise_and.reduce(np.broadcast_arrays(*terms))
            return made
        both = v[0].astype(np.uint64) | v[1].astype(np.uint64) << np.uint64(32)  # prmt
        made = np.uint32(0)
        for n in range(4):
            which = (v[2] >> np.uint32(4 * n)) & np.uint32(15)
            byte = (both >> (np.uint64(8) * (which & np.uint32(7)).astype(np.uint64))) & np.uint64(255)
            byte = np.where(which & np.uint32(8), np.where(byte & np.uint64(128), 255, 0), byte)
            made = made | byte.astype(np.uint32) << np.uint32(8 * n)
        return made

    def act(machine: Any, mask: Any) -> None:
        v = [np.asarray(read(machine)) for read in reads]
        made = np.asarray(apply(v))
        machine.put(name, made if made.size > 1 else made.reshape(-1)[0], mask)

    return act


def _test(kernel: Kernel, i: Instruction) -> Action:
    f = {"finite": np.isfinite, "infinite": np.isinf, "notanumber": np.isnan, "number": lambda x: ~np.isnan(x)}[i.words[1]]
    read, name = reader(kernel, i.operands[1], type_of(i.words)), i.operands[0].name
    return lambda machine, mask: machine.put(name, f(read(machine)), mask)


def _copysign(kernel: Kernel, i: Instruction) -> Action:
    sign, size = (reader(kernel, o, type_of(i.words)) for o in i.operands[1:3])
    return lambda machine, mask: machine.put(i.operands[0].name, np.copysign(size(machine), sign(machine)), mask)


# ---- memory ------------------------------------------------------------------------------------------------------
def _space(words: list[str]) -> str:
    if "shared::cluster" in words:
        return "cluster"
    return next((w.split("::")[0] for w in words if w.split("::")[0] in ("global", "shared", "local")), "generic")


def address_of(kernel: Kernel, o: Operand) -> Callable[[Any], Any]:
    base, offset = o.parts[0], np.uint64(o.offset & (2**64 - 1))
    if base.kind == "imm" or base.kind == "symbol":
        value = np.uint64(base.value if base.kind == "imm" else _symbol(kernel, base.name)) + offset
        return lambda machine: value
    wide = reader(kernel, base, np.uint64)

    def read(machine: Any) -> Any:
        value = machine.R.get(base.name)
        if value is not None and value.dtype.itemsize == 4:  # shared memory by a 32-bit address
            return value.view(np.uint32).astype(np.uint64) + offset
        return wide(machine) + offset

    return read


def _map_address(kernel: Kernel, i: Instruction) -> Action:
    """mapa: where an address of this block's shared memory is in another block of the cluster."""
    name, address, rank = i.operands[0].name, reader(kernel, i.operands[1], np.uint32), reader(kernel, i.operands[2], np.uint32)
    return lambda machine, mask: machine.put(name, address(machine) + (rank(machine) + np.uint32(1)) * np.uint32(1 << 24), mask)


def _load(kernel: Kernel, i: Instruction) -> Action:
    kind, words = type_of(i.words), i.words
    if "param" in words:
        parameter, name = i.operands[1].parts[0].name, i.operands[0].name
        return lambda machine, mask: machine.put(name, _immediate(int(machine.arguments[parameter]), kind), mask)
    space, count = _space(words), 4 if "v4" in words else 2 if "v2" in words else 1
    address, to = address_of(kernel, i.operands[1]), i.operands[0]
    names = [_target(o) for o in (to.parts if to.kind == "vector" else (to,))]
    widen = {np.uint8: np.uint16, np.int8: np.int16}.get(kind)

    def act(machine: Any, mask: Any) -> None:
        for name, value in zip(names, machine.load(address(machine), space, kind, count, mask), strict=True):
            machine.put(name, value.astype(widen) if widen else value, mask)

    return act


def _store(kernel: Kernel, i: Instruction) -> Action:
    kind, space, address = type_of(i.words), _space(i.words), address_of(kernel, i.operands[0])
    source = i.operands[1]
    reads = [reader(kernel, o, kind) for o in (source.parts if source.kind == "vector" else (source,))]
    return lambda machine, mask: machine.store(address(machine), space, kind, [r(machine) for r in reads], mask)


def _atomic(kernel: Kernel, i: Instruction) -> Action:
    """In a random order: any is legal."""
    kind, space = type_of(i.words), _space(i.words)
    to, place, *values = i.operands if i.words[0] == "atom" else [Operand("none"), *i.operands]
    address, reads = address_of(kernel, place), [reader(kernel, o, kind) for o in values]
    join = {"add": lambda o, x, y: o + x, "max": lambda o, x, y: max(o, x), "min": lambda o, x, y: min(o, x),
            "exch": lambda o, x, y: x, "cas": lambda o, x, y: y if o == x else o, "or": lambda o, x, y: o | x,
            "and": lambda o, x, y: o & x}  # fmt: skip
    f = join[next(w for w in i.words if w in join)]

    def act(machine: Any, mask: Any) -> None:
        threads, memory, at, _ = machine.places(address(machine), space, mask, np.dtype(kind).itemsize)
        view, at = memory.view(kind), at // np.dtype(kind).itemsize
        v = [machine.whole(read(machine))[threads] for read in reads]
        old = np.zeros(machine.T, kind)
        for n in np.random.default_rng(machine.steps).permutation(threads.size):
            old[threads[n]] = view[at[n]]
            view[at[n]] = f(view[at[n]], v[0][n], v[-1][n])
        machine.put(_target(to), old, mask)

    return act


def _nothing(kernel: Kernel, i: Instruction) -> Action:
    return lambda machine, mask: None


MAKERS: dict[str, Callable[[Kernel, Instruction], Action]] = {
    **{word: _binary(f) for word, f in BINARY.items()}, **{word: _unary(f) for word, f in UNARY.items()},
    "div": _binary(None), "min": _extreme(np.fmin, np.minimum), "max": _extreme(np.fmax, np.maximum),
    "shl": _shifts(np.left_shift), "shr": _shifts(np.right_shift), "mul": _multiply, "mad": _multiply_add, "fma": _multiply_add,
    "setp": _compare, "selp": _select, "mov": _move, "cvt": _convert, "cvta": _address_space, "testp": _test,
    "copysign": _copysign, **dict.fromkeys(("popc", "clz", "brev", "bfe", "bfi", "prmt", "lop3", "shf"), _bits),
    "ld": _load, "ldu": _load, "st": _store, "mapa": _map_address, "atom": _atomic, "red": _atomic,
    **dict.fromkeys(("membar", "prefetch"), _nothing), **collective.MAKERS, **warpgroup.MAKERS, **bulk.MAKERS,
}  # fmt: skip


