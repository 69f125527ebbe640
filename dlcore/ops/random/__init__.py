"""Random numbers: random_normal (mean 0, variance 1) and random_uniform (0 to below 1), drawn anew in every step.

The draws are Philox4x32-10 (Salmon et al., Parallel random numbers: as easy as 1, 2, 3, 2011), as those of dropout: for a tensor
[B, ...] read as [B, C], sample r of the whole batch and column c,

    key = (seed mod 2**32, seed // 2**32),   counter = (c // 4, r, step, node),   the draw is word w = c % 4 of the answer

so they are the same on any number of threads, and for micro-batches and ranks those of one big batch.

    uniform   (w // 2**8) / 2**24
    normal    +-y with P(|normal| > y) = t = (w // 2 + 1/2) / 2**31; the lowest bit of w is the sign

y = sqrt(2) erfinv(1 - t) by the polynomials of Giles, Approximating the erfinv function (GPU Computing Gems, 2011), in
u = -log(t (2 - t)): no tail is cut before t = 2**-32, where |y| is 6.34.  Numbers that are drawn have no gradient.
"""
from __future__ import annotations

from math import prod

from dlcore.graph import call, op
from dlcore.ops.slots import FIRST_SAMPLE, SEED, STEP

random_normal_call = call("random_normal(node: i64, seed: i64, step: i64, first_sample: i64 -> out: f32[N, C])", over="N",
                          flops="110 * N * C")
random_uniform_call = call("random_uniform(node: i64, seed: i64, step: i64, first_sample: i64 -> out: f32[N, C])", over="N",
                           flops="80 * N * C")


def drawn(declaration, shape, graph, node):
    place = graph.node() if node is None else node
    out = declaration(place, SEED, STEP, FIRST_SAMPLE, graph=graph, N=shape[0], C=prod(shape[1:]))
    return out.reshape(*shape)


@op
def random_normal(*shape: int, graph, node: int | None = None):
    """f32 of this shape, the batch first: independent normal numbers.

    node: a number for this place in the graph, by default the graph's next; equal ones draw equal numbers."""
    return drawn(random_normal_call, shape, graph, node), None


@op
def random_uniform(*shape: int, graph, node: int | None = None):
    """f32 of this shape, the batch first: independent numbers from 0 to below 1.   node: see `random_normal`"""
    return drawn(random_uniform_call, shape, graph, node), None
