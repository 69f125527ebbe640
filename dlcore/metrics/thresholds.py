"""The probabilities from which labels are given, where a row may have any number of them."""
from __future__ import annotations

import numpy as np

from dlcore.errors import UsageError

STEPS = 160                             # thresholds that are tried, evenly in log-odds
LOW, HIGH = 0.005, 0.98
WIDTH = 1.0                             # of the smoothing, in log-odds, for a label with one row


def label_thresholds(targets: np.ndarray, probs: np.ndarray) -> np.ndarray:
    """For each label the probability above which it is best given, by its F1 on these rows; f64 (labels,).

    targets: (N, labels), whether a row has the label;  probs: (N, labels).

    Each label has a threshold of its own (SCut of Yang, 2001), since that of the best F1 is half of this F1 where probabilities
    are calibrated (Lipton, Elkan and Narayanaswamy, 2014), thus low for labels that are rare or hard.  The best of few rows is
    chance: with n rows of a label its F1 is averaged over thresholds about 1/sqrt(n) apart in log-odds, so that the middle of
    a wide range of good ones is taken.  A label without rows here gets the common threshold of the best macro F1 of the others,
    smoothed as for the rarest (0.5 where there are none).   UsageError for arrays that do not fit together
    """
    truth, probs = np.asarray(targets) > 0.5, np.asarray(probs, np.float64)
    if truth.shape != probs.shape or truth.ndim != 2:
        raise UsageError("targets and probabilities do not fit together", expected="(N, labels) both",
                         got=f"{truth.shape} and {probs.shape}")
    odds = np.linspace(_logit(LOW), _logit(HIGH), STEPS)
    grid = 1 / (1 + np.exp(-odds))
    scores = np.stack([f1_above(truth, probs, threshold) for threshold in grid])
    rows = truth.sum(0)
    if not rows.any():
        return np.full(len(rows), 0.5)
    apart = odds[:, np.newaxis] - odds

    def best(score: np.ndarray, count: float) -> float:
        near = np.exp(-0.5 * (apart * np.sqrt(count) / WIDTH) ** 2)
        return float(grid[(near @ score / near.sum(1)).argmax()])

    occurs = np.flatnonzero(rows)
    found = np.full(len(rows), best(scores[:, occurs].mean(1), rows[occurs].min()))
    found[occurs] = [best(scores[:, label], rows[label]) for label in occurs]
    return found


def f1_above(truth: np.ndarray, probs: np.ndarray, thresholds: np.ndarray | float) -> np.ndarray:
    """The F1 of each label that is given above its threshold, f64 (labels,); 0 where it neither is given nor occurs."""
    given = probs > thresholds
    hits = (given & truth).sum(0)
    return np.asarray(2 * hits / np.maximum(1, given.sum(0) + truth.sum(0)))


def _logit(share: float) -> float:
    return float(np.log(share / (1 - share)))
