"""Pooling on a GPU: a thread for each element of the result; gradients gather from the windows that hold a place."""
import numpy as np

from dlcore.compiler.cuda.intrinsics import f32, i32, i64
from dlcore.compiler.cuda.language import kernel
from dlcore.compiler.cuda.places import part_of, place_in_image
from dlcore.compiler.language import helper
from dlcore.ops.pooling.cpu import window_end, window_start

ZERO, ONE = np.float32(0), np.float32(1)


@helper
def first_window(h, size, stride, before, n, count):
    """The first window that may hold row h."""
    if size > 0:
        return max(part_of(max(h + before - size, i64(-1)) + stride, stride), i64(0))
    return max(part_of(h * count, n) - 1, i64(0))


@helper
def last_window(h, size, stride, before, n, count):
    """Behind the last one."""
    if size > 0:
        return min(part_of(h + before, stride) + 1, count)
    return min(part_of((h + 1) * count, n) + 2, count)


@kernel(threads="B * P * Q * C")
def max_pool2d(item, x, high, wide, sh, sw, top, left, out, index):
    H, W = x.shape[1], x.shape[2]
    P, Q, C = out.shape[1], out.shape[2], out.shape[3]
    b, p, q, c = place_in_image(item, P, Q, C)
    first, last = window_start(p, high, sh, top, H, P), window_end(p, high, sh, top, H, P)
    start, stop = window_start(q, wide, sw, left, W, Q), window_end(q, wide, sw, left, W, Q)
    best, at = x[b, first, start, c], first * W + start
    for h in range(first, last):
        for w in range(start, stop):
            value = x[b, h, w, c]
            if value > best or (value != value and best == best):
                best, at = value, h * W + w
    out[b, p, q, c], index[b, p, q, c] = best, i32(at)


@kernel(threads="B * P * Q * C")
def max_pool2d_values(item, x, high, wide, sh, sw, top, left, out, add_out):
    H, W = x.shape[1], x.shape[2]
    P, Q, C = out.shape[1], out.shape[2], out.shape[3]
    b, p, q, c = place_in_image(item, P, Q, C)
    first, last = window_start(p, high, sh, top, H, P), window_end(p, high, sh, top, H, P)
    start, stop = window_start(q, wide, sw, left, W, Q), window_end(q, wide, sw, left, W, Q)
    best = x[b, first, start, c]
    for h in range(first, last):
        for w in range(start, stop):
            value = x[b, h, w, c]
            best = value if value > best or value != value else best
    out[b, p, q, c] = best + (out[b, p, q, c] if add_out else ZERO)


@kernel(threads="B * H * W * C")
def max_pool2d_scatter(item, dout, index, high, wide, sh, sw, top, left, dx, add_dx):
    H, W, C = dx.shape[1], dx.shape[2], dx.shape[3]
    P, Q = dout.shape[1], dout.shape[2]
    b, h, w, c = place_in_image(item, H, W, C)
    total = ZERO
    for p in range(first_window(h, high, sh, top, H, P), last_window(h, high, sh, top, H, P)):
        for q in range(first_window(w, wide, sw, left, W, Q), last_window(w, wide, sw, left, W, Q)):
            if index[b, p, q, c] == h * W + w:
                total += dout[b, p, q, c]
    dx[b, h, w, c] = total + (dx[b, h, w, c] if add_dx else ZERO)


@kernel(threads="B * P * Q * C")
def max_pool2d_pick(item, x, index, out, add_out):
    P, Q, C = out.shape[1], out.shape[2], out.shape[3]
    b, p, q, c = place_in_image(item, P, Q, C)
    at, W = i64(index[b, p, q, c]), x.shape[2]
    row = part_of(at, W)
    out[b, p, q, c] = x[b, row, at - row * W, c] + (out[b, p, q, c] if add_out else ZERO)


@kernel(threads="B * P * Q * C")
def average_pool2d(item, x, high, wide, sh, sw, top, left, whole, out, add_out):
    H, W = x.shape[1], x.shape[2]
    P, Q, C = out.shape[1], out.shape[2], out.shape[3]
    b, p, q, c = place_in_image(item, P, Q, C)
    first, last = window_start(p, high, sh, top, H, P), window_end(p, high, sh, top, H, P)
    start, stop = window_start(q, wide, sw, left, W, Q), window_end(q, wide, sw, left, W, Q)
    share, total = ONE / f32(high * wide if whole > 0 else (last - first) * (stop - start)), ZERO
    for h in range(first, last):
        for w in range(start, stop):
            total += x[b, h, w, c] * share
    out[b, p, q, c] = total + (out[b, p, q, c] if add_out else ZERO)


@kernel(threads="B * H * W * C")
def average_pool2d_spread(item, dout, high, wide, sh, sw, top, left, whole, dx, add_dx):
    H, W, C = dx.shape[1], dx.shape[2], dx.shape[3]
    P, Q = dout.shape[1], dout.shape[2]
    b, h, w, c = place_in_image(item, H, W, C)
    total = ZERO
    for p in range(first_window(h, high, sh, top, H, P), last_window(h, high, sh, top, H, P)):
        first, last = window_start(p, high, sh, top, H, P), window_end(p, high, sh, top, H, P)
        if first <= h < last:
            for q in range(first_window(w, wide, sw, left, W, Q), last_window(w, wide, sw, left, W, Q)):
                start, stop = window_start(q, wide, sw, left, W, Q), window_end(q, wide, sw, left, W, Q)
                if start <= w < stop:
                    total += dout[b, p, q, c] / f32(high * wide if whole > 0 else (last - first) * (stop - start))
    dx[b, h, w, c] = total + (dx[b, h, w, c] if add_dx else ZERO)
