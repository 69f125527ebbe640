"""GRU of up to 512 units on Hopper; see `ops/rnn/cuda_streamed.py`."""
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

ZERO, ONE, GATES = np.float32(0), np.float32(1), 3
SUMS, WEIGHTS, STATES, VERSION = GATES * ROWS, GATES * BATCH, 2 * WIDTH * ROWS, 4 * WIDTH * ROWS
GRADIENTS, RECEIVED = GATES * UNITS * ROWS, CLUSTER * UNITS * ROWS
total, back = cuda_streamed.forward(GATES), cuda_streamed.backward(GATES)
give, received_of, HELD, COLUMNS = back.give, back.received_of, back.held, back.weights


@kernel(**LAUNCH, name="gru_forward_512", **OWN)
def gru_forward_streamed(item, thread, u, rbias, mask, h0, reverse, gates, out, inner, h_last):
    (B, T, H), (_, j, row, pair) = out.shape, place_of(item, thread)
    sums, w, coming = cuda.local.array(SUMS, f32), cuda.local.array(WEIGHTS, f32), cuda.local.array(WEIGHTS, f32)
    h, x, more = cuda.local.array(2, f32), cuda.local.array(6, f32), cuda.local.array(3, f32)
    states = cuda.shared.array(STATES, f32, alignment=16)
    begin(states, h0, B, H, item, thread)
    now = shared_address(states)
    after, mine = now + u32(VERSION), u32(4) * u32(j * ROWS + pair)
    for q in range(2):
        h[q] = first_value(h0, row + q, j, row + q < B and j < H)
    for n in range(3):
        more[n] = rbias[n * H + j] if j < H and rbias.shape[0] > 0 else ZERO
    cluster_arrive()
    cluster_wait()
    for s in range(T):
        t = T - 1 - s if reverse > 0 else s
        for n in range(6):
            x[n] = ZERO
            if is_live(row + n // 3, j, mask, t, B, H):
                x[n] = gates[row + n // 3, t, n % 3 * H + j]
        total(sums, w, coming, u, now, thread, j)
        for q in range(2):
            b = row + q
            if b < B and j < H:
                by_h = ZERO
                if is_live(b, j, mask, t, B, H):
                    z = bounded(x[3 * q] + (sums[3 * q] + more[0]), False)
                    opened = bounded(x[3 * q + 1] + (sums[3 * q + 1] + more[1]), False)
                    by_h = sums[3 * q + 2] + more[2]
                    new = bounded(x[3 * q + 2] + opened * by_h, True)
                    h[q] = new + z * (h[q] - new)
                    gates[b, t, j], gates[b, t, H + j], gates[b, t, 2 * H + j] = z, opened, new
                inner[b, t, j] = by_h
        put_state(after + mine, h[0], h[1])
        cluster_arrive()
        for q in range(2):
            if row + q < B and j < H:
                out[row + q, t, j] = h[q]
        now, after = after, now
        cluster_wait()
    for q in range(2):
        if row + q < B and j < H:
            h_last[row + q, j] = h[q]


@kernel(**LAUNCH, name="gru_backward_512", **OWN)
def gru_backward_streamed(item, thread, dout, dh_last, u, mask, h0, out, inner, reverse, gates, dq, h_before, dh0):
    (B, T, H), (first, j, row, pair) = out.shape, place_of(item, thread)
    d, w, coming = cuda.local.array(HELD, f32), cuda.local.array(COLUMNS, f32), cuda.local.array(COLUMNS, f32)
    sums, dh, made = cuda.local.array(ROWS, f32), cuda.local.array(2, f32), cuda.local.array(6, f32)
    gradients, received = cuda.shared.array(GRADIENTS, f32, alignment=16), cuda.shared.array(RECEIVED, f32, alignment=16)
    own, got = shared_address(gradients), shared_address(received)
    mine = own + u32(4) * u32((j - first) * ROWS + pair)
    for q in range(2):
        dh[q] = first_value(dh_last, row + q, j, row + q < B and j < H)
    for s in range(T - 1, -1, -1):
        t, before = (T - 1 - s, T - s) if reverse > 0 else (s, s - 1)
        for q in range(2):
            b = row + q
            dz, dr, dn, by_h = ZERO, ZERO, ZERO, ZERO
            if b < B and j < H:
                dh[q] += dout[b, t, j] if dout.shape[0] > 0 else ZERO
                old = state_before(h0, out, b, before, s == 0, j)
                h_before[b, t, j] = old
                if is_live(b, j, mask, t, B, H):
                    z, opened, new = gates[b, t, j], gates[b, t, H + j], gates[b, t, 2 * H + j]
                    dz = dh[q] * (old - new) * sigmoid_derivative(z)
                    dn = dh[q] * (ONE - z) * tanh_derivative(new)
                    dr, by_h = dn * inner[b, t, j] * sigmoid_derivative(opened), dn * opened
                    dh[q] *= z
                gates[b, t, j], gates[b, t, H + j], gates[b, t, 2 * H + j] = dz, dr, dn
                dq[b, t, j], dq[b, t, H + j], dq[b, t, 2 * H + j] = dz, dr, by_h
            made[q], made[2 + q], made[4 + q] = dz, dr, by_h
        for n in range(3):
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
            dh0[row + q, j] = dh[q]
