"""The training recipe: what the parameter `training` of every estimator may say, and what becomes of it.

    TabularClassifier(optimizer="lamb", schedule="cosine", training={"warmup": 0.1, "clip": 1.0, "ema": 0.999})

On the command line these are the options and keys of the same names: `--warmup 0.1 --clip 1 --ema 0.999`.
"""
from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from dlcore.errors import UsageError
from dlcore.graph.spec import TRAINING
from dlcore.tasks.kinds import number, whole

if TYPE_CHECKING:
    from dlcore.training.callbacks import Callback
    from dlcore.training.model import Model

VAL_LOSS, MACRO_F1 = "val_loss", "val_macro_f1"     # what the kept weights go by; the second where rows have any number of labels
# key -> (default, what it must be, whether a value is that)
KEYS: dict[str, tuple[Any, str, Callable[[Any], bool]]] = {
    "warmup": (0.0, "steps, or below 1 a share of all steps, in which the rate rises", lambda v: number(v, 0)),
    "l1": (0.0, "a number from 0", lambda v: number(v, 0)),
    "l2": (0.0, "a number from 0", lambda v: number(v, 0)),
    "clip": (0.0, "the greatest norm of the gradients; 0: as they are", lambda v: number(v, 0)),
    "accumulate": (1, "a whole number from 1", lambda v: whole(v, 1)),
    "sparse": (False, "true or false: whether only the rows of tables that a step looks up are updated",
               lambda v: isinstance(v, (bool, np.bool_))),
    "ema": (0.0, "the momentum of averages of weights, 0 (none) to below 1", lambda v: number(v, 0) and v < 1),
    "precision": ("float32", "float32, bf16 or tf32x3, for the products of training steps", lambda v: v in TRAINING),
    "monitor": (VAL_LOSS, "a metric of an epoch, or auto", lambda v: isinstance(v, str) and bool(v)),
    "init": ("", "a model file whose weights to begin with, or empty", lambda v: isinstance(v, str)),
    "freeze": ([], "a list of patterns of layers that are not trained", lambda v: _texts(v)),
    "optimizer_options": ({}, "arguments of the optimizer by name", lambda v: isinstance(v, Mapping)),
    "schedule_options": ({}, "gamma, end, power, milestones, cycles, patience", lambda v: isinstance(v, Mapping)),
}
OPTIMIZERS = ("sgd", "adam", "adamw", "adadelta", "adagrad", "adamax", "lamb", "lion", "muon", "nadam", "rmsprop")
PLATEAU = ("gamma", "patience", "end")        # options of the schedule "plateau"


