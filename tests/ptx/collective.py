"""Instructions that a whole warp takes part in: shuffles, votes, matrices; and copies that go on beside the threads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from ptx import bulk
from ptx.lanes import others
from ptx.parse import Instruction, Kernel, PtxError

NOTHING = -1  # in the place of a source: zeros are copied


def _reader(kernel: Kernel, o: Any, kind: Any) -> Any:
    from ptx.instructions import reader

    return reader(kernel, o, kind)


def whole_warps(machine: Any, mask: Any) -> np.ndarray:
    """The warps that take part; PtxError where only some lanes of one do."""
    if mask is None:
        return np.arange(machine.T // 32)
    lanes = mask.reshape(-1, 32)
    if not (lanes.all(1) == lanes.any(1)).all():
        raise PtxError("a warp's instruction in divergent code")
    return np.flatnonzero(lanes.any(1))


def _check_members(machine: Any, members: Any, mask: Any) -> Any:
    """All lanes that the mask names are here."""
    members = machine.whole(members)
    here = np.ones(machine.T, bool) if mask is None else mask
    bits = (here.reshape(-1, 32).astype(np.uint64) << np.arange(32, dtype=np.uint64)).sum(1).repeat(32)
    if (members.astype(np.uint64) & ~bits)[here].any():
        raise PtxError("a warp's instruction names lanes that are not here")
    return members


def _shuffle(kernel: Kernel, i: Instruction) -> Any:
    to, way = i.operands[0], next(w for w in i.words if w in ("up", "down", "bfly", "idx"))
    names = [o.name for o in to.parts] if to.kind == "pair" else [to.name]
    value, b, c, members = (_reader(kernel, o, np.uint32) for o in i.operands[1:5])

    def act(machine: Any, mask: Any) -> None:
        _check_members(machine, members(machine), mask)
        x, lane = machine.whole(value(machine)), machine.lane.astype(np.int64)
        step, clamp = (machine.whole(r(machine)).astype(np.int64) for r in (b, c))
        step, segment = step & 31, (clamp >> 8) & 31
        top, bottom = (lane & segment) | (clamp & 31 & ~segment), lane & segment
        source = {"up": lane - step, "down": lane + step, "bfly": lane ^ step, "idx": bottom | (step & ~segment)}[way]
        inside = source >= top if way == "up" else source <= top
        machine.put(names[0], x[(np.arange(machine.T) & ~31) + np.where(inside, source, lane)], mask)
        if len(names) > 1:
            machine.put(names[1], inside, mask)

    return act


def _vote(kernel: Kernel, i: Instruction) -> Any:
    predicate, members = _reader(kernel, i.operands[1], np.bool_), _reader(kernel, i.operands[2], np.uint32)

    def act(machine: Any, mask: Any) -> None:
        named = _check_members(machine, members(machine), mask)
        yes = machine.whole(predicate(machine)) & (np.ones(machine.T, bool) if mask is None else mask)
        bits = (yes.reshape(-1, 32).astype(np.uint64) << np.arange(32, dtype=np.uint64)).sum(1).astype(np.uint32).repeat(32) & named
        made = bits if "ballot" in i.words else bits != 0 if "any" in i.words else bits == named
        machine.put(i.operands[0].name, made, mask)

    return act


def _meet(kernel: Kernel, i: Instruction) -> Any:
    """bar.warp.sync: all lanes that are named come to it, and then see what the others wrote."""
    if "warp" not in i.words:
        return None
    members = _reader(kernel, i.operands[0], np.uint32)

    def act(machine: Any, mask: Any) -> None:
        named = _check_members(machine, members(machine), mask)
        here = np.ones(machine.T, bool) if mask is None else mask
        if not (named >> machine.lane & np.uint32(1))[here].all():
            raise PtxError("a lane comes to a barrier of its warp that does not name it")
        machine.meet(mask)

    return act


def _active(kernel: Kernel, i: Instruction) -> Any:
    def act(machine: Any, mask: Any) -> None:
        here = np.ones(machine.T, bool) if mask is None else mask
        bits = (here.reshape(-1, 32).astype(np.uint64) << np.arange(32, dtype=np.uint64)).sum(1)
        machine.put(i.operands[0].name, bits.astype(np.uint32).repeat(32), mask)

    return act


def _load_matrices(kernel: Kernel, i: Instruction) -> Any:
    """ldmatrix: 8 by 8 tiles of 16 bits, a row from the address of each lane."""
    from ptx.instructions import address_of

    count, turned = int(next(w for w in i.words if w in ("x1", "x2", "x4"))[1]), "trans" in i.words
    address = address_of(kernel, i.operands[1])
    to = i.operands[0].parts if i.operands[0].kind == "vector" else (i.operands[0],)

    def act(machine: Any, mask: Any) -> None:
        warps = whole_warps(machine, mask)
        lanes = (warps[:, None] * 32 + np.arange(8 * count)).ravel()
        rows = np.zeros(machine.T, bool)
        rows[lanes] = True
        threads, memory, at, _ = machine.places(address(machine), "shared", rows, 16)
        machine.touched("shared", at, 16, threads, None, None, together=True)
        tiles = memory.view(np.uint16)[(at[:, None] >> 1) + np.arange(8)].reshape(warps.size, count, 8, 8)
        tiles = tiles.transpose(0, 1, 3, 2) if turned else tiles
        pairs = tiles[..., 0::2].astype(np.uint32) | tiles[..., 1::2].astype(np.uint32) << np.uint32(16)
        for n, o in enumerate(to):
            value = np.zeros((machine.T // 32, 32), np.uint32)
            value[warps] = pairs[:, n].reshape(warps.size, 32)
            machine.put(o.name, value.ravel(), mask)

    return act


def _halves(pairs: np.ndarray) -> np.ndarray:
    """Two bf16 of each word."""
    words = np.stack([pairs & np.uint32(0xFFFF), pairs >> np.uint32(16)], -1)
    return (words << np.uint32(16)).view(np.float32)


def _tf32(words: np.ndarray) -> np.ndarray:
    """float32 without its last 13 bits, which tensor cores do not read."""
    return (words & np.uint32(0xFFFFE000)).view(np.float32)


def _cut(exact: np.ndarray) -> np.ndarray:
    """float64 to float32, towards 0."""
    near = exact.astype(np.float32)
    return np.where(np.abs(near.astype(np.float64)) > np.abs(exact), np.nextafter(near, np.float32(0)), near)


def _multiply_matrices(kernel: Kernel, i: Instruction) -> Any:
    """mma.sync with float32 sums: m16n8k16 of bf16; m16n8k8 of tf32, whose sums are cut off.  See the PTX manual for which lane
    holds what: of bf16 a word has two neighbours along k."""
    pairs = "m16n8k16" in i.words and i.words.count("bf16") == 2
    if not pairs and not ("m16n8k8" in i.words and i.words.count("tf32") == 2):
        raise PtxError(f"the interpreter does not know {'.'.join(i.words)}")
    to, *given = i.operands
    reads = [[_reader(kernel, o, k) for o in v.parts] for v, k in zip(given, (np.uint32, np.uint32, np.float32), strict=True)]
    seen, k = (_halves, 8) if pairs else (_tf32, 4)

    def act(machine: Any, mask: Any) -> None:
        warps = whole_warps(machine, mask)
        W = warps.size
        a, b, c = ([machine.whole(r(machine)).reshape(-1, 32)[warps].reshape(W, 8, 4) for r in group] for group in reads)
        A, B, C = np.zeros((W, 16, 2 * k), np.float32), np.zeros((W, 2 * k, 8), np.float32), np.zeros((W, 16, 8), np.float32)
        for part, (row, column) in zip(a, ((0, 0), (8, 0), (0, k), (8, k)), strict=True):
            A[:, row : row + 8, column : column + k] = seen(part).reshape(W, 8, k)
        for n, part in enumerate(b):
            B[:, k * n : k * n + k] = seen(part).reshape(W, 8, k).transpose(0, 2, 1)
        for n, part in enumerate(c):
            C[:, 8 * (n // 2) : 8 * (n // 2) + 8, (n & 1) :: 2] = part
        D = A @ B + C if pairs else _cut(A.astype(np.float64) @ B + C)
        for n, o in enumerate(to.parts):
            value = np.zeros((machine.T // 32, 32), np.float32)
            value[warps] = D[:, 8 * (n // 2) : 8 * (n // 2) + 8, (n & 1) :: 2].reshape(W, 32)
            machine.put(o.name, value.ravel(), mask)

    return act


def _copy(kernel: Kernel, i: Instruction) -> Any:
    """cp.async: what is copied lands when a wait asks for it, not before."""
    from ptx.instructions import address_of

    if "bulk" in i.words:
        return bulk.copy(kernel, i)
    if "commit_group" in i.words:
        return lambda machine, mask: _commit(machine, mask)
    if "wait_all" in i.words:  # of those too that are in no group yet
        return lambda machine, mask: (_commit(machine, mask), _wait(machine, mask, 0))
    if "wait_group" in i.words:
        left = int(i.operands[0].value)
        return lambda machine, mask: _wait(machine, mask, left)
    to, source, width = address_of(kernel, i.operands[0]), address_of(kernel, i.operands[1]), int(i.operands[2].value)
    read = _reader(kernel, i.operands[3], np.uint32) if len(i.operands) > 3 else None  # how many bytes; the others become 0

    def act(machine: Any, mask: Any) -> None:
        here = np.ones(machine.T, bool) if mask is None else mask
        full = here if read is None else here & (machine.whole(read(machine)) == width)
        if read is not None and (machine.whole(read(machine))[here & ~full] != 0).any():
            raise PtxError("the interpreter copies all bytes or none")
        for some, empty in ((full, False), (here & ~full, True)):
            if not some.any():
                continue
            threads, _, place, _ = machine.places(to(machine), "shared", some, width)
            _depart(machine, threads, place, width)
            at = np.full(threads.size, NOTHING)
            if empty and (machine.whole(source(machine))[threads] % np.uint64(width) != 0).any():
                raise PtxError(f"a misaligned address of {width} bytes, none of which is copied")
            if not empty:
                _, _, at, _ = machine.places(source(machine), "global", some, width)
                machine.touched("global", at, width, threads, None, None)
            machine.open.append((threads, place, at, width))

    return act


def _words(place: np.ndarray, width: int) -> np.ndarray:
    return (place[:, None] >> 2) + np.arange(width // 4)


def _depart(machine: Any, threads: np.ndarray, place: np.ndarray, width: int) -> None:
    """A copy may land at once, so its place must be nobody's: touched by another since the last barrier, or by another copy."""
    words = _words(place, width)
    key, base, mark = (k[threads][:, None] for k in (machine.key, machine.base, machine.mark))
    last, wrote = machine.last_read[words], machine.last_write[words]
    conflict = (last >= base) & (last != key) | (wrote >= base) & (wrote != key) | machine.flying[words]
    conflict |= others(machine.lanes.reader[words], mark) | others(machine.lanes.writer[words], mark)
    if conflict.any():
        machine.race(words.ravel(), conflict.ravel(), "to be copied to")
    machine.flying[words] = True


