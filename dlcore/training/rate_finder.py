"""Looking for a learning rate (Smith, Cyclical learning rates for training neural networks, 2017, section 3.3).

Training runs over some steps while the rate grows exponentially.  The loss falls, falls fastest, and grows where the rate
is too large; a rate where it falls fastest is a good one to train with.  Afterwards the model is as it was.
"""
from __future__ import annotations

import csv
import io
import math
import os
from typing import Any

import numpy as np

from dlcore.errors import DivergedError, UsageError
from dlcore.optim.schedules import ExponentialDecay
from dlcore.training.callbacks import Callback
from dlcore.training.state import TrainingState

KEPT = 0.9          # of the running mean of the losses, per step
WORSE = 4.0         # training stops where the running mean is so many times the least


class LearningRateFinder(Callback):
    """rates, losses: of each step, the losses as running means.   suggestion: a rate, NaN where no loss ever fell.

    min_lr, max_lr   where the rate begins and ends;   steps: how many there are, at most those of the training"""

    def __init__(self, min_lr: float = 1e-6, max_lr: float = 1.0, steps: int = 100):
        if not 0 < min_lr < max_lr < math.inf or steps < 10:
            raise UsageError("the finder needs rates that grow and at least 10 steps", expected="0 < min_lr < max_lr",
                             got=f"{min_lr}, {max_lr}, {steps} steps")
        self.min_lr, self.max_lr, self.steps = min_lr, max_lr, steps
        self.rates: list[float] = []
        self.losses: list[float] = []

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        model, steps = self.model, self.params["steps"]
        self.steps = min(self.steps, self.params["epochs"] * steps) if steps else self.steps
        self._kept = model.state.export(model)
        optimizer = model.optimizer
        self._rate = optimizer.learning_rate if optimizer.schedule is None else optimizer.schedule
        self._first, self._before, self._sum, self._mean = model.state.step, 0, 0.0, 0.0
        optimizer.learning_rate = self._growing = _Growing(self.min_lr, self.steps, self.max_lr / self.min_lr, self._first)

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self._sum = 0.0

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        rows, before = self.model.state.rows, self._sum
        self._sum = (logs or {})["loss"] * rows             # the logs are means of the epoch
        loss = (self._sum - before) / max(1, rows - self._rows(batch))
        self._mean = KEPT * self._mean + (1 - KEPT) * loss
        n = len(self.rates) + 1
        self.rates.append(self.model.optimizer.learning_rate)
        self.losses.append(self._mean / (1 - KEPT**n))
        if n >= self.steps or self.losses[-1] > WORSE * min(self.losses):
            self.model.stop_training = True

    def _rows(self, batch: int) -> int:
        """Rows of the epoch before this step."""
        before = self._before if batch else 0
        self._before = self.model.state.rows
        return before

    def on_divergence(self, failure: DivergedError) -> bool:
        return True

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        model = self.model
        for name, state in model.store.state(model.optimizer.name).items():     # what the search itself began
            if f"state/{name}" not in self._kept[0]:
                state[...] = 0
        vars(model.state).update(vars(TrainingState.restore(model, *self._kept)))
        model.optimizer.learning_rate = self._rate

    @property
    def suggestion(self) -> float:
        """The rate at which the loss falls fastest, by the logarithm of the rate, before it is least."""
        skip = len(self.losses) // 8            # the first means are of few losses, and noisy
        least = skip + int(np.argmin(self.losses[skip:])) if self.losses else 0
        if least - skip < 2:
            return math.nan
        part = slice(skip, least + 1)
        slopes = np.gradient(np.array(self.losses[part]), np.log(self.rates[part]))
        width = max(1, len(slopes) // 8)        # and so are slopes between neighbours
        smooth = np.convolve(slopes, np.ones(width) / width, mode="same")
        return self.rates[skip + int(np.argmin(smooth))]

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Writes a file with the columns learning_rate and loss.  WriteError."""
        from pathlib import Path

        from dlcore.deploy.atomic import write_text
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerows([("learning_rate", "loss"), *zip(self.rates, self.losses, strict=True)])
        write_text(Path(path), text.getvalue())


class _Growing(ExponentialDecay):
    """A rate that grows from the step on that a search begins with."""

    def __init__(self, first: float, steps: int, ratio: float, since: int):
        super().__init__(first, max(1, steps - 1), ratio)
        self.since = since

    def rate(self, step: int) -> Any:
        return super().rate(step - self.since)
