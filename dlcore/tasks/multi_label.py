"""Estimators that give a row any number of labels: `MultiLabel`."""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from dlcore.data.answers import Classes
from dlcore.data.dataset import Dataset
from dlcore.data.texts import label_sets
from dlcore.errors import DataError, ModelFileError, UsageError
from dlcore.metrics import accuracy_score, f1_score, precision_recall_fscore_support
from dlcore.metrics.thresholds import f1_above, label_thresholds
from dlcore.tasks import recipe
from dlcore.tasks.estimator import Estimator
from dlcore.training.callbacks import Callback

USUAL = 0.5                             # where there are no rows to choose by


class MultiLabel(Estimator):
    """A label is given where its probability exceeds its threshold.

    thresholds    "auto": for each label that with the best F1 on the rows kept for validation (see `label_thresholds`; 0.5
                  where none are kept), or one number for all
    thresholds_   f64 (labels,): those that `predict` goes by; they may be changed

    Each epoch is measured by the macro F1 of its own best thresholds on the validation rows, and the best one is kept: it goes on
    rising while the loss, which is that of the frequent labels, no longer falls.  With training={"monitor": "val_loss"} the epoch
    of the least loss is kept.
    """

    _kind = "multi-label"
    _answers: Classes
    thresholds: str | float

    @property
    def _estimator_type(self) -> str:
        return "classifier"

    @property
    def classes_(self) -> np.ndarray:
        """The labels, sorted: the columns of `predict_proba`."""
        return self._answers.labels

    def _check_params(self) -> None:
        given = self.thresholds
        number = isinstance(given, (int, float, np.number)) and not isinstance(given, bool) and 0 <= given <= 1
        if not number and not (isinstance(given, str) and given == "auto"):
            raise UsageError(f"thresholds = {given!r} is of no use", expected="auto, or a number from 0 to 1")
        super()._check_params()

    # ---- training ----------------------------------------------------------------------------------------------------
    def fit(self, x: Any, y: Any = None, sample_weight: Any = None, *, validation_data: Any = None,
            callbacks: Sequence[Callback] = (), log: Callable[[str], None] | None = None, **options: Any) -> Any:
        """As `Estimator.fit`; `y` holds lists of labels.  Thresholds are chosen when the training has ended."""
        if not isinstance(x, Dataset) and y is not None:
            y = label_sets(y)
        self.thresholds_ = np.zeros(0)
        asked = recipe.of(self)["monitor"] == recipe.MACRO_F1
        measured = [_Measured(self, lambda: self._kept(x, y, validation_data))] if asked else []
        super().fit(x, y, sample_weight, validation_data=validation_data, callbacks=[*measured, *callbacks], log=log, **options)
        line = self._choose(*self._kept(x, y, validation_data))
        if log:
            log(line)
        return self

    def _kept(self, x: Any, y: Any, validation_data: Any) -> tuple[Any, Any]:
        """The raw rows that the training was validated on, and their labels."""
        if isinstance(validation_data, Dataset):
            return validation_data.x, validation_data.y
        if validation_data is not None:
            return validation_data[0], label_sets(validation_data[1])
        x, y = (x.x, x.y) if isinstance(x, Dataset) else (x, y)
        rows = self.validation_rows_
        return self._raw(x)[rows], y[rows]

    def _choose(self, x: Any, y: Any) -> str:
        """Sets `thresholds_` by these rows, and says so."""
        if self.thresholds != "auto":
            return f"labels are given above a probability of {self.thresholds:g}, as set"
        if not len(x):
            return f"labels are given above a probability of {USUAL:g}: no rows are kept to choose a threshold for each by"
        probs, targets = self._predict(x), self._targets(y)
        self.thresholds_ = label_thresholds(targets, probs)
        low, middle, high = np.quantile(self.thresholds_, (0, 0.5, 1))
        before, after = (f1_above(targets > 0.5, probs, t).mean() for t in (USUAL, self.thresholds_))
        return (f"thresholds of the labels, for the best F1 of each on the {len(x):,} validation rows: {low:.2f} to {high:.2f}, "
                f"{middle:.2f} in the middle; macro F1 there {after:.3f}, with {USUAL:g} for all {before:.3f}")

    def _fit_answers(self, y: Any) -> list[str]:
        self._answers = Classes.fit(np.array([label for row in y for label in row]))
        self.thresholds_ = np.full(len(self._answers), USUAL if self.thresholds == "auto" else float(self.thresholds))
        counts = self._targets(y).sum(0)
        return [f"{len(self._answers)} labels, any number of them for a row: {self._answers.listed()}; "
                f"{int(counts.min()):,} to {int(counts.max()):,} rows each, {counts.sum() / max(1, len(y)):.2f} labels a row"]

    @classmethod
    def _answers_from_json(cls, value: Any, where: str) -> Classes:
        return Classes.from_json(value, where)

    def _outputs(self) -> int:
        return len(self._answers)

    def _targets(self, y: Any) -> np.ndarray:
        """f32 (N, labels) of 0 and 1."""
        out = np.zeros((len(y), len(self._answers)), np.float32)
        for n, row in enumerate(y):
            if isinstance(row, str):
                raise DataError("a row of labels is a list", where=f"row {n + 1}", got=repr(row)[:60])
            if len(row):
                out[n, self._answers.encode(np.array([str(v) for v in row]), f"row {n + 1}")] = 1
        return out

    # ---- using what was trained --------------------------------------------------------------------------------------
    def predict_proba(self, x: Any) -> np.ndarray:
        """A probability of each label, f32 (N, labels), for raw inputs; thresholds do not change them."""
        return self._predict(x)

    def predict(self, x: Any) -> list[list[Any]]:
        """The labels of each row, the likeliest first."""
        probs, labels = self._predict(x), self._answers.labels.tolist()
        return [[labels[c] for c in np.argsort(-p, kind="stable") if p[c] > self.thresholds_[c]] for p in probs]

    def _compared(self, x: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
        """What the rows have and what they are given, i64 (N, labels) of 0 and 1."""
        if isinstance(x, Dataset):
            x, y = x.x, x.y
        if y is None:
            raise DataError("the data has no labels")
        return self._targets(label_sets(y)).astype(int), (self._predict(x) > self.thresholds_).astype(int)

    def evaluate(self, x: Any, y: Any = None, sample_weight: Any = None) -> dict[str, float]:
        """macro_f1, micro_f1 and the share of rows whose labels are all right (accuracy)."""
        expected, found = self._compared(x, y)
        return {"accuracy": accuracy_score(expected, found, sample_weight=sample_weight),
                "macro_f1": f1_score(expected, found, average="macro", sample_weight=sample_weight, zero_division=0),
                "micro_f1": f1_score(expected, found, average="micro", sample_weight=sample_weight, zero_division=0)}

    def by_label(self, x: Any, y: Any = None) -> list[dict[str, Any]]:
        """label, threshold, precision, recall, f1 and rows (that have it) of each label."""
        measured = precision_recall_fscore_support(*self._compared(x, y), zero_division=0)
        return [{"label": label, "threshold": float(t), "precision": float(p), "recall": float(r), "f1": float(f), "rows": int(n)}
                for label, t, p, r, f, n in zip(self._answers.labels.tolist(), self.thresholds_, *measured, strict=True)]

    def score(self, x: Any, y: Any = None, sample_weight: Any = None) -> float:
        """The macro F1."""
        return self.evaluate(x, y, sample_weight)["macro_f1"]

    # ---- files -------------------------------------------------------------------------------------------------------
    def _decision(self) -> dict[str, Any]:
        return {"thresholds": self.thresholds_.tolist()}

    def _restore_decision(self, stored: Mapping[str, Any], where: str) -> None:
        found = stored.get("thresholds")
        if (not isinstance(found, list) or len(found) != len(self._answers)
                or not all(isinstance(t, float) and 0 <= t <= 1 for t in found)):
            raise ModelFileError("the thresholds of the labels are malformed", where=where)
        self.thresholds_ = np.array(found)


class _Measured(Callback):
    """Adds `val_macro_f1` to the logs of an epoch, before others look at them.   kept: the raw rows (x, y) of the validation"""

    def __init__(self, estimator: MultiLabel, kept: Callable[[], tuple[Any, Any]]):
        self.estimator, self.kept = estimator, kept

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        x, y = self.kept()
        if logs is None or not len(x):
            return
        probs, targets = self.estimator._predict(x), self.estimator._targets(y)
        if self.estimator.thresholds == "auto":
            self.estimator.thresholds_ = label_thresholds(targets, probs)       # also of a file written now
        logs[recipe.MACRO_F1] = float(f1_above(targets > 0.5, probs, self.estimator.thresholds_).mean())
