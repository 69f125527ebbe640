import numpy as np

from dlcore.compiler.language import kernel
from dlcore.ops import softmax  # noqa: F401  (declares)
from dlcore.ops.formulas import exp, log, row_maximum


@kernel
def softmax_forward(x, out):
    for i in range(x.shape[0]):
        top = row_maximum(x, i)
        shift = np.float32(0) if top == np.float32(-np.inf) else top        # masked throughout: e**-inf = 0
        total = np.float32(0)
        for j in range(x.shape[1]):
            e = exp(x[i, j] - shift)
            out[i, j] = e
            total += e
        factor = np.float32(0) if total == np.float32(0) else np.float32(1) / total
        for j in range(x.shape[1]):
            out[i, j] *= factor


@kernel
def softmax_backward(dout, out, dx, add_dx):
    for i in range(dx.shape[0]):
        total = np.float32(0)
        for j in range(dx.shape[1]):
            total += dout[i, j] * out[i, j]
        for j in range(dx.shape[1]):
            dx[i, j] = out[i, j] * (dout[i, j] - total) + (dx[i, j] if add_dx else np.float32(0))


@kernel
def log_softmax_forward(x, out):
    for i in range(x.shape[0]):
        top = row_maximum(x, i)
        shift = np.float32(0) if top == np.float32(-np.inf) else top
        total = np.float32(0)
        for j in range(x.shape[1]):
            total += exp(x[i, j] - shift)
        lse = np.float32(0) if total == np.float32(0) else log(total)
        for j in range(x.shape[1]):
            out[i, j] = (x[i, j] - shift) - lse


@kernel
def log_softmax_backward(dout, out, dx, add_dx):
    for i in range(dx.shape[0]):
        total, masked = np.float32(0), row_maximum(out, i) == np.float32(-np.inf)
        for j in range(dx.shape[1]):
            total += dout[i, j]
        for j in range(dx.shape[1]):
            d = np.float32(0) if masked else dout[i, j] - exp(out[i, j]) * total
            dx[i, j] = d + (dx[i, j] if add_dx else np.float32(0))
