"""Regions that may hold something, from what a network says of its anchors (Ren et al., Faster R-CNN, 2015, section 3).

A place says four offsets and two logits (background, object).  With an anchor of centre p and size q,

    centre = p + 0.1 offsets q,     size = q exp(0.2 offsets),

is cut off at the picture's edges; boxes with a side below `least` pixels are left out.  Of the others the likeliest is taken, again
and again, and what overlaps it by more than `iou` is left out.  What is missing to R regions has four zeros.  Equal scores: the
first.  Nothing is differentiated: the regions are taken as given by what reads them (the paper's approximate joint training).
"""
from __future__ import annotations

from dlcore.errors import ShapeError
from dlcore.graph import call, op

propose_call = call("propose(z: F[B, P, 6], anchors: f32[P, 4], height: f32, width: f32, iou: f32, least: f32"
                    " -> regions: f32[B, R, 4]; boxes: f32[B, P, 4], score: f32[B, P])", over="B", flops="20 * B * R * P")


@op
def propose(z, anchors, count: int, height: float, width: float, iou=0.7, least=4.0):
    """z: f32[B, P, 6]   anchors: f32[P, 4], corners   returns f32[B, count, 4], corners within height x width.   ShapeError"""
    if z.ndim != 3 or z.shape[2] != 6 or anchors.shape != (z.shape[1], 4) or count < 1:
        raise ShapeError("propose: shapes do not go together", where=z.graph.where(), expected="z [B, P, 6], anchors [P, 4]",
                         got=f"{list(z.shape)}, {list(anchors.shape)}, {count} regions")
    return propose_call(z, anchors, height, width, iou, least, R=count), None
