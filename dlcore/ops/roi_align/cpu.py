"""RoIAlign on the CPU: a picture at a time, all channels of a feature side by side."""
import math

import numpy as np

from dlcore.compiler.language import formula, kernel
from dlcore.ops import roi_align  # noqa: F401  (declares)
from dlcore.ops.planes import between, clear

ZERO, HALF, ONE, QUARTER = np.float32(0), np.float32(0.5), np.float32(1), np.float32(0.25)


@formula
def place(low, high, scale, part, point, S):
    """Where a point of a part lies along one axis, in features."""
    size = (high - low) * scale / np.float32(S)
    return low * scale - HALF + size * (np.float32(part) + (np.float32(point) + HALF) * HALF)


@formula
def outside(at, n):
    return not (at >= -ONE and at <= np.float32(n))


@formula
def first(at, n):
    """The feature at or before a place, which is at the edge if it lies beyond."""
    return min(np.int64(math.floor(max(at, ZERO))), n - 1)


@formula
def share(at, low, n):
    """How much of the feature behind `low` a place has."""
    return max(at, ZERO) - np.float32(low) if low < n - 1 else ZERO


@kernel
def roi_align_forward(x, regions, scale, out):
    B, H, W, C = x.shape
    R, S = out.shape[1], out.shape[2]
    for b in range(B):
        for r in range(R):
            for i in range(S):
                for j in range(S):
                    for c in range(C):
                        out[b, r, i, j, c] = ZERO
                    for q in range(4):
                        y = place(regions[b, r, 1], regions[b, r, 3], scale, i, q // 2, S)
                        u = place(regions[b, r, 0], regions[b, r, 2], scale, j, q % 2, S)
                        if not outside(y, H) and not outside(u, W):
                            h, w = first(y, H), first(u, W)
                            f, g = share(y, h, H), share(u, w, W)
                            h1, w1 = min(h + 1, H - 1), min(w + 1, W - 1)
                            for c in range(C):
                                here = between(f, g, x[b, h, w, c], x[b, h, w1, c], x[b, h1, w, c], x[b, h1, w1, c])
                                out[b, r, i, j, c] += QUARTER * here


@kernel
def roi_align_backward(dout, regions, scale, dx, add_dx):
    B, H, W, C = dx.shape
    R, S = dout.shape[1], dout.shape[2]
    for b in range(B):
        if not add_dx:
            clear(dx, b)
        for r in range(R):
            for i in range(S):
                for j in range(S):
                    for q in range(4):
                        y = place(regions[b, r, 1], regions[b, r, 3], scale, i, q // 2, S)
                        u = place(regions[b, r, 0], regions[b, r, 2], scale, j, q % 2, S)
                        if not outside(y, H) and not outside(u, W):
                            h, w = first(y, H), first(u, W)
                            f, g = QUARTER * share(y, h, H), share(u, w, W)
                            h1, w1 = min(h + 1, H - 1), min(w + 1, W - 1)
                            for c in range(C):
                                dx[b, h, w, c] += (QUARTER - f) * (ONE - g) * dout[b, r, i, j, c]
                            for c in range(C):
                                dx[b, h, w1, c] += (QUARTER - f) * g * dout[b, r, i, j, c]
                            for c in range(C):
                                dx[b, h1, w, c] += f * (ONE - g) * dout[b, r, i, j, c]
                            for c in range(C):
                                dx[b, h1, w1, c] += f * g * dout[b, r, i, j, c]
