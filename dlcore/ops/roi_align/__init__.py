"""Features of regions of any size, brought to one size (He et al., Mask R-CNN, 2017, section 3).

A region (x1, y1, x2, y2) in pixels of the picture covers features at x scale - 1/2, y scale - 1/2: pixel centres lie at whole
numbers, nothing is rounded.  It is cut into S x S parts; each is the mean of 2 x 2 points, regularly spread, that are read
bilinearly:

    out[b, r, i, j] = 1/4 sum_points sum_{h, w} (1 - |y - h|)+ (1 - |x - w|)+ x[b, h, w]

A point more than one feature outside the map counts as 0, one nearer is read at the edge.  The gradient goes back by the same
weights,

    dx[b, h, w] = 1/4 sum_{r, i, j, points} (1 - |y - h|)+ (1 - |x - w|)+ dout[b, r, i, j]

and none goes to the regions, which are taken as given (as in the paper).  Regions may lie outside or have no area.
"""
from __future__ import annotations

from dlcore.errors import ShapeError
from dlcore.graph import call, op

roi_align_forward = call("roi_align_forward(x: F[B, H, W, C], regions: f32[B, R, 4], scale: f32 -> out: F[B, R, S, S, C])",
                         over="B", flops="40 * B * R * S * S * C")
roi_align_backward = call("roi_align_backward(dout: F[B, R, S, S, C], regions: f32[B, R, 4], scale: f32 -> +dx: F[B, H, W, C])",
                          over="B", flops="40 * B * R * S * S * C")


@op
def roi_align(x, regions, size: int, scale: float):
    """x: f32[B, H, W, C]   regions: f32[B, R, 4]   returns f32[B, R, size, size, C].

    scale: features a pixel, 1 / stride.   ShapeError"""
    if x.ndim != 4 or regions.ndim != 3 or regions.shape[::2] != (x.shape[0], 4) or size < 1:
        raise ShapeError("roi_align: shapes do not go together", where=x.graph.where(),
                         expected="x [B, H, W, C], regions [B, R, 4], a size from 1",
                         got=f"{list(x.shape)}, {list(regions.shape)}, {size}")
    _, H, W, _ = x.shape

    def backward(dout):
        return roi_align_backward(dout, regions, scale, H=H, W=W), None
    return roi_align_forward(x, regions, scale, S=size), backward
