"""LSTM on a GPU: for H up to 256 by `ops/rnn/cuda_held.py`, up to 512 `cuda_streamed.py`, for more `cuda_steps.py`."""
import numpy as np

from dlcore.compiler.cuda.intrinsics import cuda, f32
from dlcore.compiler.cuda.language import kernel, lowered
from dlcore.compiler.language import call, helper
from dlcore.ops.formulas import sigmoid, sigmoid_derivative, tanh, tanh_derivative
from dlcore.ops.lstm import STATES
from dlcore.ops.lstm.cuda_held import lstm_backward_held, lstm_forward_held
from dlcore.ops.lstm.cuda_streamed import lstm_backward_streamed, lstm_forward_streamed  # noqa: F401  (kernels)
from dlcore.ops.rnn import cuda_streamed
from dlcore.ops.rnn.cuda_held import SHAPES
from dlcore.ops.rnn.cuda_steps import (
    ROWS,
    add_turned,
    arrived,
    is_there,
    place,
    start,
    state_before,
    threads,
    times_column,
)

ZERO = np.float32(0)


@helper
def steps_forward(item, thread, u, mask, h0, c0, reverse, gates, out, cells, h_last, c_last):
    (B, T, H), row, products = out.shape, item * ROWS, cuda.local.array(4, f32)
    start(h0, h_last, row, thread)
    start(c0, c_last, row, thread)
    for s in range(T):
        t = T - 1 - s if reverse > 0 else s
        for j in range(thread, 4 * H, threads()):
            times_column(products, h_last, row, u, j)
            for r in range(ROWS):
                b = row + r
                if b < B and is_there(mask, b, t):
                    a = gates[b, t, j] + products[r]
                    gates[b, t, j] = tanh(a) if 2 * H <= j < 3 * H else sigmoid(a)
        cuda.syncthreads()
        for n in range(thread, ROWS * H, threads()):
            b, j = place(n, row, H)
            if b < B:
                if is_there(mask, b, t):
                    c = gates[b, t, H + j] * c_last[b, j] + gates[b, t, j] * gates[b, t, 2 * H + j]
                    c_last[b, j], h_last[b, j] = c, gates[b, t, 3 * H + j] * tanh(c)
                cells[b, t, j], out[b, t, j] = c_last[b, j], h_last[b, j]
        cuda.syncthreads()


@helper
def steps_backward(item, thread, dout, dh_last, dc_last, u, mask, h0, c0, out, cells, reverse, gates, h_before, dh0, dc0):
    """gates become their gradients, step by step."""
    (B, T, H), row = out.shape, item * ROWS
    start(dh_last, dh0, row, thread)
    start(dc_last, dc0, row, thread)
    for s in range(T - 1, -1, -1):
        t, before = (T - 1 - s, T - s) if reverse > 0 else (s, s - 1)
        for n in range(thread, ROWS * H, threads()):
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


@kernel(blocks="ceil(B / 4)")
def lstm_forward(item, thread, u, mask, h0, c0, reverse, gates, out, cells, h_last, c_last):
    steps_forward(item, thread, u, mask, h0, c0, reverse, gates, out, cells, h_last, c_last)


@kernel(blocks="ceil(B / 4)")
def lstm_backward(item, thread, dout, dh_last, dc_last, u, mask, h0, c0, out, cells, reverse, gates, h_before, dh0, dc0):
    steps_backward(item, thread, dout, dh_last, dc_last, u, mask, h0, c0, out, cells, reverse, gates, h_before, dh0, dc0)


def declare(width):
    """The calls for H up to a width."""
    call(f"lstm_forward_{width}(u: f32[H, 4 * H], {STATES}, reverse: i64 -> ~gates: F[B, T, 4 * H], out: F[B, T, H],"
         " cells: F[B, T, H], h_last: F[B, H], c_last: F[B, H])", over="B", flops="B * T * H * (8 * H + 110)")
    call(f"lstm_backward_{width}(dout: F[B, T, H]?, dh_last: F[B, H]?, dc_last: F[B, H]?, u: f32[H, 4 * H], {STATES},"
         " out: F[B, T, H], cells: F[B, T, H], reverse: i64 -> ~gates: F[B, T, 4 * H], h_before: F[B, T, H], dh0: F[B, H],"
         " dc0: F[B, H])", over="B", flops="B * T * H * (8 * H + 50)")
    lowered("lstm_forward", f"lstm_forward_{width}(u, mask, h0, c0, reverse, gates -> gates, out, cells, h_last, c_last)",
            when=f"H <= {width}")
    lowered("lstm_backward", f"lstm_backward_{width}(dout, dh_last, dc_last, u, mask, h0, c0, out, cells, reverse, gates"
            " -> gates, h_before, dh0, dc0)", when=f"H <= {width}")


def elsewhere(width, launch):
    """Where there are no clusters, the kernels of clusters go as above: not all of their blocks have work."""

    @kernel(**launch, name=f"lstm_forward_{width}")
    def forward(item, thread, u, mask, h0, c0, reverse, gates, out, cells, h_last, c_last):
        if item * ROWS < out.shape[0]:
            steps_forward(item, thread, u, mask, h0, c0, reverse, gates, out, cells, h_last, c_last)

    @kernel(**launch, name=f"lstm_backward_{width}")
    def backward(item, thread, dout, dh_last, dc_last, u, mask, h0, c0, out, cells, reverse, gates, h_before, dh0, dc0):
        if item * ROWS < out.shape[0]:
            steps_backward(item, thread, dout, dh_last, dc_last, u, mask, h0, c0, out, cells, reverse, gates, h_before, dh0, dc0)


for shape in SHAPES:
    declare(shape.width)
    lstm_forward_held(shape)
    lstm_backward_held(shape)
    if shape.cluster > 1:
        elsewhere(shape.width, shape.launch)
declare(cuda_streamed.WIDTH)
elsewhere(cuda_streamed.WIDTH, cuda_streamed.LAUNCH)
