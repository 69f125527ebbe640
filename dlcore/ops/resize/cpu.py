"""Resizing on the CPU: an image at a time, all channels of a pixel side by side."""
import numpy as np

from dlcore.compiler.language import helper, kernel
from dlcore.ops import resize  # noqa: F401  (declares)
from dlcore.ops.planes import between

ZERO, ONE = np.float32(0), np.float32(1)


@helper
def nearest(p, n, count):
    """floor((p + 1/2) n / count), in whole numbers."""
    return min((2 * p + 1) * n // (2 * count), n - 1)


@helper
def lower(p, n, count):
    """i of the place i + f, at least 0: f is 0 there."""
    return max((2 * p + 1) * n - count, 0) // (2 * count)


@helper
def share(p, n, count):
    """f of it."""
    return np.float32(max((2 * p + 1) * n - count, 0) % (2 * count)) / np.float32(2 * count)


@kernel
def resize_nearest(x, out, add_out):
    B, P, Q, C = out.shape
    for b in range(B):
        for p in range(P):
            h = nearest(p, x.shape[1], P)
            for q in range(Q):
                w = nearest(q, x.shape[2], Q)
                for c in range(C):
                    out[b, p, q, c] = x[b, h, w, c] + (out[b, p, q, c] if add_out else ZERO)


@kernel
def resize_nearest_transposed(dout, dx, add_dx):
    B, P, Q, C = dout.shape
    for b in range(B):
        if not add_dx:
            for h in range(dx.shape[1]):
                for w in range(dx.shape[2]):
                    for c in range(C):
                        dx[b, h, w, c] = ZERO
        for p in range(P):
            h = nearest(p, dx.shape[1], P)
            for q in range(Q):
                w = nearest(q, dx.shape[2], Q)
                for c in range(C):
                    dx[b, h, w, c] += dout[b, p, q, c]


@kernel
def resize_bilinear(x, out, add_out):
    B, P, Q, C = out.shape
    H, W = x.shape[1], x.shape[2]
    for b in range(B):
        for p in range(P):
            h0 = lower(p, H, P)
            h1, f = min(h0 + 1, H - 1), share(p, H, P)
            for q in range(Q):
                w0 = lower(q, W, Q)
                w1, g = min(w0 + 1, W - 1), share(q, W, Q)
                for c in range(C):
                    value = between(f, g, x[b, h0, w0, c], x[b, h0, w1, c], x[b, h1, w0, c], x[b, h1, w1, c])
                    out[b, p, q, c] = value + (out[b, p, q, c] if add_out else ZERO)


@kernel
def resize_bilinear_transposed(dout, dx, add_dx):
    B, P, Q, C = dout.shape
    H, W = dx.shape[1], dx.shape[2]
    for b in range(B):
        if not add_dx:
            for h in range(H):
                for w in range(W):
                    for c in range(C):
                        dx[b, h, w, c] = ZERO
        for p in range(P):
            h0 = lower(p, H, P)
            h1, f = min(h0 + 1, H - 1), share(p, H, P)
            for q in range(Q):
                w0 = lower(q, W, Q)
                w1, g = min(w0 + 1, W - 1), share(q, W, Q)
                for c in range(C):
                    dx[b, h0, w0, c] += (ONE - f) * (ONE - g) * dout[b, p, q, c]
                for c in range(C):
                    dx[b, h0, w1, c] += (ONE - f) * g * dout[b, p, q, c]
                for c in range(C):
                    dx[b, h1, w0, c] += f * (ONE - g) * dout[b, p, q, c]
                for c in range(C):
                    dx[b, h1, w1, c] += f * g * dout[b, p, q, c]
