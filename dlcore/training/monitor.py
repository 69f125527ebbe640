"""The quantity that a callback watches: found in the logs of an epoch, and compared with the best so far."""
from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from typing import Any

from dlcore.errors import UsageError

# words in the names of metrics of which more is better; of all others less is
GREATER = {"accuracy", "acc", "auc", "precision", "recall", "f1", "fbeta", "r2", "mcc", "kappa", "score", "map50"}
LESS = {"loss", "error", "brier"}


class Monitor:
    """monitor: a name in the logs ("val_loss").  mode: "min", "max", or "auto", which goes by the name.
    min_delta: a change smaller than this is none.   UsageError for another mode."""

    def __init__(self, monitor: str = "val_loss", mode: str = "auto", min_delta: float = 0.0):
        if mode not in ("auto", "min", "max"):
            raise UsageError("unknown mode", expected="auto, min or max", got=repr(mode))
        self.name, self.min_delta = monitor, abs(min_delta)
        words = set(monitor.lower().split("_"))
        self.sign = -1.0 if mode == "max" or (mode == "auto" and words & GREATER and not words & LESS) else 1.0

    @property
    def worst(self) -> float:
        """What every number is better than."""
        return self.sign * math.inf

    def better(self, value: float, best: float) -> bool:
        """Whether `value` is better than `best` by more than `min_delta`; NaN never is."""
        return self.sign * (best - value) > self.min_delta

    def value(self, logs: Mapping[str, float] | None) -> float:
        """The quantity's value.  UsageError where the logs do not have it."""
        known = logs or {}
        if self.name not in known:
            guess = difflib.get_close_matches(self.name, list(known), 1)
            hint = "give fit validation data" if self.name.startswith("val_") else ""
            raise UsageError(f"there is no {self.name!r} to watch", expected=", ".join(known), got=repr(self.name),
                             hint=f"did you mean {guess[0]!r}?" if guess and not hint else hint)
        return known[self.name]

    def check(self, params: Mapping[str, Any]) -> None:
        """UsageError before training where a quantity of the validation is watched and there is none."""
        if self.name.startswith("val_") and not params.get("validation", True):
            raise UsageError(f"{self.name!r} is watched, but there is no validation data",
                             hint="fit(..., validation_data=...) or validation_split=0.1, or monitor='loss'")
