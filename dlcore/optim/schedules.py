"""Schedules of the learning rate: functions of how many updates were done, so a training resumes anywhere with nothing kept.

    optimizer = Adam(learning_rate=CosineDecay(1e-3, decay_steps=10_000, warmup_target=1e-3, warmup_steps=500))
    CosineDecay(0.1, 100)(0)            # the learning rate of the first update

Names and arguments are Keras' where Keras has the schedule; else the values are those of PyTorch's schedulers, stepped once per
update:

    Constant                    the same all the time
    StepDecay                   StepLR                          MultiStepDecay              MultiStepLR
    ExponentialDecay            ExponentialLR (decay_steps=1)   PiecewiseConstantDecay      (Keras)
    LinearDecay                 LinearLR                        InverseTimeDecay            (Keras)
    PolynomialDecay             PolynomialLR                    InverseSquareRootDecay      Vaswani et al., 2017, section 5.3
    CosineDecay                 CosineAnnealingLR               CosineDecayRestarts         CosineAnnealingWarmRestarts
    OneCycle                    OneCycleLR                      Warmup                      SequentialLR(LinearLR, another)

What follows a metric (`ReduceLROnPlateau`) or an epoch (`LearningRateScheduler`) is a callback: `dlcore.training.callbacks`.
"""
from __future__ import annotations

import inspect
import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Any

from dlcore.errors import UsageError


class Schedule:
    """Base class: subclasses implement `rate(step)`; constructor arguments are attributes of the same name."""

    def __call__(self, step: int) -> float:
        """The learning rate after `step` updates, so 0 asks for that of the first."""
        return float(self.rate(step))

    def rate(self, step: int) -> float:
        raise NotImplementedError(f"{type(self).__name__} must implement rate(step)")

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {n: getattr(self, n) for n in list(inspect.signature(type(self).__init__).parameters)[1:]}

    def serialise(self) -> dict[str, Any]:
        """{"class_name": "CosineDecay", "config": {...}}, which `get` reads.  UsageError for one of the user's own."""
        if SCHEDULES.get(type(self).__name__) is not type(self):
            raise UsageError("a schedule of the user's own cannot be saved", got=type(self).__name__)
        config = {n: v.serialise() if isinstance(v, Schedule) else v for n, v in self.get_config().items()}
        return {"class_name": type(self).__name__, "config": config}

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.get_config() == other.get_config()


class Constant(Schedule):
    """learning_rate"""

    def __init__(self, learning_rate: float):
        self.learning_rate = _positive("learning_rate", learning_rate)

    def rate(self, step):
        return self.learning_rate


