"""`Model.evaluate(report=True)`: everything that can be measured of a model with one output."""
from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from dlcore.errors import UsageError
from dlcore.layers.layer import listed
from dlcore.training import dataset
from dlcore.training.losses import BinaryCrossentropy, CategoricalCrossentropy, SparseCategoricalCrossentropy

if TYPE_CHECKING:
    from dlcore.metrics.evaluation import Evaluation
    from dlcore.training.model import Model


def evaluation(model: Model, x: Any, y: Any, batch_size: int) -> Evaluation:
    """Labels where the loss is a cross-entropy over classes, else numbers; see `dlcore.metrics.evaluation`.

    UsageError for a model with several outputs, and where an answer is more than one label or number."""
    from dlcore.metrics import evaluation as measured
    data = dataset.make(model, x, y)
    if len(data.y) != 1:
        raise UsageError("a report is about one output", got=f"{len(data.y)} outputs", hint="evaluate(...) without report=True")
    loss, answers, out = model.objective.losses[0], data.y[0], listed(model.predict(x, batch_size))[model.objective.indices[0]]
    if isinstance(loss, (SparseCategoricalCrossentropy, CategoricalCrossentropy)) and out.ndim == 2:
        probs = softmax(out) if loss.from_logits else out
        targets = answers.argmax(1) if isinstance(loss, CategoricalCrossentropy) else answers.reshape(-1)
        return measured.of_labels(targets.astype(np.int64), probs, [str(c) for c in range(probs.shape[1])])
    if out.size != len(out) or answers.size != len(out):
        raise UsageError("a report needs one label or one number for each row", got=f"outputs {out.shape}, answers {answers.shape}")
    out, answers = out.reshape(-1), answers.reshape(-1)
    if isinstance(loss, BinaryCrossentropy):
        likely = 1 / (1 + np.exp(-out.astype(np.float64))) if loss.from_logits else out
        return measured.of_labels((answers > 0.5).astype(np.int64), np.stack([1 - likely, likely], 1), ["0", "1"])
    return measured.of_numbers(answers, out)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities, f64 (N, C)."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(1, keepdims=True))
    return shifted / shifted.sum(1, keepdims=True)
