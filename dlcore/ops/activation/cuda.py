"""Activations on a GPU: a thread for four elements, with the loops of cpu.py.

Those of language models would take longer to compute than to read and write by the polynomials of `formulas.py`: their sigmoid is
of hardware's powers of two and reciprocals, which are within 2 units in the last place.  What that loses where the sigmoid is
far below 1 is multiplied by it."""
import numpy as np

from dlcore.compiler.cuda.intrinsics import asm_op
from dlcore.compiler.cuda.language import each, kernel
from dlcore.compiler.cuda.vectors import power_of_2
from dlcore.compiler.language import helper
from dlcore.ops.activation import cpu
from dlcore.ops.formulas import SQRT_2_OVER_PI

each(cpu.relu_forward, cpu.relu_gradient, cpu.leaky_relu_forward, cpu.leaky_relu_gradient, cpu.elu_forward, cpu.elu_gradient,
     cpu.sigmoid_forward, cpu.sigmoid_gradient, cpu.tanh_forward, cpu.tanh_gradient, cpu.gelu_forward, cpu.gelu_gradient,
     cpu.softplus_forward, cpu.softplus_gradient)

ZERO, ONE, LOG2E = np.float32(0), np.float32(1), np.float32(1.44269504)
SLOPE, CUBE = np.float32(2 * SQRT_2_OVER_PI), np.float32(0.044715)
reciprocal = asm_op("reciprocal", "rcp.approx.ftz.f32 $0, $1;", "f", "f", memory=False)


@helper
def sigmoid(x):
    return reciprocal(ONE + power_of_2(-LOG2E * x))


@kernel(each="S")
def gelu_tanh_forward(x, out, add_out):
    for i in range(out.shape[0]):
        y = x[i] * sigmoid(SLOPE * (x[i] + CUBE * x[i] * x[i] * x[i]))
        out[i] = y + (out[i] if add_out else ZERO)


@kernel(each="S")
def gelu_tanh_gradient(dout, x, dx, add_dx):
    for i in range(dx.shape[0]):
        s = sigmoid(SLOPE * (x[i] + CUBE * x[i] * x[i] * x[i]))
        du = SLOPE * (ONE + np.float32(3) * CUBE * x[i] * x[i])
        dx[i] = dout[i] * (s + x[i] * s * (ONE - s) * du) + (dx[i] if add_dx else ZERO)


@kernel(each="S")
def silu_forward(x, out, add_out):
    for i in range(out.shape[0]):
        out[i] = x[i] * sigmoid(x[i]) + (out[i] if add_out else ZERO)


@kernel(each="S")
def silu_gradient(dout, x, dx, add_dx):
    for i in range(dx.shape[0]):
        s = sigmoid(x[i])
        dx[i] = dout[i] * (s * (ONE + x[i] * (ONE - s))) + (dx[i] if add_dx else ZERO)
