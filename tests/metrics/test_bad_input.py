"""What does not fit is refused with a message, before anything is computed."""

import numpy as np
import pytest

import dlcore.metrics as m
from dlcore.errors import UsageError

CASES = {
    "lengths": (lambda: m.accuracy_score([1, 2], [1]), "numbers of rows"),
    "no rows": (lambda: m.accuracy_score([], []), "no rows"),
    "fractions as labels": (lambda: m.accuracy_score([0.5, 1], [0, 1]), "not labels"),
    "text and numbers": (lambda: m.accuracy_score(["a", "b"], [0, 1]), "text cannot be compared"),
    "mixed objects": (lambda: m.accuracy_score(np.array(["a", 1], object), np.array(["a", "b"], object)), "mixes"),
    "matrix": (lambda: m.accuracy_score([[0.1, 2], [3, 4]], [0, 1]), "one value a row"),
    "one-hot against labels": (lambda: m.f1_score([[0, 1], [1, 0]], [0, 1]), "single labels"),
    "weights": (lambda: m.accuracy_score([0, 1], [0, 1], sample_weight=[1]), "sample_weight does not fit"),
    "zero weights": (lambda: m.accuracy_score([0, 1], [0, 1], sample_weight=[0, 0]), "sum to zero"),
    "NaN weights": (lambda: m.accuracy_score([0, 1], [0, 1], sample_weight=[0, np.nan]), "not finite"),
    "average": (lambda: m.f1_score([0, 1], [0, 1], average="mean"), "unknown average"),
    "binary of three": (lambda: m.f1_score([0, 1, 2], [0, 1, 2]), "needs two labels"),
    "samples of one label": (lambda: m.f1_score([0, 1, 2], [0, 1, 2], average="samples"), "several labels"),
    "zero_division": (lambda: m.f1_score([0, 1], [0, 1], zero_division=7), "unknown zero_division"),
    "beta": (lambda: m.fbeta_score([0, 1], [0, 1], beta=-1), "negative"),
    "positive label": (lambda: m.f1_score([0, 1], [0, 1], pos_label=5), "does not occur"),
    "normalize": (lambda: m.confusion_matrix([0, 1], [0, 1], normalize="rows"), "unknown normalize"),
    "labels that do not occur": (lambda: m.confusion_matrix([0, 1], [0, 1], labels=[7]), "none of the labels"),
    "target names": (lambda: m.classification_report([0, 1], [0, 1], target_names=["a"]), "target_names"),
    "several labels": (lambda: m.confusion_matrix([[0, 1]], [[1, 0]]), "no confusion matrix"),
    "NaN scores": (lambda: m.roc_auc_score([0, 1], [0.1, np.nan]), "not finite"),
    "which is positive": (lambda: m.roc_curve(["a", "b"], [0.1, 0.2]), "positive one"),
    "many labels": (lambda: m.roc_auc_score([0, 1, 2], np.full((3, 3), 1 / 3)), "more than two labels"),
    "no probabilities": (lambda: m.roc_auc_score([0, 1, 2], np.eye(3) * 2, multi_class="ovr"), "sum to 1"),
    "columns": (lambda: m.log_loss([0, 1, 2], np.full((3, 2), 0.5)), "columns of scores"),
    "one label": (lambda: m.log_loss([1, 1], [0.5, 0.5]), "only one label"),
    "above one": (lambda: m.log_loss([0, 1], [0.5, 1.5]), "between 0 and 1"),
    "labels in disorder": (lambda: m.top_k_accuracy_score([0, 1, 2], np.eye(3), labels=[2, 1, 0]), "sorted"),
    "strategy": (lambda: m.calibration_curve([0, 1], [0.1, 0.2], strategy="even"), "unknown strategy"),
    "max_fpr": (lambda: m.roc_auc_score([0, 1], [0.1, 0.2], max_fpr=2), "max_fpr"),
    "regression shapes": (lambda: m.r2_score([1.0, 2.0], [1.0]), "do not fit together"),
    "regression text": (lambda: m.r2_score(["a"], [1.0]), "no numbers"),
    "logarithm": (lambda: m.mean_squared_log_error([-2.0], [1.0]), "above -1"),
    "multioutput": (lambda: m.r2_score([1.0, 2.0], [1.0, 2.0], multioutput="mean"), "unknown multioutput"),
    "resamples": (lambda: m.bootstrap_interval(m.accuracy_score, [0], [0], n_resamples=0), "at least one resample"),
}


@pytest.mark.parametrize("call,message", CASES.values(), ids=CASES)
def test_bad_input(call, message):
    with pytest.raises(UsageError, match=message):
        call()
