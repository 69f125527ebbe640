"""Looking after a step: is everything finite, how long is the gradient, how much is it to be shortened.

    check_finite  status becomes 1 where an element of x is inf or NaN; updates leave the weights alone then
    norm          sqrt(sum x**2), of any tensor, shape [1]; inf or NaN where an element is, or where the sum of squares overflows
    clip_factor   min(1, limit / norm): what a gradient is multiplied by so that its norm is at most `limit`

The squares are summed in parts that the shape fixes, so the bits do not depend on the number of threads.  Nothing here is
differentiated.
"""
from __future__ import annotations

from dlcore.graph import call, op

check_finite_call = call("check_finite(x: F[S] -> ~status: i64[1])", over="1", flops="S")
norm_call = call("norm(x: F[S] -> out: F[1])", over="", flops="2 * S")
clip_factor_call = call("clip_factor(norm: f32[1], limit: f32 -> out: f32[1])", over="1")


@op
def check_finite(x, status):
    """The new version of `status` (i64[1], `graph.status`): 1 if an element of x is not finite, else as it was."""
    return check_finite_call(x.reshape(x.size), status), None


@op
def norm(x):
    """The Euclidean norm of all elements, shape [1]."""
    return norm_call(x.reshape(x.size)), None


@op
def clip_factor(norm, limit: float):
    """min(1, limit / norm), shape [1]."""
    return clip_factor_call(norm, limit), None
