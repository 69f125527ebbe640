"""What weights cost: the penalties of L1 and L2 regularisation, in one pass.

    out = l1 sum |x| + l2 sum x**2          dx = (l1 sign(x) + 2 l2 x) dout,  sign(0) = 0
"""
from __future__ import annotations

from dlcore.graph import call, op

penalty_call = call("penalty(x: F[S], l1: f32, l2: f32 -> +out: F[1])", over="", flops="4 * S")
penalty_backward_call = call("penalty_backward(dout: F[1], x: F[S], l1: f32, l2: f32 -> +dx: F[S])", over="S", flops="4 * S")


@op
def penalty(x, l1: float = 0.0, l2: float = 0.0):
    """l1 sum |x| + l2 sum x**2 over all elements, shape [1]."""
    flat = x.reshape(x.size)

    def backward(dout):
        return penalty_backward_call(dout, flat, l1, l2).reshape(*x.shape)
    return penalty_call(flat, l1, l2), backward
