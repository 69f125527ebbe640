"""Resizing on a GPU: a thread for each element of the result; the transposed ones gather, so that no two threads meet."""
import numpy as np

from dlcore.compiler.cuda.intrinsics import f32, i64
from dlcore.compiler.cuda.language import kernel
from dlcore.compiler.cuda.places import part_of, place_in_image
from dlcore.compiler.language import helper
from dlcore.ops import resize  # noqa: F401  (declares)

ZERO, ONE = np.float32(0), np.float32(1)


@helper
def nearest(p, n, count):
    """floor((p + 1/2) n / count), as on the CPU."""
    return min(part_of((2 * p + 1) * n, 2 * count), n - 1)


@helper
def lower(p, n, count):
    """i of the place i + f, at least 0: f is 0 there."""
    return part_of(max((2 * p + 1) * n - count, i64(0)), 2 * count)


@helper
def share(p, n, count):
    """f of it."""
    over = max((2 * p + 1) * n - count, i64(0))
    return f32(over - part_of(over, 2 * count) * 2 * count) / f32(2 * count)


@helper
def span(h, n, count):
    """The rows of the result that may draw on row h of n."""
    first = part_of(max(2 * h - 1, i64(0)) * count, 2 * n) - 2
    last = part_of((2 * h + 3) * count, 2 * n) + 2
    return max(first, i64(0)), min(last + 1, i64(count))


@helper
def drawn(p, h, n, count):
    """What row p of the result takes of row h in bilinear resizing."""
    low, f = lower(p, n, count), share(p, n, count)
    high = min(low + 1, n - 1)
    return (ONE - f if low == h else ZERO) + (f if high == h else ZERO)


@kernel(threads="B * P * Q * C")
def resize_nearest(item, x, out, add_out):
    _, P, Q, C = out.shape
    b, p, q, c = place_in_image(item, P, Q, C)
    value = x[b, nearest(p, x.shape[1], P), nearest(q, x.shape[2], Q), c]
    out[b, p, q, c] = value + (out[b, p, q, c] if add_out else ZERO)


@kernel(threads="B * H * W * C")
def resize_nearest_transposed(item, dout, dx, add_dx):
    _, H, W, C = dx.shape
    P, Q = dout.shape[1], dout.shape[2]
    b, h, w, c = place_in_image(item, H, W, C)
    p0, p1 = span(h, H, P)
    q0, q1 = span(w, W, Q)
    total = ZERO
    for p in range(p0, p1):
        if nearest(p, H, P) == h:
            for q in range(q0, q1):
                if nearest(q, W, Q) == w:
                    total += dout[b, p, q, c]
    dx[b, h, w, c] = total + (dx[b, h, w, c] if add_dx else ZERO)


@kernel(threads="B * P * Q * C")
def resize_bilinear(item, x, out, add_out):
    _, P, Q, C = out.shape
    H, W = x.shape[1], x.shape[2]
    b, p, q, c = place_in_image(item, P, Q, C)
    h0, f, w0, g = lower(p, H, P), share(p, H, P), lower(q, W, Q), share(q, W, Q)
    h1, w1 = min(h0 + 1, H - 1), min(w0 + 1, W - 1)
    top = (ONE - g) * x[b, h0, w0, c] + g * x[b, h0, w1, c]
    low = (ONE - g) * x[b, h1, w0, c] + g * x[b, h1, w1, c]
    out[b, p, q, c] = (ONE - f) * top + f * low + (out[b, p, q, c] if add_out else ZERO)


@kernel(threads="B * H * W * C")
def resize_bilinear_transposed(item, dout, dx, add_dx):
    _, H, W, C = dx.shape
    P, Q = dout.shape[1], dout.shape[2]
    b, h, w, c = place_in_image(item, H, W, C)
    p0, p1 = span(h, H, P)
    q0, q1 = span(w, W, Q)
    total = ZERO
    for p in range(p0, p1):
        f = drawn(p, h, H, P)
        if f != ZERO:
            for q in range(q0, q1):
                total += f * drawn(q, w, W, Q) * dout[b, p, q, c]
    dx[b, h, w, c] = total + (dx[b, h, w, c] if add_dx else ZERO)