class StepDecay(Schedule):
    """initial_learning_rate * gamma**(step // step_size)"""

    def __init__(self, initial_learning_rate: float, step_size: int, gamma: float = 0.1):
        self.initial_learning_rate = _positive("initial_learning_rate", initial_learning_rate)
        self.step_size, self.gamma = _steps("step_size", step_size), _positive("gamma", gamma)

    def rate(self, step):
        return self.initial_learning_rate * self.gamma ** (step // self.step_size)


class MultiStepDecay(Schedule):
    """initial_learning_rate * gamma**(how many of the milestones, in steps, are reached)"""

    def __init__(self, initial_learning_rate: float, milestones: Sequence[int], gamma: float = 0.1):
        self.initial_learning_rate = _positive("initial_learning_rate", initial_learning_rate)
        self.milestones = sorted(_steps("a milestone", m) for m in milestones)
        self.gamma = _positive("gamma", gamma)

    def rate(self, step):
        return self.initial_learning_rate * self.gamma ** bisect_right(self.milestones, step)


class PiecewiseConstantDecay(Schedule):
    """values[i] for steps above boundaries[i - 1], up to boundaries[i] inclusive, as in Keras"""

    def __init__(self, boundaries: Sequence[int], values: Sequence[float]):
        self.boundaries = [_steps("a boundary", b) for b in boundaries]
        self.values = [_positive("a value", v) for v in values]
        if len(self.values) != len(self.boundaries) + 1 or sorted(set(self.boundaries)) != self.boundaries:
            raise UsageError("boundaries ascend, and there is one value more than boundaries", got=f"{boundaries}, {values}")

    def rate(self, step):
        return self.values[sum(step > b for b in self.boundaries)]


class ExponentialDecay(Schedule):
    """initial_learning_rate * decay_rate**(step / decay_steps); `staircase` cuts the exponent to a whole number"""

    def __init__(self, initial_learning_rate: float, decay_steps: int, decay_rate: float, staircase: bool = False):
        self.initial_learning_rate = _positive("initial_learning_rate", initial_learning_rate)
        self.decay_steps, self.decay_rate = _steps("decay_steps", decay_steps), _positive("decay_rate", decay_rate)
        self.staircase = bool(staircase)

    def rate(self, step):
        part = step // self.decay_steps if self.staircase else step / self.decay_steps
        return self.initial_learning_rate * self.decay_rate ** part


class InverseTimeDecay(Schedule):
    """initial_learning_rate / (1 + decay_rate * step / decay_steps)"""

    def __init__(self, initial_learning_rate: float, decay_steps: int, decay_rate: float, staircase: bool = False):
        self.initial_learning_rate = _positive("initial_learning_rate", initial_learning_rate)
        self.decay_steps, self.decay_rate = _steps("decay_steps", decay_steps), _positive("decay_rate", decay_rate)
        self.staircase = bool(staircase)

    def rate(self, step):
        part = step // self.decay_steps if self.staircase else step / self.decay_steps
        return self.initial_learning_rate / (1 + self.decay_rate * part)


class LinearDecay(Schedule):
    """initial_learning_rate times a factor that goes from start_factor to end_factor in decay_steps, and stays there"""

    def __init__(self, initial_learning_rate: float, decay_steps: int, start_factor: float = 1.0, end_factor: float = 0.0):
        self.initial_learning_rate = _positive("initial_learning_rate", initial_learning_rate)
        self.decay_steps = _steps("decay_steps", decay_steps)
        self.start_factor, self.end_factor = _positive("start_factor", start_factor), _positive("end_factor", end_factor)

    def rate(self, step):
        part = min(step, self.decay_steps) / self.decay_steps
        return self.initial_learning_rate * (self.start_factor + (self.end_factor - self.start_factor) * part)


class PolynomialDecay(Schedule):
    """(initial_learning_rate - end_learning_rate) * (1 - step / decay_steps)**power + end_learning_rate

    cycle: after decay_steps it starts again on the next multiple of them, as in Keras."""

    def __init__(self, initial_learning_rate: float, decay_steps: int, end_learning_rate: float = 0.0001, power: float = 1.0,
                 cycle: bool = False):
        self.initial_learning_rate = _positive("initial_learning_rate", initial_learning_rate)
        self.decay_steps = _steps("decay_steps", decay_steps)
        self.end_learning_rate, self.power = _positive("end_learning_rate", end_learning_rate), _positive("power", power)
        self.cycle = bool(cycle)

    def rate(self, step):
        steps = self.decay_steps * max(1, math.ceil(step / self.decay_steps)) if self.cycle else self.decay_steps
        left = 1 - min(step, steps) / steps
        return (self.initial_learning_rate - self.end_learning_rate) * left ** self.power + self.end_learning_rate


class CosineDecay(Schedule):
    """Half a cosine from initial_learning_rate to alpha times it (Loshchilov and Hutter, SGDR, 2017, equation 5).

    With warmup_target the rate first rises from initial_learning_rate to it in warmup_steps, and the cosine starts there."""

    def __init__(self, initial_learning_rate: float, decay_steps: int, alpha: float = 0.0, warmup_target: float | None = None,
                 warmup_steps: int = 0):
        self.initial_learning_rate = _positive("initial_learning_rate", initial_learning_rate)
        self.decay_steps, self.alpha = _steps("decay_steps", decay_steps), _positive("alpha", alpha)
        self.warmup_target = None if warmup_target is None else _positive("warmup_target", warmup_target)
        self.warmup_steps = int(_positive("warmup_steps", warmup_steps))

    def rate(self, step):
        first, top = self.initial_learning_rate, self.warmup_target
        if top is None:
            return first * _cosine(step / self.decay_steps, self.alpha)
        if step < self.warmup_steps:
            return first + (top - first) * step / self.warmup_steps
        return top * _cosine((step - self.warmup_steps) / self.decay_steps, self.alpha)


class CosineDecayRestarts(Schedule):
    """Half cosines one after another, the first of first_decay_steps, each t_mul times as long and m_mul times as high as the
    one before (SGDR, section 3)"""

    def __init__(self, initial_learning_rate: float, first_decay_steps: int, t_mul: float = 2.0, m_mul: float = 1.0,
                 alpha: float = 0.0):
        self.initial_learning_rate = _positive("initial_learning_rate", initial_learning_rate)
        self.first_decay_steps = _steps("first_decay_steps", first_decay_steps)
        self.t_mul, self.m_mul, self.alpha = float(t_mul), _positive("m_mul", m_mul), _positive("alpha", alpha)
        if not self.t_mul >= 1:
            raise UsageError("t_mul is at least 1", got=repr(t_mul))

    def rate(self, step):
        length, start, height = float(self.first_decay_steps), 0.0, self.initial_learning_rate
        if self.t_mul == 1:
            rounds = step // self.first_decay_steps
            start, height = rounds * length, height * self.m_mul ** rounds
        while step >= start + length:
            start, length, height = start + length, length * self.t_mul, height * self.m_mul
        return height * _cosine((step - start) / length, self.alpha)


class OneCycle(Schedule):
    """Up from max_learning_rate / div_factor in pct_start of total_steps, then down to the start over final_div_factor (Smith and
    Topin, Super-convergence, 2018).  anneal_strategy: "cos" or "linear"; three_phase: down to the start first, then further."""

    def __init__(self, max_learning_rate: float, total_steps: int, pct_start: float = 0.3, anneal_strategy: str = "cos",
                 div_factor: float = 25.0, final_div_factor: float = 1e4, three_phase: bool = False):
        self.max_learning_rate = _positive("max_learning_rate", max_learning_rate)
        self.total_steps, self.pct_start = _steps("total_steps", total_steps), float(pct_start)
        self.anneal_strategy, self.div_factor, self.final_div_factor = anneal_strategy, float(div_factor), float(final_div_factor)
        self.three_phase = bool(three_phase)
        if not 0 < self.pct_start < 1 or anneal_strategy not in ("cos", "linear") or min(div_factor, final_div_factor) <= 0:
            raise UsageError("OneCycle cannot be made", expected="0 < pct_start < 1, anneal_strategy cos or linear, "
                             "factors above 0", got=str(self.get_config()))

    def rate(self, step):
        top = self.max_learning_rate
        first = top / self.div_factor
        last, end, turn = first / self.final_div_factor, float(self.total_steps - 1), self.pct_start * self.total_steps - 1
        corners = [(turn, first, top), (end, top, last)]
        if self.three_phase:
            corners = [(turn, first, top), (2 * turn, top, first), (end, first, last)]
        start = 0.0
        for stop, a, b in corners:
            if step <= stop or stop == end:
                part = min(1.0, (step - start) / (stop - start)) if stop > start else 1.0
                return b + (a - b) / 2 * (1 + math.cos(math.pi * part)) if self.anneal_strategy == "cos" else a + (b - a) * part
            start = stop
        return last


class InverseSquareRootDecay(Schedule):
    """learning_rate * min(n / warmup_steps, sqrt(warmup_steps / n)) for update n, counted from 1: it rises to learning_rate in
    warmup_steps and falls with the inverse square root (Attention is all you need, equation 3)"""

    def __init__(self, learning_rate: float, warmup_steps: int = 1):
        self.learning_rate, self.warmup_steps = _positive("learning_rate", learning_rate), _steps("warmup_steps", warmup_steps)

    def rate(self, step):
        n = step + 1
        return self.learning_rate * min(n / self.warmup_steps, math.sqrt(self.warmup_steps / n))


class Warmup(Schedule):
    """From start_factor times the first rate of another schedule, or of a number, up to it in warmup_steps; then that schedule"""

    def __init__(self, schedule: Any, warmup_steps: int, start_factor: float = 0.01):
        self.schedule = get(schedule)
        self.warmup_steps, self.start_factor = _steps("warmup_steps", warmup_steps), _positive("start_factor", start_factor)

    def rate(self, step):
        if step >= self.warmup_steps:
            return self.schedule.rate(step - self.warmup_steps)
        return self.schedule.rate(0) * (self.start_factor + (1 - self.start_factor) * step / self.warmup_steps)


SCHEDULES: dict[str, type[Schedule]] = {cls.__name__: cls for cls in (
    Constant, StepDecay, MultiStepDecay, PiecewiseConstantDecay, ExponentialDecay, InverseTimeDecay, LinearDecay, PolynomialDecay,
    CosineDecay, CosineDecayRestarts, OneCycle, InverseSquareRootDecay, Warmup)}


def get(schedule: Any) -> Schedule:
    """A schedule from itself, from a number, or from what `serialise` returned.  UsageError for anything else."""
    if isinstance(schedule, Schedule):
        return schedule
    if isinstance(schedule, (int, float)) and not isinstance(schedule, bool):
        return Constant(schedule)
    if isinstance(schedule, Mapping) and schedule.get("class_name") in SCHEDULES:
        try:
            return SCHEDULES[schedule["class_name"]](**schedule["config"])
        except (KeyError, TypeError) as error:
            raise UsageError(f"the schedule {schedule['class_name']} cannot be made", got=str(error)) from None
    raise UsageError("a schedule that is not there", expected=", ".join(SCHEDULES), got=repr(schedule))


# the names of the command line, `train.schedule`
NAMES = ("constant", "step", "multi-step", "exponential", "linear", "polynomial", "cosine", "cosine-restarts", "one-cycle",
         "inverse-sqrt", "plateau")


def named(name: str, learning_rate: float, total_steps: int, *, steps_per_epoch: int = 1, warmup: float = 0, end: float = 0.0,
          gamma: float = 0.1, power: float = 1.0, milestones: Sequence[int] = (), cycles: int = 4) -> Schedule:
    """One of `NAMES` for a training of total_steps updates.

    warmup      steps, or below 1 a share of all, in which the rate rises to learning_rate; the schedule takes what is left
    end         share of learning_rate that linear, polynomial and cosine end at
    gamma       factor of step, multi-step (each time) and exponential (once per epoch)
    milestones  epochs: of multi-step all; of step the first, how long a step is (by default a third of the training)
    cycles      of cosine-restarts;   power: of polynomial
    "plateau" is constant here: the callback ReduceLROnPlateau changes it."""
    if name not in NAMES:
        raise UsageError("a schedule that is not there", expected=", ".join(NAMES), got=repr(name))
    rising = round(warmup * total_steps) if warmup < 1 else int(warmup)
    rate, left = learning_rate, max(1, total_steps - rising)
    if name == "inverse-sqrt":
        return InverseSquareRootDecay(rate, max(1, rising))
    if name == "one-cycle":
        return OneCycle(rate, max(2, total_steps), rising / total_steps if 0 < rising < total_steps else 0.3)
    epochs = [m * steps_per_epoch for m in milestones]
    made: dict[str, Any] = {
        "constant": lambda: Constant(rate), "plateau": lambda: Constant(rate),
        "step": lambda: StepDecay(rate, epochs[0] if epochs else max(1, -(-left // 3)), gamma),
        "multi-step": lambda: MultiStepDecay(rate, epochs or [max(1, left // 2), max(1, left * 3 // 4)], gamma),
        "exponential": lambda: ExponentialDecay(rate, max(1, steps_per_epoch), gamma),
        "linear": lambda: LinearDecay(rate, left, 1.0, end),
        "polynomial": lambda: PolynomialDecay(rate, left, rate * end, power),
        "cosine": lambda: CosineDecay(rate, left, end),
        "cosine-restarts": lambda: CosineDecayRestarts(rate, max(1, -(-left // cycles)), 1.0, 1.0, end)}
    schedule: Schedule = made[name]()
    return Warmup(schedule, rising) if rising else schedule


def _cosine(part: float, alpha: float) -> float:
    return (1 - alpha) * 0.5 * (1 + math.cos(math.pi * min(1.0, part))) + alpha


def _positive(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) and not hasattr(value, "__float__") or not (
            0 <= float(value) < math.inf):
        raise UsageError(f"{name} is out of its range", expected="a number, at least 0", got=repr(value))
    return float(value)


def _steps(name: str, value: Any) -> int:
    if isinstance(value, bool) or not float(value) >= 1 or int(value) != value:
        raise UsageError(f"{name} is out of its range", expected="a whole number from 1", got=repr(value))
    return int(value)
