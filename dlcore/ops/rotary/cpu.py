"""Rotary embedding on the CPU."""
import math

import numpy as np

from dlcore.compiler.language import kernel

ZERO = np.float32(0)


@kernel
def rotary_angles(base, position, cos, sin, begin):
    """In float64: the angle of a late position has few digits behind the point left in float32."""
    T, R = cos.shape
    for r in range(R):
        speed = math.exp(-math.log(np.float64(base)) * np.float64(r) / np.float64(R))
        for t in range(T):                                              # two loops: together LLVM asks for `sincos`, which not
            cos[t, r] = math.cos(np.float64(position + begin + t) * speed)          # every libm has
        for t in range(T):
            sin[t, r] = math.sin(np.float64(position + begin + t) * speed)


@kernel
def rotary(x, cos, sin, heads, interleaved, sign, out, begin, end, add_out):
    T, A, D, R = x.shape[1], x.shape[2], x.shape[3], cos.shape[1]
    for row in range(begin, end):
        b, t = row // T, row % T
        for h in range(A):
            pairs = R if h < heads else 0
            if interleaved > 0:
                for r in range(pairs):
                    c, s = cos[t, r], sin[t, r] * sign
                    first, second = x[b, t, h, 2 * r], x[b, t, h, 2 * r + 1]
                    out[b, t, h, 2 * r] = first * c - second * s + (out[b, t, h, 2 * r] if add_out else ZERO)
                    out[b, t, h, 2 * r + 1] = first * s + second * c + (out[b, t, h, 2 * r + 1] if add_out else ZERO)
            else:
                for r in range(pairs):
                    c, s = cos[t, r], sin[t, r] * sign
                    first, second = x[b, t, h, r], x[b, t, h, R + r]
                    out[b, t, h, r] = first * c - second * s + (out[b, t, h, r] if add_out else ZERO)
                    out[b, t, h, R + r] = first * s + second * c + (out[b, t, h, R + r] if add_out else ZERO)
            for d in range(2 * pairs, D):
                out[b, t, h, d] = x[b, t, h, d] + (out[b, t, h, d] if add_out else ZERO)
