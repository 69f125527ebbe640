"""Options that several verbs share: one name, one meaning, one place."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import click

from dlcore.errors import UsageError


class Finite(click.ParamType):
    """A number that is neither NaN nor infinite, above `low` (or at least `low`, where `closed`)."""

    name = "float"

    def __init__(self, low: float = -math.inf, high: float = math.inf, closed: bool = False):
        self.low, self.high, self.closed = low, high, closed

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            number = float(value)
        except ValueError:
            self.fail(f"{value!r} is not a number.", param, ctx)
        above = number >= self.low if self.closed else number > self.low
        if not (math.isfinite(number) and above and number < self.high):
            bounds = f"{'at least' if self.closed else 'above'} {self.low:g}"
            bounds += f" and below {self.high:g}" if math.isfinite(self.high) else ""
            self.fail(f"{value} is not a finite number {bounds}.", param, ctx)
        return number


class Whole(click.IntRange):
    """A whole number; says its range in words."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            number = int(value)
        except ValueError:
            number = None
        least = self.min if self.min is not None else -math.inf
        most = self.max if self.max is not None else math.inf
        if number is None or not least <= number <= most:
            bounds = (f" from {self.min}" if self.min is not None else "") + (f" to {self.max}" if self.max is not None else "")
            self.fail(f"{value!r} is not a whole number{bounds}.", param, ctx)
        return number


class Duration(click.ParamType):
    """A length of time: 90, 90s, 10m, 1.5h, 1h30m; in seconds, above 0."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, (int, float)):
            return float(value)
        parts = re.fullmatch(r"(?:([\d.]+)h)?(?:([\d.]+)m)?(?:([\d.]+)s?)?", value.strip().lower())
        try:
            hours, minutes, seconds = (float(part or 0) for part in parts.groups()) if parts else (0.0, 0.0, 0.0)
        except ValueError:
            hours = minutes = seconds = 0.0
        total = 3600 * hours + 60 * minutes + seconds
        if total <= 0:
            self.fail(f"{value!r} is no length of time above 0, such as 90s, 10m or 1h30m.", param, ctx)
        return total


class Size(click.ParamType):
    """A number of bytes: 500000, 500k, 2M, 1.5G."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        parts = re.fullmatch(r"(\d+(?:\.\d+)?)([kmg]?)b?", value.strip().lower())
        size = int(float(parts[1]) * {"": 1, "k": 1e3, "m": 1e6, "g": 1e9}[parts[2]]) if parts else 0
        if size <= 0:
            self.fail(f"{value!r} is no size above 0, such as 500k or 2M.", param, ctx)
        return size


def _store(name: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    def callback(ctx: click.Context, param: click.Parameter, value: Any) -> None:
        ctx.ensure_object(dict)[name] = value

    return callback


def common(command: Callable[..., Any]) -> Callable[..., Any]:
    """--json, -q and --debug: every verb has them."""
    for decorate in (
        click.option("--debug", is_flag=True, expose_value=False, help="Show the traceback of an error."),
        click.option(
            "-q", "--quiet", is_flag=True, expose_value=False, callback=_store("quiet"), help="No progress on stderr."
        ),
        click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout."),
    ):
        command = decorate(command)
    return command


class Device(click.ParamType):
    """auto, cpu, cuda or cuda:1."""

    name = "auto|cpu|cuda[:N]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", str(value)):
            self.fail(f"{value!r} is not one of 'auto', 'cpu', 'cuda', 'cuda:1' and so on.", param, ctx)
        return str(value)


def _choose_device(ctx: click.Context, param: click.Parameter, value: str) -> str:
    """A GPU that was asked for is there before anything is read."""
    if value != "auto":
        use_device(value)
    return value


def use_device(name: str) -> None:
    """Choose where models compute; a GPU never falls back."""
    from dlcore.errors import DeviceError
    from dlcore.runtime import set_device

    try:
        set_device(name)
    except DeviceError as fault:
        raise DeviceError(
            "no CUDA device can be used",
            where=f"--device {name}",
            expected=fault.expected,
            got=f"{fault.message}: {fault.got}" if fault.got else fault.message,
            hint=f"{fault.hint}; or --device cpu",
        ) from fault


def device(command: Callable[..., Any]) -> Callable[..., Any]:
    """--device."""
    return click.option(
        "--device",
        type=Device(),
        default="auto",
        show_default=True,
        callback=_choose_device,
        help="Where to compute; auto says what it chose.",
    )(command)


def machine(command: Callable[..., Any]) -> Callable[..., Any]:
    """--device and --threads."""
    command = click.option(
        "--threads",
        type=Whole(min=1),
        help="Threads of the kernels; results are the same for any number.  [default: by cost, at most one per core]",
    )(command)
    return device(command)


TRAINING = ("float32", "bf16", "tf32x3")  # as dlcore.graph.spec has them, which --help does not wait for
ANSWERS = (*TRAINING, "int8")


