"""The plain recurrent network on a GPU; a thread for each unit, or element."""
import numpy as np

from dlcore.compiler.cuda.intrinsics import cuda, f32
from dlcore.compiler.cuda.language import each, kernel
from dlcore.ops.formulas import relu, relu_derivative, tanh, tanh_derivative
from dlcore.ops.rnn import RELU, cpu
from dlcore.ops.rnn.cuda_steps import (
    ROWS,
    THREADS,
    add_turned,
    arrived,
    is_there,
    place,
    start,
    state_before,
    times_column,
)

ZERO = np.float32(0)

each(cpu.scale_steps, over="N, C")
each(cpu.scale_columns, over="B, T, C")


@kernel(threads="B * T * C")
def reverse_steps(item, x, out, add_out):
    T, C = x.shape[1], x.shape[2]
    b, t, c = item // C // T, item // C % T, item % C
    out[b, t, c] = x[b, T - 1 - t, c] + (out[b, t, c] if add_out else ZERO)


@kernel(blocks="ceil(B / 4)")
def rnn_forward(item, thread, u, mask, h0, reverse, function, steps, h_last):
    (B, T, H), row, products = steps.shape, item * ROWS, cuda.local.array(4, f32)
    start(h0, h_last, row, thread)
    for s in range(T):
        t = T - 1 - s if reverse > 0 else s
        for j in range(thread, H, THREADS):
            times_column(products, h_last, row, u, j)
            for r in range(ROWS):
                b = row + r
                if b < B:
                    a = steps[b, t, j] + products[r]
                    new = relu(a) if function == RELU else tanh(a)
                    steps[b, t, j] = new if is_there(mask, b, t) else h_last[b, j]
        cuda.syncthreads()
        for n in range(thread, ROWS * H, THREADS):
            b, j = place(n, row, H)
            if b < B:
                h_last[b, j] = steps[b, t, j]
        cuda.syncthreads()


@kernel(blocks="ceil(B / 4)")
def rnn_backward(item, thread, dout, dh_last, u, mask, h0, out, reverse, function, da, h_before, dh0):
    (B, T, H), row = out.shape, item * ROWS
    start(dh_last, dh0, row, thread)
    for s in range(T - 1, -1, -1):
        t, before = (T - 1 - s, T - s) if reverse > 0 else (s, s - 1)
        for n in range(thread, ROWS * H, THREADS):
            b, j = place(n, row, H)
            if b < B:
                d, y, here = arrived(dh0, dout, b, t, j), out[b, t, j], is_there(mask, b, t)
                h_before[b, t, j] = state_before(h0, out, b, before, s == 0, j)
                slope = relu_derivative(y) if function == RELU else tanh_derivative(y)
                da[b, t, j] = d * slope if here else ZERO
                dh0[b, j] = ZERO if here else d
        cuda.syncthreads()
        add_turned(da, t, row, u, dh0, thread)
