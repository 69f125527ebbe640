"""Every metric equals scikit-learn's to 1e-12: ties, weights, averages, labels that do not occur, text and numbers."""

import itertools
import math
import warnings

import numpy as np
import pytest
import sklearn.calibration
import sklearn.metrics

import dlcore.metrics as metrics

pytestmark = pytest.mark.filterwarnings("ignore")


def equal(found, expected, tolerance=1e-12):
    if isinstance(expected, (tuple, list)):
        assert len(found) == len(expected)
        for f, e in zip(found, expected, strict=True):
            equal(f, e, tolerance)
    elif expected is None:
        assert found is None
    else:
        assert np.shape(found) == np.shape(expected)
        np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance, equal_nan=True)


def both(name, *arguments, **options):
    theirs = getattr(sklearn.metrics, name, None) or getattr(sklearn.calibration, name)
    equal(getattr(metrics, name)(*arguments, **options), theirs(*arguments, **options))


def labels(kind, rows=200, seed=0):
    rng = np.random.default_rng(seed)
    names = {
        "01": np.array([0, 1]),
        "-11": np.array([-1, 1]),
        "bool": np.array([False, True]),
        "numbers": np.array([3, 7, 11, 400]),
        "far": np.array([-(1 << 40), 5, 1 << 50]),
        "u8": np.array([0, 1, 2, 255], np.uint8),
        "floats": np.array([0.0, 1.0, 2.0]),
        "text": np.array(["ant", "bee", "cow"]),
        "object": np.array(["ant", "bee", "cow"], object),
    }[kind]
    true = names[rng.integers(0, len(names), rows)]
    pred = np.where(rng.random(rows) < 0.6, true, names[rng.integers(0, len(names), rows)])
    return true, pred.astype(true.dtype)


def row_weights(seed=1, rows=200):
    weight = np.random.default_rng(seed).random(rows)
    weight[::7] = 0
    return weight


KINDS = ["01", "-11", "bool", "numbers", "far", "u8", "floats", "text", "object"]


@pytest.mark.parametrize("weight", [None, row_weights()], ids=["plain", "weighted"])
@pytest.mark.parametrize("kind", KINDS)
def test_labels_against_labels(kind, weight):
    true, pred = labels(kind)
    for name in (
        "accuracy_score",
        "balanced_accuracy_score",
        "matthews_corrcoef",
        "cohen_kappa_score",
        "confusion_matrix",
        "hamming_loss",
        "zero_one_loss",
    ):
        both(name, true, pred, sample_weight=weight)
    for name in ("accuracy_score", "zero_one_loss"):
        both(name, true, pred, sample_weight=weight, normalize=False)
    both("balanced_accuracy_score", true, pred, sample_weight=weight, adjusted=True)
    for normalize in ("true", "pred", "all"):
        both("confusion_matrix", true, pred, sample_weight=weight, normalize=normalize)
    for how in ("linear", "quadratic"):
        both("cohen_kappa_score", true, pred, weights=how, sample_weight=weight)


@pytest.mark.parametrize("kind", KINDS)
def test_lists_and_columns_are_taken_too(kind):
    true, pred = labels(kind, 40)
    equal(metrics.accuracy_score(true.tolist(), pred[:, np.newaxis]), sklearn.metrics.accuracy_score(true, pred))


