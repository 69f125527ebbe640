"""Ending the training when it no longer gets better, on the weights that were best."""
from __future__ import annotations

import sys
from typing import Any

import numpy as np

from dlcore.errors import UsageError
from dlcore.training.callbacks import Callback
from dlcore.training.monitor import Monitor


class EarlyStopping(Callback):
    """Stops when `monitor` has not become better for `patience` epochs; names and meanings are Keras', but the best
    weights are always restored, also where training ends before the patience does.

    min_delta             a change smaller than this is no improvement
    patience              epochs without improvement before training stops; None: never, only the best weights are kept
    mode                  "min", "max", or "auto", which goes by the name
    baseline              stops unless it becomes better than this within `patience` epochs
    restore_best_weights  False leaves the last weights
    start_from_epoch      epochs that are not watched

    After training `best_epoch` counts from 1 (0: none was watched), `best` is its value, `stopped_epoch` the epoch,
    from 0, that training stopped at (0: it did not).
    """

    def __init__(self, monitor: str = "val_loss", min_delta: float = 0.0, patience: int | None = 0, verbose: int = 0,
                 mode: str = "auto", baseline: float | None = None, restore_best_weights: bool = True,
                 start_from_epoch: int = 0):
        if patience is not None and patience < 0:
            raise UsageError("patience must not be negative", got=str(patience))
        self.monitor = Monitor(monitor, mode, min_delta)
        self.patience, self.verbose, self.baseline = patience, verbose, baseline
        self.restore_best_weights, self.start_from_epoch = restore_best_weights, start_from_epoch
        self._reset()

    def _reset(self) -> None:
        self.best, self.wait = self.monitor.worst, 0
        self.best_epoch = self.last_epoch = self.stopped_epoch = 0
        self.stopped = False
        self.best_weights: list[np.ndarray] | None = None

    def get_state(self) -> dict[str, Any]:
        weights = {f"weights/{i}": a for i, a in enumerate(self.best_weights or ())}
        return {"best": self.best, "wait": self.wait, "best_epoch": self.best_epoch, "last_epoch": self.last_epoch,
                "stopped": self.stopped, "stopped_epoch": self.stopped_epoch, "arrays": len(weights), **weights}

    def set_state(self, state: dict[str, Any]) -> None:
        for name in ("best", "wait", "best_epoch", "last_epoch", "stopped", "stopped_epoch"):
            setattr(self, name, state[name])
        self.best_weights = [state[f"weights/{i}"] for i in range(state["arrays"])] or None
        if self.stopped:
            self.model.stop_training = True

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        self.monitor.check(self.params)
        self._reset()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.last_epoch, self.stopped = epoch + 1, False
        if epoch < self.start_from_epoch:
            return
        value = self.monitor.value(logs)
        self.wait += 1
        if self.best_epoch == 0 or self.monitor.better(value, self.best):
            # a first value that is NaN is kept as no value at all: anything is better
            self.best = value if value == value else self.monitor.worst
            self.best_epoch = self.last_epoch
            if self.restore_best_weights:
                self.best_weights = self.model.get_weights()
            if self.baseline is None or self.monitor.better(value, self.baseline):
                self.wait = 0
        elif self.patience is not None and self.wait >= self.patience:
            self.stopped, self.stopped_epoch = True, epoch
            self.model.stop_training = True

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        if self.best_weights is not None and not self._at_best():
            self.model.set_weights(self.best_weights)
        if self.verbose and self.last_epoch:
            print(self.describe(), file=sys.stderr)

    def _at_best(self) -> bool:
        """Whether the model stands at the end of the best epoch."""
        return self.best_epoch == self.last_epoch and self.model.state.position == 0

    def describe(self) -> str:
        """What happened, for the user."""
        name = self.monitor.name.replace("val_", "validation ").replace("_", " ")
        if self.best_epoch == 0:
            return "stopped in the first epoch: the weights are those of the last step"
        if self.stopped:
            restored = "best weights restored" if self.restore_best_weights else "last weights kept; the best was"
            return f"stopped: {name} not better for {self.patience} epochs; {restored} (epoch {self.best_epoch})"
        if not self._at_best() and self.restore_best_weights:
            return f"best weights restored (epoch {self.best_epoch} of {self.last_epoch})"
        return f"the last epoch was the best ({self.best_epoch})"
