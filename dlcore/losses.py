"""Losses under Keras' names, for `compile`; functions of your own serve as well.  Imported when first used.

    from dlcore.losses import SparseCategoricalCrossentropy
    model.compile("adam", SparseCategoricalCrossentropy(from_logits=True, label_smoothing=0.1))
"""
from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__all__ = ["BinaryCrossentropy", "CategoricalCrossentropy", "Huber", "Loss", "MeanAbsoluteError", "MeanSquaredError",
           "SparseCategoricalCrossentropy", "TokenCrossentropy"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'dlcore.losses' has no attribute {name!r}")
    value = getattr(importlib.import_module("dlcore.training.losses"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)


if TYPE_CHECKING:
    from dlcore.training.losses import BinaryCrossentropy as BinaryCrossentropy
    from dlcore.training.losses import CategoricalCrossentropy as CategoricalCrossentropy
    from dlcore.training.losses import Huber as Huber
    from dlcore.training.losses import Loss as Loss
    from dlcore.training.losses import MeanAbsoluteError as MeanAbsoluteError
    from dlcore.training.losses import MeanSquaredError as MeanSquaredError
    from dlcore.training.losses import SparseCategoricalCrossentropy as SparseCategoricalCrossentropy
    from dlcore.training.losses import TokenCrossentropy as TokenCrossentropy
