"""What `fit` returns: losses and metrics, epoch by epoch."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class History:
    """history: name -> one number per epoch ("loss", "accuracy", "val_loss", ...).  epoch: their numbers, from 0."""

    def __init__(self, params: dict[str, Any] | None = None):
        self.history: dict[str, list[float]] = {}
        self.epoch: list[int] = []
        self.params = dict(params or {})

    def append(self, epoch: int, logs: dict[str, float]) -> None:
        """Adds an epoch."""
        self.epoch.append(epoch)
        for name, value in logs.items():
            self.history.setdefault(name, []).append(value)

    def plot(self, metrics: Sequence[str] | None = None) -> Any:
        """A matplotlib Figure of the curves (extra `plot`): one chart per metric, validation dashed.

        `metrics`: those to draw ("loss", "accuracy", ...), all where None.  `history.plot().savefig("curves.png")`; a
        notebook shows it by itself.  Raises `UsageError` where matplotlib is not installed.
        """
        from dlcore.training.plotting import figure
        return figure({"": self.history}, {"": [epoch + 1 for epoch in self.epoch]}, metrics)
