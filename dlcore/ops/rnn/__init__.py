"""A plain recurrent network over whole sequences (Elman, Finding structure in time, 1990), and ops on sequences.

    rnn             a_t = x_t W + b + h_{t-1} U          h_t = f(a_t),  f = tanh or relu
    reverse_steps   out[b, t] = x[b, T - 1 - t]          dx = reverse_steps(dout)
    scale_steps     out[b, t, c] = x[b, t, c] s[b, t]    dx = scale_steps(dout, s)
    scale_columns   out[b, t, c] = x[b, t, c] s[b, c]    dx = scale_columns(dout, s)

With dh_t = dout_t + da_{t+1} U^T the gradients are, last step first,

    da_t = dh_t f'(a_t)     dx_t = da_t W^T     dW = sum x_t^T da_t     dU = sum h_{t-1}^T da_t     db = sum da_t

The products with x and those of the weights' gradients are made for all steps at once; what is left, the recurrence, is shared
out over the batch: no thread waits for another between two steps.  `reverse` walks from the last step to the first; outputs
stand where their inputs do.

Where mask[b, t] is 0 the step is padding, on either side of a sequence: the state is carried on (h_t = h_{t-1}), nothing is
learned, and a gradient that arrives there passes on to the step before.
"""
from __future__ import annotations

from dlcore.errors import ShapeError, UsageError
from dlcore.graph import call, op
from dlcore.ops.matmul import dense_forward, matmul
from dlcore.ops.reduction import column_sum

RELU = 1
FUNCTIONS = {"tanh": 0, "relu": RELU}

rnn_forward = call("rnn_forward(u: f32[H, H], mask: F[B, T]?, h0: F[B, H]?, reverse: i64, function: i64"
                   " -> ~steps: F[B, T, H], h_last: F[B, H])", over="", flops="2 * B * T * H * H")
rnn_backward = call("rnn_backward(dout: F[B, T, H]?, dh_last: F[B, H]?, u: f32[H, H], mask: F[B, T]?, h0: F[B, H]?,"
                    " out: F[B, T, H], reverse: i64, function: i64"
                    " -> da: F[B, T, H], h_before: F[B, T, H], dh0: F[B, H])", over="", flops="2 * B * T * H * H")
reverse_steps_call = call("reverse_steps(x: F[B, T, C] -> +out: F[B, T, C])", over="B")
scale_columns_call = call("scale_columns(x: F[B, T, C], s: F[B, C] -> +out: F[B, T, C])", over="B", flops="B * T * C")
scale_steps_call = call("scale_steps(x: F[N, C], s: F[N] -> +out: F[N, C])", over="N", flops="N * C")


def check_shapes(name, gates, x, kernel, recurrent, bias, mask, states):
    """(B, T, C, H) of a recurrent op whose weights have `gates` blocks of H columns.  ShapeError where something does not fit."""
    H = recurrent.shape[0]
    fits = (x.ndim == 3 and recurrent.shape == (H, gates * H) and kernel.shape == (x.shape[-1], gates * H)
            and (bias is None or bias.shape[-1] == gates * H) and (mask is None or mask.shape == x.shape[:2])
            and all(s is None or s.shape == (x.shape[0], H) for s in states))
    if not fits:
        got = {"x": x, "kernel": kernel, "recurrent": recurrent, "bias": bias, "mask": mask,
               **{f"state {k}": s for k, s in enumerate(states)}}
        raise ShapeError(f"{name}: the shapes do not fit", where=x.graph.where(),
                         expected=f"x [B, T, C], kernel [C, {gates}H], recurrent [H, {gates}H], mask [B, T], states [B, H]",
                         got=", ".join(f"{n} {list(t.shape)}" for n, t in got.items() if t is not None))
    return *x.shape, H


def input_product(x, kernel, bias):
    """x W + b for all steps: [B, T, N]."""
    rows = x.reshape(-1, x.shape[-1])
    return dense_forward(rows, kernel, bias, 0, 0.0).reshape(*x.shape[:2], kernel.shape[1])


def weight_gradients(x, kernel, bias, h_before, da, drecurrent):
    """(dx, dkernel, dU, dbias) of gradients of the gates [B, T, N], and of their recurrent part, for all steps at once."""
    rows, d = x.reshape(-1, x.shape[-1]), da.reshape(-1, da.shape[-1])
    r = drecurrent.reshape(-1, drecurrent.shape[-1])
    dU = matmul(h_before.reshape(-1, h_before.shape[-1]), r, "tn")
    return (matmul(d, kernel, "nt").reshape(*x.shape), matmul(rows, d, "tn"), dU,
            None if bias is None else column_sum(d))


def given(*pairs):
    """The gradients of those arguments that are there; (argument, gradient) in the order of the op's arguments."""
    return tuple(gradient for argument, gradient in pairs if argument is not None)


@op
def rnn(x, kernel, recurrent, bias=None, mask=None, h0=None, reverse: bool = False, activation: str = "tanh"):
    """x: f32[B, T, C], kernel: f32[C, H], recurrent: f32[H, H], bias: f32[H], mask: f32[B, T] of 0 and 1, h0: f32[B, H] (0 if
    None).   returns (out f32[B, T, H], last state f32[B, H]).   Raises ShapeError, UsageError (activation)."""
    if activation not in FUNCTIONS:
        raise UsageError("rnn knows two activations", expected=", ".join(FUNCTIONS), got=repr(activation))
    check_shapes("rnn", 1, x, kernel, recurrent, bias, mask, [h0])
    code = FUNCTIONS[activation]
    out, h_last = rnn_forward(recurrent, mask, h0, int(reverse), code, input_product(x, kernel, bias))

    def backward(dout, dh_last):
        da, h_before, dh0 = rnn_backward(dout, dh_last, recurrent, mask, h0, out, int(reverse), code)
        dx, dkernel, dU, dbias = weight_gradients(x, kernel, bias, h_before, da, da)
        return given((x, dx), (kernel, dkernel), (recurrent, dU), (bias, dbias), (mask, None), (h0, dh0))
    return (out, h_last), backward


@op
def reverse_steps(x):
    """[B, T, C], the last step first."""
    return reverse_steps_call(x), lambda dout: reverse_steps(dout)


@op
def scale_steps(x, s):
    """x: f32[B, T, C], each step multiplied by s: f32[B, T], through which no gradient goes (masks)."""
    rows, factors = x.reshape(s.size, x.size // s.size), s.reshape(s.size)
    return scale_steps_call(rows, factors).reshape(*x.shape), lambda dout: (scale_steps(dout, s), None)


@op
def scale_columns(x, s):
    """x: f32[B, T, C], the columns of all steps multiplied by s: f32[B, C], through which no gradient goes (dropout)."""
    return scale_columns_call(x, s), lambda dout: (scale_columns(dout, s), None)
