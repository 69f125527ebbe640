"""LSTM on a GPU; see `ops/rnn/cuda_steps.py`."""
import numpy as np

from dlcore.compiler.cuda.intrinsics import cuda, f32
from dlcore.compiler.cuda.language import kernel
from dlcore.ops import lstm  # noqa: F401  (declares)
from dlcore.ops.formulas import sigmoid, sigmoid_derivative, tanh, tanh_derivative
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


@kernel(blocks="ceil(B / 4)")
def lstm_forward(item, thread, u, mask, h0, c0, reverse, gates, out, cells, h_last, c_last):
    (B, T, H), row, products = out.shape, item * ROWS, cuda.local.array(4, f32)
    start(h0, h_last, row, thread)
    start(c0, c_last, row, thread)
    for s in range(T):
        t = T - 1 - s if reverse > 0 else s
        for j in range(thread, 4 * H, THREADS):
            times_column(products, h_last, row, u, j)
            for r in range(ROWS):
                b = row + r
                if b < B and is_there(mask, b, t):
                    a = gates[b, t, j] + products[r]
                    gates[b, t, j] = tanh(a) if 2 * H <= j < 3 * H else sigmoid(a)
        cuda.syncthreads()
        for n in range(thread, ROWS * H, THREADS):
            b, j = place(n, row, H)
            if b < B:
                if is_there(mask, b, t):
                    c = gates[b, t, H + j] * c_last[b, j] + gates[b, t, j] * gates[b, t, 2 * H + j]
                    c_last[b, j], h_last[b, j] = c, gates[b, t, 3 * H + j] * tanh(c)
                cells[b, t, j], out[b, t, j] = c_last[b, j], h_last[b, j]
        cuda.syncthreads()


@kernel(blocks="ceil(B / 4)")
def lstm_backward(item, thread, dout, dh_last, dc_last, u, mask, h0, c0, out, cells, reverse, gates, h_before, dh0, dc0):
    """gates become their gradients, step by step."""
    (B, T, H), row = out.shape, item * ROWS
    start(dh_last, dh0, row, thread)
    start(dc_last, dc0, row, thread)
    for s in range(T - 1, -1, -1):
        t, before = (T - 1 - s, T - s) if reverse > 0 else (s, s - 1)
        for n in range(thread, ROWS * H, THREADS):
            b, j = place(n, row, H)
            if b < B:
                dh = arrived(dh0, dout, b, t, j)
                h_before[b, t, j] = state_before(h0, out, b, before, s == 0, j)
                if is_there(mask, b, t):
                    i, f = gates[b, t, j], gates[b, t, H + j]
                    g, o = gates[b, t, 2 * H + j], gates[b, t, 3 * H + j]
                    th = tanh(cells[b, t, j])
                    dc = dc0[b, j] + dh * o * tanh_derivative(th)
                    gates[b, t, j] = dc * g * sigmoid_derivative(i)
                    gates[b, t, H + j] = dc * state_before(c0, cells, b, before, s == 0, j) * sigmoid_derivative(f)
                    gates[b, t, 2 * H + j] = dc * i * tanh_derivative(g)
                    gates[b, t, 3 * H + j] = dh * th * sigmoid_derivative(o)
                    dc0[b, j], dh0[b, j] = dc * f, ZERO
                else:
                    dh0[b, j] = dh
                    for gate in range(4):
                        gates[b, t, gate * H + j] = ZERO
        cuda.syncthreads()
        add_turned(gates, t, row, u, dh0, thread)
