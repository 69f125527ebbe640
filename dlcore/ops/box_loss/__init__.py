"""Losses of detectors, one value per picture.  Boxes and matches are those of the room `box_match`.

**YOLO.**  A place says (x, y, w, h, objectness, classes...) as logits z; with a cell (column, row, stride, W, H) and s the logistic
function it means the box (Wang et al., Scaled-YOLOv4, 2021, section 4)

    centre = (2 s(z_x) - 1/2 + column, 2 s(z_y) - 1/2 + row) stride,     size = (4 s(z_w)^2 W, 4 s(z_h)^2 H)

With n the number of matched places, at least 1, the loss of a picture is

    box / n  sum_matched (1 - CIoU)  +  class / n  sum_matched mean_k BCE(z_k, [k = label])
                                     +  objectness / n  sum_all BCE(z_o, quality)

where BCE is the binary cross-entropy on logits, quality the overlap of the box that a matched place means with its match, 0
elsewhere and no function of z (Redmon et al., 2016: "the confidence is the IOU"), and (Zheng et al., Distance-IoU loss, 2020)

    CIoU = IoU - r^2 / c^2 - v^2 / (1 - IoU + v),     v = 4 / pi^2 (atan(w' / h') - atan(w / h))^2

with r the distance of the centres and c the diagonal of the box around both.  Gradients are exact: the paper takes the factor
v / (1 - IoU + v) for a constant and scales that of v, here both are differentiated.

**Priors** (SSD; the stages of Faster R-CNN).  A place says 4 offsets and logits of classes, the first being background; relative to
its prior (centre p, size q), and g, t the box's,

    offsets = (g - p) / (q 0.1),  log(t / q) / 0.2

With n matched places, at least 1, loss = (1 / n) (sum_matched smooth_L1(offsets) + sum of cross-entropies), where these are those
of matched places and of the `negatives` n places of background, at least FEWEST, whose cross-entropy is greatest (Liu et al.,
SSD, 2016, section 2.2; smooth L1: Girshick, Fast R-CNN, 2015).  Places matched with -2 take no part.

Forward keeps the gradient for a loss of 1, `slope`; backward scales it.
"""
from __future__ import annotations

from dlcore.errors import ShapeError
from dlcore.graph import call, op

CENTRE, SIZE = 0.1, 0.2                 # what offsets are divided by
FEWEST = 8

yolo_quality_call = call("yolo_quality(z: F[B, P, D], boxes: f32[B, M, 5], matched: i32[B, P], cells: f32[P, 5]"
                         " -> quality: f32[B, P])", over="B", flops="60 * B * P")
yolo_loss_call = call("yolo_loss(z: F[B, P, D], boxes: f32[B, M, 5], matched: i32[B, P], cells: f32[P, 5], quality: f32[B, P],"
                      " box: f32, objectness: f32, classes: f32 -> loss: f32[B], slope: f32[B, P, D])", over="B",
                      flops="B * P * (40 + 8 * D)")
prior_loss_call = call("prior_loss(z: F[B, P, D], boxes: f32[B, M, 5], matched: i32[B, P], priors: f32[B, P, 4], negatives: f32"
                       " -> loss: f32[B], slope: f32[B, P, D]; hardness: f32[B, P])", over="B", flops="B * P * (60 + 8 * D)")
slope_backward = call("slope_backward(dloss: f32[B], slope: f32[B, S] -> +dz: F[B, S])", over="B", flops="B * S")


def _check(z, boxes, matched, places, least: int, what: str) -> None:
    good = z.ndim == 3 and boxes.ndim == 3 and boxes.shape[2] == 5 and z.shape[2] >= least
    if not good or matched.shape != z.shape[:2] or places.shape[-2] != z.shape[1]:
        raise ShapeError(f"{what}: shapes do not go together", where=z.graph.where(),
                         expected=f"z [B, P, {least} or more], boxes [B, M, 5], matched [B, P], places for each of P",
                         got=", ".join(str(list(t.shape)) for t in (z, boxes, matched, places)))


def _scaled(z, slope, others: int):
    rows = slope.reshape(z.shape[0], z.size // z.shape[0])
    return lambda dloss: (slope_backward(dloss, rows).reshape(*z.shape), *[None] * others)


@op
def yolo_quality(z, boxes, matched, cells):
    """The overlap of the box that each matched place means with its match, f32[B, P]; 0 elsewhere.   As `yolo_loss`."""
    _check(z, boxes, matched, cells, 6, "yolo_quality")
    return yolo_quality_call(z, boxes, matched, cells), None


@op
def yolo_loss(z, boxes, matched, cells, quality, box=1.0, objectness=1.0, classes=1.0):
    """z: f32[B, P, 5 + K]   boxes: f32[B, M, 5]   matched: i32[B, P]   cells: f32[P, 5]   quality: f32[B, P]   returns f32[B].

    box, objectness, classes: factors of the three parts.   ShapeError"""
    _check(z, boxes, matched, cells, 6, "yolo_loss")
    loss, slope = yolo_loss_call(z, boxes, matched, cells, quality, box, objectness, classes)
    return loss, _scaled(z, slope, 4)


@op
def prior_loss(z, boxes, matched, priors, negatives=3.0):
    """z: f32[B, P, 4 + 1 + K]   boxes: f32[B, M, 5]   matched: i32[B, P]   priors: f32[B, P, 4]   returns f32[B].   ShapeError"""
    _check(z, boxes, matched, priors, 6, "prior_loss")
    loss, slope = prior_loss_call(z, boxes, matched, priors, negatives)
    return loss, _scaled(z, slope, 3)
