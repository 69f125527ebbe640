"""Average precision of boxes, as pycocotools' COCOeval computes it (https://cocodataset.org/#detection-eval).

For a class and a least overlap t the boxes found, best first, are matched greedily with those that are there; precision is made
monotone, read at 101 recalls from 0 to 1, and averaged.  `map50` is the mean over classes at t = 0.5, `map50_95` that over t = 0.5,
0.55, ..., 0.95 as well; classes that do not occur do not count.  Of a picture and class the best 100 boxes count.  Boxes marked
`ignored` need not be found, and what lies in them is not counted against the finder.  Sizes: small below 32 x 32 pixels, large from
96 x 96.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dlcore.errors import DataError
from dlcore.metrics.boxes import Boxes, areas, intersections

THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0.0, 1.0, 101)
SIZES = {"all": (0.0, 1e10), "small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, 1e10)}
MOST = (1, 10, 100)                     # boxes of a picture and class


@dataclass(frozen=True, eq=False)
class Detected:
    """What was found in one picture.  labels: i64 (N,);  scores: f32 or f64 (N,);  xyxy: (N, 4) in pixels."""

    labels: np.ndarray
    scores: np.ndarray
    xyxy: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class DetectionScores:
    """precision: f64 (10 thresholds, classes, 4 sizes), the averages over recalls, NaN where a class does not occur;
    recall: f64 (10, classes, 4 sizes, 3 limits of boxes), the greatest."""

    classes: tuple[str, ...]
    precision: np.ndarray
    recall: np.ndarray

    def metrics(self) -> dict[str, float]:
        """map50, map50_95, map75, then each class's map50, means by size, and recalls; NaN (no such box) is left out."""
        p, r = self.precision, self.recall
        found = {"map50": _mean(p[0, :, 0]), "map50_95": _mean(p[:, :, 0]), "map75": _mean(p[5, :, 0])}
        found |= {f"map50_{name}": float(p[0, k, 0]) for k, name in enumerate(self.classes)}
        found |= {f"map50_95_{size}": _mean(p[:, :, s]) for s, size in enumerate(SIZES) if s}
        found |= {f"recall_{most}": _mean(r[:, :, 0, m]) for m, most in enumerate(MOST)}
        return {name: value for name, value in found.items() if value == value}


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")


def detection_scores(truth: Sequence[Boxes], found: Sequence[Detected], classes: Sequence[str]) -> DetectionScores:
    """Scores of what was found in each picture.  Raises `DataError` where the numbers of pictures differ."""
    if len(truth) != len(found):
        raise DataError("pictures and answers are of different number", expected=f"{len(truth):,}", got=f"{len(found):,}")
    shape = len(THRESHOLDS), len(classes), len(SIZES)
    precision, recall = np.full(shape, np.nan), np.full((*shape, len(MOST)), np.nan)
    for k in range(len(classes)):
        pictures = [_of_class(t, f, k) for t, f in zip(truth, found, strict=True)]
        for s, limits in enumerate(SIZES.values()):
            matched = [_match(p, limits) for p in pictures if len(p.truth) or len(p.scores)]
            for m, most in enumerate(MOST):
                precisions, recalls = _curve(matched, most)
                recall[:, k, s, m] = recalls
                if m == len(MOST) - 1:
                    precision[:, k, s] = precisions
    return DetectionScores(tuple(classes), precision, recall)


@dataclass(frozen=True, eq=False)
class _Picture:
    """One picture and class: boxes that are there (area, ignored), and the best found, in order (score, area); overlap (found,
    there)."""

    truth: np.ndarray
    ignored: np.ndarray
    scores: np.ndarray
    found: np.ndarray
    overlap: np.ndarray


def _of_class(truth: Boxes, found: Detected, label: int) -> _Picture:
    there, mine = truth.labels == label, np.flatnonzero(found.labels == label)
    mine = mine[np.argsort(-np.asarray(found.scores)[mine], kind="stable")[:MOST[-1]]]
    boxes, ignored = truth.xyxy[there], truth.ignored[there]
    guesses = np.asarray(found.xyxy, np.float64)[mine]
    shared, own = intersections(guesses, boxes), areas(guesses)[:, None]
    union = np.where(ignored, own, own + areas(boxes) - shared)
    overlap = np.divide(shared, union, out=np.zeros_like(shared), where=shared > 0)
    return _Picture(areas(boxes), ignored, np.asarray(found.scores, np.float64)[mine], areas(guesses), overlap)


@dataclass(frozen=True, eq=False)
class _Matched:
    """For each threshold and box found: whether it is right, and whether it does not count; how many are to be found."""

    scores: np.ndarray
    right: np.ndarray
    ignored: np.ndarray
    wanted: int


def _match(p: _Picture, limits: tuple[float, float]) -> _Matched:
    """Greedily: each box found takes the box of greatest overlap that is free, one that counts before one that does not."""
    low, high = limits
    passed = p.ignored | (p.truth < low) | (p.truth > high)
    order = np.argsort(passed, kind="stable")
    passed, crowd, overlap = passed[order], p.ignored[order], p.overlap[:, order]
    right = np.zeros((len(THRESHOLDS), len(p.scores)), bool)
    ignored = np.zeros_like(right)
    ending = int(np.count_nonzero(~passed))
    for t, least in enumerate(THRESHOLDS):
        free = np.ones(len(passed), bool)
        for d in range(len(p.scores)):
            g = _best(overlap[d], free | crowd, min(least, 1 - 1e-10), ending)
            if g >= 0:
                free[g], right[t, d], ignored[t, d] = False, True, passed[g]
    outside = (p.found < low) | (p.found > high)
    ignored |= ~right & outside
    return _Matched(p.scores, right & ~ignored, ignored, ending)


def _best(overlap: np.ndarray, free: np.ndarray, least: float, ending: int) -> int:
    """The last of the greatest overlaps from `least` on of those that count (before `ending`), else of the others; -1: none."""
    for begin, end in ((0, ending), (ending, len(overlap))):
        values = np.where(free[begin:end], overlap[begin:end], -1.0)
        if len(values) and values.max() >= least:
            return end - 1 - int(values[::-1].argmax())
    return -1


def _curve(matched: Sequence[_Matched], most: int) -> tuple[np.ndarray, np.ndarray]:
    """For each threshold the average precision and the greatest recall; NaN where nothing is to be found."""
    wanted = sum(m.wanted for m in matched)
    if not wanted:
        return np.full(len(THRESHOLDS), np.nan), np.full(len(THRESHOLDS), np.nan)
    order = np.argsort(-np.concatenate([m.scores[:most] for m in matched]), kind="stable")
    right = np.concatenate([m.right[:, :most] for m in matched], 1)[:, order]
    wrong = ~right & ~np.concatenate([m.ignored[:, :most] for m in matched], 1)[:, order]
    good, bad = right.cumsum(1, dtype=np.float64), wrong.cumsum(1, dtype=np.float64)
    recall, precision = good / wanted, good / (good + bad + np.spacing(1))
    precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    averages = np.zeros(len(THRESHOLDS))
    for t in range(len(THRESHOLDS)):
        at = np.searchsorted(recall[t], RECALLS, side="left")
        averages[t] = precision[t, at[at < recall.shape[1]]].sum() / len(RECALLS)
    return averages, recall[:, -1] if recall.shape[1] else np.zeros(len(THRESHOLDS))
