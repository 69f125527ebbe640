"""Products of 128 threads (`wgmma`): operands in shared memory by descriptors, results that are there once they are waited for.

What would go wrong on a GPU raises PtxError: sums that other instructions touched without `wgmma.fence`, operands that were written
without `fence.proxy.async` behind them, sums that are read before `wait_group`, operands that are written before it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
from ptx import bulk
from ptx.parse import Instruction, Kernel, PtxError

GROUP = 128
SPANS = {1: (128, 0x70), 2: (64, 0x30)}  # by swizzle mode: bytes of a row, bits that are exchanged


class Products:
    """What products of one launch are under way."""

    def __init__(self, machine: Any) -> None:
        groups, words = machine.T // GROUP, machine.shared.size // 4
        self.unseen = np.zeros(words, np.int32)  # who wrote a word since its last fence: thread + 1
        self.reading = np.zeros(words, np.int16)  # products under way that read a word
        self.fenced = np.zeros(groups, bool)
        self.open: list[list[np.ndarray]] = [[] for _ in range(groups)]
        self.closed: list[list[list[np.ndarray]]] = [[] for _ in range(groups)]
        self.sums: list[set[str]] = [set() for _ in range(groups)]  # registers that are not there yet

    def written(self, words: np.ndarray, threads: np.ndarray) -> None:
        if self.reading[words].any():
            raise PtxError("shared memory is written while a product reads it")
        self.unseen[words] = threads + 1

    def shown(self, mask: Any) -> None:
        """fence.proxy.async of these threads."""
        if mask is None:
            self.unseen[:] = 0
        else:
            self.unseen[np.concatenate([[False], mask])[self.unseen]] = 0

    def check(self, i: Instruction, mask: Any) -> None:
        """Does an instruction read sums that are not there yet?  Copies of registers are none to a GPU's compiler."""
        here = range(len(self.sums)) if mask is None else np.flatnonzero(mask.reshape(-1, GROUP).any(1))
        for g in here:
            if not self.sums[g]:
                continue
            names = {part.name for o in i.operands[1:] for part in (o, *o.parts)}
            if names & self.sums[g]:
                if i.words[0] != "mov":
                    raise PtxError("a sum is read before its product is waited for")
                self.sums[g].add(i.operands[0].name)


