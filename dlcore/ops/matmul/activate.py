"""Activations on a tile of a product that has just been written, while it is in the first-level cache."""
from dlcore.compiler.language import helper
from dlcore.ops.formulas import elu, gelu, gelu_tanh, leaky_relu, sigmoid, silu, softplus, tanh
from dlcore.ops.matmul import ELU, GELU, GELU_TANH, LEAKY_RELU, SIGMOID, SILU, SOFTPLUS, TANH


@helper
def activate(out, row, rows, column, n, activation, parameter):
    """All but relu, which a tile does by itself, on rows row to row + rows and columns column to column + n."""
    for i in range(row, row + rows):
        if activation == LEAKY_RELU:
            for j in range(column, column + n):
                out[i, j] = leaky_relu(out[i, j], parameter)
        elif activation == ELU:
            for j in range(column, column + n):
                out[i, j] = elu(out[i, j], parameter)
        elif activation == SIGMOID:
            for j in range(column, column + n):
                out[i, j] = sigmoid(out[i, j])
        elif activation == TANH:
            for j in range(column, column + n):
                out[i, j] = tanh(out[i, j])
        elif activation == GELU:
            for j in range(column, column + n):
                out[i, j] = gelu(out[i, j])
        elif activation == GELU_TANH:
            for j in range(column, column + n):
                out[i, j] = gelu_tanh(out[i, j])
        elif activation == SILU:
            for j in range(column, column + n):
                out[i, j] = silu(out[i, j])
        elif activation == SOFTPLUS:
            for j in range(column, column + n):
                out[i, j] = softplus(out[i, j])
