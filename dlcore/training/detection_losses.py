"""The losses of detectors.  A target is f32[B, M, 5]: the boxes of a picture as rows (label, x1, y1, x2, y2), label -1 for none."""
from __future__ import annotations

from typing import Any

from dlcore import ops
from dlcore.errors import UsageError
from dlcore.layers.trace import origin
from dlcore.training.losses import Loss

YOLO = {"box": 2.0, "objectness": 0.5, "classes": 0.5}


class DetectionLoss(Loss):
    """The loss that suits a network's last layer: `YoloOutput`, `PriorOutput` (SSD) or `RegionOutput` (Faster R-CNN)."""

    targets, name = "any", "detection"

    def __call__(self, y_true, y_pred):
        kind, parts = origin(y_pred)
        if kind not in _LOSSES:
            raise UsageError("the loss of detectors is for a network that ends with YoloOutput, PriorOutput or RegionOutput")
        return _LOSSES[kind](y_true, *parts)


def yolo(boxes: Any, z: Any, cells: Any) -> Any:
    matched = ops.match_cells(boxes, cells)
    return ops.yolo_loss(z, boxes, matched, cells, ops.yolo_quality(z, boxes, matched, cells), **YOLO)


def everywhere(priors: Any, B: int) -> Any:
    """Boxes f32[P, 4] for each picture."""
    return ops.spread_columns(priors.reshape(priors.size), B).reshape(B, *priors.shape)


def priors_loss(boxes: Any, z: Any, priors: Any, low: float = 0.4, high: float = 0.5, negatives: float = 3.0) -> Any:
    priors = everywhere(priors, z.shape[0])
    return ops.prior_loss(z, boxes, ops.match_priors(boxes, priors, low, high, True), priors, negatives)


def regions_loss(boxes: Any, z: Any, anchors: Any, regions: Any, said: Any) -> Any:
    """Both stages of Faster R-CNN: whether an anchor holds anything, and which class a region is of."""
    anything = ops.minimum(boxes, _labels_to_zero(boxes))
    first = priors_loss(anything, z, anchors, 0.3, 0.6)
    matched = ops.match_priors(boxes, regions, 0.5, 0.5, False)
    return ops.add(first, ops.prior_loss(said, boxes, matched, regions, 3.0))


def _labels_to_zero(boxes: Any) -> Any:
    """What boxes are at most where all labels become 0: infinite, but for the label."""
    B, M, _ = boxes.shape
    sides = [ops.fill(value, B * M, n, graph=boxes.graph) for value, n in ((0.0, 1), (3e38, 4))]
    return ops.concat(sides, 1).reshape(B, M, 5)


_LOSSES: dict[str, Any] = {"yolo": yolo, "priors": priors_loss, "regions": regions_loss}
