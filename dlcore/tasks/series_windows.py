"""Windows of a series, cut from the matrix that is in memory when a batch wants them, and the scaling of its columns."""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from dlcore.data.saved import fields
from dlcore.errors import ModelFileError
from dlcore.tasks.batches import Batches
from dlcore.training.feed import order


@dataclass(frozen=True)
class Scaling:
    """The columns that a model knows, targets first, with mean and standard deviation over the steps trained on, f64 (C,)."""

    names: tuple[str, ...]
    targets: int
    mean: np.ndarray
    scale: np.ndarray

    @staticmethod
    def fit(values: np.ndarray, names: Sequence[str], targets: int) -> Scaling:
        """values: f64 (steps, C).  A column that does not vary is only centred."""
        scale = values.std(axis=0)
        return Scaling(tuple(names), targets, values.mean(axis=0), np.where(scale > 0, scale, 1.0))

    def apply(self, values: np.ndarray) -> np.ndarray:
        """f64 (steps, C) -> f32 (C, steps), contiguous."""
        out = np.empty((values.shape[1], len(values)), np.float32)
        for c in range(len(out)):
            out[c] = (values[:, c] - self.mean[c]) / self.scale[c]
        return out

    def back(self, forecast: np.ndarray) -> np.ndarray:
        """Standardised targets (..., targets, steps) in their own units, f64."""
        count = self.targets
        return forecast * self.scale[:count, np.newaxis] + self.mean[:count, np.newaxis]

    def to_json(self) -> dict[str, Any]:
        return {"names": list(self.names), "targets": self.targets, "mean": self.mean.tolist(), "scale": self.scale.tolist()}

    @staticmethod
    def from_json(value: Any, where: str) -> Scaling:
        """Raises ModelFileError."""
        names, targets, mean, scale = fields(value, where, names=list, targets=int, mean=list, scale=list)
        numbers = all(isinstance(v, float) and np.isfinite(v) for v in (*mean, *scale))
        if (not numbers or not all(isinstance(n, str) for n in names) or len(set(names)) != len(names)
                or not len(names) == len(mean) == len(scale) or not 1 <= targets <= len(names) or not all(v > 0 for v in scale)):
            raise ModelFileError("the scaling of the columns is malformed", where=where)
        return Scaling(tuple(names), targets, np.array(mean), np.array(scale))


class Windows(Batches):
    """Batches (x f32[B, C, input], y f32[B, targets, horizon]) of the windows that begin at `first`, `first + 1`, ...

    matrix: f32 (C, steps), standardised; nothing but the batches is ever copied.  With a seed they come in an order drawn for
    (seed, epoch); as a callback of the training this learns which epoch begins.  Without one they come in order of time."""

    def __init__(self, matrix: np.ndarray, first: int, count: int, input: int, horizon: int, targets: int, batch: int,
                 seed: int | None = None):
        super().__init__(seed)
        self.count, self.first, self.batch = count, first, batch
        C, steps = matrix.shape
        row, step = matrix.strides
        self.x = as_strided(matrix, (steps - input + 1, C, input), (step, row, step), writeable=False)
        ahead = max(0, steps - input - horizon + 1)
        self.y = as_strided(matrix[:, input:], (ahead, targets, horizon), (step, row, step), writeable=False)

    def __len__(self) -> int:
        return -(-self.count // self.batch)

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        rows = np.arange(self.count) if self.seed is None else order(self.count, self.seed, self.epoch, True)
        for at in range(0, self.count, self.batch):
            places = rows[at:at + self.batch] + self.first
            yield self.x[places], self.y[places]
