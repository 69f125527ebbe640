"""The plain recurrent network on a GPU; a thread for each unit, or element."""
import numpy as np

from dlcore.compiler.cuda.intrinsics import cuda, f32
from dlcore.compiler.cuda.language import each, kernel, lowered
from dlcore.compiler.language import call, helper
from dlcore.ops.formulas import relu, relu_derivative, tanh, tanh_derivative
from dlcore.ops.rnn import RELU, cpu
from dlcore.ops.rnn.cuda_held import SHAPES
from dlcore.ops.rnn.cuda_plain import rnn_backward_held, rnn_forward_held
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

each(cpu.scale_steps, over="N, C")
each(cpu.scale_columns, over="B, T, C")


@kernel(threads="B * T * C")
def reverse_steps(item, x, out, add_out):
    T, C = x.shape[1], x.shape[2]
    b, t, c = item // C // T, item // C % T, item % C
    out[b, t, c] = x[b, T - 1 - t, c] + (out[b, t, c] if add_out else ZERO)


@helper
def steps_forward(item, thread, u, mask, h0, reverse, function, steps, h_last):
    (B, T, H), row, products = steps.shape, item * ROWS, cuda.local.array(4, f32)
    start(h0, h_last, row, thread)
    for s in range(T):
        t = T - 1 - s if reverse > 0 else s
        for j in range(thread, H, threads()):
            times_column(products, h_last, row, u, j)
            for r in range(ROWS):
                b = row + r
                if b < B:
                    a = steps[b, t, j] + products[r]
                    new = relu(a) if function == RELU else tanh(a)
                    steps[b, t, j] = new if is_there(mask, b, t) else h_last[b, j]
        cuda.syncthreads()
        for n in range(thread, ROWS * H, threads()):
            b, j = place(n, row, H)
            if b < B:
                h_last[b, j] = steps[b, t, j]
        cuda.syncthreads()


@helper
def steps_backward(item, thread, dout, dh_last, u, mask, h0, out, reverse, function, da, h_before, dh0):
    (B, T, H), row = out.shape, item * ROWS
    start(dh_last, dh0, row, thread)
    for s in range(T - 1, -1, -1):
        t, before = (T - 1 - s, T - s) if reverse > 0 else (s, s - 1)
        for n in range(thread, ROWS * H, threads()):
            b, j = place(n, row, H)
            if b < B:
                d, y, here = arrived(dh0, dout, b, t, j), out[b, t, j], is_there(mask, b, t)
                h_before[b, t, j] = state_before(h0, out, b, before, s == 0, j)
                slope = relu_derivative(y) if function == RELU else tanh_derivative(y)
                da[b, t, j] = d * slope if here else ZERO
                dh0[b, j] = ZERO if here else d
        cuda.syncthreads()
        add_turned(da, t, row, u, dh0, thread)


@kernel(blocks="ceil(B / 4)")
def rnn_forward(item, thread, u, mask, h0, reverse, function, steps, h_last):
    steps_forward(item, thread, u, mask, h0, reverse, function, steps, h_last)


@kernel(blocks="ceil(B / 4)")
def rnn_backward(item, thread, dout, dh_last, u, mask, h0, out, reverse, function, da, h_before, dh0):
    steps_backward(item, thread, dout, dh_last, u, mask, h0, out, reverse, function, da, h_before, dh0)


def held(shape):
    """The calls for H up to shape.width.  Where these need clusters, others than Hopper go as above: not all blocks have work."""
    W = shape.width
    call(f"rnn_forward_{W}(u: f32[H, H], mask: F[B, T]?, h0: F[B, H]?, reverse: i64, function: i64"
         " -> ~steps: F[B, T, H], h_last: F[B, H])", over="B", flops="2 * B * T * H * H")
    call(f"rnn_backward_{W}(dout: F[B, T, H]?, dh_last: F[B, H]?, u: f32[H, H], mask: F[B, T]?, h0: F[B, H]?,"
         " out: F[B, T, H], reverse: i64, function: i64 -> da: F[B, T, H], h_before: F[B, T, H], dh0: F[B, H])", over="B",
         flops="2 * B * T * H * H")
    lowered("rnn_forward", f"rnn_forward_{W}(u, mask, h0, reverse, function, steps -> steps, h_last)", when=f"H <= {W}")
    lowered("rnn_backward", f"rnn_backward_{W}(dout, dh_last, u, mask, h0, out, reverse, function -> da, h_before, dh0)",
            when=f"H <= {W}")
    rnn_forward_held(shape)
    rnn_backward_held(shape)
    if shape.cluster == 1:
        return

    @kernel(**shape.launch, name=f"rnn_forward_{W}")
    def forward(item, thread, u, mask, h0, reverse, function, steps, h_last):
        if item * ROWS < steps.shape[0]:
            steps_forward(item, thread, u, mask, h0, reverse, function, steps, h_last)

    @kernel(**shape.launch, name=f"rnn_backward_{W}")
    def backward(item, thread, dout, dh_last, u, mask, h0, out, reverse, function, da, h_before, dh0):
        if item * ROWS < out.shape[0]:
            steps_backward(item, thread, dout, dh_last, u, mask, h0, out, reverse, function, da, h_before, dh0)


for shape in SHAPES:
    held(shape)
