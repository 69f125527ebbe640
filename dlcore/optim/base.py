"""What all optimizers have in common: which weights one call updates, the guard, clipping, decay, averages of weights.

An update is a list of kernel calls in the segment `update`: the norm of the gradients, the guard, factors, then one fused call
per run of weights that lie side by side and are updated alike (`Part`).  Nothing of it runs in Python during a step.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from dlcore.errors import UsageError, meant
from dlcore.graph.declaration import declared
from dlcore.ops import check_finite, clip_factor, concat, mul, norm
from dlcore.ops.slots import GRADIENT_SCALE, LR, STEP
from dlcore.optim.average import average_call
from dlcore.optim.schedules import Schedule
from dlcore.optim.schedules import get as get_schedule

NO_LIMIT = 3.4028234e38         # the largest float32: finite gradients are not cut


@dataclass
class Part:
    """Weights that one call updates, and what the kernels of all optimizers take.

    weights   side by side; gradient, weight: these as flat tensors, f32[S] with the padding between them
    rate      factor of the learning rate;   l2: decay added to the gradient;   decay: decoupled from it
    rows      of a table whose gradient is held as rows: (ids i32[N], how many of them are there i64[1]); gradient is f32[N, D]"""

    weights: list[Any]
    rate: float
    l2: float
    decay: float
    rows: tuple[Any, Any] | None = None
    gradient: Any = None
    weight: Any = None
    status: Any = None
    factor: Any = None
    limit: float = NO_LIMIT

    @property
    def common(self) -> tuple[Any, ...]:
        """The first arguments of every update kernel: see `COMMON`."""
        return self.gradient, self.status, self.factor, LR, self.rate, self.limit, self.l2, self.decay

    @property
    def common_rows(self) -> tuple[Any, ...]:
        """The same for kernels that update rows: see `ROWS`."""
        assert self.rows is not None
        return *self.common, *self.rows

    def table(self, flat: Any) -> Any:
        """A flat tensor of this part in the shape of its one weight, f32[V, D]."""
        return flat.view(self.weights[0].shape, 0)


# how the spec of every update kernel begins: factor * gradient, cut at +-limit, is what is taken; lr * rate is the learning rate
TAKEN = "status: i64[1], factor: f32[1]?, lr: f32, rate: f32, limit: f32, l2: f32, decay: f32"
COMMON = f"gradient: f32[S], {TAKEN}"
# and of the kernels that update rows of a table, of which `count` are there
ROWS = f"gradient: f32[N, D], {TAKEN}, ids: i32[N], count: i64[1]"


class Optimizer:
    """The base class.  These arguments are every optimizer's:

    learning_rate    a number that is not negative, or a schedule of `dlcore.optim.schedules`
    weight_decay     lambda: decoupled (weight *= 1 - lr * lambda) or added to the gradient (L2: gradient + lambda * weight), as
                     `decoupled_weight_decay` says; by default as in the optimizer's source, see its docstring
    exclude_from_weight_decay   patterns of names of weights that do not decay: ("*/bias", "*norm*"); nor do those of the
                     group "no_decay"
    learning_rate_multipliers   {pattern: factor} for layers that learn faster or slower; the first that matches counts
    clipvalue        gradients are cut at +-clipvalue
    clipnorm         greatest norm of each weight's gradient; longer ones are shortened
    global_clipnorm  the same for all gradients together.  Of these three at most one
    use_ema          keep averages of the weights: average = ema_momentum * average + (1 - ema_momentum) * weight, after each
                     step, starting with the weights after the first.  A model evaluates, predicts and is saved with them
    ema_overwrite_frequency     every so many steps the averages become the weights; None: never
    gradient_accumulation_steps   micro-batches per update; None or 1: one
    name             goes before the names of its state, so that two optimizers of one model do not meet

    UsageError where a number is out of its range."""

    decoupled = False           # the decay, unless `decoupled_weight_decay` says otherwise
    each = False                # one call per weight, because its norm or its shape counts

    def __init__(self, learning_rate: Any, weight_decay: float = 0.0, global_clipnorm: float | None = None, name: str = "", *,
                 clipnorm: float | None = None, clipvalue: float | None = None, use_ema: bool = False,
                 ema_momentum: float = 0.99, ema_overwrite_frequency: int | None = None,
                 gradient_accumulation_steps: int | None = None, decoupled_weight_decay: bool | None = None,
                 exclude_from_weight_decay: Sequence[str] = (),
                 learning_rate_multipliers: Mapping[str, float] | None = None) -> None:
        self.schedule: Schedule | None = None
        self._rate = 0.0
        self.learning_rate = learning_rate
        self.weight_decay = checked("weight_decay", weight_decay, weight_decay >= 0, "at least 0")
        self.global_clipnorm = _limit("global_clipnorm", global_clipnorm)
        self.clipnorm, self.clipvalue = _limit("clipnorm", clipnorm), _limit("clipvalue", clipvalue)
        given = [n for n in ("clipnorm", "clipvalue", "global_clipnorm") if getattr(self, n) is not None]
        if len(given) > 1:
            raise UsageError("gradients are clipped in one way", expected="at most one of clipnorm, clipvalue, "
                             "global_clipnorm", got=", ".join(given))
        self.use_ema = bool(use_ema)
        self.ema_momentum = checked("ema_momentum", ema_momentum, 0 <= ema_momentum <= 1, "0 to 1")
        self.ema_overwrite_frequency = _count("ema_overwrite_frequency", ema_overwrite_frequency)
        self.gradient_accumulation_steps = _count("gradient_accumulation_steps", gradient_accumulation_steps)
        self.decoupled_weight_decay = self.decoupled if decoupled_weight_decay is None else bool(decoupled_weight_decay)
        self.exclude_from_weight_decay = [str(p) for p in exclude_from_weight_decay]
        self.learning_rate_multipliers = {str(p): checked("a learning rate multiplier", f, f >= 0, "at least 0")
                                          for p, f in (learning_rate_multipliers or {}).items()}
        self.name = name or type(self).__name__.lower()

    # ---- the learning rate -------------------------------------------------------------------------------------------
    @property
    def learning_rate(self) -> float:
        """That of the last step; setting it ends a schedule."""
        return self._rate

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        if isinstance(value, (Schedule, Mapping)):
            self.schedule = get_schedule(value)
            self._rate = self.schedule(0)
        else:
            self.schedule, self._rate = None, checked("learning_rate", value, value >= 0, "at least 0")

    def rate(self, step: int) -> float:
        """The learning rate of a step, counted from 1."""
        if self.schedule is not None:
            self._rate = self.schedule(step - 1)
        return self._rate

    def rates(self, step: int, count: int) -> np.ndarray:
        """The learning rates of `count` steps from `step` on, f64[count]."""
        if self.schedule is None:
            return np.full(count, self._rate)
        return np.array([self.rate(step + n) for n in range(count)])

    def get_config(self) -> dict[str, Any]:
        """The arguments that make an equal optimizer, as JSON has them."""
        config = {"learning_rate": self._rate if self.schedule is None else self.schedule.serialise()}
        return config | {n: getattr(self, n) for n in (
            "weight_decay", "global_clipnorm", "name", "clipnorm", "clipvalue", "use_ema", "ema_momentum",
            "ema_overwrite_frequency", "gradient_accumulation_steps", "decoupled_weight_decay", "exclude_from_weight_decay",
            "learning_rate_multipliers")}

    # ---- the update --------------------------------------------------------------------------------------------------
    def update(self, graph: Any, weights: list[Any]) -> Any:
        """Puts the calls that update these weights by their gradients into the segment `update` of the graph.

        Of a table in `graph.rows` only the rows of its gradient are updated, with their state: UsageError where the optimizer
        has no such update.
        Returns the norm of all gradients (f32[1]), which a program may have as an output."""
        with graph.in_segment("update"):
            parts = self.parts(graph, weights)
            for part in parts:
                if part.rows is None:
                    part.gradient = graph.flat("gradients", part.weights)
                part.weight = graph.flat("weights", part.weights)
            norms = [norm(part.gradient) for part in parts]
            total = norms[0] if len(norms) == 1 else norm(concat(norms))
            scale = None
            if self.accumulates:        # the gradients are sums over the rows of several micro-batches
                scale = declared("fill")(GRADIENT_SCALE, S=1, graph=graph)
                total = mul(total, scale)
            status = check_finite(total, graph.status)
            shared = scale if self.global_clipnorm is None else scaled(clip_factor(total, self.global_clipnorm), scale)
            for part, own in zip(parts, norms, strict=True):
                part.status, part.factor, part.limit = status, shared, self.clipvalue or NO_LIMIT
                if self.clipnorm is not None:
                    part.factor = scaled(clip_factor(scaled(own, scale), self.clipnorm), scale)
                (self.update_part if part.rows is None else self.update_rows)(graph, part)
                if self.use_ema:
                    average_call(status, self.ema_momentum, STEP, self.ema_overwrite_frequency or 0,
                                 graph.flat("weights", part.weights), self.state(graph, "ema", part))
        return total

    @property
    def accumulates(self) -> bool:
        return (self.gradient_accumulation_steps or 1) > 1

    def parts(self, graph: Any, weights: list[Any]) -> list[Part]:
        """The weights in parts that lie side by side and are updated alike."""
        named, alike = {w.name: w for w in weights}, dict[tuple[float, float], list[str]]()
        for name in named:
            group = graph.parameters.places[name].group
            alike.setdefault(self.treatment(name, group), []).append(name)
        if not alike:
            raise UsageError("an optimizer got no weights to update")
        parts = []
        for (rate, decay), names in alike.items():
            l2, decoupled = (0.0, decay) if self.decoupled_weight_decay else (decay, 0.0)
            for n in [n for n in names if n in graph.rows]:
                ids, sums, count = graph.rows[n]
                parts.append(Part([named[n]], rate, l2, decoupled, (ids, count), sums))
            runs = graph.parameters.runs([n for n in names if n not in graph.rows])
            if self.each or self.clipnorm is not None:
                runs = [[n] for run in runs for n in run]
            parts += [Part([named[n] for n in run], rate, l2, decoupled) for run in runs]
        return parts

    def treatment(self, name: str, group: str) -> tuple[float, float]:
        """(factor of the learning rate, weight decay) of a weight."""
        rate = next((f for p, f in self.learning_rate_multipliers.items() if fnmatchcase(name, p)), 1.0)
        free = group == "no_decay" or any(fnmatchcase(name, p) for p in self.exclude_from_weight_decay)
        return rate, 0.0 if free else self.weight_decay

    def state(self, graph: Any, kind: str, part: Part, size: int = 0) -> Any:
        """f32[size] of the optimizer's own, for one part; by default as long as the part."""
        first, last = part.weights[0].name, part.weights[-1].name
        return graph.state(f"{self.name}/{kind}/{first}:{last}", size or part.weight.size)

    def update_part(self, graph: Any, part: Part) -> None:
        raise NotImplementedError

    def update_rows(self, graph: Any, part: Part) -> None:
        """The same for a part that has rows."""
        self.check_rows()
        raise NotImplementedError

    def check_rows(self) -> None:
        """UsageError where this optimizer cannot update single rows of a table: where rows without a gradient move too."""
        raise UsageError(f"{type(self).__name__} has no sparse update", expected="SGD without momentum, Adagrad, Adam or AdamW "
                         "without AMSGrad", hint="another optimizer, or sparse=False")


def scaled(x: Any, scale: Any) -> Any:
    return x if scale is None else mul(x, scale)


def checked(name: str, value: Any, holds: Any, expected: str) -> float:
    if not holds:
        raise UsageError(f"{name} is out of its range", expected=expected, got=str(value))
    return float(value)


def _limit(name: str, value: float | None) -> float | None:
    return None if value is None else checked(name, value, value > 0, "above 0, or None")


def _count(name: str, value: int | None) -> int | None:
    return None if value is None else int(checked(name, value, value >= 1 and int(value) == value,
                                                  "a whole number from 1, or None"))


def get(optimizer: Any) -> Optimizer:
    """An optimizer, from itself or from a name ("sgd", "adam", "adamw", ...) with its default settings."""
    if isinstance(optimizer, Optimizer):
        return optimizer
    from dlcore import optim
    known = {name.lower(): name for names in optim.ROOMS.values() for name in names}
    if not isinstance(optimizer, str) or optimizer.lower() not in known:
        raise UsageError("an optimizer that is not there", expected=", ".join(sorted(known)), got=repr(optimizer),
                         hint=meant(optimizer, known))
    made: Optimizer = getattr(optim, known[optimizer.lower()])()
    return made
