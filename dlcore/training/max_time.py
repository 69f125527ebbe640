"""An end to training by the clock."""
from __future__ import annotations

import time
from typing import Any

from dlcore.errors import UsageError
from dlcore.training.callbacks import Callback


class MaxTime(Callback):
    """Ends training after about `seconds`: after the last epoch that fits, and within the first if not even that does.

    A resumed training has what is left.  `reached` tells whether it was this that ended it.
    """

    def __init__(self, seconds: float):
        if not seconds > 0:
            raise UsageError("the most time must be a positive number of seconds", got=repr(seconds))
        self.seconds = seconds
        self.reached = False
        self._used = self._begin = self._epoch_begin = self._latest = 0.0

    def get_state(self) -> dict[str, Any]:
        return {"used": time.monotonic() - self._begin}

    def set_state(self, state: dict[str, Any]) -> None:
        self._used = float(state["used"])
        self._begin = time.monotonic() - self._used

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        self._begin = time.monotonic() - self._used
        self._latest, self.reached = 0.0, False

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self._epoch_begin = time.monotonic()

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        if self._latest == 0 and time.monotonic() - self._begin > self.seconds:
            self.reached = self.model.stop_training = True

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        now = time.monotonic()
        self._latest = now - self._epoch_begin
        if now + self._latest - self._begin > self.seconds:
            self.reached = self.model.stop_training = True
