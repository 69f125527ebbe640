"""Metrics with scikit-learn's names, arguments and values, on NumPy alone.

    from dlcore.metrics import roc_auc_score, classification_report, bootstrap_interval

`sample_weight`, ties, averages (micro, macro, weighted, samples, None) and `zero_division` mean what they mean there;
wrong input raises `UsageError`, which is a `ValueError`.  `evaluation` measures a model with all of them.
"""
from __future__ import annotations

from dlcore.metrics.bootstrap import Interval, bootstrap_auc, bootstrap_counts, bootstrap_interval, bootstrap_mean
from dlcore.metrics.boxes import Boxes, overlaps, suppressed
from dlcore.metrics.classification import (
    accuracy_score,
    balanced_accuracy_score,
    cohen_kappa_score,
    confusion_matrix,
    hamming_loss,
    matthews_corrcoef,
    top_k_accuracy_score,
    zero_one_loss,
)
from dlcore.metrics.detection import Detected, DetectionScores, detection_scores
from dlcore.metrics.frechet import frechet_distance
from dlcore.metrics.per_label import (
    classification_report,
    f1_score,
    fbeta_score,
    precision_recall_fscore_support,
    precision_score,
    recall_score,
)
from dlcore.metrics.probability import (
    brier_score_loss,
    calibration_curve,
    expected_calibration_error,
    log_loss,
)
from dlcore.metrics.ranking import auc, average_precision_score, precision_recall_curve, roc_auc_score, roc_curve
from dlcore.metrics.regression import (
    explained_variance_score,
    max_error,
    mean_absolute_error,
    mean_absolute_percentage_error,
    mean_pinball_loss,
    mean_squared_error,
    mean_squared_log_error,
    median_absolute_error,
    r2_score,
    root_mean_squared_error,
)
from dlcore.metrics.targets import UndefinedMetricWarning
from dlcore.metrics.translation import bleu_details, bleu_score, chrf_score

__all__ = [
    "Boxes", "Detected", "DetectionScores", "Interval", "UndefinedMetricWarning",
    "accuracy_score", "auc", "average_precision_score", "balanced_accuracy_score", "bleu_details", "bleu_score",
    "bootstrap_auc", "bootstrap_counts", "bootstrap_interval", "bootstrap_mean", "brier_score_loss", "calibration_curve",
    "chrf_score",
    "classification_report", "cohen_kappa_score", "confusion_matrix", "detection_scores", "expected_calibration_error",
    "explained_variance_score", "f1_score", "fbeta_score", "frechet_distance", "hamming_loss", "log_loss", "matthews_corrcoef",
    "max_error",
    "mean_absolute_error", "mean_absolute_percentage_error", "mean_pinball_loss", "mean_squared_error",
    "mean_squared_log_error", "median_absolute_error", "overlaps", "precision_recall_curve", "precision_recall_fscore_support",
    "precision_score", "r2_score", "recall_score", "roc_auc_score", "roc_curve", "root_mean_squared_error", "suppressed",
    "top_k_accuracy_score", "zero_one_loss",
]
