"""Pooling on the CPU: an image at a time (maxima alone: a row of windows), all channels of a place side by side."""
import numpy as np

from dlcore.compiler.language import call, formula, helper, kernel, lowered
from dlcore.ops import pooling  # noqa: F401  (declares)
from dlcore.ops.planes import clear
from dlcore.ops.pooling import WINDOW

ZERO, ONE = np.float32(0), np.float32(1)


@helper
def window_start(p, size, stride, before, n, count):
    """The first row of window p inside the image; size 0: adaptive."""
    return max(p * stride - before, 0) if size > 0 else p * n // count


@helper
def window_end(p, size, stride, before, n, count):
    return min(p * stride - before + size, n) if size > 0 else ((p + 1) * n + count - 1) // count


@kernel
def max_pool2d(x, high, wide, sh, sw, top, left, out, index):
    B, H, W, C = x.shape
    P, Q = out.shape[1], out.shape[2]
    for b in range(B):
        for p in range(P):
            first, last = window_start(p, high, sh, top, H, P), window_end(p, high, sh, top, H, P)
            for q in range(Q):
                start, stop = window_start(q, wide, sw, left, W, Q), window_end(q, wide, sw, left, W, Q)
                for c in range(C):
                    out[b, p, q, c] = x[b, first, start, c]
                    index[b, p, q, c] = np.int32(first * W + start)
                for h in range(first, last):
                    for w in range(start, stop):
                        place = np.int32(h * W + w)
                        for c in range(C):
                            value, best = x[b, h, w, c], out[b, p, q, c]
                            better = value > best or (value != value and best == best)
                            out[b, p, q, c] = value if better else best
                            index[b, p, q, c] = place if better else index[b, p, q, c]


call(f"max_pool2d_rows(x: F[B, H, W, C], {WINDOW} -> +out: F[B, P, Q, C])", over="B * P", flops="B * H * W * C")
lowered("max_pool2d_values", "max_pool2d_rows(x, high, wide, sh, sw, top, left -> out)")


@formula
def greater(a, b):
    """The greater of two, a NaN if there is one."""
    return b if b > a or b != b else a


@kernel
def max_pool2d_rows(x, high, wide, sh, sw, top, left, out, begin, end, add_out):
    _, H, W, C = x.shape
    P, Q = out.shape[1], out.shape[2]
    for item in range(begin, end):
        b, p = item // P, item % P
        first, last = window_start(p, high, sh, top, H, P), window_end(p, high, sh, top, H, P)
        for q in range(Q):
            start, stop = window_start(q, wide, sw, left, W, Q), window_end(q, wide, sw, left, W, Q)
            if last - first == 2 and stop - start == 2:             # the usual one, its maximum in a register
                for c in range(C):
                    best = greater(greater(greater(x[b, first, start, c], x[b, first, start + 1, c]), x[b, first + 1, start, c]),
                                   x[b, first + 1, start + 1, c])
                    out[b, p, q, c] = best + (out[b, p, q, c] if add_out else ZERO)
            else:
                for c in range(C):
                    best = x[b, first, start, c]
                    for h in range(first, last):
                        for w in range(start, stop):
                            best = greater(best, x[b, h, w, c])
                    out[b, p, q, c] = best + (out[b, p, q, c] if add_out else ZERO)


@kernel
def max_pool2d_scatter(dout, index, high, wide, sh, sw, top, left, dx, add_dx):
    """Windows beside one another give each place once, and leave what no window covers; others are added to zeros."""
    B, H, W, C = dx.shape
    P, Q = dout.shape[1], dout.shape[2]
    tiling = not add_dx and high > 0 and high <= sh and wide <= sw and P * sh == H and Q * sw == W and high == sh and wide == sw
    for b in range(B):
        if not (add_dx or tiling):
            for h in range(H):
                for w in range(W):
                    for c in range(C):
                        dx[b, h, w, c] = ZERO
        for p in range(P):
            first, last = window_start(p, high, sh, top, H, P), window_end(p, high, sh, top, H, P)
            for q in range(Q):
                start, stop = window_start(q, wide, sw, left, W, Q), window_end(q, wide, sw, left, W, Q)
                for h in range(first, last):
                    for w in range(start, stop):
                        place = np.int32(h * W + w)
                        if tiling:
                            for c in range(C):
                                dx[b, h, w, c] = dout[b, p, q, c] if index[b, p, q, c] == place else ZERO
                        else:
                            for c in range(C):
                                dx[b, h, w, c] += dout[b, p, q, c] if index[b, p, q, c] == place else ZERO


@kernel
def max_pool2d_pick(x, index, out, add_out):
    B, P, Q, C = out.shape
    W = x.shape[2]
    for b in range(B):
        for p in range(P):
            for q in range(Q):
                for c in range(C):
                    at = np.int64(index[b, p, q, c])
                    out[b, p, q, c] = x[b, at // W, at % W, c] + (out[b, p, q, c] if add_out else ZERO)


@kernel
def average_pool2d(x, high, wide, sh, sw, top, left, whole, out, add_out):
    B, H, W, C = x.shape
    P, Q = out.shape[1], out.shape[2]
    for b in range(B):
        for p in range(P):
            first, last = window_start(p, high, sh, top, H, P), window_end(p, high, sh, top, H, P)
            for q in range(Q):
                start, stop = window_start(q, wide, sw, left, W, Q), window_end(q, wide, sw, left, W, Q)
                share = ONE / np.float32(high * wide if whole > 0 else (last - first) * (stop - start))
                for c in range(C):
                    out[b, p, q, c] = x[b, first, start, c] * share + (out[b, p, q, c] if add_out else ZERO)
                for h in range(first, last):
                    for w in range(start, stop):
                        if h > first or w > start:
                            for c in range(C):
                                out[b, p, q, c] += x[b, h, w, c] * share


@kernel
def average_pool2d_spread(dout, high, wide, sh, sw, top, left, whole, dx, add_dx):
    B, H, W, C = dx.shape
    P, Q = dout.shape[1], dout.shape[2]
    for b in range(B):
        if not add_dx:
            clear(dx, b)
        for p in range(P):
            first, last = window_start(p, high, sh, top, H, P), window_end(p, high, sh, top, H, P)
            for q in range(Q):
                start, stop = window_start(q, wide, sw, left, W, Q), window_end(q, wide, sw, left, W, Q)
                share = ONE / np.float32(high * wide if whole > 0 else (last - first) * (stop - start))
                for h in range(first, last):
                    for w in range(start, stop):
                        for c in range(C):
                            dx[b, h, w, c] += dout[b, p, q, c] * share
