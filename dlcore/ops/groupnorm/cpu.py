"""Group normalisation on the CPU: a sample at a time; sums by channel first, so that loops run over channels side by side."""
import math

import numpy as np

from dlcore.compiler.language import kernel
from dlcore.ops import groupnorm  # noqa: F401  (declares)

ZERO, ONE = np.float32(0), np.float32(1)


@kernel
def groupnorm_forward(x, weight, bias, eps, out, mean, rstd, sums):
    """Two passes for the variance."""
    B, S, C = x.shape
    G = mean.shape[1]
    D = C // G
    for b in range(B):
        for c in range(C):
            sums[b, c] = ZERO
        for s in range(S):
            for c in range(C):
                sums[b, c] += x[b, s, c]
        for g in range(G):
            total = ZERO * x[b, 0, 0]
            for c in range(g * D, g * D + D):
                total += sums[b, c]
            mean[b, g] = total / np.float32(S * D)
        for c in range(C):
            sums[b, c] = ZERO
        for s in range(S):
            for g in range(G):
                m = mean[b, g]
                for c in range(g * D, g * D + D):
                    sums[b, c] += (x[b, s, c] - m) * (x[b, s, c] - m)
        for g in range(G):
            total = ZERO * x[b, 0, 0]
            for c in range(g * D, g * D + D):
                total += sums[b, c]
            rstd[b, g] = ONE / math.sqrt(total / np.float32(S * D) + eps)
        for s in range(S):
            for g in range(G):
                m, r = mean[b, g], rstd[b, g]
                for c in range(g * D, g * D + D):
                    out[b, s, c] = (x[b, s, c] - m) * r * weight[c] + bias[c]


@kernel
def groupnorm_sums(dout, x, mean, rstd, dweights, dbiases):
    B, S, C = x.shape
    G = mean.shape[1]
    D = C // G
    for b in range(B):
        for c in range(C):
            dweights[b, c] = dbiases[b, c] = ZERO
        for s in range(S):
            for g in range(G):
                m, r = mean[b, g], rstd[b, g]
                for c in range(g * D, g * D + D):
                    dweights[b, c] += dout[b, s, c] * ((x[b, s, c] - m) * r)
                    dbiases[b, c] += dout[b, s, c]


@kernel
def groupnorm_dx(dout, x, weight, mean, rstd, dweights, dbiases, dx, add_dx):
    B, S, C = x.shape
    G = mean.shape[1]
    D = C // G
    for b in range(B):
        for g in range(G):
            m, r = mean[b, g], rstd[b, g]
            level = slope = ZERO * m
            for c in range(g * D, g * D + D):
                level += weight[c] * dbiases[b, c]
                slope += weight[c] * dweights[b, c]
            level /= np.float32(S * D)
            slope /= np.float32(S * D)
            for s in range(S):
                for c in range(g * D, g * D + D):
                    d = (dout[b, s, c] * weight[c] - level - (x[b, s, c] - m) * r * slope) * r
                    dx[b, s, c] = d + (dx[b, s, c] if add_dx else ZERO)
