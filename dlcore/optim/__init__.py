"""Optimizers: how gradients change weights.  A room each, like those of `dlcore.ops`, because an update is a kernel.

    SGD              momentum, Nesterov's form, weight decay
    Adam, AdamW      Kingma and Ba, 2015; decoupled weight decay (Loshchilov and Hutter, 2019); AMSGrad
    Adamax, Nadam    with the greatest gradient instead of the mean square; with Nesterov's momentum
    RMSprop          mean squares; centred; with momentum
    Adagrad          sums of squares            Adadelta   without a learning rate of its own
    Lamb             Adam with a rate for each layer, for large batches
    Lion             the sign of the momentum   Muon       the orthogonalised momentum of matrices

`optimizer.update(graph, weights)` puts one fused call per run of adjoining weights into the graph; the planner is given it as
`updates=`.  The learning rate is slot `lr`, the number of the step, from 1 on, slot `step`; a step whose gradients are not
finite changes nothing.
"""
from __future__ import annotations

import importlib
from typing import Any

ROOMS: dict[str, tuple[str, ...]] = {
    "sgd": ("SGD",), "adam": ("Adam", "AdamW"), "adadelta": ("Adadelta",), "adagrad": ("Adagrad",), "adamax": ("Adamax",),
    "lamb": ("Lamb",), "lion": ("Lion",), "muon": ("Muon",), "nadam": ("Nadam",), "rmsprop": ("RMSprop",),
    "average": ()}              # of weights: a kernel that every optimizer may add
_HOME = {name: room for room, names in ROOMS.items() for name in names} | {"Optimizer": "base", "get": "base",
                                                                           "schedules": "schedules"}
__all__ = ["ROOMS", *_HOME]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"{__name__}.{_HOME[name]}")
    value = module if name == "schedules" else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
