"""GRU on the CPU.  Each gate has a loop of its own: one array is written in it, so that it becomes vector code."""
import numpy as np

from dlcore.compiler.language import call, helper, kernel, lowered
from dlcore.ops.formulas import sigmoid, sigmoid_derivative, tanh, tanh_derivative
from dlcore.ops.matmul.tiles import ADD
from dlcore.ops.rnn.products import (
    add_step,
    direct_product,
    fetch_step,
    gather_state,
    packed_product,
    present,
    start_state,
)

ZERO, ONE = np.float32(0), np.float32(1)
STATES = "mask: F[B, T]?, h0: F[B, H]?"
FORWARD = (f"rbias: f32[3 * H]?, {STATES}, reverse: i64 -> ~gates: F[B, T, 3 * H], out: F[B, T, H], inner: F[B, T, H],"
           " h_last: F[B, H]; work: F[B, 3 * H]")
GIVEN = "dout: F[B, T, H]?, dh_last: F[B, H]?"
BACKWARD = (f"{STATES}, out: F[B, T, H], inner: F[B, T, H], reverse: i64 -> ~gates: F[B, T, 3 * H], dq: F[B, T, 3 * H],"
            " h_before: F[B, T, H], dh0: F[B, H]; work: F[B, 3 * H]")
for form, width in (("packed", "PANEL"), ("direct", "(4 * PANEL)")):
    weights, turned = f"F[ceil(3 * H / {width}) * H * {width}]", f"F[ceil(H / {width}) * 3 * H * {width}]"
    call(f"gru_{form}(u: {weights}, {FORWARD})", over="B", flops="B * T * H * (6 * H + 70)")
    call(f"gru_backward_{form}({GIVEN}, u: {turned}, {BACKWARD})", over="B", flops="B * T * H * (6 * H + 30)")

MADE = "rbias, mask, h0, reverse, gates -> gates, out, inner, h_last"
READ, WRITTEN = "mask, h0, out, inner, reverse, gates", "gates, dq, h_before, dh0"
lowered("gru_forward", "pack_wide(u -> wide)", f"gru_direct(wide, {MADE})", when="B <= 3")
lowered("gru_forward", "pack_panels(u -> panels)", f"gru_packed(panels, {MADE})")
lowered("gru_backward", "turn_wide(u -> wide)", f"gru_backward_direct(dout, dh_last, wide, {READ} -> {WRITTEN})", when="B <= 3")
lowered("gru_backward", "pack_turned(u -> panels)", f"gru_backward_packed(dout, dh_last, panels, {READ} -> {WRITTEN})")


@helper
def add_bias(rbias, work):
    """work += rbias in each row, where there is one."""
    if rbias.shape[0] > 0:
        for b in range(work.shape[0]):
            for j in range(work.shape[1]):
                work[b, j] += rbias[j]


@helper
def forward_step(t, following, mask, gates, out, inner, h_last, work):
    """From gates[:, t] and the recurrent product `work` the gates, and the state in h_last, which a padded step keeps."""
    H = h_last.shape[1]
    for b in range(h_last.shape[0]):
        fetch_step(gates, b, following)
        if present(mask, b, t):
            for j in range(2 * H):
                gates[b, t, j] = sigmoid(gates[b, t, j] + work[b, j])
            for j in range(H):
                inner[b, t, j] = work[b, 2 * H + j]
            for j in range(H):
                work[b, j] = tanh(gates[b, t, 2 * H + j] + gates[b, t, H + j] * inner[b, t, j])
            for j in range(H):
                gates[b, t, 2 * H + j] = work[b, j]
            for j in range(H):
                h_last[b, j] = work[b, j] + gates[b, t, j] * (h_last[b, j] - work[b, j])
        else:
            for j in range(H):
                inner[b, t, j] = ZERO
        for j in range(H):
            out[b, t, j] = h_last[b, j]


