"""The plain recurrent network on the CPU."""
import numpy as np

from dlcore.compiler.language import call, helper, kernel, lowered
from dlcore.ops.formulas import relu, relu_derivative, tanh, tanh_derivative
from dlcore.ops.matmul.tiles import ADD
from dlcore.ops.rnn import RELU
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
FORWARD = ("mask: F[B, T]?, h0: F[B, H]?, reverse: i64, function: i64 -> ~steps: F[B, T, H], h_last: F[B, H];"
           " work: F[B, H]")
GIVEN = "dout: F[B, T, H]?, dh_last: F[B, H]?"
BACKWARD = ("mask: F[B, T]?, h0: F[B, H]?, out: F[B, T, H], reverse: i64, function: i64"
            " -> da: F[B, T, H], h_before: F[B, T, H], dh0: F[B, H]; work: F[B, H]")
FLOPS = "2 * B * T * H * H"
for form, width in (("packed", "PANEL"), ("direct", "(4 * PANEL)")):
    weights = f"F[ceil(H / {width}) * H * {width}]"
    call(f"rnn_{form}(u: {weights}, {FORWARD})", over="B", flops=FLOPS)
    call(f"rnn_backward_{form}({GIVEN}, u: {weights}, {BACKWARD})", over="B", flops=FLOPS)

MADE, READ, WRITTEN = "mask, h0, reverse, function, steps -> steps, h_last", "mask, h0, out, reverse, function", "da, h_before, dh0"
lowered("rnn_forward", "pack_wide(u -> wide)", f"rnn_direct(wide, {MADE})", when="B <= 3")
lowered("rnn_forward", "pack_panels(u -> panels)", f"rnn_packed(panels, {MADE})")
lowered("rnn_backward", "turn_wide(u -> wide)", f"rnn_backward_direct(dout, dh_last, wide, {READ} -> {WRITTEN})", when="B <= 3")
lowered("rnn_backward", "pack_turned(u -> panels)", f"rnn_backward_packed(dout, dh_last, panels, {READ} -> {WRITTEN})")


@helper
def activate_step(t, following, mask, function, steps, h_last, work):
    """steps[:, t] = f(steps[:, t] + work), kept in h_last too; a padded step keeps the state."""
    for b in range(h_last.shape[0]):
        fetch_step(steps, b, following)
        if present(mask, b, t):
            if function == RELU:
                for j in range(h_last.shape[1]):
                    h_last[b, j] = relu(steps[b, t, j] + work[b, j])
            else:
                for j in range(h_last.shape[1]):
                    h_last[b, j] = tanh(steps[b, t, j] + work[b, j])
        for j in range(h_last.shape[1]):
            steps[b, t, j] = h_last[b, j]


@kernel
def rnn_packed(u, mask, h0, reverse, function, steps, h_last, work):
    T = steps.shape[1]
    start_state(h0, h_last)
    for s in range(T):
        packed_product(h_last, u, work, 0)
        t, following = (T - 1 - s, T - 2 - s) if reverse > 0 else (s, s + 1)
        activate_step(t, following, mask, function, steps, h_last, work)


@kernel
def rnn_direct(u, mask, h0, reverse, function, steps, h_last, work):
    T = steps.shape[1]
    start_state(h0, h_last)
    for s in range(T):
        direct_product(h_last, u, work, 0, s & 1 > 0)
        t, following = (T - 1 - s, T - 2 - s) if reverse > 0 else (s, s + 1)
        activate_step(t, following, mask, function, steps, h_last, work)


@helper
def backward_step(t, before, at_start, dout, mask, h0, out, function, da, h_before, dh0, work):
    """work = da[:, t]; dh0, the gradient of the state, keeps what does not pass through a product."""
    for b in range(dh0.shape[0]):
        fetch_step(dout, b, before)
        fetch_step(out, b, 2 * before - t)
        add_step(dout, b, t, dh0)
        gather_state(h0, out, b, t, at_start, before, h_before)
        if present(mask, b, t):
            if function == RELU:
                for j in range(dh0.shape[1]):
                    work[b, j] = dh0[b, j] * relu_derivative(out[b, t, j])
            else:
                for j in range(dh0.shape[1]):
                    work[b, j] = dh0[b, j] * tanh_derivative(out[b, t, j])
            for j in range(dh0.shape[1]):
                dh0[b, j] = ZERO
        else:
            for j in range(dh0.shape[1]):
                work[b, j] = ZERO
        for j in range(dh0.shape[1]):
            da[b, t, j] = work[b, j]


@kernel
def rnn_backward_packed(dout, dh_last, u, mask, h0, out, reverse, function, da, h_before, dh0, work):
    T = out.shape[1]
    start_state(dh_last, dh0)
    for s in range(T - 1, -1, -1):
        t, before = (T - 1 - s, T - s) if reverse > 0 else (s, s - 1)
        backward_step(t, before, s == 0, dout, mask, h0, out, function, da, h_before, dh0, work)
        packed_product(work, u, dh0, ADD)


@kernel
def rnn_backward_direct(dout, dh_last, u, mask, h0, out, reverse, function, da, h_before, dh0, work):
    T = out.shape[1]
    start_state(dh_last, dh0)
    for s in range(T - 1, -1, -1):
        t, before = (T - 1 - s, T - s) if reverse > 0 else (s, s - 1)
        backward_step(t, before, s == 0, dout, mask, h0, out, function, da, h_before, dh0, work)
        direct_product(work, u, dh0, ADD, s & 1 > 0)


@kernel
def reverse_steps(x, out, add_out):
    B, T, C = x.shape
    for b in range(B):
        for t in range(T):
            for c in range(C):
                out[b, t, c] = x[b, T - 1 - t, c] + (out[b, t, c] if add_out else ZERO)


@kernel
def scale_steps(x, s, out, add_out):
    for n in range(x.shape[0]):
        for c in range(x.shape[1]):
            out[n, c] = x[n, c] * s[n] + (out[n, c] if add_out else ZERO)


@kernel
def scale_columns(x, s, out, add_out):
    B, T, C = x.shape
    for b in range(B):
        for t in range(T):
            for c in range(C):
                out[b, t, c] = x[b, t, c] * s[b, c] + (out[b, t, c] if add_out else ZERO)
