"""GRU on a GPU: for H up to 256 by `ops/rnn/cuda_held.py`, up to 512 `cuda_streamed.py`, for more `cuda_steps.py`."""
import numpy as np

from dlcore.compiler.cuda.intrinsics import cuda, f32
from dlcore.compiler.cuda.language import kernel, lowered
from dlcore.compiler.language import call, helper
from dlcore.ops.formulas import sigmoid, sigmoid_derivative, tanh, tanh_derivative
from dlcore.ops.gru.cuda_held import gru_backward_held, gru_forward_held
from dlcore.ops.gru.cuda_streamed import gru_backward_streamed, gru_forward_streamed  # noqa: F401  (kernels)
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

ZERO, ONE = np.float32(0), np.float32(1)


@helper
def steps_forward(item, thread, u, rbias, mask, h0, reverse, gates, out, inner, h_last):
    (B, T, H), row, products = out.shape, item * ROWS, cuda.local.array(4, f32)
    start(h0, h_last, row, thread)
    for s in range(T):
        t = T - 1 - s if reverse > 0 else s
        for j in range(thread, 3 * H, threads()):
            times_column(products, h_last, row, u, j)
            more = rbias[j] if rbias.shape[0] > 0 else ZERO
            for r in range(ROWS):
                b = row + r
                if b < B:
                    here = is_there(mask, b, t)
                    if j >= 2 * H:
                        inner[b, t, j - 2 * H] = products[r] + more if here else ZERO
                    elif here:
                        gates[b, t, j] = sigmoid(gates[b, t, j] + (products[r] + more))
        cuda.syncthreads()
        for n in range(thread, ROWS * H, threads()):
            b, j = place(n, row, H)
            if b < B:
                if is_there(mask, b, t):
                    new = tanh(gates[b, t, 2 * H + j] + gates[b, t, H + j] * inner[b, t, j])
                    gates[b, t, 2 * H + j] = new
                    h_last[b, j] = new + gates[b, t, j] * (h_last[b, j] - new)
                out[b, t, j] = h_last[b, j]
        cuda.syncthreads()


@helper
def steps_backward(item, thread, dout, dh_last, u, mask, h0, out, inner, reverse, gates, dq, h_before, dh0):
    """gates become the gradients of what x gives them, dq holds those of what h gives."""
    (B, T, H), row = out.shape, item * ROWS
    start(dh_last, dh0, row, thread)
    for s in range(T - 1, -1, -1):
        t, before = (T - 1 - s, T - s) if reverse > 0 else (s, s - 1)
        for n in range(thread, ROWS * H, threads()):
            b, j = place(n, row, H)
            if b < B:
                dh, old = arrived(dh0, dout, b, t, j), state_before(h0, out, b, before, s == 0, j)
                h_before[b, t, j] = old
                if is_there(mask, b, t):
                    z, g, new = gates[b, t, j], gates[b, t, H + j], gates[b, t, 2 * H + j]
                    dz = dh * (old - new) * sigmoid_derivative(z)
                    dn = dh * (ONE - z) * tanh_derivative(new)
                    dg = dn * inner[b, t, j] * sigmoid_derivative(g)
                    gates[b, t, j], gates[b, t, H + j], gates[b, t, 2 * H + j] = dz, dg, dn
                    dq[b, t, j], dq[b, t, H + j], dq[b, t, 2 * H + j] = dz, dg, dn * g
                    dh0[b, j] = dh * z
                else:
                    dh0[b, j] = dh
                    for gate in range(3):
                        gates[b, t, gate * H + j] = dq[b, t, gate * H + j] = ZERO
        cuda.syncthreads()
        add_turned(dq, t, row, u, dh0, thread)


@kernel(blocks="ceil(B / 4)")
def gru_forward(item, thread, u, rbias, mask, h0, reverse, gates, out, inner, h_last):
    steps_forward(item, thread, u, rbias, mask, h0, reverse, gates, out, inner, h_last)


@kernel(blocks="ceil(B / 4)")
def gru_backward(item, thread, dout, dh_last, u, mask, h0, out, inner, reverse, gates, dq, h_before, dh0):
    steps_backward(item, thread, dout, dh_last, u, mask, h0, out, inner, reverse, gates, dq, h_before, dh0)


def declare(width):
    """The calls for H up to a width."""
    call(f"gru_forward_{width}(u: f32[H, 3 * H], rbias: f32[3 * H]?, mask: F[B, T]?, h0: F[B, H]?, reverse: i64"
         " -> ~gates: F[B, T, 3 * H], out: F[B, T, H], inner: F[B, T, H], h_last: F[B, H])", over="B",
         flops="B * T * H * (6 * H + 70)")
    call(f"gru_backward_{width}(dout: F[B, T, H]?, dh_last: F[B, H]?, u: f32[H, 3 * H], mask: F[B, T]?, h0: F[B, H]?,"
         " out: F[B, T, H], inner: F[B, T, H], reverse: i64 -> ~gates: F[B, T, 3 * H], dq: F[B, T, 3 * H],"
         " h_before: F[B, T, H], dh0: F[B, H])", over="B", flops="B * T * H * (6 * H + 30)")
    lowered("gru_forward", f"gru_forward_{width}(u, rbias, mask, h0, reverse, gates -> gates, out, inner, h_last)",
            when=f"H <= {width}")
    lowered("gru_backward", f"gru_backward_{width}(dout, dh_last, u, mask, h0, out, inner, reverse, gates"
            " -> gates, dq, h_before, dh0)", when=f"H <= {width}")


def elsewhere(width, launch):
    """Where there are no clusters, the kernels of clusters go as above: not all of their blocks have work."""

    @kernel(**launch, name=f"gru_forward_{width}")
    def forward(item, thread, u, rbias, mask, h0, reverse, gates, out, inner, h_last):
        if item * ROWS < out.shape[0]:
            steps_forward(item, thread, u, rbias, mask, h0, reverse, gates, out, inner, h_last)

    @kernel(**launch, name=f"gru_backward_{width}")
    def backward(item, thread, dout, dh_last, u, mask, h0, out, inner, reverse, gates, dq, h_before, dh0):
        if item * ROWS < out.shape[0]:
            steps_backward(item, thread, dout, dh_last, u, mask, h0, out, inner, reverse, gates, dq, h_before, dh0)


for shape in SHAPES:
    declare(shape.width)
    gru_forward_held(shape)
    gru_backward_held(shape)
    if shape.cluster > 1:
        elsewhere(shape.width, shape.launch)
declare(cuda_streamed.WIDTH)
elsewhere(cuda_streamed.WIDTH, cuda_streamed.LAUNCH)
