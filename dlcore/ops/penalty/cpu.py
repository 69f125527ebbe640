import numpy as np

from dlcore.compiler.language import call, kernel, lowered
from dlcore.ops import penalty  # noqa: F401  (declares)

call("penalty_parts(x: F[S], l1: f32, l2: f32 -> parts: F[CHUNKS, 1])", over="S in CHUNKS", flops="4 * S")

lowered("penalty", "penalty_parts(x, l1, l2 -> parts)", "add_parts(parts -> out)")


@kernel
def penalty_parts(x, l1, l2, parts):
    absolute, squares = np.float32(0), np.float32(0)
    for i in range(x.shape[0]):
        absolute += abs(x[i])
        squares += x[i] * x[i]
    parts[0] = l1 * absolute + l2 * squares


@kernel
def penalty_backward(dout, x, l1, l2, dx, add_dx):
    slope, twice = l1 * dout[0], np.float32(2) * l2 * dout[0]
    for i in range(x.shape[0]):
        side = slope if x[i] > np.float32(0) else (-slope if x[i] < np.float32(0) else np.float32(0))
        dx[i] = side + twice * x[i] + (dx[i] if add_dx else np.float32(0))
