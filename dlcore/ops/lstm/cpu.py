"""LSTM on the CPU.  Each gate has a loop of its own: one array is written in it, so that it becomes vector code."""
import numpy as np

from dlcore.compiler.language import call, helper, kernel, lowered
from dlcore.ops.formulas import sigmoid, sigmoid_derivative, tanh, tanh_derivative
from dlcore.ops.lstm import STATES
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

ZERO = np.float32(0)
FORWARD = (f"{STATES}, reverse: i64 -> ~gates: F[B, T, 4 * H], out: F[B, T, H], cells: F[B, T, H], h_last: F[B, H],"
           " c_last: F[B, H]; work: F[B, 4 * H]")
GIVEN = "dout: F[B, T, H]?, dh_last: F[B, H]?, dc_last: F[B, H]?"
BACKWARD = (f"{STATES}, out: F[B, T, H], cells: F[B, T, H], reverse: i64 -> ~gates: F[B, T, 4 * H], h_before: F[B, T, H],"
            " dh0: F[B, H], dc0: F[B, H]; work: F[B, 4 * H], before: F[B, H]")
for form, width in (("packed", "PANEL"), ("direct", "(4 * PANEL)")):
    weights, turned = f"F[ceil(4 * H / {width}) * H * {width}]", f"F[ceil(H / {width}) * 4 * H * {width}]"
    call(f"lstm_{form}(u: {weights}, {FORWARD})", over="B", flops="B * T * H * (8 * H + 110)")
    call(f"lstm_backward_{form}({GIVEN}, u: {turned}, {BACKWARD})", over="B", flops="B * T * H * (8 * H + 50)")

MADE = "mask, h0, c0, reverse, gates -> gates, out, cells, h_last, c_last"
READ, WRITTEN = "mask, h0, c0, out, cells, reverse, gates", "gates, h_before, dh0, dc0"
lowered("lstm_forward", "pack_wide(u -> wide)", f"lstm_direct(wide, {MADE})", when="B <= 3")
lowered("lstm_forward", "pack_panels(u -> panels)", f"lstm_packed(panels, {MADE})")
lowered("lstm_backward", "turn_wide(u -> wide)", f"lstm_backward_direct(dout, dh_last, dc_last, wide, {READ} -> {WRITTEN})",
        when="B <= 3")
lowered("lstm_backward", "pack_turned(u -> panels)",
        f"lstm_backward_packed(dout, dh_last, dc_last, panels, {READ} -> {WRITTEN})")


@helper
def forward_step(t, following, mask, gates, out, cells, h_last, c_last, work):
    """From gates[:, t] + work the gates, and the state in h_last and c_last, which a padded step keeps."""
    H = h_last.shape[1]
    for b in range(h_last.shape[0]):
        fetch_step(gates, b, following)
        if present(mask, b, t):
            for j in range(2 * H):
                gates[b, t, j] = sigmoid(gates[b, t, j] + work[b, j])
            for j in range(2 * H, 3 * H):
                gates[b, t, j] = tanh(gates[b, t, j] + work[b, j])
            for j in range(3 * H, 4 * H):
                gates[b, t, j] = sigmoid(gates[b, t, j] + work[b, j])
            for j in range(H):
                c_last[b, j] = gates[b, t, H + j] * c_last[b, j] + gates[b, t, j] * gates[b, t, 2 * H + j]
            for j in range(H):
                h_last[b, j] = gates[b, t, 3 * H + j] * tanh(c_last[b, j])
        for j in range(H):
            cells[b, t, j] = c_last[b, j]
        for j in range(H):
            out[b, t, j] = h_last[b, j]


@kernel
def lstm_packed(u, mask, h0, c0, reverse, gates, out, cells, h_last, c_last, work):
    T = out.shape[1]
    start_state(h0, h_last)
    start_state(c0, c_last)
    for s in range(T):
        packed_product(h_last, u, work, 0)
        t, following = (T - 1 - s, T - 2 - s) if reverse > 0 else (s, s + 1)
        forward_step(t, following, mask, gates, out, cells, h_last, c_last, work)