def precision(command: Callable[..., Any]) -> Callable[..., Any]:
    """--precision, of what a model answers; None where it is not given."""
    told = "Of products in what the model answers.  [default: float32]"
    return click.option("--precision", type=click.Choice(ANSWERS), help=told)(command)


def header(command: Callable[..., Any]) -> Callable[..., Any]:
    """--header and --no-header, None where neither is given."""
    told = "The first row of csv and tsv names the columns, or does not.  [default: by what it looks like]"
    return click.option("--header/--no-header", default=None, help=told)(command)


def use_beam(estimator: Any, beam: int | None) -> None:
    """Tell a model that searches how many results to follow."""
    if beam is not None:
        if "beam" not in (estimator.get_params() if hasattr(estimator, "get_params") else ()):
            raise UsageError("this model does not search", where="--beam", got=str(getattr(estimator, "task", "")),
                             hint="leave it out")
        estimator.set_params(beam=beam)


def use_threads(threads: int | None) -> None:
    """Tell the thread team how many members may work."""
    if threads is not None:
        from dlcore.runtime import set_threads

        set_threads(threads)


def requirements(texts: tuple[str, ...]) -> list[tuple[str, str, float]]:
    """`accuracy>=0.9` and `val_loss<=1` as (metric, comparison, bound)."""
    found = []
    for text in texts:
        for sign in (">=", "<="):
            name, comparison, bound = text.partition(sign)
            if comparison:
                try:
                    found.append((name.strip(), comparison, float(bound)))
                except ValueError:
                    raise UsageError("--require needs a number", got=text, expected="accuracy>=0.9") from None
                break
        else:
            raise UsageError("--require cannot be read", got=text, expected="METRIC>=NUMBER or METRIC<=NUMBER")
    return found


def check_requirements(wanted: list[tuple[str, str, float]], metrics: dict[str, Any]) -> None:
    """Raises GateError where a metric misses its bound."""
    from dlcore.errors import GateError

    for name, comparison, bound in wanted:
        if name not in metrics:
            raise UsageError(f"--require names an unknown metric {name!r}", expected=", ".join(metrics))
        value = metrics[name]
        if not (value >= bound if comparison == ">=" else value <= bound):
            raise GateError(
                "a required quality was missed", where=name, expected=f"{comparison} {bound:g}", got=f"{value:.6g}"
            )


require_option = click.option(
    "--require",
    multiple=True,
    metavar="METRIC>=NUMBER",
    help="Exit with 6 where the metric misses the bound; may be repeated.",
)

SCHEDULES = (
    "constant", "step", "multi-step", "exponential", "linear", "polynomial", "cosine", "cosine-restarts", "one-cycle",
    "inverse-sqrt", "plateau",
)  # fmt: skip
OPTIMIZERS = (
    "sgd", "adam", "adamw", "adadelta", "adagrad", "adamax", "lamb", "lion", "muon", "nadam", "rmsprop",
)  # fmt: skip


def as_list(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> list[str] | None:
    return list(value) or None


def recipe(command: Callable[..., Any]) -> Callable[..., Any]:
    """How weights are updated: the options of the training recipe."""
    for option in reversed((
        click.option("--optimizer", type=click.Choice(OPTIMIZERS), help="How weights are updated."),
        click.option("--schedule", type=click.Choice(SCHEDULES), help="How the learning rate changes."),
        click.option(
            "--warmup", type=Finite(0, closed=True), metavar="STEPS",
            help="Steps, or below 1 a share of all steps, in which the learning rate rises.",
        ),
        click.option("--weight-decay", type=Finite(0, closed=True), help="Decay of weights, decoupled from the gradient."),
        click.option("--l1", type=Finite(0, closed=True), help="L1 penalty of matrices and filters."),
        click.option("--l2", type=Finite(0, closed=True), help="L2 penalty of matrices and filters."),
        click.option("--clip", type=Finite(0, closed=True), metavar="NORM", help="Greatest norm of all gradients together."),
        click.option("--accumulate", type=Whole(min=1), metavar="K", help="Micro-batches per update."),
        click.option(
            "--ema", type=Finite(0, 1, closed=True), metavar="MOMENTUM",
            help="Keep averages of the weights, and use them: 0.999.",
        ),
        click.option("--precision", type=click.Choice(TRAINING), help="Of the products of training steps."),
        click.option(
            "--monitor", metavar="METRIC",
            help="What early stopping and the kept weights go by.  [default: val_loss]",
        ),
        click.option("--init", metavar="MODEL", help="Model file whose weights to begin with, where they fit."),
        click.option(
            "--freeze", multiple=True, metavar="LAYER-PATTERN", callback=as_list,
            help="Layers that are not trained: dense_*; may be repeated.",
        ),
    )):  # fmt: skip
        command = option(command)
    return command