@kernel
def gru_packed(u, rbias, mask, h0, reverse, gates, out, inner, h_last, work):
    T = out.shape[1]
    start_state(h0, h_last)
    for s in range(T):
        packed_product(h_last, u, work, 0)
        add_bias(rbias, work)
        t, following = (T - 1 - s, T - 2 - s) if reverse > 0 else (s, s + 1)
        forward_step(t, following, mask, gates, out, inner, h_last, work)


@kernel
def gru_direct(u, rbias, mask, h0, reverse, gates, out, inner, h_last, work):
    T = out.shape[1]
    start_state(h0, h_last)
    for s in range(T):
        direct_product(h_last, u, work, 0, s & 1 > 0)
        add_bias(rbias, work)
        t, following = (T - 1 - s, T - 2 - s) if reverse > 0 else (s, s + 1)
        forward_step(t, following, mask, gates, out, inner, h_last, work)


@helper
def gate_gradients(b, t, gates, inner, h_before, dq, dh0, work):
    """gates[b, t] = dp, work[b] = dq of one step; dh0 keeps what does not pass through a product."""
    H = dh0.shape[1]
    for j in range(H):
        n = gates[b, t, 2 * H + j]
        work[b, j] = dh0[b, j] * (h_before[b, t, j] - n) * sigmoid_derivative(gates[b, t, j])
    for j in range(H):
        dq[b, t, j] = dh0[b, j] * (ONE - gates[b, t, j]) * tanh_derivative(gates[b, t, 2 * H + j])      # dp_n, for a while
    for j in range(H):
        dh0[b, j] *= gates[b, t, j]
    for j in range(H):
        work[b, H + j] = dq[b, t, j] * inner[b, t, j] * sigmoid_derivative(gates[b, t, H + j])
    for j in range(H):
        work[b, 2 * H + j] = dq[b, t, j] * gates[b, t, H + j]
    for j in range(H):
        gates[b, t, 2 * H + j] = dq[b, t, j]
    for j in range(2 * H):
        gates[b, t, j] = work[b, j]


@helper
def backward_step(t, previous, at_start, dout, mask, h0, out, inner, gates, dq, h_before, dh0, work):
    H = dh0.shape[1]
    for b in range(dh0.shape[0]):
        fetch_step(dout, b, previous)
        fetch_step(gates, b, previous)
        fetch_step(out, b, 2 * previous - t)
        fetch_step(inner, b, 2 * previous - t)
        add_step(dout, b, t, dh0)
        gather_state(h0, out, b, t, at_start, previous, h_before)
        if present(mask, b, t):
            gate_gradients(b, t, gates, inner, h_before, dq, dh0, work)
        else:
            for j in range(3 * H):
                gates[b, t, j] = ZERO
            for j in range(3 * H):
                work[b, j] = ZERO
        for j in range(3 * H):
            dq[b, t, j] = work[b, j]


@kernel
def gru_backward_packed(dout, dh_last, u, mask, h0, out, inner, reverse, gates, dq, h_before, dh0, work):
    T = out.shape[1]
    start_state(dh_last, dh0)
    for s in range(T - 1, -1, -1):
        t, previous = (T - 1 - s, T - s) if reverse > 0 else (s, s - 1)
        backward_step(t, previous, s == 0, dout, mask, h0, out, inner, gates, dq, h_before, dh0, work)
        packed_product(work, u, dh0, ADD)


@kernel
def gru_backward_direct(dout, dh_last, u, mask, h0, out, inner, reverse, gates, dq, h_before, dh0, work):
    T = out.shape[1]
    start_state(dh_last, dh0)
    for s in range(T - 1, -1, -1):
        t, previous = (T - 1 - s, T - s) if reverse > 0 else (s, s - 1)
        backward_step(t, previous, s == 0, dout, mask, h0, out, inner, gates, dq, h_before, dh0, work)
        direct_product(work, u, dh0, ADD, s & 1 > 0)