def _texts(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and all(isinstance(v, str) and v for v in value)


def of(params: Any) -> dict[str, Any]:
    """The settings of an estimator, those that it does not name by default; the monitor is the one that is meant."""
    given = dict(getattr(params, "training", None) or {})
    settings = {key: default for key, (default, _, _) in KEYS.items()} | given
    if given.get("monitor", "auto") == "auto":
        settings["monitor"] = MACRO_F1 if getattr(params, "_kind", "") == "multi-label" else VAL_LOSS
    return settings


def check(params: Any) -> None:
    """UsageError for settings of no use, and for an optimizer or schedule that cannot be made of them."""
    given = getattr(params, "training", None)
    if given is not None and not isinstance(given, Mapping):
        raise UsageError("training is a mapping", expected=", ".join(KEYS), got=repr(given))
    for key, value in (given or {}).items():
        if key not in KEYS:
            raise UsageError(f"training has no setting {key!r}", expected=", ".join(KEYS))
        if not KEYS[key][2](value):
            raise UsageError(f"{key} = {value!r} is of no use", expected=KEYS[key][1])
    made = optimizer(params)
    if of(params)["sparse"]:
        made.check_rows()
    check_monitor(params)
    schedule(params, 10, 2)


def measured(params: Any) -> list[str]:
    """The metrics of an epoch, where they are known before the training; else none."""
    if fixed := getattr(params, "epoch_metrics", ()):
        return list(fixed)
    own = {"classifier": ["loss", "accuracy"], "regressor": ["loss"], "forecaster": ["loss"],
           "multi-label": ["loss"]}.get(getattr(params, "_kind", ""), [])
    more = ["macro_f1"] if getattr(params, "_kind", "") == "multi-label" else []     # of the validation alone
    return own + [f"val_{name}" for name in [*own, *more] if params.val_split]


def check_monitor(params: Any) -> None:
    """UsageError for a metric that no epoch has."""
    name, known = (getattr(params, "training", None) or {}).get("monitor", "auto"), measured(params)
    if not known or name in known or name in ("auto", VAL_LOSS):
        return
    guess = difflib.get_close_matches(name, known, 1)
    raise UsageError(f"no metric of an epoch is called {name!r}", where="monitor", expected=", ".join(known),
                     hint=f"did you mean {guess[0]!r}?" if guess else "")


def optimizer(params: Any) -> Any:
    """The optimizer of an estimator's parameters, with its learning rate as a number."""
    from dlcore import optim
    settings = of(params)
    pushed = params.optimizer == "sgd" and not settings["sparse"]      # momentum moves every row in every step
    options: dict[str, Any] = {"momentum": 0.9, "nesterov": True} if pushed else {}
    if params.optimizer != "adam" or params.weight_decay:
        options |= {"weight_decay": params.weight_decay, "decoupled_weight_decay": True}
    if settings["clip"]:
        options["global_clipnorm"] = float(settings["clip"])
    if settings["ema"]:
        options |= {"use_ema": True, "ema_momentum": float(settings["ema"])}
    if settings["accumulate"] > 1:
        options["gradient_accumulation_steps"] = int(settings["accumulate"])
    if hasattr(params, "learning_rates") and (rates := params.learning_rates()):
        options["learning_rate_multipliers"] = rates
    options |= settings["optimizer_options"]
    kind = type(optim.get(params.optimizer))
    try:
        return kind(learning_rate=params.lr, **options)
    except TypeError as error:
        raise UsageError(f"the optimizer {params.optimizer} cannot be made", where="optimizer_options",
                         expected=", ".join(n for n in kind().get_config() if n not in ("name", "learning_rate")),
                         got=str(error)) from None


def schedule(params: Any, steps: int, steps_per_epoch: int) -> Any:
    """The schedule of a training of so many steps, None where the rate stays as it is."""
    from dlcore.optim import schedules
    settings = of(params)
    options = dict(settings["schedule_options"])
    if params.schedule == "plateau":
        plateau(params)
        if settings["warmup"]:
            raise UsageError("the schedule plateau has no warm-up", got=f"warmup = {settings['warmup']}")
        return None
    if params.schedule == "constant" and not settings["warmup"]:
        return None
    try:
        return schedules.named(params.schedule, params.lr, steps, steps_per_epoch=steps_per_epoch, warmup=settings["warmup"],
                               **options)
    except TypeError as error:
        raise UsageError(f"the schedule {params.schedule} cannot be made", where="schedule_options",
                         expected="gamma, end, power, milestones, cycles", got=str(error)) from None


def plateau(params: Any) -> Callback:
    """The callback of the schedule "plateau": gamma (0.1), patience (5), end (a share of the rate, 0)."""
    from dlcore.training.rates import ReduceLROnPlateau
    options = of(params)["schedule_options"]
    if unknown := [n for n in options if n not in PLATEAU]:
        raise UsageError("the schedule plateau cannot be made", where="schedule_options", expected=", ".join(PLATEAU),
                         got=unknown[0])
    watched = of(params)["monitor"]
    watched = watched if params.val_split or not watched.startswith("val_") else "loss"
    return ReduceLROnPlateau(watched, factor=options.get("gamma", 0.1),
                             patience=options.get("patience", 5), min_lr=params.lr * options.get("end", 0.0))


def prepare(network: Model, params: Any) -> list[str]:
    """Layers that are not trained, weights to begin with, penalties: before the network is compiled.  Lines about it."""
    settings, said = of(params), []
    if settings["freeze"]:
        said.append(f"not trained: {', '.join(network.freeze(*settings['freeze']))}")
    if settings["init"]:
        taken = params._begin(network, settings["init"])
        if not taken:
            raise UsageError("no weight of the model to begin with fits", where=settings["init"],
                             hint="its layers need the names and shapes of this network's")
        said.append(f"begins with {len(taken)} of {len(network.variables)} weights of {settings['init']}")
    if tables := sparse_tables(network, params):
        said.append(f"updated row by row: {', '.join(tables)}")
    if settings["l1"] or settings["l2"]:
        from dlcore.layers.regularizers import L1L2
        for variable in network.trainable_variables:
            if len(variable.shape) > 1 and variable.regularizer is None:
                variable.regularizer = L1L2(float(settings["l1"]), float(settings["l2"]))
    return said


def set_precision(network: Model, params: Any) -> list[str]:
    """That of the products of training steps of a network that was compiled; evaluation and prediction stay float32, so that a
    model answers as its file does.  A line where the device has no such products."""
    from dlcore.training.answers import missing
    network.precision, network.answers_in = of(params)["precision"], "float32"
    return missing(network.precision)


def sparse_tables(network: Model, params: Any) -> list[str]:
    """The tables of a network that are updated row by row, marked so; none unless `sparse` is set."""
    tables = [layer for layer in network.all_layers() if hasattr(layer, "sparse")] if of(params)["sparse"] else []
    for layer in tables:
        layer.sparse = True
    return [layer.name for layer in tables]


def described(params: Any) -> str:
    """What differs from the defaults, for a line: ", warmup 0.1, clip 1"."""
    defaults = {key: default for key, (default, _, _) in KEYS.items()}
    shown = [f", {key.replace('_', ' ')} {value:g}" if isinstance(value, float) else f", {key.replace('_', ' ')} {value}"
             for key, value in of(params).items() if value != defaults[key] and key not in ("init", "freeze")]
    return "".join(shown)
