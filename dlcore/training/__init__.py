"""Models and their training: `Model`, `Sequential`, the loop behind `fit`, losses, metrics, callbacks.  Imported when
first used."""
from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_PUBLIC = {
    "Model": "model",
    "Sequential": "model",
    "History": "history",
    "Callback": "callbacks",
    "Loop": "loop",
    "EpochReport": "loop",
    "TrainingState": "state",
    "ArrayFeed": "feed",
    "IterableFeed": "feed",
}
_MODULES = ("losses", "metrics", "callbacks")
__all__ = [*_PUBLIC, *_MODULES]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        value = getattr(importlib.import_module(f"dlcore.training.{_PUBLIC[name]}"), name)
    elif name in _MODULES:
        value = importlib.import_module(f"dlcore.training.{name}")
    else:
        raise AttributeError(f"module 'dlcore.training' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)


if TYPE_CHECKING:
    from dlcore.training import callbacks, losses, metrics
    from dlcore.training.callbacks import Callback
    from dlcore.training.feed import ArrayFeed, IterableFeed
    from dlcore.training.history import History
    from dlcore.training.loop import EpochReport, Loop
    from dlcore.training.model import Model, Sequential
    from dlcore.training.state import TrainingState
