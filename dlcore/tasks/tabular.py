"""Rows of tables and their answers: `TabularClassifier`, `TabularRegressor`, and the task `tabular`."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dlcore.data.answers import parse_answers
from dlcore.data.dataset import Dataset, Parts
from dlcore.data.preprocess import TablePreprocessor
from dlcore.data.table import Table, answers, as_table, read_table, unnamed
from dlcore.errors import ModelFileError, UsageError
from dlcore.tasks.estimator import Estimator, renamed
from dlcore.tasks.supervised import Classifier, Regressor
from dlcore.tasks.task import Sections

_MOST_LABELS = 20                       # more different whole numbers than this are quantities, not labels


class _Tabular(Estimator):
    """What both share: rows are a `Table`, an array (N, columns), a data frame, dicts or lists of cells."""

    task = "tabular"
    _preprocessor: TablePreprocessor
    label_col: str = ""                 # the column of answers in the file trained on
    header: bool | str = "auto"         # whether the first rows of files name the columns, as `TabularTask.read` was told

    def __init__(self, hidden: Sequence[int] = (256, 128), dropout: float = 0.2, epochs: int = 60, batch_size: int = 32,
                 lr: float = 2e-3, optimizer: str = "adamw", schedule: str = "cosine", weight_decay: float = 1e-2,
                 patience: int = 12, val_split: float = 0.1, random_state: int | None = 0,
                 training: Mapping[str, Any] | None = None):
        self.hidden, self.dropout, self.epochs, self.batch_size = hidden, dropout, epochs, batch_size
        self.lr, self.optimizer, self.schedule, self.weight_decay = lr, optimizer, schedule, weight_decay
        self.patience, self.val_split, self.random_state = patience, val_split, random_state
        self.training = training

    def fit(self, x: Any, y: Any = None, sample_weight: Any = None, **options: Any) -> Any:
        if isinstance(x, Dataset) and isinstance(x.x, Table):
            self.label_col = x.label
        return super().fit(x, y, sample_weight, **options)

    @property
    def n_features_in_(self) -> int:
        """Columns of the rows trained on."""
        return len(self._preprocessor.encoders)

    @property
    def feature_names_in_(self) -> np.ndarray:
        """Their names; as in scikit-learn there is no such attribute where the columns had none."""
        if self._preprocessor.names == tuple(unnamed(self.n_features_in_)):
            raise AttributeError("the columns trained on had no names")
        return np.array(self._preprocessor.names, object)

    def _fit_inputs(self, x: Table, rows: np.ndarray) -> list[str]:
        self._preprocessor = TablePreprocessor.fit(x if len(rows) == len(x) else x.take(rows))
        return [f"column {line}" for line in self._preprocessor.describe()]

    def _raw(self, x: Any) -> Table:
        return as_table(x)

    def _checked(self, x: Any) -> Table:
        return self._preprocessor.rows(x)

    def _inputs(self, x: Any) -> np.ndarray:
        return self._preprocessor.transform(x)

    def encode(self, x: Any) -> np.ndarray:
        """Rows as the network takes them, f32 (N, width): what an exported model is given."""
        return self._inputs(x)

    def _parts(self) -> dict[str, Any]:
        return {"preprocess.json": {**self._preprocessor.to_json(), "label": self.label_col, "header": self.header}}

    def _restore(self, config: Mapping[str, Any], extras: Mapping[str, Any], where: str) -> int:
        where = f"{where}, preprocess.json"
        stored = extras.get("preprocess.json")
        if not isinstance(stored, Mapping) or not isinstance(stored.get("label"), str):
            raise ModelFileError("the preprocessing of a table is malformed", where=where)
        self.label_col, self.header = stored["label"], stored.get("header", "auto")
        if not (isinstance(self.header, bool) or self.header == "auto"):
            raise ModelFileError("the preprocessing of a table is malformed", where=where, expected="header: auto, true or false",
                                 got=repr(self.header)[:60])
        columns = {name: value for name, value in stored.items() if name not in ("label", "header")}
        self._preprocessor = TablePreprocessor.from_json(columns, where)
        return self._preprocessor.width


class TabularClassifier(_Tabular, Classifier):
    """Labels for rows: numbers are standardised, categories one-hot, missing values marked; see `TablePreprocessor`."""


class TabularRegressor(_Tabular, Regressor):
    """Numbers for rows; encoded as by `TabularClassifier`, answers standardised for training."""


class TabularTask:
    """`tabular` on the command line: labels or numbers, as the answers are."""

    name = "tabular"
    summary = "labels or numbers for rows of csv, tsv or jsonl"
    architectures = {"mlp": "two hidden layers with dropout, on standardised and one-hot columns"}
    presets: Mapping[str, Sections] = {}
    space = {"train.lr": "3e-4..1e-2:log", "train.batch": "16, 32, 64, 128", "train.weight-decay": "1e-4..1e-1:log",
             "model.dropout": "0.0..0.5", "model.hidden": "[[64], [128, 64], [256, 128], [512, 256]]"}

    def defaults(self, arch: str) -> Sections:
        sections = TabularClassifier().sections()
        return {**sections, "data": {**sections["data"], "header": "auto"}, "model": {**sections["model"], "answers": "auto"}}

    def read(self, source: str, *, label_col: str = "", text_col: str = "", labelled: bool = True,
             like: Estimator | None = None, header: bool | str = "auto") -> Parts:
        """header: whether the first row of csv and tsv names the columns; "auto": as `like` was told, else what it looks like."""
        if text_col:
            raise UsageError("a table has no column of text", got=text_col, hint="leave out --text-col")
        assert like is None or isinstance(like, _Tabular)
        known = (*like._preprocessor.names, like.label_col) if like else (label_col,)
        told = like.header if like and header == "auto" else header
        guess: Any = "known" if like and _without_names(like._preprocessor.names) else None
        table = read_table(source, guess if told == "auto" else bool(told), [name for name in known if name])
        if like and not labelled:
            table = _positional(table, like._preprocessor.names, header is False)
        if not labelled:
            return Parts(Dataset(table, None, source, table.notes))
        rows, label, cells = answers(table, label_col or (like.label_col if like else ""))
        notes = (*table.notes, f"the answers are column {label!r}")
        return Parts(Dataset(rows, parse_answers(cells), source, notes, label))

    def create(self, train: Dataset, arch: str = "", seed: int = 0, answers: str = "auto", header: bool | str = "auto",
               **options: Any) -> _Tabular:
        assert train.y is not None
        if answers not in ("auto", "labels", "numbers"):
            raise UsageError(f"answers = {answers!r} is of no use", expected="auto, labels, numbers")
        numbers = answers == "numbers" or (answers == "auto" and looks_like_quantities(train.y))
        made = (TabularRegressor if numbers else TabularClassifier)(random_state=seed, **renamed(options))
        made.header = header
        return made


def looks_like_quantities(y: np.ndarray) -> bool:
    """Whether answers are taken for quantities: fractions, or more than 20 different whole numbers."""
    if y.dtype.kind not in "iuf":
        return False
    return bool((y != np.rint(y)).any()) or len(np.unique(y)) > _MOST_LABELS


def _without_names(names: Sequence[str]) -> bool:
    """Whether these are the names of columns that have none."""
    return all(name[:1] == "c" and name[1:].isdecimal() for name in names)


def _positional(table: Table, names: Sequence[str], told: bool) -> Table:
    """A table without header and without the column of answers takes the names of training by position.  told: that it has none."""
    if (told or _without_names(names)) and table.names == tuple(unnamed(len(names))):
        return Table(dict(zip(names, table.columns.values(), strict=True)), table.lines, table.source, table.notes)
    return table


TASK = TabularTask()
ESTIMATORS = {"TabularClassifier": TabularClassifier, "TabularRegressor": TabularRegressor}
