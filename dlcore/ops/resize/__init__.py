"""Images of another size: nearest and bilinear.  Pixels are squares, as in Keras and PyTorch (align_corners=False).

    place of output row p in the image      s = (p + 1/2) H / P - 1/2
    nearest    x[floor((p + 1/2) H / P)]  (for whole factors what repeating gives; PyTorch's `nearest-exact`)
    bilinear   (1 - f) x[i] + f x[i + 1]  with s = i + f, rows beyond the edge being the edge's;  the same for columns

Both are linear, and their transposes are ops as well.
"""
from __future__ import annotations

from dlcore.errors import ShapeError
from dlcore.graph import call, op

nearest_call = call("resize_nearest(x: F[B, H, W, C] -> +out: F[B, P, Q, C])", over="B")
nearest_back_call = call("resize_nearest_transposed(dout: F[B, P, Q, C] -> +dx: F[B, H, W, C])", over="B", flops="B * P * Q * C")
bilinear_call = call("resize_bilinear(x: F[B, H, W, C] -> +out: F[B, P, Q, C])", over="B", flops="6 * B * P * Q * C")
bilinear_back_call = call("resize_bilinear_transposed(dout: F[B, P, Q, C] -> +dx: F[B, H, W, C])", over="B",
                          flops="6 * B * P * Q * C")


def check(x, height: int, width: int, what: str) -> None:
    if x.ndim != 4 or height < 1 or width < 1:
        raise ShapeError(f"{what}: images and a size", where=x.graph.where(), expected="x [B, H, W, C], at least 1 x 1",
                         got=f"x {list(x.shape)}, {height} x {width}")


@op
def resize_nearest(x, height: int, width: int):
    """x: [B, H, W, C]   returns [B, height, width, C]"""
    check(x, height, width, "resize_nearest")
    return nearest_call(x, P=height, Q=width), lambda dout: resize_nearest_transposed(dout, *x.shape[1:3])


@op
def resize_nearest_transposed(dout, height: int, width: int):
    """Each pixel of an image of this size gets the sum of those that were made of it."""
    check(dout, height, width, "resize_nearest_transposed")
    return nearest_back_call(dout, H=height, W=width), lambda d: resize_nearest(d, *dout.shape[1:3])


@op
def resize_bilinear(x, height: int, width: int):
    """x: [B, H, W, C]   returns [B, height, width, C]"""
    check(x, height, width, "resize_bilinear")
    return bilinear_call(x, P=height, Q=width), lambda dout: resize_bilinear_transposed(dout, *x.shape[1:3])


@op
def resize_bilinear_transposed(dout, height: int, width: int):
    """Each pixel of an image of this size gets the weighted sum of those that were made of it."""
    check(dout, height, width, "resize_bilinear_transposed")
    return bilinear_back_call(dout, H=height, W=width), lambda d: resize_bilinear(d, *dout.shape[1:3])
