"""Callbacks of the tasks: a learning rate that falls over the epochs, and keeping the best weights."""
from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

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

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.epoch = epoch

    def on_train_batch_begin(self, batch: int, logs: dict[str, float] | None = None) -> None:
        done = (self.epoch + batch / self.steps_per_epoch) / self.epochs
        self.model.optimizer.learning_rate = self.lr * self.share(min(done, 1.0))


class BestWeights(Callback):
    """Ends on the weights of the epoch with the least validation loss, and stops `patience` epochs after it.

    `patience=0` never stops early.  After training `best_epoch` counts from 1.
    """

    def __init__(self, patience: int):
        self.patience = patience
        self.best = math.inf
        self.best_epoch = self.last_epoch = 0
        self.stopped = False
        self.weights: list[np.ndarray] | None = None

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        loss = (logs or {}).get("val_loss", math.nan)
        self.last_epoch = epoch + 1
        if loss < self.best or self.weights is None:
            self.best = math.inf if math.isnan(loss) else loss
            self.best_epoch, self.weights = epoch + 1, self.model.get_weights()
        elif self.patience and self.last_epoch - self.best_epoch >= self.patience:
            self.stopped = self.model.stop_training = True

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        if self.weights is not None and self.best_epoch < self.last_epoch:
            self.model.set_weights(self.weights)

    def describe(self) -> str:
        """What happened, for the user."""
        if self.last_epoch == 0:
            return "stopped in the first epoch: the weights are those of the last step"
        if self.stopped:
            return (f"stopped: validation loss not better for {self.patience} epochs; "
                    f"best weights restored (epoch {self.best_epoch})")
        if self.best_epoch < self.last_epoch:
            return f"best weights restored (epoch {self.best_epoch} of {self.last_epoch})"
        return f"the last epoch was the best ({self.best_epoch})"
