"""Global memory of the interpreter: what is allocated, what a launch may touch, who touched it."""

from __future__ import annotations

from typing import Any

import numpy as np
from ptx.lanes import Lanes
from ptx.parse import PtxError

GLOBAL = 1 << 45  # address of its first byte
ALIGN = 256
ANYONE = 1 << 62  # as a key: several warps


class Memory:
    """base: the address of the first byte.  Buffers lie apart by gaps.  `own(ranges)` says which bytes the next launches may touch:
    by default all buffers."""

    def __init__(self, size: int) -> None:
        self.bytes = np.full(-(-size // ALIGN) * ALIGN + ALIGN, 0xCB, np.uint8)
        self.owned = np.zeros(self.bytes.size, bool)
        self.writer, self.reader = (np.full(self.bytes.size // 4, -1, np.int64) for _ in range(2))  # keys of machine.py
        self.lanes = Lanes(self.bytes.size // 4)
        self.top, self.base = ALIGN, GLOBAL

    def allocate(self, size: int) -> tuple[int, np.ndarray]:
        """(address, the bytes themselves)"""
        begin = self.top
        self.top = -(-(begin + size) // ALIGN) * ALIGN + ALIGN
        if self.top > self.bytes.size:
            raise PtxError("the interpreter's memory is full")
        self.owned[begin : begin + size] = True
        return self.base + begin, self.bytes[begin : begin + size]

    def put(self, array: np.ndarray) -> tuple[int, np.ndarray]:
        """(address, view) of a copy of an array."""
        address, raw = self.allocate(array.nbytes)
        view = raw.view(array.dtype).reshape(array.shape)
        view[...] = array
        return address, view

    def own(self, ranges: list[tuple[int, int]]) -> None:
        """The next launches may touch these (address, bytes) and nothing else."""
        self.owned[:] = False
        for address, size in ranges:
            self.owned[address - self.base : address - self.base + size] = True

    def begin_launch(self) -> None:
        self.writer[:] = -1
        self.reader[:] = -1
        self.lanes.clear()

    def check(self, address: np.ndarray, width: int) -> np.ndarray:
        """The bytes' places; PtxError for bytes that are not the launch's."""
        at = address - self.base
        inside = (at >= 0) & (at + width <= self.bytes.size)
        if not inside.all() or not (self.owned[at] & self.owned[at + width - 1]).all():
            bad = at[np.argmin(inside)] if not inside.all() else at[np.argmin(self.owned[at] & self.owned[at + width - 1])]
            raise PtxError(f"global memory that no array of this launch owns: byte {int(bad)}")
        return at

    def touched(self, at: np.ndarray, width: int, key: np.ndarray, base: np.ndarray, same: Any, mark: np.ndarray) -> None:
        """Looks for races between warps, and between lanes of one; within a block a barrier orders them.  Values that do not change
        are let pass."""
        for word in range(max(1, width // 4)):
            w = (at >> 2) + word
            conflict = self._others(self.writer[w], key, base)
            if same is None:
                last = self.reader[w]
                several = np.where(last >> 40 == key >> 40, base | 0xFFF, ANYONE)
                self.reader[w] = np.where(self._others(last, key, base), several, key)
            elif width >= 4:
                conflict |= self._others(self.reader[w], key, base)
                self.writer[w] = key
                conflict = (conflict | (self.writer[w] != key)) & ~same
            else:
                continue
            of_lanes = self.lanes.touched(w, mark, same)
            if conflict.any() or of_lanes.any():
                where, who = int(w[np.argmax(conflict | of_lanes)]) * 4, "warp" if conflict.any() else "lane"
                raise PtxError(f"a race: global byte {where} is {'read' if same is None else 'written'} by one {who} and was "
                               "touched by another")  # fmt: skip

    @staticmethod
    def _others(who: np.ndarray, key: np.ndarray, base: np.ndarray) -> np.ndarray:
        """Was it touched by another block, or by another warp of this block since its last barrier?"""
        return (who >= 0) & (who != key) & ((who >= base) | (who >> 40 != key >> 40))
