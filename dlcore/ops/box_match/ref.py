"""Matching by its definition, box by box."""
import numpy as np

from dlcore.ops.case import Case


def nested(size, anchor):
    shared = np.minimum(size, anchor).prod()
    return shared / (size.prod() + anchor.prod() - shared)


def overlap(a, b):
    sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    if (sides <= 0).any():
        return 0.0
    return sides.prod() / ((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - sides.prod())


def match_cells(boxes, cells, ratio=4.0):
    out = np.full((len(boxes), len(cells)), -1, np.int32)
    for b, rows in enumerate(boxes):
        for p, (column, row, stride, *anchor) in enumerate(cells):
            found = []
            for m, (label, *corners) in enumerate(rows):
                corners, anchor = np.array(corners), np.array(anchor)
                size = corners[2:] - corners[:2]
                if label < 0 or (size <= 0).any():
                    continue
                u, v = (corners[:2] + corners[2:]) / 2 / stride - (column, row)
                near_x, near_y = -0.5 <= u < 1.5, -0.5 <= v < 1.5
                if not (0 <= u < 1 and near_y or 0 <= v < 1 and near_x):
                    continue
                best = max(nested(size, c[3:]) for c in cells)
                if np.maximum(size / anchor, anchor / size).max() < ratio or nested(size, anchor) >= best - 1e-9:
                    found.append((nested(size, anchor) + (0 <= u < 1 and 0 <= v < 1), -m))
            if found:
                out[b, p] = -max(found)[1]
    return out


def match_priors(boxes, priors, low=0.5, high=0.5, force=True):
    out = np.full(priors.shape[:2], -1, np.int32)
    for b, rows in enumerate(boxes):
        there = [m for m in range(len(rows)) if rows[m, 0] >= 0]
        values = np.array([[overlap(rows[m, 1:], p) for p in priors[b]] for m in there]).reshape(len(there), priors.shape[1])
        for p, prior in enumerate(priors[b]):
            if (prior[2:] <= prior[:2]).any():
                out[b, p] = -2
            elif there and values[:, p].max() >= low:
                out[b, p] = there[values[:, p].argmax()] if values[:, p].max() >= high else -2
        for k, m in enumerate(there if force else []):
            if values[k].max() > 0:
                out[b, values[k].argmax()] = m
    return out


def grid(columns, rows, stride, anchors):
    """Cells of a grid, f64 [rows * columns * anchors, 5]."""
    return np.array([(x, y, stride, w, h) for y in range(rows) for x in range(columns) for w, h in anchors], np.float64)


def drawn(pictures, most, width, height, seed=0, classes=3):
    """Boxes at random, exact in float32, the last of a picture being none."""
    rng = np.random.default_rng(seed)
    found = np.zeros((pictures, most, 5))
    found[..., 0] = rng.integers(0, classes, (pictures, most))
    low = rng.random((pictures, most, 2)) * (0.7 * width, 0.7 * height)
    found[..., 1:3] = low
    found[..., 3:] = low + (0.05 + 0.5 * rng.random((pictures, most, 2))) * (width, height)
    found[:, -1, 0] = -1
    return found.astype(np.float32).astype(np.float64)


def corners(cells):
    """The boxes that cells stand for."""
    centre = (cells[:, :2] + 0.5) * cells[:, 2:3]
    return np.concatenate([centre - cells[:, 3:] / 2, centre + cells[:, 3:] / 2], 1)


CELLS = np.concatenate([grid(5, 4, 8, [(6, 7), (11, 5)]), grid(3, 2, 16, [(15, 13), (30, 27)])])
PRIORS = np.broadcast_to(corners(CELLS), (3, len(CELLS), 4)).copy()
NONE = np.array([(-1, 0, 0, 9, 9), (1, 4, 4, 4, 9)], np.float64)[None]
THIN = np.array([(0, 1, 3, 39, 4), (2, 17, 1, 18, 31)], np.float64)[None]
FLAT = PRIORS.copy()
FLAT[:, ::3, 2:] = FLAT[:, ::3, :2]

CASES = [
    Case("match_cells", "odd", {"boxes": drawn(3, 5, 40, 32), "cells": CELLS}, match_cells),
    Case("match_cells", "strict", {"boxes": drawn(7, 9, 40, 32, 4), "cells": CELLS}, match_cells, options={"ratio": 1.3}),
    Case("match_cells", "none", {"boxes": NONE, "cells": CELLS}, match_cells),
    Case("match_cells", "thin", {"boxes": THIN, "cells": CELLS}, match_cells),
    Case("match_priors", "ssd", {"boxes": drawn(3, 5, 40, 32), "priors": PRIORS}, match_priors),
    Case("match_priors", "between", {"boxes": drawn(3, 6, 40, 32, 2), "priors": PRIORS}, match_priors,
         options={"low": 0.2, "high": 0.4, "force": False}),
    Case("match_priors", "none", {"boxes": NONE[:, :1], "priors": PRIORS[:1]}, match_priors),
    Case("match_priors", "flat", {"boxes": drawn(3, 5, 40, 32, 6), "priors": FLAT}, match_priors, options={"low": 0.3}),
]
