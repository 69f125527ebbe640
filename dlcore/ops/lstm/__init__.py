"""Long short-term memory over whole sequences (Hochreiter and Schmidhuber, Long short-term memory, 1997; with the forget gate of
Gers, Schmidhuber and Cummins, Learning to forget, 2000).

    a_t = x_t W + b + h_{t-1} U,  its columns being those of the gates i, f, g, o (the order of Keras and PyTorch)
    i, f, o = sigmoid(a_i, a_f, a_o)      g = tanh(a_g)      c_t = f c_{t-1} + i g      h_t = o tanh(c_t)

With dh_t = dout_t + da_{t+1} U^T and dc_t = dh_t o (1 - tanh(c_t)**2) + dc_{t+1} f_{t+1}, last step first:

    da_i = dc g i (1 - i)    da_f = dc c_{t-1} f (1 - f)    da_g = dc i (1 - g**2)    da_o = dh tanh(c_t) o (1 - o)

and from da_t all other gradients as in `rnn`, where masks and the order of steps are told too.  The gates stay where the input
product was, their gradients take the same place.
"""
from __future__ import annotations

from dlcore.graph import call, op
from dlcore.ops.rnn import check_shapes, given, input_product, weight_gradients

STATES = "mask: F[B, T]?, h0: F[B, H]?, c0: F[B, H]?"
lstm_forward = call(f"lstm_forward(u: f32[H, 4 * H], {STATES}, reverse: i64"
                    " -> ~gates: F[B, T, 4 * H], out: F[B, T, H], cells: F[B, T, H], h_last: F[B, H], c_last: F[B, H])",
                    over="", flops="B * T * H * (8 * H + 110)")
lstm_backward = call(f"lstm_backward(dout: F[B, T, H]?, dh_last: F[B, H]?, dc_last: F[B, H]?, u: f32[H, 4 * H], {STATES},"
                     " out: F[B, T, H], cells: F[B, T, H], reverse: i64"
                     " -> ~gates: F[B, T, 4 * H], h_before: F[B, T, H], dh0: F[B, H], dc0: F[B, H])",
                     over="", flops="B * T * H * (8 * H + 50)")


@op
def lstm(x, kernel, recurrent, bias=None, mask=None, h0=None, c0=None, reverse: bool = False):
    """x: f32[B, T, C], kernel: f32[C, 4H], recurrent: f32[H, 4H], bias: f32[4H], mask: f32[B, T] of 0 and 1, h0, c0: f32[B, H]
    (0 where None).   returns (out f32[B, T, H], last h f32[B, H], last c f32[B, H]).   Raises ShapeError."""
    check_shapes("lstm", 4, x, kernel, recurrent, bias, mask, [h0, c0])
    gates, out, cells, h_last, c_last = lstm_forward(recurrent, mask, h0, c0, int(reverse), input_product(x, kernel, bias))

    def backward(dout, dh_last, dc_last):
        da, h_before, dh0, dc0 = lstm_backward(dout, dh_last, dc_last, recurrent, mask, h0, c0, out, cells, int(reverse), gates)
        dx, dkernel, dU, dbias = weight_gradients(x, kernel, bias, h_before, da, da)
        return given((x, dx), (kernel, dkernel), (recurrent, dU), (bias, dbias), (mask, None), (h0, dh0), (c0, dc0))
    return (out, h_last, c_last), backward