@pytest.mark.parametrize("weight", [None, row_weights()], ids=["plain", "weighted"])
@pytest.mark.parametrize("zero_division", [0, 1, np.nan, "warn"])
@pytest.mark.parametrize("kind", ["numbers", "text", "u8"])
def test_precision_recall_and_f(kind, weight, zero_division):
    true, pred = labels(kind)
    names = np.unique(true)
    pred = np.where(pred == names[0], names[1], pred)  # the first label is never predicted
    true, pred, weight = (a if a is None else a[true != names[-1]] for a in (true, pred, weight))  # nor the last found
    for average, beta in itertools.product(["micro", "macro", "weighted", None], [0, 0.5, 1, 2, np.inf]):
        both(
            "precision_recall_fscore_support",
            true,
            pred,
            beta=beta,
            average=average,
            sample_weight=weight,
            zero_division=zero_division,
        )
        if beta not in (0, np.inf):
            both(
                "fbeta_score",
                true,
                pred,
                beta=beta,
                average=average,
                sample_weight=weight,
                zero_division=zero_division,
            )
    for chosen in ([names[1]], names[::-1], names[1:]):
        for average in ("micro", "macro", "weighted", None):
            both(
                "precision_recall_fscore_support",
                true,
                pred,
                labels=chosen,
                average=average,
                sample_weight=weight,
                zero_division=zero_division,
            )
        both("confusion_matrix", true, pred, labels=chosen, sample_weight=weight)


@pytest.mark.parametrize("kind,positive", [("01", 1), ("01", 0), ("-11", -1), ("bool", True)])
def test_two_labels(kind, positive):
    true, pred = labels(kind)
    for name in ("precision_score", "recall_score", "f1_score"):
        both(name, true, pred, pos_label=positive)
        both(name, true, pred, pos_label=positive, sample_weight=row_weights())
        both(name, true, np.full_like(pred, true[0]), pos_label=positive, zero_division=1)


@pytest.mark.parametrize("weight", [None, row_weights()], ids=["plain", "weighted"])
def test_rows_with_several_labels(weight):
    rng = np.random.default_rng(4)
    true, pred = (rng.random((200, 5)) < 0.3).astype(int), (rng.random((200, 5)) < 0.3).astype(int)
    pred[:, 2] = 0
    for average in ("micro", "macro", "weighted", "samples", None):
        for zero_division in (0, 1, np.nan):
            options = {"average": average, "sample_weight": weight, "zero_division": zero_division}
            both("precision_recall_fscore_support", true, pred, **options)
            both("precision_recall_fscore_support", true, pred, labels=[3, 1], **options)
            both("precision_score", true, pred, **options)
    both("accuracy_score", true, pred, sample_weight=weight)
    both("hamming_loss", true, pred, sample_weight=weight)
    score = np.round(rng.random((200, 5)), 1)
    for average in ("micro", "macro", "weighted", None):
        both("roc_auc_score", true, score, average=average, sample_weight=weight)
        both("average_precision_score", true, score, average=average, sample_weight=weight)
    some = (true.sum(1) > 0) & (true.sum(1) < 5)
    both("roc_auc_score", true[some], score[some], average="samples")
    both("average_precision_score", true[some], score[some], average="samples")


@pytest.mark.parametrize("digits", [0, 2, 4])
@pytest.mark.parametrize("kind", [*KINDS, "several"])
def test_the_report_is_the_same_text(kind, digits):
    if kind == "several":
        rng = np.random.default_rng(4)
        true, pred = (rng.random((90, 4)) < 0.3).astype(int), (rng.random((90, 4)) < 0.3).astype(int)
        chosen = [1, 3]
    else:
        true, pred = labels(kind)
        chosen = np.unique(true)[:-1]
    for options in (
        {},
        {"labels": chosen},
        {"labels": chosen, "target_names": [f"the long name of {i}" for i in range(len(chosen))]},
    ):
        for weight in (None, row_weights(rows=len(true))):
            arguments = {"digits": digits, "sample_weight": weight, "zero_division": 0, **options}
            expected = sklearn.metrics.classification_report(true, pred, **arguments)
            found = metrics.classification_report(true, pred, **arguments)
            if weight is None:
                assert found == expected
            else:
                # sums of weights may differ in their last digit, which the column of support shows
                assert [line[:20] for line in found.splitlines()] == [line[:20] for line in expected.splitlines()]
            own = metrics.classification_report(true, pred, output_dict=True, **arguments)
            theirs = sklearn.metrics.classification_report(true, pred, output_dict=True, **arguments)
            for (name, value), (other, expected_value) in zip(own.items(), theirs.items(), strict=True):
                assert name == str(other)
                if name == "accuracy":
                    equal(value, expected_value)
                else:
                    assert list(value) == list(expected_value)
                    equal(list(value.values()), list(expected_value.values()))


