"""Maxima and means over windows of images [B, H, W, C]; here H is the height.

    max_pool2d       out[b, p, q, c] = greatest x in the window; `index`: its place, row * W + column, the first of equals
    average_pool2d   out[b, p, q, c] = sum over the window / places of the window inside the image (or of the whole window)

Window p covers rows p stride - top to p stride - top + size - 1, or, where the pooling is adaptive, rows floor(p H / P) to
ceil((p + 1) H / P) - 1.  All are linear once the places are known, and each has its counterpart as an op:

    max_pool2d_scatter   dx[index] += dout         and back again: max_pool2d_pick, out = x[index]
    average_pool2d_spread  each place of the window gets dout / places
"""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dlcore.errors import ShapeError
from dlcore.graph import call, op
from dlcore.ops.conv2d import geometry_of, two

WINDOW = "high: i64, wide: i64, sh: i64, sw: i64, top: i64, left: i64"      # high 0: adaptive
max_pool_call = call(f"max_pool2d(x: F[B, H, W, C], {WINDOW} -> out: F[B, P, Q, C], index: i32[B, P, Q, C])", over="B",
                     flops="B * H * W * C")
values_call = call(f"max_pool2d_values(x: F[B, H, W, C], {WINDOW} -> +out: F[B, P, Q, C])", over="B", flops="B * H * W * C")
scatter_call = call("max_pool2d_scatter(dout: F[B, P, Q, C], index: i32[B, P, Q, C], " + WINDOW + " -> +dx: F[B, H, W, C])",
                    over="B", flops="B * H * W * C")
pick_call = call("max_pool2d_pick(x: F[B, H, W, C], index: i32[B, P, Q, C] -> +out: F[B, P, Q, C])", over="B")
average_call = call(f"average_pool2d(x: F[B, H, W, C], {WINDOW}, whole: i64 -> +out: F[B, P, Q, C])", over="B",
                    flops="B * H * W * C")
spread_call = call(f"average_pool2d_spread(dout: F[B, P, Q, C], {WINDOW}, whole: i64 -> +dx: F[B, H, W, C])", over="B",
                   flops="B * H * W * C")


@dataclass(frozen=True)
class Windows:
    """The windows of a pooling: image and output (rows, columns), and what the calls are told."""

    image: tuple[int, int]
    out: tuple[int, int]
    numbers: tuple[int, ...]


def windows_of(x, size: Any, stride: Any, padding: Any, what: str) -> Windows:
    """size: of the window.  stride: None for the window's size.  padding: as of `conv2d`, less than the window."""
    images(x, what)
    size = two(size, f"{what}: size")
    g = geometry_of(x, size, size if stride is None else stride, padding, 1, 1, what)
    behind = [(n - 1) * s + k - b - of for n, s, k, b, of in zip(g.out, g.stride, size, g.before, g.image, strict=True)]
    if any(b >= k for b, k in zip(g.before, size, strict=True)) or any(b >= k for b, k in zip(behind, size, strict=True)):
        raise ShapeError(f"{what}: a window lies outside the image", where=x.graph.where(), expected=f"padding below {list(size)}",
                         got=repr(padding))
    return Windows(g.image, g.out, (*size, *g.stride, *g.before))


def adaptive_windows(x, size: Any, what: str) -> Windows:
    """As many windows as `size` says, (rows, columns)."""
    images(x, what)
    size = two(size, f"{what}: size")
    if size[0] > x.shape[1] or size[1] > x.shape[2]:
        raise ShapeError(f"{what}: more windows than the image has places", where=x.graph.where(),
                         expected=f"at most {list(x.shape[1:3])}", got=str(list(size)))
    return Windows((x.shape[1], x.shape[2]), size, (0,) * 6)


def images(x, what: str) -> None:
    if x.ndim != 4:
        raise ShapeError(f"{what}: not images", where=x.graph.where(), expected="[B, H, W, C]", got=str(list(x.shape)))


@op
def max_pool2d(x, size=2, stride=None, padding="valid", differentiable: bool = True):
    """The greatest of each window; a NaN is greater than all.   x: [B, H, W, C]   returns [B, P, Q, C]

    differentiable=False: where it stood is not kept, and asking for a gradient raises NotDifferentiableError."""
    return max_pooled(x, windows_of(x, size, stride, padding, "max_pool2d"), differentiable)


@op
def adaptive_max_pool2d(x, size, differentiable: bool = True):
    """The greatest of each of `size` windows that cover the image; (1, 1): of the whole image."""
    return max_pooled(x, adaptive_windows(x, size, "adaptive_max_pool2d"), differentiable)


def max_pooled(x, w: Windows, differentiable: bool):
    if not differentiable:
        return values_call(x, *w.numbers, P=w.out[0], Q=w.out[1]), None
    out, index = max_pool_call(x, *w.numbers, P=w.out[0], Q=w.out[1])
    return out, lambda dout: max_pool2d_scatter(dout, index, w)


@op
def max_pool2d_scatter(dout, index, windows: Windows):
    """Zeros, and each dout added at its index."""
    w = windows
    dx = scatter_call(dout, index, *w.numbers, H=w.image[0], W=w.image[1])
    return dx, lambda d: (max_pool2d_pick(d, index, w), None)


@op
def max_pool2d_pick(x, index, windows: Windows):
    """What stands at each index.  index: i32[B, P, Q, C], row * W + column."""
    return pick_call(x, index), lambda dout: (max_pool2d_scatter(dout, index, windows), None)


@op
def average_pool2d(x, size=2, stride=None, padding="valid", whole: bool = False):
    """The mean of each window.   whole: places outside the image count as zeros (PyTorch's count_include_pad)."""
    w = windows_of(x, size, stride, padding, "average_pool2d")
    return average(x, w, whole), lambda dout: average_pool2d_spread(dout, w, whole)


@op
def adaptive_average_pool2d(x, size):
    """The mean of each of `size` windows that cover the image; (1, 1): of the whole image."""
    w = adaptive_windows(x, size, "adaptive_average_pool2d")
    return average(x, w, False), lambda dout: average_pool2d_spread(dout, w, False)


def average(x, w: Windows, whole: bool):
    return average_call(x, *w.numbers, int(whole), P=w.out[0], Q=w.out[1])


@op
def average_pool2d_mean(x, windows: Windows, whole: bool = False):
    """The means of windows that are known."""
    return average(x, windows, whole), lambda dout: average_pool2d_spread(dout, windows, whole)


@op
def average_pool2d_spread(dout, windows: Windows, whole: bool = False):
    """Each place of a window gets its share of dout; places of several windows get the sum."""
    w = windows
    dx = spread_call(dout, *w.numbers, int(whole), H=w.image[0], W=w.image[1])
    return dx, lambda d: average_pool2d_mean(d, w, whole)
