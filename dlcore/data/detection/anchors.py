"""Anchors: sizes of boxes that stand for those of a data set."""
from __future__ import annotations

import numpy as np

_STARTS = 8                # of k-means; the best is kept


def anchors_of(sizes: np.ndarray, count: int, seed: int = 0, rounds: int = 100) -> np.ndarray:
    """(count, 2) widths and heights that stand for the sizes (N, 2) of boxes, small to large.

    k-means whose distance is 1 - IoU of boxes with one corner in common (Redmon & Farhadi, YOLO9000, 2016, section 2); a
    mean is the median of its members.  With fewer different sizes than anchors these are
    multiples of the median."""
    sizes = np.asarray(sizes, np.float64)
    different = np.unique(sizes, axis=0)
    if len(different) < count:
        middle = np.median(sizes, axis=0) if len(sizes) else np.array([32.0, 32.0])
        return middle * np.geomspace(0.5, 2.0, count)[:, None]
    rng = np.random.default_rng(seed)
    found = [_means(sizes, _spread(different, count, rng), rounds) for _ in range(_STARTS)]
    centres = max(found, key=lambda c: _nested(sizes, c).max(1).mean())
    return centres[np.argsort(centres.prod(1), kind="stable")]


def _spread(different: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Sizes to begin with, far ones being likelier (k-means++)."""
    centres = different[[rng.integers(len(different))]]
    while len(centres) < count:
        distance = (1 - _nested(different, centres).max(1)) ** 2
        centres = np.vstack([centres, different[[rng.choice(len(different), p=distance / distance.sum())]]])
    return centres


def _means(sizes: np.ndarray, centres: np.ndarray, rounds: int) -> np.ndarray:
    """Where k-means ends that begins with these."""
    centres, members = centres.copy(), np.full(len(sizes), -1)
    for _ in range(rounds):
        nearest = _nested(sizes, centres).argmax(1)
        if np.array_equal(nearest, members):
            break
        members = nearest
        for k in range(len(centres)):
            if (members == k).any():
                centres[k] = np.median(sizes[members == k], axis=0)
    return centres


def _nested(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(N, M): intersection over union of sizes (N, 2) and (M, 2) that share a corner."""
    shared = np.minimum(a[:, None], b[None]).prod(-1)
    return shared / (a.prod(-1)[:, None] + b.prod(-1)[None] - shared)
