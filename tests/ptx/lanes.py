"""Which lane of a warp touched a word last.  Lanes may run apart: what one writes another sees once the warp, or the block, met.

A mark is of a lane at a time: how often its warp has met, the warp, in the last 6 bits the lane; `TOGETHER` are several."""

from __future__ import annotations

from typing import Any

import numpy as np

TOGETHER = 63


def marks(met: np.ndarray, warp: np.ndarray, lane: np.ndarray) -> np.ndarray:
    return (met << 32 | warp) << 6 | lane


class Lanes:
    """Of each word who wrote it last and who read it last."""

    def __init__(self, words: int) -> None:
        self.writer, self.reader = (np.full(words, -1, np.int64) for _ in range(2))

    def clear(self) -> None:
        self.writer[:] = -1
        self.reader[:] = -1

    def touched(self, words: np.ndarray, mark: np.ndarray, same: Any) -> np.ndarray:
        """Where another lane of the warp touched a word, one of them writing, since the warp met.  same: which of the writers write
        what is there already; None for reads."""
        conflict = others(self.writer[words], mark)
        if same is not None:
            conflict |= others(self.reader[words], mark)
            self.writer[words] = mark
            return conflict & ~same
        read = np.where(others(self.reader[words], mark), mark | TOGETHER, mark)
        self.reader[words] = read
        several = others(self.reader[words], read)  # lanes that read one word in this instruction
        self.reader[words[several]] = read[several] | TOGETHER
        return conflict


def others(last: np.ndarray, mark: np.ndarray) -> np.ndarray:
    return (last >> 6 == mark >> 6) & (last != mark)