def whole_groups(machine: Any, mask: Any) -> np.ndarray:
    if mask is None:
        return np.arange(machine.T // GROUP)
    threads = mask.reshape(-1, GROUP)
    if not (threads.all(1) == threads.any(1)).all():
        raise PtxError("a warpgroup's instruction in divergent code")
    return np.flatnonzero(threads.any(1))


def _places(descriptor: int, rows: int, turned: bool, size: int) -> np.ndarray:
    """The byte of each element of an operand of `rows` by 16, in its block's shared memory."""
    start, leading, stride = ((descriptor >> at & 0x3FFF) << 4 for at in (0, 16, 32))
    if descriptor >> 62 not in SPANS or (turned and descriptor >> 62 != 1) or descriptor >> 49 & 7:
        raise PtxError("the interpreter does not know this descriptor")
    if start & (0x380 if descriptor >> 62 == 1 else 0x180):
        raise PtxError("an operand of a product begins within the pattern of its swizzle")
    span, bits = SPANS[descriptor >> 62]
    r, k = np.arange(rows)[:, None], np.arange(16)
    if turned:
        at = start + r // 64 * leading + k // 8 * stride + k % 8 * span + r % 64 * 2
    else:
        at = start + r // 8 * stride + r % 8 * span + k * 2
    at = at ^ (at >> 3 & bits)
    if (at + 2 > size).any():
        raise PtxError(f"shared memory of {size} bytes is left: byte {int(at.max())}")
    return at


def _operand(machine: Any, g: int, descriptor: np.ndarray, rows: int, turned: bool) -> np.ndarray:
    mine = descriptor[g * GROUP : (g + 1) * GROUP]
    if (mine != mine[0]).any():
        raise PtxError("the descriptor differs between threads")
    at = _places(int(mine[0]), rows, turned, machine.shared_size) + machine.block_of[g * GROUP] * machine.shared_size
    words = np.unique(at >> 2)
    products = machine.products
    if products.unseen[words].any():
        raise PtxError("a product reads shared memory that no fence.proxy.async has shown it")
    if machine.coming[words].any():
        raise PtxError("a product reads shared memory that is still being copied")
    warps = np.arange(g * GROUP, (g + 1) * GROUP, 32).repeat(words.size)
    machine.touched("shared", np.tile(words, 4) << 2, 4, warps, None, None, together=True)
    products.reading[words] += 1
    products.open[g].append(words)
    return (machine.shared.view(np.uint16)[at >> 1].astype(np.uint32) << np.uint32(16)).view(np.float32)


def _held(words: np.ndarray, g: int) -> np.ndarray:
    """64 by 16 from four registers of each thread: rows of a warp in two halves of 8, columns in two halves of 4 pairs."""
    mine = np.ascontiguousarray(words[:, g * GROUP : (g + 1) * GROUP]).view(np.uint16)
    places = mine.reshape(2, 2, 4, 8, 4, 2).transpose(2, 1, 3, 0, 4, 5).reshape(64, 16)  # columns, rows, warp, row, pair, neighbour
    return (places.astype(np.uint32) << np.uint32(16)).view(np.float32)


def _product(kernel: Kernel, i: Instruction) -> Any:
    from ptx.instructions import reader

    found = re.fullmatch(r"m64n(\d+)k16", i.words[4])
    if found is None or i.words[5:] != ["f32", "bf16", "bf16"]:
        raise PtxError(f"the interpreter does not know {'.'.join(i.words)}")
    N, names = int(found[1]), [o.name for o in i.operands[0].parts]
    sums = [reader(kernel, o, np.float32) for o in i.operands[0].parts]
    held = [reader(kernel, o, np.uint32) for o in i.operands[1].parts]  # a left side in registers
    left = None if held else reader(kernel, i.operands[1], np.uint64)
    right = reader(kernel, i.operands[2], np.uint64)
    added, *scales = (int(o.value) for o in i.operands[3:6])
    *turned_a, turned_b = (int(o.value) for o in i.operands[6:])
    if scales != [1, 1]:
        raise PtxError("the interpreter does not negate operands")
    if len(turned_a) != (0 if held else 1) or (held and len(held) != 4):
        raise PtxError(f"operands of a product: {i.text}")

    def act(machine: Any, mask: Any) -> None:
        b = machine.whole(right(machine))
        words = np.stack([machine.whole(r(machine)) for r in held]) if held else machine.whole(left(machine))
        groups, products = whole_groups(machine, mask), machine.products
        old = np.stack([machine.whole(r(machine)) if added else np.zeros(machine.T, np.float32) for r in sums])
        old = old.reshape(N // 8, 2, 2, -1, 4, 8, 4)
        made = old.copy()  # eights of columns, upper or lower row, neighbour, warpgroup, warp, row, pair
        for g in groups:
            if not products.fenced[g]:
                raise PtxError("a product without wgmma.fence before it")
            A = _held(words, g) if held else _operand(machine, g, words, 64, bool(turned_a[0]))
            B = _operand(machine, g, b, N, bool(turned_b))
            D = (A @ B.T).reshape(4, 2, 8, N // 8, 4, 2).transpose(3, 1, 5, 0, 2, 4)
            made[:, :, :, g] = D + (old[:, :, :, g] if added else 0)
            products.sums[g].update(names)
        for name, value in zip(names, made.reshape(N // 2, machine.T), strict=True):
            machine.put(name, value, mask)

    return act


def _order(kernel: Kernel, i: Instruction) -> Any:
    """wgmma.fence, commit_group, wait_group."""
    left = int(i.operands[0].value) if "wait_group" in i.words else 0

    def act(machine: Any, mask: Any) -> None:
        products = machine.products
        for g in whole_groups(machine, mask):
            if "fence" in i.words:
                products.fenced[g] = True
            elif "commit_group" in i.words:
                products.closed[g].append(products.open[g])
                products.open[g] = []
            else:
                while len(products.closed[g]) > left:
                    for words in products.closed[g].pop(0):
                        products.reading[words] -= 1
                if not products.closed[g] and not products.open[g]:
                    products.sums[g].clear()
                    products.fenced[g] = False

    return act


def _make(kernel: Kernel, i: Instruction) -> Any:
    return _product(kernel, i) if "mma_async" in i.words else _order(kernel, i)


def _fence(kernel: Kernel, i: Instruction) -> Any:
    if i.words[1] == "mbarrier_init":
        return bulk.show
    if i.words[1:3] == ["proxy", "async"]:
        return lambda machine, mask: machine.products.shown(mask) if machine.products else None
    return lambda machine, mask: None


MAKERS: dict[str, Callable[[Kernel, Instruction], Any]] = {"wgmma": _make, "fence": _fence}
