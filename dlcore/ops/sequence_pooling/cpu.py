"""Pooling over the steps of sequences on the CPU."""
import numpy as np

from dlcore.compiler.language import helper, kernel

ZERO, ONE = np.float32(0), np.float32(1)


@helper
def share_of_steps(mask, b, T):
    """1 / (how many steps of sequence b are there); 0 where none is."""
    if mask.shape[0] == 0:
        return ONE / np.float32(T)
    total = ZERO
    for t in range(T):
        total += mask[b, t]
    return ONE / total if total > ZERO else ZERO


@kernel
def sequence_mean(x, mask, out):
    B, T, C = x.shape
    for b in range(B):
        for c in range(C):
            out[b, c] = ZERO
        for t in range(T):
            if mask.shape[0] == 0 or mask[b, t] != ZERO:
                for c in range(C):
                    out[b, c] += x[b, t, c]
        share = share_of_steps(mask, b, T)
        for c in range(C):
            out[b, c] *= share


@kernel
def sequence_mean_backward(dout, mask, dx, add_dx):
    B, T, C = dx.shape
    for b in range(B):
        share = share_of_steps(mask, b, T)
        for t in range(T):
            here = share if mask.shape[0] == 0 or mask[b, t] != ZERO else ZERO
            for c in range(C):
                dx[b, t, c] = dout[b, c] * here + (dx[b, t, c] if add_dx else ZERO)


@kernel
def sequence_max(x, mask, out, index):
    """index is -1 where no step is there.  A NaN is greater than all, and the first one stays."""
    B, T, C = x.shape
    for b in range(B):
        for c in range(C):
            out[b, c] = ZERO
            index[b, c] = -1
        for t in range(T):
            if mask.shape[0] == 0 or mask[b, t] != ZERO:
                for c in range(C):
                    greater = index[b, c] < 0 or (out[b, c] == out[b, c] and not x[b, t, c] <= out[b, c])
                    out[b, c] = x[b, t, c] if greater else out[b, c]
                    index[b, c] = t if greater else index[b, c]


@kernel
def sequence_max_backward(dout, index, dx, add_dx):
    B, T, C = dx.shape
    for b in range(B):
        for t in range(T):
            for c in range(C):
                dx[b, t, c] = (dout[b, c] if index[b, c] == t else ZERO) + (dx[b, t, c] if add_dx else ZERO)
