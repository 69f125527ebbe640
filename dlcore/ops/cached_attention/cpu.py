"""One step over a cache: keys and values stream through once for each query head."""
import numpy as np

from dlcore.compiler.language import kernel
from dlcore.ops import cached_attention as _  # noqa: F401  (declares)
from dlcore.ops.formulas import exp

ZERO, ONE, INF = np.float32(0), np.float32(1), np.float32(np.inf)


@kernel
def cached_attention(qkv, position, groups, scale, window, scores, out, keys, values, begin, end):
    H, D = out.shape[1], out.shape[2]
    first = max(0, position - window + 1) if window > 0 else 0
    for item in range(begin, end):
        b, g = item // groups, item % groups
        for d in range(D):
            keys[b, g, position, d] = qkv[b, H + g, d]
            values[b, g, position, d] = qkv[b, H + groups + g, d]
        for h in range(g * (H // groups), (g + 1) * (H // groups)):
            top = -INF
            for j in range(first, position + 1):
                total = ZERO
                for d in range(D):
                    total += qkv[b, h, d] * keys[b, g, j, d]
                scores[item, j] = total * scale
                top = total * scale if total * scale > top else top
            whole = ZERO
            for j in range(first, position + 1):
                scores[item, j] = exp(scores[item, j] - top)
                whole += scores[item, j]
            for d in range(D):
                out[b, h, d] = ZERO
            for j in range(first, position + 1):
                p = scores[item, j]
                for d in range(D):
                    out[b, h, d] += p * values[b, g, j, d]
            for d in range(D):
                out[b, h, d] *= ONE / whole
