"""Softmax and its logarithm over the last axis.

    softmax      out = e**(x - lse),   lse = log sum e**x            dx = out (dout - sum(dout out))
    log_softmax  out = x - lse                                       dx = dout - e**out sum(dout)

The row's maximum is taken out first.  A row that is -inf throughout (masked) gives zeros (log_softmax: -inf) and no gradient.
"""
from __future__ import annotations

from dlcore.graph import call, op

softmax_forward = call("softmax_forward(x: F[N, C] -> out: F[N, C])", over="N", flops="22 * N * C")
softmax_backward = call("softmax_backward(dout: F[N, C], out: F[N, C] -> +dx: F[N, C])", over="N", flops="4 * N * C")
log_softmax_forward = call("log_softmax_forward(x: F[N, C] -> out: F[N, C])", over="N", flops="22 * N * C")
log_softmax_backward = call("log_softmax_backward(dout: F[N, C], out: F[N, C] -> +dx: F[N, C])", over="N",
                            flops="23 * N * C")


def as_rows(x):
    return x.reshape(x.size // x.shape[-1], x.shape[-1])


@op
def softmax(x):
    """Probabilities over the last axis: [..., C] -> [..., C]."""
    out = softmax_forward(as_rows(x))
    return out.reshape(*x.shape), lambda dout: softmax_backward(as_rows(dout), out).reshape(*x.shape)


@op
def log_softmax(x):
    """Logarithms of the probabilities over the last axis: [..., C] -> [..., C]."""
    out = log_softmax_forward(as_rows(x))
    return out.reshape(*x.shape), lambda dout: log_softmax_backward(as_rows(dout), out).reshape(*x.shape)
