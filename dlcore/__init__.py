"""dlcore: train and run neural networks with no framework underneath.

Public names are imported when they are first used, so that `import dlcore` costs little more than NumPy.
"""
from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# name -> module that holds it
_PUBLIC = {
    "Sequential": "dlcore.training.model",
    "Model": "dlcore.training.model",
    "History": "dlcore.training.history",
    "Callback": "dlcore.training.callbacks",
    "SGD": "dlcore.optim",
    "Adam": "dlcore.optim",
    "AdamW": "dlcore.optim",
    "Augment": "dlcore.data.augment",
    "Autoencoder": "dlcore.tasks",
    "GAN": "dlcore.tasks",
    "Detector": "dlcore.tasks",
    "read_detection": "dlcore.data.detection",
    "ImageClassifier": "dlcore.tasks",
    "SeriesForecaster": "dlcore.tasks",
    "TabularClassifier": "dlcore.tasks",
    "TabularRegressor": "dlcore.tasks",
    "TextClassifier": "dlcore.tasks",
    "MultiLabelTextClassifier": "dlcore.tasks",
    "TextEmbedder": "dlcore.tasks",
    "Translator": "dlcore.tasks",
    "from_pretrained": "dlcore.tasks.pretrained",
    "to_pretrained": "dlcore.tasks.pretrained",
    "cross_validate": "dlcore.tasks.cross_validate",
    "load": "dlcore.deploy.load",
    "Graph": "dlcore.graph",
    "plan": "dlcore.graph",
    "set_device": "dlcore.runtime.device",
}
_MODULES = ("layers", "ops", "optim", "graph", "runtime", "training", "data", "tasks", "deploy", "errors", "models",
            "callbacks", "losses", "metrics")

__all__ = [*_PUBLIC, *_MODULES, "__version__"]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        value = getattr(importlib.import_module(_PUBLIC[name]), name)
    elif name in _MODULES:
        value = importlib.import_module(f"dlcore.{name}")
    else:
        raise AttributeError(f"module 'dlcore' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)


if TYPE_CHECKING:
    from dlcore import errors, graph, layers, losses, metrics, ops, optim
    from dlcore.data.augment import Augment
    from dlcore.data.detection import read_detection
    from dlcore.deploy.load import load
    from dlcore.graph import Graph, plan
    from dlcore.optim import SGD, Adam, AdamW
    from dlcore.runtime.device import set_device
    from dlcore.tasks import (
        GAN,
        Autoencoder,
        Detector,
        ImageClassifier,
        SeriesForecaster,
        TabularClassifier,
        TabularRegressor,
        TextEmbedder,
        Translator,
    )
    from dlcore.tasks.cross_validate import cross_validate
    from dlcore.tasks.pretrained import from_pretrained, to_pretrained
    from dlcore.training.callbacks import Callback
    from dlcore.training.history import History
    from dlcore.training.model import Model, Sequential
