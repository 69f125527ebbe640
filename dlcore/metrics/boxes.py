"""Boxes on NumPy: (x1, y1, x2, y2) in pixels, edges between pixels, so that a box is x2 - x1 wide."""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Boxes:
    """What is drawn into one picture.

    labels: i64 (N,), numbers of classes;  xyxy: f64 (N, 4);  ignored: bool (N,): neither asked for nor counted against
    who finds it (`difficult` of Pascal VOC, `iscrowd` of COCO)."""

    labels: np.ndarray
    xyxy: np.ndarray
    ignored: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    @staticmethod
    def of(rows: list[tuple[int, tuple[float, float, float, float], bool]]) -> Boxes:
        """From (label, box, ignored) of each."""
        return Boxes(np.array([row[0] for row in rows], np.int64), np.array([row[1] for row in rows], np.float64).reshape(-1, 4),
                     np.array([row[2] for row in rows], bool))

    @staticmethod
    def taken(value: object) -> Boxes:
        """From a `Boxes`, or an array (N, 5) of label, x1, y1, x2, y2."""
        if isinstance(value, Boxes):
            return value
        rows = np.asarray(value, np.float64).reshape(-1, 5)
        return Boxes(rows[:, 0].astype(np.int64), rows[:, 1:], np.zeros(len(rows), bool))


def listed(found: list[Boxes]) -> np.ndarray:
    """An array of objects, one `Boxes` for each picture."""
    out = np.empty(len(found), object)
    out[:] = found
    return out


def areas(xyxy: np.ndarray) -> np.ndarray:
    """(N,) areas of (N, 4); 0 where an edge lies before its opposite."""
    return np.clip(xyxy[:, 2] - xyxy[:, 0], 0, None) * np.clip(xyxy[:, 3] - xyxy[:, 1], 0, None)


def intersections(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(N, M): the areas that boxes a (N, 4) and b (M, 4) share."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    sides = np.clip(high - low, 0, None)
    return sides[..., 0] * sides[..., 1]


def overlaps(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(N, M): intersection over union of boxes a (N, 4) and b (M, 4); 0 where both are empty."""
    shared = intersections(a, b)
    union = areas(a)[:, None] + areas(b)[None, :] - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def clipped(xyxy: np.ndarray, width: float, height: float) -> np.ndarray:
    """Boxes cut off at the edges of a picture."""
    return np.clip(xyxy, 0, np.array([width, height, width, height], xyxy.dtype))


def suppressed(xyxy: np.ndarray, scores: np.ndarray, labels: np.ndarray, iou: float = 0.5, most: int = 300) -> np.ndarray:
    """Greedy suppression of boxes that are not the best of their place: numbers of those kept, best first.

    A box goes where its overlap with a better one of the same label is above `iou`; equal scores keep their order.
    xyxy: (N, 4);  scores, labels: (N,);  most: at most so many are kept."""
    order = np.argsort(-scores, kind="stable")
    kept: list[int] = []
    while len(order) and len(kept) < most:
        best, order = order[0], order[1:]
        kept.append(int(best))
        same = labels[order] == labels[best]
        beside = np.zeros(len(order))
        beside[same] = overlaps(xyxy[best][None], xyxy[order[same]])[0]
        order = order[beside <= iou]
    return np.array(kept, np.int64)
