"""Which box of a picture each place of a detector answers for.

A picture's boxes are rows (label, x1, y1, x2, y2) in pixels; a row whose label is below 0 fills the array up and is none.
The answer for each place is the number of a row, -1 for background, -2 for a place that says nothing to the loss.

    match_cells    YOLO.  A cell (column, row, stride, width, height) has an anchor of that width and height.  It answers for a box
                   whose centre lies in the cell, or in the nearer half of the neighbour to its left, right, above or below, where
                   the sides of box and anchor differ by a factor below `ratio`, or no anchor is more like the box (Wang et al.,
                   Scaled-YOLOv4, 2021, section 4).  Of several boxes the one that the anchor is most like is taken, those in
                   the cell itself before others.  Likeness is the overlap of both with one corner in common (Redmon and
                   Farhadi, YOLO9000, 2016).
    match_priors   SSD and Faster R-CNN (Liu et al., 2016, section 2.2; Ren et al., 2015, section 3.1.2).  A prior box answers for
                   the box that it overlaps most (intersection over union) if that is at least `high`; below `low` it is
                   background, between them nothing.  With `force` the prior that overlaps a box most answers for it in any
                   case.  A prior without area answers for nothing.

Equal values: the first box, the first prior.  Nothing here is differentiated.
"""
from __future__ import annotations

from dlcore.errors import ShapeError
from dlcore.graph import call, op

match_cells_call = call("match_cells(boxes: f32[B, M, 5], cells: f32[P, 5], ratio: f32 -> matched: i32[B, P]; likeness: f32[B, P])",
                        over="B", flops="20 * B * M * P")
match_priors_call = call("match_priors(boxes: f32[B, M, 5], priors: f32[B, P, 4], low: f32, high: f32, force: i64"
                         " -> matched: i32[B, P]; overlaps: f32[B, P])", over="B", flops="30 * B * M * P")


@op
def match_cells(boxes, cells, ratio=4.0):
    """boxes: f32[B, M, 5]   cells: f32[P, 5]   returns i32[B, P].   ShapeError"""
    if boxes.ndim != 3 or cells.ndim != 2 or boxes.shape[2] != 5 or cells.shape[1] != 5:
        raise ShapeError("match_cells: boxes and cells", where=boxes.graph.where(), expected="boxes [B, M, 5], cells [P, 5]",
                         got=f"{list(boxes.shape)}, {list(cells.shape)}")
    return match_cells_call(boxes, cells, ratio), None


@op
def match_priors(boxes, priors, low=0.5, high=0.5, force=True):
    """boxes: f32[B, M, 5]   priors: f32[B, P, 4], corners   returns i32[B, P].   ShapeError"""
    if boxes.ndim != 3 or priors.ndim != 3 or boxes.shape[2] != 5 or priors.shape[2] != 4 or boxes.shape[0] != priors.shape[0]:
        raise ShapeError("match_priors: boxes and priors", where=boxes.graph.where(), expected="boxes [B, M, 5], priors [B, P, 4]",
                         got=f"{list(boxes.shape)}, {list(priors.shape)}")
    return match_priors_call(boxes, priors, low, high, int(force)), None
