"""Estimators by what their answers are: labels or numbers."""
from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from dlcore.data.answers import Classes, Quantity, quantities
from dlcore.errors import UsageError
from dlcore.tasks.estimator import Estimator, pair
from dlcore.tasks.manners import weights
from dlcore.tasks.scores import classification_scores, regression_scores

if TYPE_CHECKING:
    from dlcore.graph import Tensor
    from dlcore.metrics.evaluation import Evaluation


class Classifier(Estimator):
    """An estimator whose answers are labels."""

    _kind = "classifier"
    _answers: Classes

    @property
    def classes_(self) -> np.ndarray:
        """The labels, sorted: the columns of `predict_proba`."""
        return self._answers.labels

    def _fit_answers(self, y: Any) -> list[str]:
        self._answers = Classes.fit(y)
        counts = np.bincount(self._answers.encode(y))
        least, most = int(counts.min()), int(counts.max())
        spread = f"{least:,}" if least == most else f"{least:,} to {most:,}"
        return [f"{len(self._answers)} labels: {self._answers.listed()}; {spread} {'row' if most == 1 else 'rows'} each"]

    @classmethod
    def _answers_from_json(cls, value: Any, where: str) -> Classes:
        return Classes.from_json(value, where)

    def _outputs(self) -> int:
        return len(self._answers)

    def predict_proba(self, x: Any) -> np.ndarray:
        """Probabilities of the labels, f32 (N, labels), for raw inputs."""
        return self._predict(x)

    def predict(self, x: Any) -> np.ndarray:
        """The likeliest label of each raw input, (N,)."""
        probs = self._predict(x)
        return self._answers.decode(probs.argmax(axis=1))

    def evaluate(self, x: Any, y: Any = None, sample_weight: Any = None) -> dict[str, float]:
        """accuracy, macro_f1 and log_loss on raw inputs and labels, or on a `Dataset`."""
        x, y = pair(x, y, "the data")
        probs = self._predict(x)
        return classification_scores(probs, self._targets(y), weights(sample_weight, len(probs)))

    def evaluation(self, x: Any, y: Any = None, *, threshold: float | str | None = None, seed: int = 0) -> Evaluation:
        """Everything that can be measured on raw inputs and labels, or on a `Dataset`: see `dlcore.metrics.evaluation`.

        `threshold`, for two labels, is the least probability at which the second is predicted: a number, or "f1" or
        "youden" for the best by that measure on these rows.  `seed` is that of the intervals.
        """
        from dlcore.metrics.evaluation import find_threshold, of_labels
        x, y = pair(x, y, "the data")
        probs, targets = self._predict(x), self._targets(y)
        if threshold is not None and len(self.classes_) != 2:
            raise UsageError("a threshold needs two labels", got=f"{len(self.classes_)} labels")
        if isinstance(threshold, str):
            threshold = find_threshold(targets == 1, probs[:, 1], threshold)[0]
        names = [str(label) for label in self.classes_.tolist()]
        return of_labels(targets, probs, names, threshold=threshold, seed=seed)

    def score(self, x: Any, y: Any = None, sample_weight: Any = None) -> float:
        """The accuracy."""
        return self.evaluate(x, y, sample_weight)["accuracy"]


class Regressor(Estimator):
    """An estimator whose answers are numbers."""

    _kind = "regressor"
    _answers: Quantity

    def _fit_answers(self, y: Any) -> list[str]:
        self._answers = Quantity.fit(y)
        return [f"answers are numbers: mean {self._answers.mean:g}, standard deviation {self._answers.scale:g}"]

    @classmethod
    def _answers_from_json(cls, value: Any, where: str) -> Quantity:
        return Quantity.from_json(value, where)

    def _outputs(self) -> int:
        return 1

    def predict(self, x: Any) -> np.ndarray:
        """The answer to each raw input, f32 (N,)."""
        out = self._predict(x)
        return self._answers.decode(out)

    def answers(self, samples: np.ndarray) -> np.ndarray:
        return self._answers.decode(super().answers(samples))[:, np.newaxis]

    def trace(self, x: Tensor) -> Tensor:
        from dlcore import ops
        return ops.shift(ops.scale(super().trace(x), self._answers.scale), self._answers.mean)

    def evaluate(self, x: Any, y: Any = None, sample_weight: Any = None) -> dict[str, float]:
        """rmse, mae and r2 on raw inputs and answers, or on a `Dataset`."""
        x, y = pair(x, y, "the data")
        return regression_scores(self.predict(x), quantities(y), weights(sample_weight, len(y)))

    def evaluation(self, x: Any, y: Any = None, *, threshold: None = None, seed: int = 0) -> Evaluation:
        """Everything that can be measured on raw inputs and answers, or on a `Dataset`: see `dlcore.metrics.evaluation`."""
        from dlcore.metrics.evaluation import of_numbers
        if threshold is not None:
            raise UsageError("a threshold needs two labels", got="answers that are numbers")
        x, y = pair(x, y, "the data")
        return of_numbers(quantities(y), self.predict(x), seed=seed)

    def score(self, x: Any, y: Any = None, sample_weight: Any = None) -> float:
        """R squared."""
        return self.evaluate(x, y, sample_weight)["r2"]
