"""Root mean square normalisation on the CPU: a row at a time."""
import math

import numpy as np

from dlcore.compiler.language import call, kernel, lowered
from dlcore.ops import rmsnorm as _  # noqa: F401  (declares)

ZERO, ONE = np.float32(0), np.float32(1)

call("rmsnorm_backward_rows(dout: F[N, C], x: F[N, C], weight: f32[C], rstd: f32[N]"
     " -> +dx: F[N, C], dweight: f32[CHUNKS, C])", over="N in CHUNKS", flops="10 * N * C")
lowered("rmsnorm_backward", "rmsnorm_backward_rows(dout, x, weight, rstd -> dx, parts)", "add_parts(parts -> dweight)")


@kernel
def rmsnorm_forward(x, weight, eps, out, rstd):
    N, C = x.shape
    share = ONE / np.float32(C)
    for i in range(N):
        squares = ZERO
        for j in range(C):
            squares += x[i, j] * x[i, j]
        s = ONE / math.sqrt(squares * share + eps)
        for j in range(C):
            out[i, j] = x[i, j] * s * weight[j]
        rstd[i] = s


@kernel
def rmsnorm_backward_rows(dout, x, weight, rstd, dx, dweight, add_dx):
    """x: the rows of one chunk; dweight: its part of the sum."""
    N, C = x.shape
    share = ONE / np.float32(C)
    for j in range(C):
        dweight[j] = ZERO
    for i in range(N):
        s, total = rstd[i], ZERO
        for j in range(C):
            total += dout[i, j] * weight[j] * x[i, j]
        mean = total * share * s
        for j in range(C):
            xhat = x[i, j] * s
            dweight[j] += dout[i, j] * xhat
            dx[i, j] = (dout[i, j] * weight[j] - xhat * mean) * s + (dx[i, j] if add_dx else ZERO)
