"""What kernels with a warp for each row share."""

from __future__ import annotations

import numpy as np

from dlcore.compiler.cuda.intrinsics import cuda, warp_max
from dlcore.compiler.language import helper
from dlcore.ops.formulas import ordered, unordered

LEAST = np.int32(-0x80000000)


@helper
def warp_row_maximum(x, i, lane):
    """The greatest element of x[i], for every lane; NaN if there is a NaN without sign in it."""
    top = LEAST
    for j in range(lane, x.shape[1], 32):
        key = ordered(x[i, j])
        top = key if key > top else top
    return unordered(np.int32(warp_max(top)))


@helper
def warp_first_maximum(x, i, lane):
    """(greatest key, first column that holds it) of x[i], for every lane."""
    top, at = LEAST, np.int32(0)
    for j in range(lane, x.shape[1], 32):
        key = ordered(x[i, j])
        at = np.int32(j) if key > top else at
        top = key if key > top else top
    for d in (16, 8, 4, 2, 1):
        other, place = cuda.shfl_xor_sync(0xFFFFFFFF, top, d), cuda.shfl_xor_sync(0xFFFFFFFF, at, d)
        better = other > top or (other == top and place < at)
        top, at = (other, place) if better else (top, at)
    return top, at
