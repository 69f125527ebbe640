"""A room whose first kernel allocates and whose second is sound."""

import numpy as np

from dlcore.compiler.language import call, kernel

call("allocating(x: f32[N] -> out: f32[N])", over="N")
call("sound(x: f32[N] -> out: f32[N])", over="N")


@kernel
def allocating(x, out):
    work = np.zeros(8, np.float32)
    for i in range(x.shape[0]):
        work[i % 8] += x[i]
        out[i] = work[i % 8]


@kernel
def sound(x, out):
    for i in range(x.shape[0]):
        out[i] = x[i]
