"""Softmax on a GPU: a warp for each row, whose lanes read side by side."""
import numpy as np

from dlcore.compiler.cuda.intrinsics import warp_sum
from dlcore.compiler.cuda.language import kernel
from dlcore.compiler.cuda.rows import warp_row_maximum
from dlcore.ops import softmax  # noqa: F401  (declares)
from dlcore.ops.formulas import exp, log

ZERO, ONE, INF = np.float32(0), np.float32(1), np.float32(np.inf)


@kernel(warps="N")
def softmax_forward(item, lane, x, out):
    C = x.shape[1]
    top = warp_row_maximum(x, item, lane)
    shift = ZERO if top == -INF else top                    # masked throughout: e**-inf = 0
    total = ZERO
    for j in range(lane, C, 32):
        e = exp(x[item, j] - shift)
        out[item, j] = e
        total += e
    total = warp_sum(total)
    factor = ZERO if total == ZERO else ONE / total
    for j in range(lane, C, 32):                            # each lane what it wrote itself
        out[item, j] *= factor


@kernel(warps="N")
def softmax_backward(item, lane, dout, out, dx, add_dx):
    total = ZERO
    for j in range(lane, dx.shape[1], 32):
        total += dout[item, j] * out[item, j]
    total = warp_sum(total)
    for j in range(lane, dx.shape[1], 32):
        dx[item, j] = out[item, j] * (dout[item, j] - total) + (dx[item, j] if add_dx else ZERO)


@kernel(warps="N")
def log_softmax_forward(item, lane, x, out):
    top = warp_row_maximum(x, item, lane)
    shift = ZERO if top == -INF else top
    total = ZERO
    for j in range(lane, x.shape[1], 32):
        total += exp(x[item, j] - shift)
    total = warp_sum(total)
    lse = ZERO if total == ZERO else log(total)
    for j in range(lane, x.shape[1], 32):
        out[item, j] = (x[item, j] - shift) - lse


@kernel(warps="N")
def log_softmax_backward(item, lane, dout, out, dx, add_dx):
    masked, total = warp_row_maximum(out, item, lane) == -INF, ZERO
    for j in range(lane, dx.shape[1], 32):
        total += dout[item, j]
    total = warp_sum(total)
    for j in range(lane, dx.shape[1], 32):
        d = ZERO if masked else dout[item, j] - exp(out[item, j]) * total
        dx[item, j] = d + (dx[item, j] if add_dx else ZERO)
