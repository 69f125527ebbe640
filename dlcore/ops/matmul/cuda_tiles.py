"""A tile of a matrix product on a GPU, in float32: 64 by 64 of the result by 256 threads, 4 by 4 each.

`product_tile(load_a, ...)` makes the function for two operands that need not be matrices: `load_a(a, i, k, extra)` is the element
in row i and column k of what a stands for, `load_b(b, j, k, extra)` that in column j and row k of the other.  Convolutions say
there which pixel it is.  `along_k`: neighbours in memory are those along k, so neighbouring threads read these.

16 columns of a and rows of b at a time lie in shared memory, their columns 65 apart: no two lanes meet in a bank.
"""

import numpy as np

from dlcore.compiler.cuda.intrinsics import cuda, f32, i32
from dlcore.compiler.language import helper
from dlcore.ops.formulas import elu, gelu, gelu_tanh, leaky_relu, relu, sigmoid, silu, softplus, tanh
from dlcore.ops.matmul import ELU, GELU, GELU_TANH, LEAKY_RELU, RELU, SIGMOID, SILU, SOFTPLUS, TANH

SIDE, DEPTH, GRID = 64, 16, 16          # of a tile; of k at a time; threads along each side
ZERO = np.float32(0)


def product_tile(load_a, a_along_k, load_b, b_along_k):
    """sums(acc, thread, m0, n0, M, N, start, stop, a, b, extra): acc[i, j] += the product's element (m0 + i', n0 + j') over
    columns start to stop, i' = thread // 16 + 16 i, j' = thread % 16 + 16 j."""

    @helper
    def sums(acc, thread, m0, n0, M, N, start, stop, a, b, extra):
        left = cuda.shared.array((16, 65), f32)
        right = cuda.shared.array((16, 65), f32)
        row, column = thread // 16, thread % 16
        for k0 in range(start, stop, DEPTH):
            for part in range(4):
                t = thread + 256 * part
                m, k = (t // 16, t % 16) if a_along_k else (t % 64, t // 64)
                inside = m0 + m < M and k0 + k < stop
                left[k, m] = load_a(a, m0 + m, k0 + k, extra) if inside else ZERO
                n, k = (t // 16, t % 16) if b_along_k else (t % 64, t // 64)
                inside = n0 + n < N and k0 + k < stop
                right[k, n] = load_b(b, n0 + n, k0 + k, extra) if inside else ZERO
            cuda.syncthreads()
            for k in range(i32(16)):
                x0, x1, x2, x3 = left[k, row], left[k, row + 16], left[k, row + 32], left[k, row + 48]
                for j in range(4):
                    y = right[k, column + 16 * j]
                    acc[0, j] += x0 * y
                    acc[1, j] += x1 * y
                    acc[2, j] += x2 * y
                    acc[3, j] += x3 * y
            cuda.syncthreads()

    return sums


@helper
def clear(acc):
    for i in range(4):
        for j in range(4):
            acc[i, j] = ZERO


@helper
def activated(x, activation, parameter):
    if activation == RELU:
        return relu(x)
    if activation == LEAKY_RELU:
        return leaky_relu(x, parameter)
    if activation == ELU:
        return elu(x, parameter)
    if activation == SIGMOID:
        return sigmoid(x)
    if activation == TANH:
        return tanh(x)
    if activation == GELU:
        return gelu(x)
    if activation == GELU_TANH:
        return gelu_tanh(x)
    if activation == SILU:
        return silu(x)
    if activation == SOFTPLUS:
        return softplus(x)
    return x


@helper
def write_added(acc, thread, m0, n0, out, add):
    """The tile into out [M, N], or onto what is there."""
    M, N = out.shape
    for i in range(4):
        for j in range(4):
            m, n = m0 + thread // 16 + 16 * i, n0 + thread % 16 + 16 * j
            if m < M and n < N:
                out[m, n] = acc[i, j] + (out[m, n] if add else ZERO)


@helper
def write_activated(acc, thread, m0, n0, out, bias, residual, activation, parameter):
    """f(tile + bias + residual); absent ones have length 0."""
    M, N = out.shape
    for i in range(4):
        for j in range(4):
            m, n = m0 + thread // 16 + 16 * i, n0 + thread % 16 + 16 * j
            if m < M and n < N:
                value = acc[i, j] + (bias[n] if bias.shape[0] > 0 else ZERO)
                value += residual[m, n] if residual.shape[0] > 0 else ZERO
                out[m, n] = activated(value, activation, parameter)
