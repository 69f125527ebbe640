"""Group normalisation on a GPU: a block for each group of a sample, two passes for the variance; sums of gradients by channel."""
import math

import numpy as np

from dlcore.compiler.cuda.intrinsics import block_sum, f32, quotient
from dlcore.compiler.cuda.language import kernel
from dlcore.ops import groupnorm  # noqa: F401  (declares)

ZERO, ONE, THREADS = np.float32(0), np.float32(1), 256


@kernel(blocks="B * G")
def groupnorm_forward(item, thread, x, weight, bias, eps, out, mean, rstd):
    S, C, G = x.shape[1], x.shape[2], mean.shape[1]
    D, b, g = C // G, item // G, item % G
    share, total, squares = ONE / f32(S * D), ZERO, ZERO
    for n in range(thread, S * D, THREADS):
        s = quotient(n, D)
        total += x[b, s, g * D + n - s * D]
    m = block_sum(total, thread) * share
    for n in range(thread, S * D, THREADS):
        s = quotient(n, D)
        d = x[b, s, g * D + n - s * D] - m
        squares += d * d
    r = ONE / math.sqrt(block_sum(squares, thread) * share + eps)
    for n in range(thread, S * D, THREADS):
        s = quotient(n, D)
        c = g * D + n - s * D
        out[b, s, c] = (x[b, s, c] - m) * r * weight[c] + bias[c]
    if thread == 0:
        mean[b, g], rstd[b, g] = m, r


@kernel(threads="B * C")
def groupnorm_sums(item, dout, x, mean, rstd, dweights, dbiases):
    S, C, G = x.shape[1], x.shape[2], mean.shape[1]
    b, c = item // C, item % C
    g, weights, biases = c // (C // G), ZERO, ZERO
    m, r = mean[b, g], rstd[b, g]
    for s in range(S):
        weights += dout[b, s, c] * ((x[b, s, c] - m) * r)
        biases += dout[b, s, c]
    dweights[b, c], dbiases[b, c] = weights, biases


@kernel(blocks="B * G")
def groupnorm_dx(item, thread, dout, x, weight, mean, rstd, dweights, dbiases, dx, add_dx):
    S, C, G = x.shape[1], x.shape[2], mean.shape[1]
    D, b, g = C // G, item // G, item % G
    share, level, slope = ONE / f32(S * D), ZERO, ZERO
    for c in range(g * D + thread, g * D + D, THREADS):
        level += weight[c] * dbiases[b, c]
        slope += weight[c] * dweights[b, c]
    level, slope = block_sum(level, thread) * share, block_sum(slope, thread) * share
    m, r = mean[b, g], rstd[b, g]
    for n in range(thread, S * D, THREADS):
        s = quotient(n, D)
        c = g * D + n - s * D
        d = (dout[b, s, c] * weight[c] - level - (x[b, s, c] - m) * r * slope) * r
        dx[b, s, c] = d + (dx[b, s, c] if add_dx else ZERO)
