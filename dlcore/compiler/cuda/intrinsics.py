"""What CUDA kernels call beside Python: `cuda` (threads, barriers, shuffles, shared and local arrays), views of memory, sums over
a warp, and single PTX instructions.

    total = warp_sum(value)                     # every lane gets it; so warp_max, warp_min
    tile = cuda.shared.array((32, 33), f32)
    store_shared(address, ...)

`asm_op` makes a function of one PTX instruction.  Inline assembly is not marked convergent, so instructions that a whole warp
takes part in stand in uniform control flow only.  Integer constants are written `u32(4)`: Numba would make int64 of them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import cuda
from numba.cuda import types
from numba.cuda.extending import intrinsic
from numba.cuda.np import arrayobj

from dlcore.compiler.language import helper

f32, i32, i64, u16, u32, u64 = types.float32, types.int32, types.int64, types.uint16, types.uint32, types.uint64
FULL = 0xFFFFFFFF  # all lanes of a warp
KINDS = {
    "r": (u32, ir.IntType(32)),
    "l": (u64, ir.IntType(64)),
    "f": (f32, ir.FloatType()),
    "h": (u16, ir.IntType(16)),
}


def asm_op(name: str, text: str, outs: str, ins: str, memory: bool = True) -> Any:
    """A function of a PTX instruction or a few: `text` with $0, $1, ... for the outputs, then the inputs; both letters of `KINDS`.
    Several outputs come back as a tuple.  memory: it reads or writes memory that the compiler must not move across it."""
    constraints = ",".join([*("=" + c for c in outs), *ins, *(["~{memory}"] if memory else [])])
    numbers, values = [KINDS[c][0] for c in outs], [KINDS[c][1] for c in outs]
    if not outs:
        result, returned = types.void, ir.VoidType()
    elif len(outs) == 1:
        result, returned = numbers[0], values[0]
    else:
        result, returned = types.UniTuple(numbers[0], len(outs)), ir.LiteralStructType(values)
    signature = result(*(KINDS[c][0] for c in ins))

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        kind = ir.FunctionType(returned, [KINDS[c][1] for c in ins])
        made = builder.call(ir.InlineAsm(kind, text, constraints, side_effect=True), args)
        if not outs:
            return context.get_dummy_value()
        if len(outs) == 1:
            return made
        return context.make_tuple(builder, sig.return_type, [builder.extract_value(made, n) for n in range(len(outs))])

    names = ", ".join(f"a{n}" for n in range(len(ins)))
    space: dict[str, Any] = {"answer": (signature, generate)}
    exec(f"def {name}(typing{', ' + names if names else ''}):\n    return answer\n", space)
    return intrinsic(space[name])


# ---- memory ------------------------------------------------------------------------------------------------------
def _view(context: Any, builder: Any, sig: Any, args: Any, strided: bool) -> Any:
    """Numba's array structure over memory that begins `offset` elements behind a pointer."""
    kind = sig.return_type
    element = context.get_data_type(kind.dtype)
    width = context.get_abi_sizeof(element)
    data = builder.gep(args[0], [args[1]], source_etype=element)
    from numba.cuda import cgutils

    shape = cgutils.unpack_tuple(builder, args[2], kind.ndim)
    if strided:
        steps = cgutils.unpack_tuple(builder, args[3], kind.ndim)
    else:
        steps, product = [], ir.Constant(ir.IntType(64), 1)
        for n in reversed(range(kind.ndim)):
            steps.insert(0, product)
            product = builder.mul(product, shape[n])
    strides = [builder.mul(s, ir.Constant(ir.IntType(64), width)) for s in steps]
    array = arrayobj.make_array(kind)(context, builder)
    arrayobj.populate_array(array, data, shape, strides, width, None)
    return array._getvalue()


@intrinsic
def view(typing: Any, pointer: Any, offset: Any, shape: Any) -> Any:
    """An array of `shape`, without gaps, `offset` elements behind a pointer."""
    signature = types.Array(pointer.dtype, len(shape), "C")(pointer, types.int64, shape)
    return signature, lambda context, builder, sig, args: _view(context, builder, sig, args, False)


@intrinsic
def strided_view(typing: Any, pointer: Any, offset: Any, shape: Any, strides: Any) -> Any:
    """The same with strides, in elements."""
    signature = types.Array(pointer.dtype, len(shape), "A")(pointer, types.int64, shape, types.UniTuple(types.int64, len(shape)))
    return signature, lambda context, builder, sig, args: _view(context, builder, sig, args, True)


