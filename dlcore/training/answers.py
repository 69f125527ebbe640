"""The precision of products in what a model answers: evaluation, prediction, generation, translation.

    model.answers_in = "int8"           # of PRODUCTS; "" goes back to the precision of training
    dlcore.load(path, precision="int8")

Training stays in its own precision, and files do not keep this one: it is chosen where a model is used.
"""
from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from dlcore.errors import UsageError
from dlcore.graph.spec import PRODUCTS, TRAINING

if TYPE_CHECKING:
    from dlcore.training.model import Model

ASKED = "dense_forward"         # the call by which a device is known to have products of a kind


def check(precision: str) -> None:
    """UsageError for a precision that no model answers in."""
    if precision not in PRODUCTS:
        raise UsageError("unknown precision", expected=", ".join(PRODUCTS), got=repr(precision))


def check_training(precision: str) -> None:
    """UsageError for a precision that no model is trained in."""
    if precision in PRODUCTS and precision not in TRAINING:
        raise UsageError(f"{precision} is for answers: it has no gradients to train by", expected=", ".join(TRAINING),
                         got=repr(precision), hint=f"train in another, then model.answers_in = {precision!r}")
    if precision not in TRAINING:
        raise UsageError("unknown precision", expected=", ".join(TRAINING), got=repr(precision))


def choose(model: Model, precision: str) -> None:
    """Has a model answer in a precision, and the models among its layers; programs that were planned for another are dropped."""
    if precision != "":
        check(precision)
    for each in models_in(model):
        _choose(each, precision)


def _choose(model: Model, precision: str) -> None:
    with model._lock:
        before, model._answers_in = model.answers_in, precision
        if model.answers_in != before:
            model._forget_programs()


def models_in(model: Model) -> list[Model]:
    """The model itself, and those among its layers."""
    from dlcore.training.model import Model
    return [layer for layer in model.all_layers() if isinstance(layer, Model)]


@contextmanager
def answering(model: Model, precision: str) -> Iterator[None]:
    """The same for a while."""
    before = [(each, each._answers_in) for each in models_in(model)]
    choose(model, precision)
    try:
        yield
    finally:
        for each, told in before:
            _choose(each, told)


def missing(precision: str) -> list[str]:
    """A line where the device has no products of a precision, so that they are float32; none where it has."""
    from dlcore.graph.lowering import device_of
    from dlcore.runtime import device_kind, device_table
    device, product = device_of(device_table()), PRODUCTS[precision]
    if precision == "float32" or any(a.product == product and a.made_for(device, False) for a in device.alternatives(ASKED)):
        return []
    place = f"processor (level {device.table.level})" if device_kind() == "cpu" else "GPU"
    return [f"this {place} has no {precision} products: they are float32"]
