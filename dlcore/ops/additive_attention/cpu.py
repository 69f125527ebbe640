"""Additive attention on the CPU: the tanh of a query and a key are made where they are summed, and never kept."""
import numpy as np

from dlcore.compiler.language import kernel
from dlcore.ops import additive_attention as _  # noqa: F401  (declares)
from dlcore.ops.formulas import exp, tanh

ZERO, ONE, INF = np.float32(0), np.float32(1), np.float32(np.inf)


@kernel
def additive_attention_forward(q, k, v, values, mask, out, p):
    B, T, A = q.shape
    S, C = values.shape[1], values.shape[2]
    for b in range(B):
        for t in range(T):
            top = -INF
            for j in range(S):
                if mask.shape[0] == 0 or mask[b, j] != ZERO:
                    total = ZERO
                    for a in range(A):
                        total += v[a] * tanh(q[b, t, a] + k[b, j, a])
                    p[b, t, j] = total
                    top = top if total < top else total
            whole = ZERO
            for j in range(S):
                if mask.shape[0] == 0 or mask[b, j] != ZERO:
                    p[b, t, j] = exp(p[b, t, j] - top)
                    whole += p[b, t, j]
                else:
                    p[b, t, j] = ZERO
            share = ZERO if whole == ZERO else ONE / whole
            for c in range(C):
                out[b, t, c] = ZERO
            for j in range(S):
                if mask.shape[0] == 0 or mask[b, j] != ZERO:
                    weight = p[b, t, j] * share
                    p[b, t, j] = weight
                    for c in range(C):
                        out[b, t, c] += weight * values[b, j, c]


@kernel
def additive_attention_backward(dout, q, k, v, values, p, dq, dk, dvalues, dv, ds, add_dq, add_dk, add_dvalues):
    B, T, A = q.shape
    S, C = values.shape[1], values.shape[2]
    for b in range(B):
        for a in range(A):
            dv[b, a] = ZERO
        for j in range(S):
            for a in range(A):
                dk[b, j, a] = dk[b, j, a] if add_dk else ZERO
            for c in range(C):
                dvalues[b, j, c] = dvalues[b, j, c] if add_dvalues else ZERO
        for t in range(T):
            delta = ZERO
            for j in range(S):
                weight, dp = p[b, t, j], ZERO
                for c in range(C):
                    dp += dout[b, t, c] * values[b, j, c]
                    dvalues[b, j, c] += weight * dout[b, t, c]
                ds[b, t, j] = dp
                delta += weight * dp
            for a in range(A):
                dq[b, t, a] = dq[b, t, a] if add_dq else ZERO
            for j in range(S):
                if p[b, t, j] != ZERO:
                    step = p[b, t, j] * (ds[b, t, j] - delta)
                    for a in range(A):
                        h = tanh(q[b, t, a] + k[b, j, a])
                        g = step * v[a] * (ONE - h * h)
                        dq[b, t, a] += g
                        dk[b, j, a] += g
                        dv[b, a] += step * h
