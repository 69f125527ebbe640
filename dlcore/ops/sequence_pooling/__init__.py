"""One vector for a sequence: the mean or the maximum over its steps, padded ones left out.

    sequence_mean   out[b, c] = sum_t m[b, t] x[b, t, c] / sum_t m[b, t]      dx[b, t, c] = dout[b, c] m[b, t] / sum_t m[b, t]
    sequence_max    out[b, c] = max over t with m[b, t] != 0 of x[b, t, c]    dx = dout at the first greatest step, else 0

A sequence whose every step is padding gives zeros, and no gradient.
"""
from __future__ import annotations

from dlcore.errors import ShapeError
from dlcore.graph import call, op

sequence_mean_call = call("sequence_mean(x: F[B, T, C], mask: F[B, T]? -> out: F[B, C])", over="B", flops="2 * B * T * C")
sequence_mean_backward = call("sequence_mean_backward(dout: F[B, C], mask: F[B, T]? -> +dx: F[B, T, C])", over="B",
                              flops="B * T * C")
sequence_max_call = call("sequence_max(x: F[B, T, C], mask: F[B, T]? -> out: F[B, C], index: i32[B, C])", over="B",
                         flops="B * T * C")
sequence_max_backward = call("sequence_max_backward(dout: F[B, C], index: i32[B, C] -> +dx: F[B, T, C])", over="B")


def checked(x, mask, name: str) -> None:
    if x.ndim != 3 or mask is not None and mask.shape != x.shape[:2]:
        raise ShapeError(f"{name}: no sequence of vectors", where=x.graph.where(), expected="x [B, T, C], mask [B, T]",
                         got=f"x {list(x.shape)}" + ("" if mask is None else f", mask {list(mask.shape)}"))


@op
def sequence_mean(x, mask=None):
    """x: f32[B, T, C]   mask: f32[B, T] of 0 and 1, or None   returns f32[B, C].   ShapeError"""
    checked(x, mask, "sequence_mean")

    def backward(dout):
        dx = sequence_mean_backward(dout, mask, T=x.shape[1])
        return dx if mask is None else (dx, None)
    return sequence_mean_call(x, mask), backward


@op
def sequence_max(x, mask=None):
    """x: f32[B, T, C]   mask: f32[B, T] of 0 and 1, or None   returns f32[B, C].   ShapeError"""
    checked(x, mask, "sequence_max")
    out, index = sequence_max_call(x, mask)

    def backward(dout):
        dx = sequence_max_backward(dout, index, T=x.shape[1])
        return dx if mask is None else (dx, None)
    return out, backward
