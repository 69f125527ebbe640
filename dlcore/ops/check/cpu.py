import math

import numpy as np

from dlcore.compiler.language import call, kernel, lowered
from dlcore.ops import check  # noqa: F401  (declares)

call("square_parts(x: F[S] -> parts: F[CHUNKS, 1])", over="S in CHUNKS", flops="2 * S")
call("norm_of_parts(parts: F[P, 1] -> out: F[1])", over="1", flops="P")

lowered("norm", "square_parts(x -> parts)", "norm_of_parts(parts -> out)")


@kernel
def check_finite(x, status):
    """0 * x is 0 for finite x only, and a sum keeps a NaN: one loop without branches."""
    total = np.float32(0)
    for i in range(x.shape[0]):
        total += x[i] * np.float32(0)
    if not total == np.float32(0):
        status[0] = 1


@kernel
def square_parts(x, parts):
    total = np.float32(0)
    for i in range(x.shape[0]):
        total += x[i] * x[i]
    parts[0] = total


@kernel
def norm_of_parts(parts, out):
    total = parts[0, 0]
    for p in range(1, parts.shape[0]):
        total += parts[p, 0]
    out[0] = math.sqrt(total)


@kernel
def clip_factor(norm, limit, out):
    out[0] = limit / norm[0] if norm[0] > limit else np.float32(1)