def _commit(machine: Any, mask: Any) -> None:
    """Closes the group of every thread that is here; groups are told apart by thread."""
    here = np.ones(machine.T, bool) if mask is None else mask
    machine.waiting.append([here.copy(), [(t[here[t]], p[here[t]], a[here[t]], w) for t, p, a, w in machine.open]])
    machine.open = [(t[~here[t]], p[~here[t]], a[~here[t]], w) for t, p, a, w in machine.open]


def _wait(machine: Any, mask: Any, left: int) -> None:
    """All but the last `left` groups of every thread that is here have landed."""
    here = np.ones(machine.T, bool) if mask is None else mask
    later = np.zeros(machine.T, np.int64)
    for group in reversed(machine.waiting):
        landing = group[0] & here & (later >= left)
        later += group[0]
        for threads, place, at, width in group[1]:
            mine = landing[threads]
            if mine.any():
                machine.flying[_words(place[mine], width)] = False
                machine.touched("shared", place[mine], width, threads[mine], np.zeros(int(mine.sum()), bool), None)
                bytes_ = np.arange(width)
                found = machine.memory.bytes[np.maximum(at[mine], 0)[:, None] + bytes_]
                machine.shared[place[mine][:, None] + bytes_] = np.where(at[mine][:, None] == NOTHING, np.uint8(0), found)
        group[0] &= ~landing
    machine.waiting = [g for g in machine.waiting if g[0].any()]


MAKERS: dict[str, Callable[[Kernel, Instruction], Any]] = {
    "bar": _meet, "barrier": _meet,
    "shfl": _shuffle, "vote": _vote, "activemask": _active, "ldmatrix": _load_matrices, "mma": _multiply_matrices, "cp": _copy,
}  # fmt: skip
