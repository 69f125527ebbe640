"""Masks on the CPU."""
import numpy as np

from dlcore.compiler.language import kernel

ZERO, ONE = np.float32(0), np.float32(1)


@kernel
def id_mask(ids, padding, out, add_out):
    for i in range(ids.shape[0]):
        out[i] = (ONE if ids[i] != padding else ZERO) + (out[i] if add_out else ZERO)


@kernel
def step_mask(x, value, out, add_out):
    for i in range(x.shape[0]):
        differ = 0
        for j in range(x.shape[1]):
            differ += 1 if x[i, j] != value else 0
        out[i] = (ONE if differ > 0 else ZERO) + (out[i] if add_out else ZERO)
