"""Callbacks that change the learning rate: by epoch, or where a metric no longer gets better."""
from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import Any

from dlcore.errors import UsageError
from dlcore.training.callbacks import Callback
from dlcore.training.monitor import Monitor


def set_rate(callback: Callback, rate: float) -> None:
    """Gives the optimizer a number as learning rate.  UsageError where a schedule gives it."""
    optimizer = callback.model.optimizer
    if optimizer.schedule is not None:
        raise UsageError(f"the learning rate follows a schedule, so {type(callback).__name__} cannot set it",
                         expected="a number as the optimizer's learning_rate", got=type(optimizer.schedule).__name__)
    optimizer.learning_rate = rate


class LearningRateScheduler(Callback):
    """Sets the learning rate at the beginning of each epoch, as in Keras.

    schedule   a function (epoch, learning_rate) -> learning rate; epochs count from 0
    verbose    1 says it on stderr

    The logs of an epoch get `learning_rate`.  A resumed training has the rate that it was stopped with."""

    def __init__(self, schedule: Callable[[int, float], float], verbose: int = 0):
        if not callable(schedule):
            raise UsageError("a schedule is a function (epoch, learning_rate) -> learning rate", got=repr(schedule))
        self.schedule, self.verbose = schedule, verbose

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        rate = self.schedule(epoch, self.model.optimizer.learning_rate)
        if isinstance(rate, bool) or not isinstance(rate, (int, float)) and not hasattr(rate, "__float__"):
            raise UsageError("the schedule of LearningRateScheduler must return a number", where=f"epoch {epoch}", got=repr(rate))
        set_rate(self, float(rate))
        if self.verbose:
            print(f"epoch {epoch + 1}: learning rate {float(rate):g}", file=sys.stderr)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        if logs is not None:
            logs["learning_rate"] = self.model.optimizer.learning_rate


class ReduceLROnPlateau(Callback):
    """Multiplies the learning rate by `factor` where `monitor` has not become better for more than `patience` epochs.

    Names are Keras', the steps PyTorch's (`ReduceLROnPlateau`, threshold_mode="abs"): the reduction comes with epoch
    patience + 1 without improvement, and epochs of the cooldown are not counted.

    min_delta   a change smaller than this is no improvement
    mode        "min", "max", or "auto", which goes by the name
    cooldown    epochs after a reduction before they are counted again
    min_lr      the rate does not fall below
    verbose     1 says it on stderr

    The logs of an epoch get `learning_rate`, that of the epoch."""

    def __init__(self, monitor: str = "val_loss", factor: float = 0.1, patience: int = 10, verbose: int = 0, mode: str = "auto",
                 min_delta: float = 1e-4, cooldown: int = 0, min_lr: float = 0.0):
        if not 0 < factor < 1:
            raise UsageError("the factor of ReduceLROnPlateau is above 0 and below 1", got=repr(factor))
        if patience < 0 or cooldown < 0 or not 0 <= min_lr < math.inf:
            raise UsageError("patience, cooldown and min_lr must not be negative", got=f"{patience}, {cooldown}, {min_lr}")
        self.monitor = Monitor(monitor, mode, min_delta)
        self.factor, self.patience, self.verbose = factor, patience, verbose
        self.cooldown, self.min_lr = cooldown, min_lr
        self._reset()

    def _reset(self) -> None:
        self.best, self.wait, self.cooldown_counter = self.monitor.worst, 0, 0

    def get_state(self) -> dict[str, Any]:
        return {"best": self.best, "wait": self.wait, "cooldown_counter": self.cooldown_counter}

    def set_state(self, state: dict[str, Any]) -> None:
        self.best, self.wait, self.cooldown_counter = state["best"], state["wait"], state["cooldown_counter"]

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        self.monitor.check(self.params)
        set_rate(self, self.model.optimizer.learning_rate)
        self._reset()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        rate, value = self.model.optimizer.learning_rate, self.monitor.value(logs)
        if logs is not None:
            logs["learning_rate"] = rate
        if self.monitor.better(value, self.best):
            self.best, self.wait = value, 0
        else:
            self.wait += 1
        if self.cooldown_counter > 0:
            self.cooldown_counter, self.wait = self.cooldown_counter - 1, 0
        if self.wait > self.patience:
            self.cooldown_counter, self.wait = self.cooldown, 0
            lower = max(rate * self.factor, self.min_lr)
            if rate - lower > 1e-8:
                set_rate(self, lower)
                if self.verbose:
                    print(f"epoch {epoch + 1}: learning rate reduced to {lower:g}", file=sys.stderr)
