"""Rotary embedding on a GPU: a thread for each angle, or element."""
import math

import numpy as np

from dlcore.compiler.cuda.angles import sine_and_cosine
from dlcore.compiler.cuda.intrinsics import quotient
from dlcore.compiler.cuda.language import kernel
from dlcore.ops import rotary as room  # noqa: F401  (declares)

ZERO = np.float32(0)


@kernel(threads="T * R")
def rotary_angles(item, base, position, cos, sin):
    """In float64: the angle of a late position has few digits behind the point left in float32."""
    R = cos.shape[1]
    t, r = item // R, item % R
    speed = math.exp(-math.log(np.float64(base)) * np.float64(r) / np.float64(R))
    s, c = sine_and_cosine(np.float64(position + t) * speed)
    cos[t, r], sin[t, r] = c, s


@kernel(threads="B * T * A * D")
def rotary(item, x, cos, sin, heads, interleaved, sign, out, add_out):
    T, A, D, R = x.shape[1], x.shape[2], x.shape[3], cos.shape[1]
    rest = quotient(item, D)
    place = quotient(rest, A)
    b = quotient(place, T)
    d, h, t, value = item - rest * D, rest - place * A, place - b * T, ZERO
    if h < heads and d < 2 * R:
        r, first = (d // 2, d % 2 == 0) if interleaved > 0 else (d % R, d < R)
        step = 1 if interleaved > 0 else R
        c, s = cos[t, r], sin[t, r] * sign
        value = x[b, t, h, d] * c - x[b, t, h, d + step] * s if first else x[b, t, h, d - step] * s + x[b, t, h, d] * c
    else:
        value = x[b, t, h, d]
    out[b, t, h, d] = value + (out[b, t, h, d] if add_out else ZERO)
