"""Which positions of a sequence are there, and which only fill it up: 1 for the first, 0 for the others.

    id_mask     out[...] = 1 where ids != padding
    step_mask   out[...] = 1 where any x[..., c] != value

A mask is made of data; nothing is differentiated through it.
"""
from __future__ import annotations

from dlcore.graph import call, op

id_mask_call = call("id_mask(ids: i32[N], padding: i64 -> +out: F[N])", over="N")
step_mask_call = call("step_mask(x: F[N, C], value: f32 -> +out: F[N])", over="N", flops="N * C")


@op
def id_mask(ids, padding: int = 0):
    """ids: i32[...]   returns f32[...], 0 where an id is `padding`, else 1"""
    return id_mask_call(ids.reshape(ids.size), padding).reshape(*ids.shape), lambda dout: None


@op
def step_mask(x, value: float = 0.0):
    """x: f32[..., C]   returns f32[...], 0 where all C numbers of a step are `value`, else 1"""
    C = x.shape[-1]
    return step_mask_call(x.reshape(x.size // C, C), value).reshape(*x.shape[:-1]), lambda dout: None
