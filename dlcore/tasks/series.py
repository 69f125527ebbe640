"""What comes next in a series: `SeriesForecaster`, and the task `series` of the command line."""
from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from dlcore.data.dataset import Dataset, Parts
from dlcore.data.saved import fields
from dlcore.data.series import GAPS, NO_TIME, Series, as_series, divide, parse_split, read_series
from dlcore.errors import DataError, ModelFileError, UsageError
from dlcore.tasks import recipe, settings
from dlcore.tasks.estimator import Estimator, renamed
from dlcore.tasks.image_estimator import NoAnswers
from dlcore.tasks.series_windows import Scaling, Windows
from dlcore.tasks.settings import ByArchitecture
from dlcore.tasks.task import Sections

if TYPE_CHECKING:
    from dlcore.training.callbacks import Callback
    from dlcore.training.history import History
    from dlcore.training.model import Model

ARCHITECTURES = {
    "transformer": "Transformer blocks between the variables' pasts (iTransformer), or over segments of each (PatchTST)",
    "lstm": "an LSTM over segments of the past, its last state to the whole horizon",
    "dlinear": "a linear layer for the trend and one for the rest (DLinear)",
}
# the defaults of each architecture
DEFAULTS: dict[str, dict[str, Any]] = {
    "transformer": {"width": 128, "layers": 2, "dropout": 0.1, "mix": True, "normalize": True, "epochs": 10, "lr": 2e-4},
    "lstm": {"width": 64, "layers": 1, "dropout": 0.1, "mix": False, "normalize": True, "epochs": 10, "lr": 5e-4},
    "dlinear": {"width": 0, "layers": 1, "dropout": 0.0, "mix": False, "normalize": False, "epochs": 10, "lr": 1e-3},
}
PRESETS: Mapping[str, Sections] = {
    # the first 12, 4 and 4 months of hours: Zhou et al., Informer, 2021, and whoever measured on ETTh since
    "etth": {"data": {"input": 96, "horizon": 96, "split": "8640,2880,2880"}},
}
_PIECE = 256                # windows that are forecast at once
_NAMED = 16                 # targets, at most, whose errors are told one by one
_SHOWN = 4                  # targets that are drawn


