"""Dropout: out = x keep / (1 - rate), keep being 1 with probability 1 - rate; dx = dout keep / (1 - rate).

The draws are Philox4x32-10 (Salmon et al., Parallel random numbers: as easy as 1, 2, 3, 2011), so nothing is stored: backward
draws the same again.  For a tensor [..., C], row r of the whole batch and column c:

    key = (seed mod 2**32, seed // 2**32),   counter = (c // 4, r, step, node),   the draw is word c % 4

c is dropped where its word is below rate * 2**32.  `node` tells the dropouts of a graph apart; r counts from slot
`first_sample` on, times the rows that a sample has, so micro-batches and ranks draw what one big batch would.
"""
from __future__ import annotations

from math import prod

from dlcore.errors import UsageError
from dlcore.graph import call, op
from dlcore.ops.slots import FIRST_SAMPLE, SEED, STEP

dropout_call = call("dropout(x: F[N, C], rate: f32, node: i64, rows: i64, seed: i64, step: i64, first_sample: i64"
                    " -> +out: F[N, C])", over="N", flops="30 * N * C")


@op
def dropout(x, rate: float, node: int | None = None):
    """x of shape [B, ...], each element zero with probability `rate`, the others divided by 1 - rate.

    node: a number for this place in the graph, by default the graph's next.  UsageError unless 0 <= rate < 1."""
    if not 0 <= rate < 1:
        raise UsageError("dropout: the rate is a probability below 1", expected="0 <= rate < 1", got=str(rate))
    place = x.graph.node() if node is None else node
    C, rows = x.shape[-1], prod(x.shape[1:-1])
    out = dropout_call(x.reshape(x.size // C, C), rate, place, rows, SEED, STEP, FIRST_SAMPLE)
    return out.reshape(*x.shape), lambda dout: dropout(dout, rate, place)
