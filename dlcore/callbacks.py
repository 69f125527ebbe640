"""Callbacks of `fit`, under Keras' names.  Each is imported when it is first used.

    from dlcore.callbacks import BackupAndRestore, EarlyStopping
    model.fit(x, y, callbacks=[EarlyStopping(patience=3), BackupAndRestore("backup")])
"""
from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_PUBLIC = {
    "Callback": "callbacks",
    "LambdaCallback": "callbacks",
    "EarlyStopping": "early_stopping",
    "ModelCheckpoint": "model_checkpoint",
    "BackupAndRestore": "backup",
    "CSVLogger": "csv_logger",
    "TerminateOnNaN": "terminate_on_nan",
    "LearningRateScheduler": "rates",
    "ReduceLROnPlateau": "rates",
    "LearningRateFinder": "rate_finder",
    "MaxTime": "max_time",
    "TensorBoard": "tensorboard",
}
__all__ = list(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'dlcore.callbacks' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"dlcore.training.{_PUBLIC[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)


if TYPE_CHECKING:
    from dlcore.training.backup import BackupAndRestore as BackupAndRestore
    from dlcore.training.callbacks import Callback as Callback
    from dlcore.training.callbacks import LambdaCallback as LambdaCallback
    from dlcore.training.csv_logger import CSVLogger as CSVLogger
    from dlcore.training.early_stopping import EarlyStopping as EarlyStopping
    from dlcore.training.max_time import MaxTime as MaxTime
    from dlcore.training.model_checkpoint import ModelCheckpoint as ModelCheckpoint
    from dlcore.training.rate_finder import LearningRateFinder as LearningRateFinder
    from dlcore.training.rates import LearningRateScheduler as LearningRateScheduler
    from dlcore.training.rates import ReduceLROnPlateau as ReduceLROnPlateau
    from dlcore.training.tensorboard import TensorBoard as TensorBoard
    from dlcore.training.terminate_on_nan import TerminateOnNaN as TerminateOnNaN