def scores(rows=300, decimals=2, seed=0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    true = rng.integers(0, 2, rows)
    score = np.clip(rng.normal(true * 0.3 + 0.35, 0.25), 0, 1)
    return true, (np.round(score, decimals) if decimals is not None else score).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64])
@pytest.mark.parametrize("decimals", [None, 1, 0])
@pytest.mark.parametrize("weight", [None, row_weights(rows=300)], ids=["plain", "weighted"])
def test_curves(decimals, dtype, weight):
    true, score = scores(decimals=decimals, dtype=np.float64)
    score = (score * 10).astype(dtype) if dtype is np.int64 else score.astype(dtype)
    for drop in (True, False):
        both("roc_curve", true, score, sample_weight=weight, drop_intermediate=drop)
        both("precision_recall_curve", true, score, sample_weight=weight, drop_intermediate=drop)
    both("roc_curve", true * 2 - 1, score, sample_weight=weight)
    both("roc_curve", np.array(["no", "yes"])[true], score, pos_label="yes", sample_weight=weight)
    both("roc_curve", true, score, pos_label=0, sample_weight=weight)
    both("roc_auc_score", true, score, sample_weight=weight)
    both("roc_auc_score", np.array(["no", "yes"])[true], score, sample_weight=weight)
    for share in (0.1, 0.5, 1):
        both("roc_auc_score", true, score, sample_weight=weight, max_fpr=share)
    both("average_precision_score", true, score, sample_weight=weight)
    both("average_precision_score", np.array(["no", "yes"])[true], score, pos_label="yes", sample_weight=weight)


def test_curves_of_one_label_alone():
    score = np.array([0.1, 0.4, 0.4, 0.9])
    for true in (np.ones(4, int), np.zeros(4, int)):
        both("roc_curve", true, score)
        both("precision_recall_curve", true, score)
        both("average_precision_score", true, score)
    assert math.isnan(metrics.roc_auc_score([1, 1, 1, 1], score))
    both("roc_auc_score", [0, 1], [0.5, 0.5])
    both("roc_auc_score", [0, 1], [-0.5, 0.5])


def test_an_area_below_points():
    both("auc", [0, 0.2, 1], [0, 0.6, 1])
    both("auc", [1, 0.2, 0], [0, 0.6, 1])
    with pytest.raises(ValueError):
        metrics.auc([0, 1, 0.5], [0, 1, 2])


def probabilities(rows=300, columns=4, decimals=None, seed=0):
    rng = np.random.default_rng(seed)
    true = rng.integers(0, columns, rows)
    logits = rng.normal(size=(rows, columns)) + 1.5 * np.eye(columns)[true]
    proba = np.exp(logits)
    proba /= proba.sum(1, keepdims=True)
    if decimals is not None:
        proba = np.round(proba, decimals) + 1e-3
        proba /= proba.sum(1, keepdims=True)
    return true, proba


@pytest.mark.parametrize("decimals", [None, 1])
@pytest.mark.parametrize("weight", [None, row_weights(rows=300)], ids=["plain", "weighted"])
def test_more_than_two_labels(weight, decimals):
    true, proba = probabilities(decimals=decimals)
    named = np.array(["ant", "bee", "cow", "dog"])[true]
    for answers in (true, named):
        for average in ("macro", "weighted", "micro", None):
            both("roc_auc_score", answers, proba, multi_class="ovr", average=average, sample_weight=weight)
            both("average_precision_score", answers, proba, average=average, sample_weight=weight)
        for k in (1, 2, 3, 4):
            both("top_k_accuracy_score", answers, proba, k=k, sample_weight=weight)
            both("top_k_accuracy_score", answers, proba, k=k, sample_weight=weight, normalize=False)
        both("log_loss", answers, proba, sample_weight=weight)
        both("log_loss", answers, proba, sample_weight=weight, normalize=False)
        both("brier_score_loss", answers, proba, sample_weight=weight)
        both("brier_score_loss", answers, proba, sample_weight=weight, scale_by_half=True)
    for average in ("macro", "weighted"):
        both("roc_auc_score", named, proba, multi_class="ovo", average=average)
    fewer = true[true != 2], proba[true != 2]
    both("log_loss", *fewer, labels=[0, 1, 2, 3])
    both("top_k_accuracy_score", *fewer, labels=[0, 1, 2, 3])