@kernel
def lstm_direct(u, mask, h0, c0, reverse, gates, out, cells, h_last, c_last, work):
    T = out.shape[1]
    start_state(h0, h_last)
    start_state(c0, c_last)
    for s in range(T):
        direct_product(h_last, u, work, 0, s & 1 > 0)
        t, following = (T - 1 - s, T - 2 - s) if reverse > 0 else (s, s + 1)
        forward_step(t, following, mask, gates, out, cells, h_last, c_last, work)


@helper
def gate_gradients(b, t, gates, cells, before, dh0, dc0, work):
    """work[b] = da of one step; dc0 becomes the gradient of the cell before it."""
    H = dh0.shape[1]
    for j in range(H):
        th = tanh(cells[b, t, j])
        o = gates[b, t, 3 * H + j]
        work[b, 3 * H + j] = dh0[b, j] * th * sigmoid_derivative(o)
        dc0[b, j] += dh0[b, j] * o * tanh_derivative(th)
    for j in range(H):
        work[b, j] = dc0[b, j] * gates[b, t, 2 * H + j] * sigmoid_derivative(gates[b, t, j])
    for j in range(H):
        work[b, H + j] = dc0[b, j] * before[b, j] * sigmoid_derivative(gates[b, t, H + j])
    for j in range(H):
        work[b, 2 * H + j] = dc0[b, j] * gates[b, t, j] * tanh_derivative(gates[b, t, 2 * H + j])
    for j in range(H):
        dc0[b, j] *= gates[b, t, H + j]


@helper
def backward_step(t, previous, at_start, dout, mask, h0, c0, out, cells, gates, h_before, dh0, dc0, work, before):
    """gates[:, t] = work = their gradients; dh0 keeps what does not pass through a product."""
    H = dh0.shape[1]
    for b in range(dh0.shape[0]):
        fetch_step(dout, b, previous)
        fetch_step(gates, b, previous)
        fetch_step(out, b, 2 * previous - t)
        fetch_step(cells, b, 2 * previous - t)
        add_step(dout, b, t, dh0)
        gather_state(h0, out, b, t, at_start, previous, h_before)
        if present(mask, b, t):
            for j in range(H):
                before[b, j] = (c0[b, j] if c0.shape[0] > 0 else ZERO) if at_start else cells[b, previous, j]
            gate_gradients(b, t, gates, cells, before, dh0, dc0, work)
            for j in range(H):
                dh0[b, j] = ZERO
        else:
            for j in range(4 * H):
                work[b, j] = ZERO
        for j in range(4 * H):
            gates[b, t, j] = work[b, j]


@kernel
def lstm_backward_packed(dout, dh_last, dc_last, u, mask, h0, c0, out, cells, reverse, gates, h_before, dh0, dc0, work,
                         before):
    T = out.shape[1]
    start_state(dh_last, dh0)
    start_state(dc_last, dc0)
    for s in range(T - 1, -1, -1):
        t, previous = (T - 1 - s, T - s) if reverse > 0 else (s, s - 1)
        backward_step(t, previous, s == 0, dout, mask, h0, c0, out, cells, gates, h_before, dh0, dc0, work, before)
        packed_product(work, u, dh0, ADD)


@kernel
def lstm_backward_direct(dout, dh_last, dc_last, u, mask, h0, c0, out, cells, reverse, gates, h_before, dh0, dc0, work,
                         before):
    T = out.shape[1]
    start_state(dh_last, dh0)
    start_state(dc_last, dc0)
    for s in range(T - 1, -1, -1):
        t, previous = (T - 1 - s, T - s) if reverse > 0 else (s, s - 1)
        backward_step(t, previous, s == 0, dout, mask, h0, c0, out, cells, gates, h_before, dh0, dc0, work, before)
        direct_product(work, u, dh0, ADD, s & 1 > 0)
