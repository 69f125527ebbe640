"""Callbacks of the tasks: a learning rate that falls over the epochs."""
from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from dlcore.training.callbacks import Callback

# share of the first learning rate, from 1 at the beginning to almost 0 at the end; `part` runs from 0 to 1
SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": lambda part: 1.0,
    "linear": lambda part: 1.0 - part,
    "cosine": lambda part: 0.5 + 0.5 * math.cos(math.pi * part),
}


class Schedule(Callback):
    """Sets the learning rate of every step from the share of the training that is done."""

    def __init__(self, lr: float, schedule: str, epochs: int, steps_per_epoch: int):
        self.lr, self.share, self.epochs, self.steps_per_epoch = lr, SCHEDULES[schedule], epochs, steps_per_epoch
        self.epoch = 0

    def get_state(self) -> dict[str, Any]:
        return {"epoch": self.epoch}

    def set_state(self, state: dict[str, Any]) -> None:
        self.epoch = state["epoch"]

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.epoch = epoch

    def on_train_batch_begin(self, batch: int, logs: dict[str, float] | None = None) -> None:
        done = (self.epoch + batch / self.steps_per_epoch) / self.epochs
        self.model.optimizer.learning_rate = self.lr * self.share(min(done, 1.0))
