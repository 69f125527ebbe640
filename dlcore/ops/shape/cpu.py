"""Copies.  What a loop adds to is chosen by its `add_out`, which is the same for all its turns: LLVM makes two loops of it."""
import numpy as np

from dlcore.compiler.language import helper, kernel
from dlcore.ops import shape  # noqa: F401  (declares)

BLOCK = 16          # rows and columns transposed at a time: what is read by column stays in the first-level cache


@kernel
def fill(value, out, add_out):
    for i in range(out.shape[0]):
        out[i] = value + (out[i] if add_out else np.float32(0))


@kernel
def accumulate(x, out, add_out):
    for i in range(out.shape[0]):
        out[i] = x[i] + (out[i] if add_out else np.float32(0))


@helper
def copy_columns(x, i, out, at, add_out):
    """Row i of x into out[i, at:]; the column after it.  An absent x has no rows, and no columns to copy."""
    C = x.shape[1] if x.shape[0] > 0 else 0
    for j in range(C):
        out[i, at + j] = x[i, j] + (out[i, at + j] if add_out else np.float32(0))
    return at + C


@kernel
def concat(a, b, c, d, e, f, g, h, out, add_out):
    for i in range(out.shape[0]):
        at = copy_columns(a, i, out, 0, add_out)
        at = copy_columns(b, i, out, at, add_out)
        at = copy_columns(c, i, out, at, add_out)
        at = copy_columns(d, i, out, at, add_out)
        at = copy_columns(e, i, out, at, add_out)
        at = copy_columns(f, i, out, at, add_out)
        at = copy_columns(g, i, out, at, add_out)
        at = copy_columns(h, i, out, at, add_out)


@kernel
def slice_columns(x, start, out, add_out):
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            out[i, j] = x[i, start + j] + (out[i, j] if add_out else np.float32(0))


@kernel
def pad_columns(x, start, out, add_out):
    for i in range(out.shape[0]):
        if not add_out:
            for j in range(start):
                out[i, j] = np.float32(0)
            for j in range(start + x.shape[1], out.shape[1]):
                out[i, j] = np.float32(0)
        for j in range(x.shape[1]):
            out[i, start + j] = x[i, j] + (out[i, start + j] if add_out else np.float32(0))


@kernel
def transpose(x, out, begin, add_out):
    for n0 in range(0, out.shape[0], BLOCK):
        n1 = min(n0 + BLOCK, out.shape[0])
        for m0 in range(0, out.shape[1], BLOCK):
            m1 = min(m0 + BLOCK, out.shape[1])
            for n in range(n0, n1):
                for m in range(m0, m1):
                    out[n, m] = x[m, begin + n] + (out[n, m] if add_out else np.float32(0))
