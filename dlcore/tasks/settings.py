"""The parameters that all estimators have: checked, and turned into loss, metric and optimizer."""
from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from dlcore.errors import UsageError
from dlcore.optim.schedules import NAMES as SCHEDULES
from dlcore.tasks import recipe
from dlcore.tasks.kinds import number, whole

if TYPE_CHECKING:
    from dlcore.training.model import Model


class ByArchitecture:
    """A parameter that is what `defaults` says of the estimator's `arch` where none (None) was given."""

    def __init__(self, defaults: Mapping[str, Mapping[str, Any]]):
        self.defaults = defaults

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, instance: Any, owner: type) -> Any:
        if instance is None:
            return self
        given = instance.__dict__.get(self.name)
        return self.defaults.get(instance.arch, {}).get(self.name) if given is None else given

    def __set__(self, instance: Any, value: Any) -> None:
        instance.__dict__[self.name] = value


_MOST_LAYERS, _WIDEST = 64, 1 << 24


def compile(network: Model, params: Any) -> None:
    """Loss, metric and optimizer for an estimator's parameters."""
    optimizer = recipe.optimizer(params)
    classifier = params._kind == "classifier"
    crossentropy = "categorical_crossentropy" if mixes_targets(params) else "sparse_categorical_crossentropy"
    other = "binary_crossentropy" if params._kind == "multi-label" else "mean_squared_error"
    network.compile(optimizer, crossentropy if classifier else other,
                    metrics=["accuracy"] if classifier else [])


def mixes_targets(params: Any) -> bool:
    """Whether images are mixed, so that a target is a share of each label."""
    text = getattr(params, "augment", "")
    if not text:
        return False
    from dlcore.data.augment import Augment
    return Augment.parse(text).mixup > 0


def one_hot(labels: np.ndarray, count: int) -> np.ndarray:
    """f32 (N, count)."""
    return np.eye(count, dtype=np.float32)[labels]


def check_params(params: Any) -> None:
    """Raise `UsageError` for parameters of an estimator that are of no use."""
    def require(condition: bool, name: str, expected: str) -> None:
        if not condition:
            raise UsageError(f"{name} = {getattr(params, name)!r} is of no use", expected=expected)

    hidden = params.hidden
    require(isinstance(hidden, (list, tuple)) and len(hidden) <= _MOST_LAYERS
            and all(whole(n, 1, _WIDEST) for n in hidden), "hidden", "a list of layer widths")
    require(number(params.dropout) and 0 <= params.dropout < 1, "dropout", "0 <= dropout < 1")
    require(whole(params.epochs, 1), "epochs", "a whole number from 1")
    require(whole(params.batch_size, 1), "batch_size", "a whole number from 1")
    require(number(params.lr) and 0 < params.lr < math.inf, "lr", "a positive number")
    require(params.optimizer in recipe.OPTIMIZERS, "optimizer", ", ".join(recipe.OPTIMIZERS))
    require(params.schedule in SCHEDULES, "schedule", ", ".join(SCHEDULES))
    require(number(params.weight_decay) and 0 <= params.weight_decay < math.inf, "weight_decay", "a number from 0")
    require(whole(params.patience, 0), "patience", "a whole number from 0; 0 never stops early")
    require(number(params.val_split) and 0 <= params.val_split < 1, "val_split", "0 <= val_split < 1")
    require(params.random_state is None or whole(params.random_state, 0, (1 << 63) - 1), "random_state",
            "a whole number from 0, or None")
    recipe.check(params)