@pytest.mark.parametrize("decimals", [None, 1, 0])
@pytest.mark.parametrize("weight", [None, row_weights(rows=300)], ids=["plain", "weighted"])
def test_probabilities_of_two_labels(decimals, weight):
    true, proba = scores(decimals=decimals)
    for answers in (true, np.array(["no", "yes"])[true]):
        both("log_loss", answers, proba, sample_weight=weight)
        both("log_loss", answers, np.c_[1 - proba, proba], sample_weight=weight)
        both("brier_score_loss", answers, np.c_[1 - proba, proba], sample_weight=weight)
        both("top_k_accuracy_score", answers, proba, k=1, sample_weight=weight)
    both("top_k_accuracy_score", true, proba * 2 - 1, k=1, sample_weight=weight)
    for answers in (true, true * 2 - 1, true + 3):
        both("brier_score_loss", answers, proba, sample_weight=weight)
    both("brier_score_loss", np.array(["no", "yes"])[true], proba, pos_label="no", sample_weight=weight)
    both("brier_score_loss", true, proba, scale_by_half=False)
    for bins, strategy in itertools.product((3, 5, 10), ("uniform", "quantile")):
        both("calibration_curve", true, proba, n_bins=bins, strategy=strategy)


@pytest.mark.parametrize("weight", [None, row_weights(), np.ones(200)], ids=["plain", "weighted", "ones"])
@pytest.mark.parametrize("columns", [1, 3])
def test_numbers(weight, columns):
    rng = np.random.default_rng(0)
    true = rng.random((200, columns)) * 5 + 0.1
    pred = np.abs(true + rng.normal(size=true.shape))
    if columns == 1:
        true, pred = true[:, 0], pred[:, 0]
        both("max_error", true, pred)
    for how in ("uniform_average", "raw_values", [0.2, 0.5, 0.3])[:columns]:
        for name in (
            "mean_squared_error",
            "root_mean_squared_error",
            "mean_absolute_error",
            "mean_absolute_percentage_error",
            "mean_squared_log_error",
            "median_absolute_error",
            "mean_pinball_loss",
            "r2_score",
            "explained_variance_score",
        ):
            both(name, true, pred, sample_weight=weight, multioutput=how)
    for name in ("r2_score", "explained_variance_score"):
        both(name, true, pred, sample_weight=weight, multioutput="variance_weighted")
        constant = np.full_like(true, 2.0)
        for finite in (True, False):
            both(name, constant, pred, force_finite=finite)
            both(name, constant, constant, force_finite=finite)
        # under weights scikit-learn's mean of equal numbers is not that number, and its score 1e30
        assert getattr(metrics, name)(constant, pred, sample_weight=weight) == 0
        assert getattr(metrics, name)(constant, constant, sample_weight=weight) == 1
    both("mean_pinball_loss", true, pred, alpha=0.9, sample_weight=weight)
    both("median_absolute_error", np.round(true), np.round(pred), sample_weight=weight)


def test_undefined_values_warn():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        metrics.precision_score([0, 1, 1], [0, 0, 0])
        metrics.roc_auc_score([1, 1], [0.1, 0.2])
        metrics.r2_score([1.0], [1.0])
    assert [w.category for w in caught] == [metrics.UndefinedMetricWarning] * 3
