"""Rotary position embedding (Su et al., RoFormer, 2021, section 3.2.2): pairs of numbers of a head are turned by an angle that
grows with the position, so that the product of a query and a key depends on how far apart they are.

    angle[t, r] = (position + t) base^(-r / R),   r < R
    (a, b) -> (a cos - b sin, a sin + b cos)

The pair r is (x_r, x_{R + r}), as in Llama's weights at Hugging Face, or, interleaved, (x_{2r}, x_{2r + 1}), as in the paper.
What stands behind 2 R in a head is left as it is, and so are heads that are not asked for.  The gradient is turned back.
"""
from __future__ import annotations

from dlcore.errors import ShapeError
from dlcore.graph import call, op

rotary_angles_call = call("rotary_angles(base: f32, position: i64 -> cos: F[T, R], sin: F[T, R])", over="T", flops="40 * T * R")
rotary_call = call("rotary(x: F[B, T, A, D], cos: F[T, R], sin: F[T, R], heads: i64, interleaved: i64, sign: f32"
                   " -> +out: F[B, T, A, D])", over="B * T", flops="3 * B * T * A * D")


@op
def rotary_angles(T: int, R: int, base: float = 10000.0, position=0, *, graph):
    """(cos, sin), f32[T, R] each, of positions `position` (a number or a Slot) and on, for R pairs of a head."""
    return rotary_angles_call(base, position, graph=graph, T=T, R=R), None


@op
def rotary(x, cos, sin, heads: int | None = None, interleaved: bool = False, sign: float = 1.0):
    """x: f32[B, T, A, D], its first `heads` heads (all) turned by the angles.   cos, sin: f32[T, R], 2 R <= D.

    sign: -1 turns back.   ShapeError"""
    if x.ndim != 4 or cos.shape != sin.shape or cos.shape[0] != x.shape[1] or 2 * cos.shape[1] > x.shape[3]:
        raise ShapeError("rotary: shapes do not go together", where=x.graph.where(),
                         expected="x [B, T, A, D], cos and sin [T, R], 2 R at most D",
                         got=f"{list(x.shape)}, {list(cos.shape)}, {list(sin.shape)}")
    count = x.shape[2] if heads is None else heads
    out = rotary_call(x, cos, sin, count, int(interleaved), sign)
    return out, lambda dout: (rotary(dout, cos, sin, count, interleaved, -sign), None, None)
