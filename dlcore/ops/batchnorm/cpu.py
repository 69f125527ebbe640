"""Batch normalisation on the CPU."""
import math

import numpy as np

from dlcore.compiler.language import call, helper, kernel, lowered
from dlcore.ops import batchnorm  # noqa: F401  (declares)

ZERO, ONE = np.float32(0), np.float32(1)

call("batchnorm_parts(x: F[N, C] -> parts: f32[CHUNKS, 3, C])", over="N in CHUNKS", flops="4 * N * C")
call("batchnorm_join(parts: f32[P, 3, C] -> mean: f32[C], var: f32[C])", over="1", flops="10 * P * C")
call("batchnorm_scale(var: f32[C], weight: f32[C], eps: f32 -> scale: f32[C], rstd: f32[C])", over="1", flops="8 * C")
call("batchnorm_apply(x: F[N, C], mean: f32[C], scale: f32[C], bias: f32[C], residual: F[N, C]?, relu: i64 -> out: F[N, C])",
     over="N", flops="5 * N * C")
SEEN = "dout: F[N, C], x: F[N, C], mean: f32[C], scale: f32[C], bias: f32[C]"
call(f"batchnorm_gradient_parts({SEEN}, rstd: f32[C], relu: i64 -> dweight_parts: f32[CHUNKS, C], dbias_parts: f32[CHUNKS, C])",
     over="N in CHUNKS", flops="6 * N * C")
call("batchnorm_means(dweight: f32[C], dbias: f32[C], rstd: f32[C], whole: i64 -> slope: f32[C], level: f32[C])", over="1",
     flops="3 * C")
call(f"batchnorm_dx({SEEN}, slope: f32[C], level: f32[C], relu: i64 -> +dx: F[N, C])", over="N", flops="7 * N * C")

lowered("batchnorm_statistics", "batchnorm_parts(x -> parts)", "batchnorm_join(parts -> mean, var)")
lowered("batchnorm_forward", "batchnorm_scale(var, weight, eps -> scale, rstd)",
        "batchnorm_apply(x, mean, scale, bias, residual, relu -> out)")
lowered("batchnorm_backward", "batchnorm_scale(var, weight, eps -> scale, rstd)",
        "batchnorm_gradient_parts(dout, x, mean, scale, bias, rstd, relu -> dweight_parts, dbias_parts)",
        "add_parts(dweight_parts -> dweight)", "add_parts(dbias_parts -> dbias)",
        "batchnorm_means(dweight, dbias, rstd, N -> slope, level)",
        "batchnorm_dx(dout, x, mean, scale, bias, slope, level, relu -> dx)")


@kernel
def batchnorm_parts(x, parts):
    """Of one chunk: its count, mean, and sum of squares about the mean.  Sums are about the first row, near enough to the mean for
    no digits to be lost."""
    N, C = x.shape
    for j in range(C):
        parts[1, j] = parts[2, j] = ZERO
    for q in range(N // 4):
        for j in range(C):
            first = x[0, j]
            a, b, c, d = x[4 * q, j] - first, x[4 * q + 1, j] - first, x[4 * q + 2, j] - first, x[4 * q + 3, j] - first
            parts[1, j] += (a + b) + (c + d)
            parts[2, j] += (a * a + b * b) + (c * c + d * d)
    for i in range(N // 4 * 4, N):
        for j in range(C):
            a = x[i, j] - x[0, j]
            parts[1, j] += a
            parts[2, j] += a * a
    for j in range(C):
        shift = parts[1, j] / N
        parts[2, j] -= shift * parts[1, j]
        parts[1, j] = x[0, j] + shift
        parts[0, j] = N


@kernel
def batchnorm_join(parts, mean, var):
    P, _, C = parts.shape
    for j in range(C):
        count, centre, squares = parts[0, 0, j], parts[0, 1, j], parts[0, 2, j]
        for p in range(1, P):
            n = parts[p, 0, j]
            apart = parts[p, 1, j] - centre
            total = count + n
            centre += apart * (n / total)
            squares += parts[p, 2, j] + apart * apart * (count * (n / total))
            count = total
        mean[j], var[j] = centre, max(squares, ZERO) / count


@kernel
def batchnorm_scale(var, weight, eps, scale, rstd):
    for j in range(var.shape[0]):
        rstd[j] = ONE / math.sqrt(var[j] + eps)
        scale[j] = weight[j] * rstd[j]


@kernel
def batchnorm_apply(x, mean, scale, bias, residual, relu, out):
    N, C = x.shape
    least = ZERO if relu > 0 else -np.float32(np.inf)
    if residual.shape[0] > 0:
        for i in range(N):
            for j in range(C):
                value = (x[i, j] - mean[j]) * scale[j] + bias[j] + residual[i, j]
                out[i, j] = least if value < least else value
    else:
        for i in range(N):
            for j in range(C):
                value = (x[i, j] - mean[j]) * scale[j] + bias[j]
                out[i, j] = least if value < least else value


@helper
def passed(dout, x, mean, scale, bias, relu, i, j):
    """The gradient in front of relu, whose output has the sign of what it was made of."""
    value = (x[i, j] - mean[j]) * scale[j] + bias[j]
    return dout[i, j] if relu == 0 or value > ZERO else ZERO


@kernel
def batchnorm_gradient_parts(dout, x, mean, scale, bias, rstd, relu, dweight_parts, dbias_parts):
    """Four rows at a time: a quarter of the traffic to the sums."""
    N, C = x.shape
    for j in range(C):
        dweight_parts[j] = dbias_parts[j] = ZERO
    for i in range(0, N // 4 * 4, 4):
        for j in range(C):
            a = passed(dout, x, mean, scale, bias, relu, i, j)
            b = passed(dout, x, mean, scale, bias, relu, i + 1, j)
            c = passed(dout, x, mean, scale, bias, relu, i + 2, j)
            d = passed(dout, x, mean, scale, bias, relu, i + 3, j)
            m = mean[j]
            dbias_parts[j] += (a + b) + (c + d)
            dweight_parts[j] += (a * (x[i, j] - m) + b * (x[i + 1, j] - m)) + (c * (x[i + 2, j] - m) + d * (x[i + 3, j] - m))
    for i in range(N // 4 * 4, N):
        for j in range(C):
            a = passed(dout, x, mean, scale, bias, relu, i, j)
            dbias_parts[j] += a
            dweight_parts[j] += a * (x[i, j] - mean[j])
    for j in range(C):
        dweight_parts[j] *= rstd[j]


@kernel
def batchnorm_means(dweight, dbias, rstd, whole, slope, level):
    """What dx is moved by for each unit of x - mean, and at the mean; whole: how many rows there are in all."""
    for j in range(dweight.shape[0]):
        slope[j] = dweight[j] * rstd[j] / np.float32(whole)
        level[j] = dbias[j] / np.float32(whole)


@kernel
def batchnorm_dx(dout, x, mean, scale, bias, slope, level, relu, dx, add_dx):
    N, C = x.shape
    for i in range(N):
        for j in range(C):
            d = passed(dout, x, mean, scale, bias, relu, i, j)
            dx[i, j] = scale[j] * (d - level[j] - (x[i, j] - mean[j]) * slope[j]) + (dx[i, j] if add_dx else ZERO)


@kernel
def moving_average(value, status, momentum, moving):
    if status[0] == 0:
        for j in range(value.shape[0]):
            moving[j] = momentum * moving[j] + (ONE - momentum) * value[j]