class SeriesForecaster(Estimator):
    """The next steps of a series, from its last ones.

    arch          "transformer", "lstm" or "dlinear"
    input, horizon   steps that are seen, and steps that are forecast
    targets       columns that are forecast, none: all; the others are seen only
    width, layers, heads   of the network;   patch: steps of a segment, 0: the greatest divisor of `input` up to an eighth of it
    mix           whether variables are seen together; otherwise each by itself, with the same weights
    normalize     whether each window is normalised, and its forecast brought back (Kim et al., RevIN, 2022)
    window        steps of dlinear's moving average, an odd number
    val_split     share of the steps, the last ones, kept for validation, where the series does not say how many

    x is a `Series` (see `dlcore.data.series`), a data frame, a table, or an array (steps, columns) or (steps,).  Columns are
    standardised by the steps trained on.

    `fit(x)`, `predict(x)` (the steps after the end of x), `evaluate(x)`, `save(path)`."""

    task, _kind = "series", "forecaster"
    _sections = {"data": ("input", "horizon", "targets", "val_split"),
                 "model": ("width", "layers", "heads", "patch", "mix", "normalize", "window", "dropout"),
                 "train": ("epochs", "batch", "optimizer", "lr", "schedule", "weight_decay", "patience")}
    width: Any = ByArchitecture(DEFAULTS)
    layers: Any = ByArchitecture(DEFAULTS)
    dropout: Any = ByArchitecture(DEFAULTS)
    mix: Any = ByArchitecture(DEFAULTS)
    normalize: Any = ByArchitecture(DEFAULTS)
    epochs: Any = ByArchitecture(DEFAULTS)
    lr: Any = ByArchitecture(DEFAULTS)
    hidden = ()
    _answers = NoAnswers()
    _scaling: Scaling
    _how: dict[str, str]                # the column of times and what was done with gaps
    _trained: dict[str, Any]            # what tells the file trained on from others: see `test_part`

    def __init__(self, arch: str = "transformer", input: int = 96, horizon: int = 24, targets: Sequence[str] = (),
                 width: int | None = None, layers: int | None = None, heads: int = 4, patch: int = 0, mix: bool | None = None,
                 normalize: bool | None = None, window: int = 25, dropout: float | None = None, epochs: int | None = None,
                 batch_size: int = 32, lr: float | None = None, optimizer: str = "adam", schedule: str = "cosine",
                 weight_decay: float = 0.0, patience: int = 3, val_split: float = 0.1, random_state: int | None = 0,
                 training: Mapping[str, Any] | None = None):
        self.arch, self.input, self.horizon, self.targets = arch, input, horizon, targets
        self.width, self.layers, self.heads, self.patch = width, layers, heads, patch
        self.mix, self.normalize, self.window, self.dropout = mix, normalize, window, dropout
        self.epochs, self.batch_size, self.lr, self.optimizer = epochs, batch_size, lr, optimizer
        self.schedule, self.weight_decay, self.patience, self.val_split = schedule, weight_decay, patience, val_split
        self.random_state, self.training = random_state, training

    def _check_params(self) -> None:
        def require(condition: bool, name: str, expected: str) -> None:
            if not condition:
                raise UsageError(f"{name} = {getattr(self, name)!r} is of no use", expected=expected)

        def whole(name: str, low: int, high: int = 1 << 20) -> None:
            value = getattr(self, name)
            good = isinstance(value, (int, np.integer)) and not isinstance(value, bool) and bool(low <= value <= high)
            require(good, name, f"a whole number from {low}")
        require(isinstance(self.arch, str) and self.arch in ARCHITECTURES, "arch", ", ".join(ARCHITECTURES))
        for name, low in (("input", 1), ("horizon", 1), ("layers", 1), ("heads", 1), ("patch", 0), ("window", 1),
                          ("width", 0 if self.arch == "dlinear" else 1)):
            whole(name, low)
        listed = isinstance(self.targets, (list, tuple)) and all(isinstance(n, str) and n for n in self.targets)
        require(listed and len(set(self.targets)) == len(self.targets), "targets", "a list of columns' names, each once")
        for name in ("mix", "normalize"):
            require(isinstance(getattr(self, name), (bool, np.bool_)), name, "true or false")
        require(self.window % 2 == 1, "window", "an odd number of steps")
        require(self.patch == 0 or self.input % self.patch == 0, "patch", f"a divisor of input, {self.input}")
        require(self.arch != "transformer" or self.width % self.heads == 0, "width", f"a multiple of the {self.heads} heads")
        super()._check_params()

    # ---- training ----------------------------------------------------------------------------------------------------
    def fit(self, x: Any, y: Any = None, sample_weight: Any = None, *, validation_data: Any = None,
            callbacks: Sequence[Callback] = (), log: Callable[[str], None] | None = None) -> Self:
        """Trains on the windows of a series whose steps are all before those kept for validation.

        validation_data: another series to validate on.  Raises DataError and UsageError before anything is trained, and
        DivergedError."""
        say = log or (lambda line: None)
        self._check_params()
        if y is not None or sample_weight is not None:
            raise UsageError("a series has neither answers beside itself nor weights", hint="name its columns: targets=[...]")
        series = as_series(x)
        self.seed_ = int.from_bytes(os.urandom(4)) if self.random_state is None else int(self.random_state)
        names = self._columns(series)
        series = series.picked(names)
        held, line = self._held(series, validation_data)
        cut = series.end - held
        self._scaling = Scaling.fit(series.values[series.begin:cut], names, len(self.targets) or len(names))
        self._how = {"time": series.time, "gaps": series.gaps}
        self._trained = {"rows": series.end, "sha256": series.digest(series.end), "split": series.split}
        self.validation_rows_ = np.arange(len(series) - held, len(series))
        say(line)
        matrix = self._scaling.apply(series.values[:series.end])
        train = self._windows(matrix, series.begin + self.input, cut, self.batch_size, self.seed_, series)
        val: Any = None
        if validation_data is not None:
            val = self._of(self._known(validation_data))
        elif held:
            val = self._windows(matrix, max(cut, series.begin + self.input), series.end, _PIECE, None, series)
        self._learn(train, val, callbacks, say)
        return self

    def _columns(self, series: Series) -> tuple[str, ...]:
        """The series' columns, targets first.  Raises DataError for a target that is none of them."""
        series.picked(self.targets)
        return (*self.targets, *(name for name in series.names if name not in self.targets))

    def _held(self, series: Series, validation_data: Any) -> tuple[int, str]:
        """Steps at the end that are kept for validation, and a line about it."""
        least, count = self.input + self.horizon, len(series)
        if validation_data is not None:
            held, why = 0, "validation data as given"
        elif series.held >= 0:
            held, why = series.held, f"the last {series.held:,} for validation"
            if 0 < held < self.horizon:
                raise DataError("there are too few steps to validate on", where=series.source, expected=f"at least the horizon, "
                                f"{self.horizon:,}", got=f"{held:,}", hint="another data.split, or a shorter horizon")
        else:
            held = max(round(count * self.val_split), self.horizon) if self.val_split else 0
            held = held if count - held >= least + self.batch_size else 0
            why = f"the last {held:,} for validation" if held else "none kept for validation"
        if count - held < least:
            raise DataError("the series is too short", where=series.source, expected=f"at least {least:,} steps to train on: "
                            f"{self.input:,} that are seen and {self.horizon:,} that are forecast", got=f"{count - held:,}",
                            hint="a smaller input or horizon, or more data")
        return held, f"{count - held:,} steps to train on, {why}: {count - held - least + 1:,} windows of {self.input} steps and " \
                     f"the {self.horizon} that follow"

    def _windows(self, matrix: np.ndarray, begin: int, end: int, batch: int, seed: int | None, series: Series) -> Windows:
        """The windows whose forecasts lie between two steps; `begin` has `input` steps before it.  Raises DataError for none."""
        count = end - begin - self.horizon + 1
        if count < 1:
            raise DataError("the series is too short", where=series.source,
                            expected=f"{self.input:,} steps that are seen and {self.horizon:,} after them",
                            got=f"{len(series):,} steps")
        return Windows(matrix, begin - self.input, count, self.input, self.horizon, self._scaling.targets, batch, seed)

    def _of(self, series: Series) -> Windows:
        """All windows of a part in order of time; the first forecast may have seen what came before the part."""
        matrix = self._scaling.apply(series.values[:series.end])
        return self._windows(matrix, max(series.begin, self.input), series.end, _PIECE, None, series)

    def _known(self, x: Any) -> Series:
        """A series with the columns that the model knows."""
        if isinstance(x, (Series, Dataset)):
            return as_series(x).picked(self._scaling.names)
        time = self._how["time"] or NO_TIME
        return as_series(x, time_col=time, columns=self._scaling.names, gaps=self._how["gaps"])

    def _make(self, shape: tuple[int, ...]) -> tuple[Model, str]:
        from dlcore import models
        C, steps = shape
        sizes: tuple[int, ...] = (steps, C, self.horizon, self._scaling.targets)
        common: dict[str, Any] = {"normalize": bool(self.normalize), "seed": self.seed_}
        name = f"{self.arch} from {C} x {steps} to {sizes[3]} x {self.horizon}"
        if self.arch == "dlinear":
            return models.dlinear(*sizes, window=self.window, **common), name
        common |= {"patch": self._segment(), "width": self.width, "layers": self.layers, "dropout": self.dropout,
                   "mix": bool(self.mix)}
        if self.arch == "lstm":
            return models.segment_lstm(*sizes, **common), name
        return models.series_transformer(*sizes, heads=self.heads, **common), name

    def _segment(self) -> int:
        return self.patch or next(n for n in range(max(1, self.input // 8), 0, -1) if self.input % n == 0)

    def _learn(self, train: Windows, val: Windows | None, callbacks: Sequence[Callback], say: Callable[[str], None]) -> None:
        from dlcore.training.early_stopping import EarlyStopping
        network, described = self._make(train.x.shape[1:])
        for line in recipe.prepare(network, self):
            say(line)
        settings.compile(network, self)
        for line in recipe.set_precision(network, self):
            say(line)
        self._network = network
        say(f"network {described}, {network.count_params():,} weights; dropout {self.dropout:g}")
        unseen = len(self._scaling.names) - self._scaling.targets
        if unseen and not self.mix:
            say(f"{unseen} columns that are no targets are not looked at: set mix for that")
        say(f"{self.optimizer}, learning rate {self.lr:g} ({self.schedule}), batches of {self.batch_size}, at most {self.epochs} "
            "epochs" + (f", weight decay {self.weight_decay:g}" if self.weight_decay else "") + recipe.described(self)
            + (f", stops {self.patience} epochs after the best" if self.patience and val else ""))
        best = EarlyStopping(recipe.of(self)["monitor"], patience=self.patience or None) if val else None
        steps = -(-len(train) // recipe.of(self)["accumulate"])
        network.optimizer.learning_rate = recipe.schedule(self, self.epochs * steps, steps) or self.lr
        own: list[Callback] = [recipe.plateau(self)] if self.schedule == "plateau" else []
        self.history_: History = network.fit(train, epochs=self.epochs, verbose=0, validation_data=val, seed=self.seed_,
                                             callbacks=[train, *own, *callbacks, *([best] if best else [])])
        self.n_iter_ = len(self.history_.epoch)
        if best:
            say(best.describe())

    # ---- using what was trained --------------------------------------------------------------------------------------
    def predict(self, x: Any) -> np.ndarray:
        """The steps after the end of x, f64 (horizon, targets), in the targets' own units.  DataError for a series that is too
        short."""
        network = self.model
        return self._scaling.back(network.predict(self._last(self._known(x)))[0]).T

    def _last(self, series: Series) -> np.ndarray:
        """The last window, f32 (1, C, input)."""
        if series.end < self.input:
            raise DataError("the series is too short to forecast", where=series.source, expected=f"at least {self.input:,} steps",
                            got=f"{series.end:,}")
        return self._scaling.apply(series.values[series.end - self.input:series.end])[np.newaxis]

    @property
    def targets_(self) -> tuple[str, ...]:
        """The names of what is forecast."""
        return self._scaling.names[:self._scaling.targets]

    def table(self, x: Any) -> tuple[list[str], list[list[Any]]]:
        """The forecast with its times: names of columns, rows."""
        series = self._known(x)
        rows = [[time, *(float(v) for v in row)]
                for time, row in zip(series.times_after(self.horizon), self.predict(series), strict=True)]
        return [self._how["time"] or "step", *self.targets_], rows

    def evaluate(self, x: Any, y: Any = None, sample_weight: Any = None) -> dict[str, float]:
        """Means over all windows of a part, steps of the horizon and targets: mse and mae of standardised values, naive_mse of a
        forecast that repeats the last value, mse_original and mae_original in the targets' own units, and mae of each target."""
        network, windows = self.model, self._of(self._known(x))
        count, D = 0, self._scaling.targets
        squares, sizes, naive = np.zeros(D), np.zeros(D), 0.0
        for given, wanted in windows:
            error = network.predict(given).astype(np.float64) - wanted
            count += len(wanted)
            squares += np.square(error).mean(2).sum(0)
            sizes += np.abs(error).mean(2).sum(0)
            naive += float(np.square(given[:, :D, -1:].astype(np.float64) - wanted).mean((1, 2)).sum())
        squares, sizes, units = squares / count, sizes / count, self._scaling.scale[:D]
        found = {"mse": squares.mean(), "mae": sizes.mean(), "naive_mse": naive / count,
                 "mse_original": (squares * units ** 2).mean(), "mae_original": (sizes * units).mean()}
        if 1 < D <= _NAMED:
            found |= {f"mae_original {name}": sizes[d] * units[d] for d, name in enumerate(self.targets_)}
        return {name: float(value) for name, value in found.items()}

    def score(self, x: Any, y: Any = None, sample_weight: Any = None) -> float:
        """Minus the mean squared error of standardised values."""
        return -self.evaluate(x)["mse"]

    def charts(self, x: Any) -> str:
        """HTML: the last window of a part with what was forecast and what came, for the first few targets."""
        from dlcore.report import sections, svg
        windows = self._of(self._known(x))
        given, wanted = windows.x[windows.first + windows.count - 1], windows.y[windows.first + windows.count - 1]
        made = self._scaling.back(self.model.predict(given[np.newaxis])[0])
        past, came = self._scaling.back(given[:self._scaling.targets]), self._scaling.back(wanted)
        shown = min(self.input, 2 * self.horizon)
        before, after = list(range(1 - shown, 1)), list(range(1, self.horizon + 1))
        parts = []
        for d, name in enumerate(self.targets_[:_SHOWN]):
            lines = [svg.Series("past", before, past[d, -shown:].tolist(), 0),
                     svg.Series("came", after, came[d].tolist(), 0, "dashed"),
                     svg.Series("forecast", after, made[d].tolist(), 1)]
            parts.append(sections.card(name, svg.lines(lines, "step", name, mark=(0.5, "forecast from here"))
                                       + sections.keys(lines)))
        return sections.cards(*parts)

    # ---- export, files -----------------------------------------------------------------------------------------------
    def samples(self, x: Any) -> np.ndarray:
        """Standardised windows, f32 (N, C, input), some 64 of all."""
        series = self._known(x)
        matrix = self._scaling.apply(series.values[:series.end])
        if matrix.shape[1] < self.input:
            return self._last(series)
        windows = Windows(matrix, 0, 0, self.input, self.horizon, self._scaling.targets, 1)
        return np.ascontiguousarray(windows.x[::max(1, len(windows.x) // 64)])

    def _parts(self) -> dict[str, Any]:
        return {"preprocess.json": {"columns": self._scaling.to_json(), "how": dict(self._how), "trained": dict(self._trained)}}

    @classmethod
    def _answers_from_json(cls, value: Any, where: str) -> NoAnswers:
        return NoAnswers.from_json(value, where)

    def _restore(self, config: Mapping[str, Any], extras: Mapping[str, Any], where: str) -> Any:
        where = f"{where}, preprocess.json"
        columns, how, trained = fields(extras.get("preprocess.json"), where, columns=dict, how=dict, trained=dict)
        time, gaps = fields(how, f"{where}, how", time=str, gaps=str)
        rows, digest, split = fields(trained, f"{where}, trained", rows=int, sha256=str, split=str)
        if gaps not in GAPS:
            raise ModelFileError("a part of the model file is malformed", where=f"{where}, gaps", expected=", ".join(GAPS),
                                 got=gaps[:60])
        self._scaling = Scaling.from_json(columns, f"{where}, columns")
        self._how, self._trained = {"time": time, "gaps": gaps}, {"rows": rows, "sha256": digest, "split": split}
        return len(self._scaling.names), self.input

    def _output_widths(self) -> Any:
        return [(self._scaling.targets, self.horizon)]

    def test_part(self, series: Series) -> Parts | None:
        """The parts of a series that begins with the steps trained on, divided as it was then; else None."""
        rows, split = self._trained["rows"], self._trained["split"]
        known = series.picked(self._scaling.names)
        if not split or len(series.values) < rows or known.digest(rows) != self._trained["sha256"]:
            return None
        return divide(series, split)


class SeriesTask:
    """`series` on the command line."""

    name = "series"
    summary = "forecasts: the next steps of series of numbers"
    architectures: Mapping[str, str] = ARCHITECTURES
    presets = PRESETS
    space = {"train.lr": "1e-4..3e-3:log", "model.width": "64, 128, 256", "model.dropout": "0.0..0.3"}

    def defaults(self, arch: str) -> Sections:
        found = SeriesForecaster(arch or "transformer").sections()
        return {**found, "data": {**found["data"], "time-col": "", "columns": [], "gaps": "error", "split": ""}}

    def read(self, source: str, *, label_col: str = "", text_col: str = "", labelled: bool = True, like: Estimator | None = None,
             time_col: str = "", columns: Sequence[str] = (), gaps: str = "error", split: str = "") -> Parts:
        if text_col or label_col:
            raise UsageError("a series has neither a column of answers nor of texts", got=label_col or text_col,
                             hint="--set data.targets='[\"...\"]' names what is forecast")
        if split:
            parse_split(split)
        if isinstance(like, SeriesForecaster):
            how = like._how
            series = read_series(source, time_col=how["time"] or NO_TIME, columns=like._scaling.names, gaps=how["gaps"])
            parts = like.test_part(series) if labelled else None
            if parts is not None:
                return parts
        else:
            series = read_series(source, time_col=time_col, columns=columns, gaps=gaps)
        if split:
            return divide(series, split)
        return Parts(Dataset(series, None, source, series.notes, series.time))

    def create(self, train: Dataset, arch: str = "", seed: int = 0, time_col: str = "", columns: Sequence[str] = (),
               gaps: str = "error", split: str = "", **options: Any) -> SeriesForecaster:
        return SeriesForecaster(arch or "transformer", random_state=seed, **renamed(options))


TASK = SeriesTask()
ESTIMATORS = {"SeriesForecaster": SeriesForecaster}
