"""One loop for each; what is added to the result is chosen by `add_out`, which LLVM takes out of the loop."""
import math

import numpy as np

from dlcore.compiler.language import kernel
from dlcore.ops import arithmetic  # noqa: F401  (declares)
from dlcore.ops.formulas import exp, log


@kernel
def add(x, y, out, add_out):
    for i in range(out.shape[0]):
        out[i] = x[i] + y[i] + (out[i] if add_out else np.float32(0))


@kernel
def sub(x, y, out, add_out):
    for i in range(out.shape[0]):
        out[i] = x[i] - y[i] + (out[i] if add_out else np.float32(0))


@kernel
def mul(x, y, out, add_out):
    for i in range(out.shape[0]):
        out[i] = x[i] * y[i] + (out[i] if add_out else np.float32(0))


@kernel
def div(x, y, out, add_out):
    for i in range(out.shape[0]):
        out[i] = x[i] / y[i] + (out[i] if add_out else np.float32(0))


# ---- a row, a column, a scalar -----------------------------------------------------------------------------------
@kernel
def add_row(x, y, out, add_out):
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            out[i, j] = x[i, j] + y[j] + (out[i, j] if add_out else np.float32(0))


@kernel
def mul_row(x, y, out, add_out):
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            out[i, j] = x[i, j] * y[j] + (out[i, j] if add_out else np.float32(0))


@kernel
def add_column(x, y, out, add_out):
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            out[i, j] = x[i, j] + y[i] + (out[i, j] if add_out else np.float32(0))


@kernel
def mul_column(x, y, out, add_out):
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            out[i, j] = x[i, j] * y[i] + (out[i, j] if add_out else np.float32(0))


@kernel
def add_scalar(x, y, out, add_out):
    for i in range(out.shape[0]):
        out[i] = x[i] + y[0] + (out[i] if add_out else np.float32(0))


@kernel
def mul_scalar(x, y, out, add_out):
    for i in range(out.shape[0]):
        out[i] = x[i] * y[0] + (out[i] if add_out else np.float32(0))


@kernel
def scale(x, factor, out, add_out):
    for i in range(out.shape[0]):
        out[i] = x[i] * factor + (out[i] if add_out else np.float32(0))


@kernel
def shift(x, by, out, add_out):
    for i in range(out.shape[0]):
        out[i] = x[i] + by + (out[i] if add_out else np.float32(0))


# ---- one operand -------------------------------------------------------------------------------------------------
@kernel
def square(x, out, add_out):
    for i in range(out.shape[0]):
        out[i] = x[i] * x[i] + (out[i] if add_out else np.float32(0))


@kernel
def sqrt(x, out, add_out):
    for i in range(out.shape[0]):
        out[i] = math.sqrt(x[i]) + (out[i] if add_out else np.float32(0))


@kernel
def reciprocal(x, out, add_out):
    for i in range(out.shape[0]):
        out[i] = np.float32(1) / x[i] + (out[i] if add_out else np.float32(0))


@kernel
def exp_forward(x, out, add_out):
    for i in range(out.shape[0]):
        out[i] = exp(x[i]) + (out[i] if add_out else np.float32(0))


@kernel
def log_forward(x, out, add_out):
    for i in range(out.shape[0]):
        out[i] = log(x[i]) + (out[i] if add_out else np.float32(0))


@kernel
def abs_forward(x, out, add_out):
    for i in range(out.shape[0]):
        out[i] = math.fabs(x[i]) + (out[i] if add_out else np.float32(0))


@kernel
def abs_gradient(dout, x, dx, add_dx):
    for i in range(dx.shape[0]):
        sign = np.float32(1) if x[i] > np.float32(0) else (np.float32(-1) if x[i] < np.float32(0) else np.float32(0))
        dx[i] = dout[i] * sign + (dx[i] if add_dx else np.float32(0))


# ---- the greater, the smaller: a NaN on either side comes out ----------------------------------------------------
@kernel
def maximum(x, y, out, add_out):
    for i in range(out.shape[0]):
        top = y[i] if y[i] > x[i] or y[i] != y[i] else x[i]
        out[i] = top + (out[i] if add_out else np.float32(0))


@kernel
def minimum(x, y, out, add_out):
    for i in range(out.shape[0]):
        bottom = y[i] if y[i] < x[i] or y[i] != y[i] else x[i]
        out[i] = bottom + (out[i] if add_out else np.float32(0))


@kernel
def maximum_gradient(dout, x, y, dx, add_dx):
    for i in range(dx.shape[0]):
        share = np.float32(1) if x[i] > y[i] else (np.float32(0.5) if x[i] == y[i] else np.float32(0))
        dx[i] = dout[i] * share + (dx[i] if add_dx else np.float32(0))


@kernel
def clip(x, low, high, out, add_out):
    for i in range(out.shape[0]):
        c = low if x[i] < low else (high if x[i] > high else x[i])
        out[i] = c + (out[i] if add_out else np.float32(0))


@kernel
def clip_gradient(dout, x, low, high, dx, add_dx):
    for i in range(dx.shape[0]):
        share = np.float32(0) if x[i] < low or x[i] > high else np.float32(1)
        dx[i] = dout[i] * share + (dx[i] if add_dx else np.float32(0))
