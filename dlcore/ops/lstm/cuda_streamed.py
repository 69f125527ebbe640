"""LSTM of up to 512 units on Hopper; see `ops/rnn/cuda_streamed.py`."""
import numpy as np

from dlcore.compiler.cuda.intrinsics import cuda, f32, shared_address, u32
from dlcore.compiler.cuda.language import kernel
from dlcore.ops.formulas import sigmoid_derivative, tanh_derivative
from dlcore.ops.rnn import cuda_streamed
from dlcore.ops.rnn.cuda_held import bounded, cluster_arrive, cluster_wait, first_value
from dlcore.ops.rnn.cuda_steps import state_before
from dlcore.ops.rnn.cuda_streamed import (
    BATCH,
    CLUSTER,
    LAUNCH,
    OWN,
    ROWS,
    UNITS,
    WIDTH,
    begin,
    is_live,
    place_of,
    put_state,
    store_shared_2,
)

ZERO, GATES = np.float32(0), 4
SUMS, WEIGHTS, STATES, VERSION = GATES * ROWS, GATES * BATCH, 2 * WIDTH * ROWS, 4 * WIDTH * ROWS
GRADIENTS, RECEIVED = GATES * UNITS * ROWS, CLUSTER * UNITS * ROWS
total, back = cuda_streamed.forward(GATES), cuda_streamed.backward(GATES)
give, received_of, HELD, COLUMNS = back.give, back.received_of, back.held, back.weights


@kernel(**LAUNCH, name="lstm_forward_512", **OWN)
def lstm_forward_streamed(item, thread, u, mask, h0, c0, reverse, gates, out, cells, h_last, c_last):
    (B, T, H), (_, j, row, pair) = out.shape, place_of(item, thread)
    sums, w, coming = cuda.local.array(SUMS, f32), cuda.local.array(WEIGHTS, f32), cuda.local.array(WEIGHTS, f32)
    h, c, x = cuda.local.array(2, f32), cuda.local.array(2, f32), cuda.local.array(8, f32)
    states = cuda.shared.array(STATES, f32, alignment=16)
    begin(states, h0, B, H, item, thread)
    now = shared_address(states)
    after, mine = now + u32(VERSION), u32(4) * u32(j * ROWS + pair)
    for q in range(2):
        live = row + q < B and j < H
        h[q], c[q] = first_value(h0, row + q, j, live), first_value(c0, row + q, j, live)
    cluster_arrive()
    cluster_wait()
    for s in range(T):
        t = T - 1 - s if reverse > 0 else s
        for n in range(8):
            x[n] = ZERO
            if is_live(row + n // 4, j, mask, t, B, H):
                x[n] = gates[row + n // 4, t, n % 4 * H + j]
        total(sums, w, coming, u, now, thread, j)
        for q in range(2):
            if is_live(row + q, j, mask, t, B, H):
                i, f = bounded(x[4 * q] + sums[4 * q], False), bounded(x[4 * q + 1] + sums[4 * q + 1], False)
                g, o = bounded(x[4 * q + 2] + sums[4 * q + 2], True), bounded(x[4 * q + 3] + sums[4 * q + 3], False)
                c[q] = f * c[q] + i * g
                h[q] = o * bounded(c[q], True)
                gates[row + q, t, j], gates[row + q, t, H + j] = i, f
                gates[row + q, t, 2 * H + j], gates[row + q, t, 3 * H + j] = g, o
        put_state(after + mine, h[0], h[1])
        cluster_arrive()
        for q in range(2):
            if row + q < B and j < H:
                out[row + q, t, j], cells[row + q, t, j] = h[q], c[q]
        now, after = after, now
        cluster_wait()
    for q in range(2):
        if row + q < B and j < H:
            h_last[row + q, j], c_last[row + q, j] = h[q], c[q]


@kernel(**LAUNCH, name="lstm_backward_512", **OWN)
def lstm_backward_streamed(item, thread, dout, dh_last, dc_last, u, mask, h0, c0, out, cells, reverse, gates, h_before, dh0, dc0):
    (B, T, H), (first, j, row, pair) = out.shape, place_of(item, thread)
    d, w, coming = cuda.local.array(HELD, f32), cuda.local.array(COLUMNS, f32), cuda.local.array(COLUMNS, f32)
    sums, dh, dc, made = (cuda.local.array(ROWS, f32), cuda.local.array(2, f32), cuda.local.array(2, f32),
                          cuda.local.array(8, f32))
    gradients, received = cuda.shared.array(GRADIENTS, f32, alignment=16), cuda.shared.array(RECEIVED, f32, alignment=16)
    own, got = shared_address(gradients), shared_address(received)
    mine = own + u32(4) * u32((j - first) * ROWS + pair)
    for q in range(2):
        live = row + q < B and j < H
        dh[q], dc[q] = first_value(dh_last, row + q, j, live), first_value(dc_last, row + q, j, live)
    for s in range(T - 1, -1, -1):
        t, before = (T - 1 - s, T - s) if reverse > 0 else (s, s - 1)
        for q in range(2):
            b = row + q
            for n in range(4):
                made[2 * n + q] = ZERO
            if b < B and j < H:
                dh[q] += dout[b, t, j] if dout.shape[0] > 0 else ZERO
                h_before[b, t, j] = state_before(h0, out, b, before, s == 0, j)
                if is_live(b, j, mask, t, B, H):
                    i, f, g, o = gates[b, t, j], gates[b, t, H + j], gates[b, t, 2 * H + j], gates[b, t, 3 * H + j]
                    th = bounded(cells[b, t, j], True)
                    dc[q] += dh[q] * o * tanh_derivative(th)
                    made[q], made[4 + q] = dc[q] * g * sigmoid_derivative(i), dc[q] * i * tanh_derivative(g)
                    made[2 + q] = dc[q] * state_before(c0, cells, b, before, s == 0, j) * sigmoid_derivative(f)
                    made[6 + q] = dh[q] * th * sigmoid_derivative(o)
                    dc[q], dh[q] = dc[q] * f, ZERO
                for n in range(4):
                    gates[b, t, n * H + j] = made[2 * n + q]
        for n in range(4):
            store_shared_2(mine + u32(4 * n * UNITS * ROWS), made[2 * n], made[2 * n + 1])
        cluster_arrive()
        cluster_wait()
        give(d, w, coming, sums, u, own, got, first, item % CLUSTER, thread)
        cluster_arrive()
        cluster_wait()
        one, two = received_of(got, j - first, pair)
        dh[0] += one
        dh[1] += two
    for q in range(2):
        if row + q < B and j < H:
            dh0[row + q, j], dc0[row + q, j] = dh[q], dc[q]
