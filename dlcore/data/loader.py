"""Batches made ahead of training by one background thread.

A `Source` says how a batch is made: a function of (rows, seed, epoch, position) and of nothing else, so that what is
trained on does not depend on timing, and a resumed run gets the batches that the uninterrupted one got.  `Ahead` runs
it in a thread of its own, into memory that the training program reads in place; kernels and NumPy do the work, without
the GIL.
"""
from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

import numpy as np

from dlcore.data.kernels import direct
from dlcore.errors import DataError


def mapped(array: Any) -> bool:
    """Whether the array's memory is that of a file."""
    while isinstance(array, np.ndarray):
        if isinstance(array, np.memmap):
            return True
        array = array.base
    return False


class Source:
    """Rows for `Model.fit` that are made batch by batch.  A subclass's `fill` writes x, and calls this one's for the targets.

    rows: how many there are;  shape: of one row of x;  y: targets (N, ...) or None;  weight: f32 (N,) or None
    index: where in the data each row lies, by default at its own number; `places` says it for a batch
    """

    def __init__(self, rows: int, shape: tuple[int, ...], y: Any = None, weight: Any = None, index: np.ndarray | None = None):
        self.rows, self.shape = rows if index is None else len(index), tuple(shape)
        self.index = None if index is None else np.ascontiguousarray(index, np.int32)
        rows = self.rows
        self.y = None if y is None else np.asarray(y)
        self.weight = None if weight is None else np.asarray(weight, np.float32)
        for name, array in (("y", self.y), ("weight", self.weight)):
            if array is not None and len(array) != rows:
                raise DataError(f"x and {name} have different numbers of rows", expected=f"{rows:,}", got=f"{len(array):,}")

    def __len__(self) -> int:
        return self.rows

    def places(self, rows: np.ndarray) -> np.ndarray:
        """Where these rows lie in the data, i32."""
        return rows if self.index is None else self.index[rows]

    def fill(self, x: np.ndarray, y: np.ndarray, rows: np.ndarray, seed: int, epoch: int, position: int) -> None:
        """Writes the batch of these rows (i32[B], checked) into x f32[B, ...] and y.  Called in the loader's thread."""
        if self.y is not None:
            y[...] = self.y[rows].reshape(y.shape)


class MappedRows(Source):
    """Rows of an array that lies in a file (`numpy.memmap`), or is too large to be bound: gathered ahead, times `scale`.

    x: u8, f32, i32 or i64 (N, ...).  Page faults then stop the loader's thread, not the training step."""

    def __init__(self, x: np.ndarray, y: Any = None, *, weight: Any = None, scale: float = 1.0, shift: float = 0.0,
                 shape: tuple[int, ...] | None = None, index: np.ndarray | None = None):
        super().__init__(len(x), shape or x.shape[1:], y, weight, index)
        self.data, self.scale, self.shift = x.reshape(len(x), -1), scale, shift

    def fill(self, x: np.ndarray, y: np.ndarray, rows: np.ndarray, seed: int, epoch: int, position: int) -> None:
        """Gathers the rows; integers of ids stay integers."""
        if x.dtype == np.float32:
            direct("gather_rows")({"data": self.data, "ids": self.places(rows), "out": x.reshape(len(rows), -1)},
                                  {"scale": self.scale, "shift": self.shift})
        else:
            x[...] = self.data[self.places(rows)].reshape(x.shape)
        super().fill(x, y, rows, seed, epoch, position)


class Pieces:
    """A source's rows as batches (x, y) in order, made when they are asked for: validation data larger than memory."""

    def __init__(self, source: Source, size: int = 256):
        self.source, self.size = source, size

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """x f32, y as the source's."""
        source = self.source
        assert source.y is not None
        for begin in range(0, source.rows, self.size):
            rows = np.arange(begin, min(begin + self.size, source.rows), dtype=np.int32)
            x, y = np.empty((len(rows), *source.shape), np.float32), np.empty((len(rows), *source.y.shape[1:]), source.y.dtype)
            source.fill(x, y, rows, 0, 0, begin // self.size)
            yield x, y


@dataclass
class LoaderTimes:
    """steps: batches taken.  waited: seconds that training stood still for them.  made: seconds that they took to
    make."""

    steps: int = 0
    waited: float = 0.0
    made: float = 0.0

    def describe(self, seconds: float = 0.0) -> str:
        """One line; seconds: what the steps took in all."""
        share = f" ({self.waited / seconds:.1%} of the time)" if seconds else ""
        steps = max(1, self.steps)
        waited, made = self.waited / steps * 1e6, self.made / steps * 1e6
        return f"a step waited {waited:,.0f} us for its batch{share}, which took {made:,.0f} us to make"


class Ahead:
    """Makes batch 0, 1, 2, ... of `count` in a thread, at most `depth` ahead of who takes them.

    make(i, place) makes batch i in place i % depth; its error is raised where batch i would be taken.
    """

    def __init__(self, make: Callable[[int, int], Any], count: int, depth: int, times: LoaderTimes | None = None):
        self.make, self.count, self.depth, self.times = make, count, depth, times or LoaderTimes()
        self._free: SimpleQueue[bool] = SimpleQueue()
        self._ready: SimpleQueue[tuple[Any, BaseException | None]] = SimpleQueue()
        for _ in range(depth):
            self._free.put(True)
        self._thread = threading.Thread(target=self._work, name="dlcore-loader", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        for i in range(self.count):
            if not self._free.get():
                return
            began = time.perf_counter()
            try:
                made = self.make(i, i % self.depth)
            except BaseException as error:          # whatever it is, it belongs to the thread that trains
                self._ready.put((None, error))
                return
            self.times.made += time.perf_counter() - began
            self._ready.put((made, None))

    def __iter__(self) -> Iterator[Any]:
        """What `make` returned, in order.  A batch's place is made anew once the next one is asked for."""
        try:
            for i in range(self.count):
                began = time.perf_counter()
                made, error = self._ready.get()
                self.times.waited += time.perf_counter() - began
                self.times.steps += 1
                if error is not None:
                    raise error
                yield made
                if i + self.depth < self.count:
                    self._free.put(True)
        finally:
            self.close()

    def close(self) -> None:
        """Ends the thread after the batch at hand."""
        self._free.put(False)
        self._thread.join()
