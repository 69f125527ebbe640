"""Gated recurrent units over whole sequences (Cho et al., Learning phrase representations using RNN encoder-decoder, 2014), the
reset gate applied behind the recurrent product, as in cuDNN, PyTorch and Keras (`reset_after=True`).

    x_t W + b = (p_z, p_r, p_n),  h_{t-1} U + b' = (q_z, q_r, q_n): columns in Keras' order (PyTorch's is r, z, n)
    z, r = sigmoid(p_z + q_z, p_r + q_r)      n = tanh(p_n + r q_n)      h_t = z h_{t-1} + (1 - z) n

bias is [2, 3H]: b and b'.  With dh_t the gradient that arrives at h_t, last step first:

    dp_z = dh (h_{t-1} - n) z (1 - z)    dp_n = dh (1 - z) (1 - n**2)    dp_r = dp_n q_n r (1 - r)    dh_{t-1} = dh z + dq U^T
    dq_z = dp_z    dq_r = dp_r    dq_n = dp_n r

and all other gradients as in `rnn`, where masks and the order of steps are told too.
"""
from __future__ import annotations

from dlcore.errors import ShapeError
from dlcore.graph import call, op
from dlcore.ops.reduction import column_sum
from dlcore.ops.rnn import check_shapes, given, input_product, weight_gradients
from dlcore.ops.shape import concat

gru_forward = call("gru_forward(u: f32[H, 3 * H], rbias: f32[3 * H]?, mask: F[B, T]?, h0: F[B, H]?, reverse: i64"
                   " -> ~gates: F[B, T, 3 * H], out: F[B, T, H], inner: F[B, T, H], h_last: F[B, H])",
                   over="", flops="B * T * H * (6 * H + 70)")
gru_backward = call("gru_backward(dout: F[B, T, H]?, dh_last: F[B, H]?, u: f32[H, 3 * H], mask: F[B, T]?, h0: F[B, H]?,"
                    " out: F[B, T, H], inner: F[B, T, H], reverse: i64"
                    " -> ~gates: F[B, T, 3 * H], dq: F[B, T, 3 * H], h_before: F[B, T, H], dh0: F[B, H])",
                    over="", flops="B * T * H * (6 * H + 30)")


@op
def gru(x, kernel, recurrent, bias=None, mask=None, h0=None, reverse: bool = False):
    """x: f32[B, T, C], kernel: f32[C, 3H], recurrent: f32[H, 3H], bias: f32[2, 3H], mask: f32[B, T] of 0 and 1, h0: f32[B, H] (0
    if None).   returns (out f32[B, T, H], last state f32[B, H]).   Raises ShapeError."""
    check_shapes("gru", 3, x, kernel, recurrent, bias, mask, [h0])
    if bias is not None and (bias.ndim != 2 or bias.shape[0] != 2):
        raise ShapeError("gru: one bias for x and one for h", where=x.graph.where(), expected="[2, 3H]", got=str(list(bias.shape)))
    b, rb = (None, None) if bias is None else (bias[0:1].reshape(-1), bias[1:2].reshape(-1))
    gates, out, inner, h_last = gru_forward(recurrent, rb, mask, h0, int(reverse), input_product(x, kernel, b))

    def backward(dout, dh_last):
        dp, dq, h_before, dh0 = gru_backward(dout, dh_last, recurrent, mask, h0, out, inner, int(reverse), gates)
        dx, dkernel, dU, db = weight_gradients(x, kernel, b, h_before, dp, dq)
        dbias = None
        if bias is not None:
            drb = column_sum(dq.reshape(-1, dq.shape[-1]))
            dbias = concat([db.reshape(1, -1), drb.reshape(1, -1)], axis=0)
        return given((x, dx), (kernel, dkernel), (recurrent, dU), (bias, dbias), (mask, None), (h0, dh0))
    return (out, h_last), backward
