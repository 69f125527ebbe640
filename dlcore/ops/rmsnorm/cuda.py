"""Root mean square normalisation on a GPU: a warp for each row; the gradient of the weight by columns."""
import math

import numpy as np

from dlcore.compiler.cuda.intrinsics import f32, warp_sum
from dlcore.compiler.cuda.language import kernel, lowered
from dlcore.compiler.language import call
from dlcore.ops import rmsnorm  # noqa: F401  (declares)

ZERO, ONE = np.float32(0), np.float32(1)

call("rmsnorm_dx(dout: F[N, C], x: F[N, C], weight: f32[C], rstd: f32[N] -> +dx: F[N, C])", over="N", flops="7 * N * C")
call("rmsnorm_weight_parts(dout: F[N, C], x: F[N, C], rstd: f32[N] -> dweight: f32[CHUNKS, C])", over="N in CHUNKS",
     flops="3 * N * C")
lowered("rmsnorm_backward", "rmsnorm_dx(dout, x, weight, rstd -> dx)", "rmsnorm_weight_parts(dout, x, rstd -> parts)",
        "add_parts(parts -> dweight)")


@kernel(warps="N")
def rmsnorm_forward(item, lane, x, weight, eps, out, rstd):
    C, squares = x.shape[1], ZERO
    for j in range(lane, C, 32):
        squares += x[item, j] * x[item, j]
    s = ONE / math.sqrt(warp_sum(squares) * (ONE / f32(C)) + eps)
    for j in range(lane, C, 32):
        out[item, j] = x[item, j] * s * weight[j]
    if lane == 0:
        rstd[item] = s


@kernel(warps="N")
def rmsnorm_dx(item, lane, dout, x, weight, rstd, dx, add_dx):
    C, s, total = x.shape[1], rstd[item], ZERO
    for j in range(lane, C, 32):
        total += dout[item, j] * weight[j] * x[item, j]
    mean = warp_sum(total) * (ONE / f32(C)) * s
    for j in range(lane, C, 32):
        xhat = x[item, j] * s
        dx[item, j] = (dout[item, j] * weight[j] - xhat * mean) * s + (dx[item, j] if add_dx else ZERO)


@kernel(threads="CHUNKS * C")
def rmsnorm_weight_parts(item, dout, x, rstd, dweight):
    N, C = x.shape
    CHUNKS = dweight.shape[0]
    part, j, total = item // C, item % C, ZERO
    for i in range(part * N // CHUNKS, (part + 1) * N // CHUNKS):
        total += dout[i, j] * (x[i, j] * rstd[i])
    dweight[part, j] = total
