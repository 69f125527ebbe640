"""Each activation above its gradient; the formulas stand in `ops/formulas.py`."""
import numpy as np

from dlcore.compiler.language import kernel
from dlcore.ops import activation  # noqa: F401  (declares)
from dlcore.ops.formulas import (
    elu,
    elu_derivative,
    gelu,
    gelu_derivative,
    gelu_tanh,
    gelu_tanh_derivative,
    leaky_relu,
    leaky_relu_derivative,
    relu,
    relu_derivative,
    sigmoid,
    sigmoid_derivative,
    silu,
    silu_derivative,
    softplus,
    tanh,
    tanh_derivative,
)


@kernel
def relu_forward(x, out, add_out):
    for i in range(out.shape[0]):
        out[i] = relu(x[i]) + (out[i] if add_out else np.float32(0))


@kernel
def relu_gradient(dout, out, dx, add_dx):
    for i in range(dx.shape[0]):
        dx[i] = dout[i] * relu_derivative(out[i]) + (dx[i] if add_dx else np.float32(0))


@kernel
def leaky_relu_forward(x, slope, out, add_out):
    for i in range(out.shape[0]):
        out[i] = leaky_relu(x[i], slope) + (out[i] if add_out else np.float32(0))


@kernel
def leaky_relu_gradient(dout, out, slope, dx, add_dx):
    for i in range(dx.shape[0]):
        dx[i] = dout[i] * leaky_relu_derivative(out[i], slope) + (dx[i] if add_dx else np.float32(0))


@kernel
def elu_forward(x, alpha, out, add_out):
    for i in range(out.shape[0]):
        out[i] = elu(x[i], alpha) + (out[i] if add_out else np.float32(0))


@kernel
def elu_gradient(dout, out, alpha, dx, add_dx):
    for i in range(dx.shape[0]):
        dx[i] = dout[i] * elu_derivative(out[i], alpha) + (dx[i] if add_dx else np.float32(0))


@kernel
def sigmoid_forward(x, out, add_out):
    for i in range(out.shape[0]):
        out[i] = sigmoid(x[i]) + (out[i] if add_out else np.float32(0))


@kernel
def sigmoid_gradient(dout, out, dx, add_dx):
    for i in range(dx.shape[0]):
        dx[i] = dout[i] * sigmoid_derivative(out[i]) + (dx[i] if add_dx else np.float32(0))


@kernel
def tanh_forward(x, out, add_out):
    for i in range(out.shape[0]):
        out[i] = tanh(x[i]) + (out[i] if add_out else np.float32(0))


@kernel
def tanh_gradient(dout, out, dx, add_dx):
    for i in range(dx.shape[0]):
        dx[i] = dout[i] * tanh_derivative(out[i]) + (dx[i] if add_dx else np.float32(0))


@kernel
def gelu_forward(x, out, add_out):
    for i in range(out.shape[0]):
        out[i] = gelu(x[i]) + (out[i] if add_out else np.float32(0))


@kernel
def gelu_gradient(dout, x, dx, add_dx):
    for i in range(dx.shape[0]):
        dx[i] = dout[i] * gelu_derivative(x[i]) + (dx[i] if add_dx else np.float32(0))


@kernel
def gelu_tanh_forward(x, out, add_out):
    for i in range(out.shape[0]):
        out[i] = gelu_tanh(x[i]) + (out[i] if add_out else np.float32(0))


@kernel
def gelu_tanh_gradient(dout, x, dx, add_dx):
    for i in range(dx.shape[0]):
        dx[i] = dout[i] * gelu_tanh_derivative(x[i]) + (dx[i] if add_dx else np.float32(0))


@kernel
def silu_forward(x, out, add_out):
    for i in range(out.shape[0]):
        out[i] = silu(x[i]) + (out[i] if add_out else np.float32(0))


@kernel
def silu_gradient(dout, x, dx, add_dx):
    for i in range(dx.shape[0]):
        dx[i] = dout[i] * silu_derivative(x[i]) + (dx[i] if add_dx else np.float32(0))


@kernel
def softplus_forward(x, out, add_out):
    for i in range(out.shape[0]):
        out[i] = softplus(x[i]) + (out[i] if add_out else np.float32(0))


@kernel
def softplus_gradient(dout, x, dx, add_dx):
    for i in range(dx.shape[0]):
        dx[i] = dout[i] * sigmoid(x[i]) + (dx[i] if add_dx else np.float32(0))
