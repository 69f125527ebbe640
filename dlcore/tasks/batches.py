"""Batches that an estimator makes from its data when the training wants them."""
from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from dlcore.data.text.sequences import buckets, waste
from dlcore.layers.initializers import generator
from dlcore.training.callbacks import Callback

ORDER = 0x6B                # tells the generator of the order of batches from those of initial weights
BUCKETS, LEAST = 6, 4       # buckets at most; batches of a bucket, about, at least
GRAIN = 8                   # lengths are rounded up to multiples of it


class Batches(Callback):
    """An iterable of batches (x, y) or (x, y, weight) in an order drawn for (seed, epoch); without a seed (None) in one that stays.

    As a callback of the training it learns which epoch begins.   shape: of one row of x, at most"""

    shape: tuple[int, ...]

    def __init__(self, seed: int | None):
        self.seed, self.epoch = seed, 0

    def __len__(self) -> int:
        """How many batches an epoch has."""
        raise NotImplementedError

    def get_state(self) -> dict[str, Any]:
        return {"epoch": self.epoch}

    def set_state(self, state: Mapping[str, Any]) -> None:
        self.epoch = state["epoch"]

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.epoch = epoch


class ByLength(Batches):
    """Rows of ids, filled up behind with 0, in batches of rows of similar length, cut to the longest that their bucket may have.

    ids: i32[N, T];  targets: (N, ...);  weight: f32[N] or None.   padding: the share of positions that are filled up"""

    def __init__(self, ids: np.ndarray, targets: np.ndarray, weight: np.ndarray | None, size: int, seed: int | None = None):
        super().__init__(seed)
        self.ids, self.targets, self.weight, self.size, self.shape = ids, targets, weight, size, ids.shape[1:]
        lengths = lengths_of(ids)
        self.buckets = grouped(lengths, size, ids.shape[1])
        self.padding = waste(lengths, self.buckets)

    def __len__(self) -> int:
        return sum(-(-len(b.rows) // self.size) for b in self.buckets)

    def __iter__(self) -> Iterator[tuple[np.ndarray, ...]]:
        rng = None if self.seed is None else generator(self.seed, ORDER, self.epoch)
        cut = []
        for bucket in self.buckets:
            rows = bucket.rows if rng is None else bucket.rows[rng.permutation(len(bucket.rows))]
            cut += [(bucket.length, rows[at:at + self.size]) for at in range(0, len(rows), self.size)]
        for i in range(len(cut)) if rng is None else rng.permutation(len(cut)):
            length, rows = cut[i]
            batch = self.ids[rows, :length], self.targets[rows]
            yield batch if self.weight is None else (*batch, self.weight[rows])


def lengths_of(ids: np.ndarray) -> np.ndarray:
    """i64[N]: how many ids stand before the zeros at the end of each row; at least 1."""
    there = ids[:, ::-1] != 0
    return np.maximum(1, np.where(there.any(1), ids.shape[1] - there.argmax(1), 0))


def grouped(lengths: np.ndarray, size: int, longest: int) -> list[Any]:
    """Buckets of at least some batches of `size` each."""
    return buckets(lengths, max(1, min(BUCKETS, len(lengths) // (LEAST * size))), longest, GRAIN)
