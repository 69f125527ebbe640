"""GRU on a GPU; see `ops/rnn/cuda_steps.py`."""
import numpy as np

from dlcore.compiler.cuda.intrinsics import cuda, f32
from dlcore.compiler.cuda.language import kernel
from dlcore.ops import gru  # noqa: F401  (declares)
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

ZERO, ONE = np.float32(0), np.float32(1)


@kernel(blocks="ceil(B / 4)")
def gru_forward(item, thread, u, rbias, mask, h0, reverse, gates, out, inner, h_last):
    (B, T, H), row, products = out.shape, item * ROWS, cuda.local.array(4, f32)
    start(h0, h_last, row, thread)
    for s in range(T):
        t = T - 1 - s if reverse > 0 else s
        for j in range(thread, 3 * H, THREADS):
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
        for n in range(thread, ROWS * H, THREADS):
            b, j = place(n, row, H)
            if b < B:
                if is_there(mask, b, t):
                    new = tanh(gates[b, t, 2 * H + j] + gates[b, t, H + j] * inner[b, t, j])
                    gates[b, t, 2 * H + j] = new
                    h_last[b, j] = new + gates[b, t, j] * (h_last[b, j] - new)
                out[b, t, j] = h_last[b, j]
        cuda.syncthreads()


@kernel(blocks="ceil(B / 4)")
def gru_backward(item, thread, dout, dh_last, u, mask, h0, out, inner, reverse, gates, dq, h_before, dh0):
    """gates become the gradients of what x gives them, dq holds those of what h gives."""
    (B, T, H), row = out.shape, item * ROWS
    start(dh_last, dh0, row, thread)
    for s in range(T - 1, -1, -1):
        t, before = (T - 1 - s, T - s) if reverse > 0 else (s, s - 1)
        for n in range(thread, ROWS * H, THREADS):
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