@intrinsic
def is_null(typing: Any, pointer: Any) -> Any:
    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.icmp_unsigned("==", builder.ptrtoint(args[0], ir.IntType(64)), ir.Constant(ir.IntType(64), 0))

    return types.boolean(pointer), generate


@intrinsic
def float_of(typing: Any, slot: Any) -> Any:
    """The float32 in the first four bytes of a slot."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.bitcast(builder.trunc(args[0], ir.IntType(32)), ir.FloatType())

    return types.float32(types.int64), generate


@intrinsic
def shared_address(typing: Any, array: Any) -> Any:
    """The 32-bit address of a shared array's first element."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        data = context.make_array(sig.args[0])(context, builder, value=args[0]).data
        kind = ir.PointerType(addrspace=3) if data.type.is_opaque else data.type.pointee.as_pointer(3)
        return builder.ptrtoint(builder.addrspacecast(data, kind), ir.IntType(32))

    return types.uint32(array), generate


# ---- places ------------------------------------------------------------------------------------------------------
@helper
def block_index():
    return i64(cuda.blockIdx.x)


@helper
def thread_index():
    return i64(cuda.threadIdx.x)


@helper
def quotient(a, b):
    """a // b of numbers that are not negative; 32 bits where they are enough, which is several times faster."""
    if (a | b) < i64(1 << 31):
        return i64(u32(a) // u32(b))
    return a // b


# ---- a warp ------------------------------------------------------------------------------------------------------
@helper
def warp_sum(value):
    for d in (16, 8, 4, 2, 1):
        value += cuda.shfl_xor_sync(FULL, value, d)
    return value


@helper
def warp_max(value):
    """The greatest of numbers that are no NaN."""
    for d in (16, 8, 4, 2, 1):
        other = cuda.shfl_xor_sync(FULL, value, d)
        value = other if other > value else value
    return value


@helper
def warp_min(value):
    for d in (16, 8, 4, 2, 1):
        other = cuda.shfl_xor_sync(FULL, value, d)
        value = other if other < value else value
    return value


# ---- a block -----------------------------------------------------------------------------------------------------
@helper
def block_sum(value, thread):
    """The sum over a block of at most 1,024 threads, for every thread.  All threads come here together."""
    parts = cuda.shared.array(32, f32)
    value = warp_sum(value)
    cuda.syncthreads()
    if thread & 31 == 0:
        parts[thread >> 5] = value
    cuda.syncthreads()
    total = np.float32(0)
    for w in range(cuda.blockDim.x >> 5):
        total += parts[w]
    return total


# ---- tensor cores ------------------------------------------------------------------------------------------------
mma_bf16 = asm_op(
    "mma_bf16",
    "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {$0,$1,$2,$3}, {$4,$5,$6,$7}, {$8,$9}, {$10,$11,$12,$13};",
    "ffff",
    "rrrrrrffff",
    memory=False,
)
mma_tf32 = asm_op(
    "mma_tf32",
    "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {$0,$1,$2,$3}, {$4,$5,$6,$7}, {$8,$9}, {$10,$11,$12,$13};",
    "ffff",
    "rrrrrrffff",
    memory=False,
)
split_tf32 = asm_op(  # (a float32 rounded to tf32, the rest), as words
    "split_tf32",
    "{ .reg .b32 t; .reg .b32 s; cvt.rna.tf32.f32 t, $2; and.b32 t, t, 0xffffe000; sub.f32 s, $2, t; "
    "mov.b32 $0, t; mov.b32 $1, s; }",
    "rr",
    "r",
    memory=False,
)
load_matrices = asm_op(
    "load_matrices", "ldmatrix.sync.aligned.m8n8.x4.shared.b16 {$0,$1,$2,$3}, [$4];", "rrrr", "r"
)
load_matrices_turned = asm_op(
    "load_matrices_turned", "ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {$0,$1,$2,$3}, [$4];", "rrrr", "r"
)
pack_bf16 = asm_op("pack_bf16", "cvt.rn.bf16x2.f32 $0, $1, $2;", "r", "ff", memory=False)  # (high half, low half)
store_shared_2 = asm_op("store_shared_2", "st.shared.v2.b32 [$0], {$1,$2};", "", "rrr")
store_shared_1 = asm_op("store_shared_1", "st.shared.b32 [$0], $1;", "", "rr")
load_shared_1 = asm_op("load_shared_1", "ld.shared.b32 $0, [$1];", "r", "r")
