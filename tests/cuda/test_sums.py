"""Sums over rows: in fours and not, more rows than a block takes, frequent ids; and updates of eight weights a thread."""

from __future__ import annotations

import numpy as np
import pytest
from ptx.device import Emulated

from dlcore.graph import Graph, plan
from dlcore.ops import column_sum, embedding, layernorm, mul, row_gradient
from dlcore.ops import sum as total_of
from dlcore.ops.layernorm import ref as layernorm_ref
from dlcore.optim import Adam
from dlcore.runtime.cuda_table import cuda_table


def made(graph, outputs, **more):
    program = plan(graph, outputs, **more, table=cuda_table())
    instance = Emulated(program, shuffle=1)
    for name in ("arena", "outputs"):
        if name in instance.buffers:
            instance.buffers[name].fill(0xFF)
    return instance, [step.kernel for step in program.steps]


def normal(*shape):
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("N, C, kernels", [
    (1100, 132, ["column_blocks", "add_parts"]), (1100, 33, ["column_blocks", "add_parts"]),
    (300, 34, ["column_sum_short"]), (3, 32769, ["sum_long_rows"]),
], ids=lambda v: str(v) if isinstance(v, int) else "")  # fmt: skip
def test_sums_of_columns(N, C, kernels):
    graph, x = Graph(), normal(N, C)
    instance, found = made(graph, {"out": column_sum(graph.input("x", N, C))})
    instance["x"][...] = x
    instance.run()
    assert found == kernels
    np.testing.assert_allclose(instance["out"], x.astype(np.float64).sum(0), rtol=0, atol=2e-6 * N)


@pytest.mark.parametrize("D, ids", [(132, "few"), (132, "padding"), (130, "padding"), (1, "all"), (1, "none")])
def test_gradient_of_a_table(D, ids):
    """Runs of equal ids that begin and end within pieces, fill them, and ids that are none; written, then added."""
    V, N, rng = 9, 300, np.random.default_rng(D)
    places = {
        "few": rng.integers(0, 3, N),
        "padding": np.where(rng.random(N) < 0.7, 0, rng.integers(-1, V + 1, N)),
        "all": np.arange(N) % V,
        "none": np.full(N, -1),
    }[ids].astype(np.int32)
    graph, dout = Graph(), normal(N, D)
    table = graph.weight("table", V, D)
    out = embedding(table, graph.input("ids", N, dtype="i32"))
    instance, found = made(graph, {"out": out}, gradients={out: [table]}, seeds={out: graph.input("seed", N, D)})
    assert {"count_before", "embedding_pieces", "embedding_rows"} <= set(found)
    instance["ids"][...], instance["seed"][...], instance["table"][...] = places, dout, normal(V, D)
    known = (places >= 0) & (places < V)
    wanted = np.zeros((V, D))
    np.add.at(wanted, places[known], dout[known].astype(np.float64))
    segments = [s for s in ("prepare", "forward", "backward") if s in instance.program.segments]
    for times in (1, 2):
        instance.run(*segments, accumulate=times == 2)
        np.testing.assert_allclose(instance.gradient("table"), times * wanted, rtol=0, atol=1e-4)
    np.testing.assert_array_equal(instance["out"][known], instance["table"][places[known]])
    assert np.isnan(instance["out"][~known]).all()


@pytest.mark.parametrize("D", [132, 3])
def test_rows_of_ids_that_several_blocks_mark(D):
    M, V, rng = 600, 700, np.random.default_rng(D)
    ids = np.where(rng.random(M) < 0.3, 5, rng.integers(-1, V + 1, M)).astype(np.int32)
    graph, dout = Graph(), normal(M, D)
    unique, sums, count = row_gradient(graph.input("dout", M, D), graph.input("ids", M, dtype="i32"), V)
    instance, _ = made(graph, {"unique": unique, "sums": sums, "count": count})
    instance["ids"][...], instance["dout"][...] = ids, dout
    instance.run()
    known = np.unique(ids[(ids >= 0) & (ids < V)])
    assert instance["count"][0] == known.size
    np.testing.assert_array_equal(instance["unique"], np.concatenate([known, np.full(M - known.size, -1)]))
    wanted = [dout[ids == v].astype(np.float64).sum(0) for v in known] + [np.zeros(D)] * (M - known.size)
    np.testing.assert_allclose(instance["sums"], wanted, rtol=0, atol=1e-4)


@pytest.mark.parametrize("S", [2100, 5000])
def test_sums_of_blocks(S):
    graph, x = Graph(), normal(S)
    instance, _ = made(graph, {"out": total_of(graph.input("x", S))})
    instance["x"][...] = x
    instance.run()
    np.testing.assert_allclose(instance["out"], [x.astype(np.float64).sum()], rtol=0, atol=1e-3)


@pytest.mark.parametrize("C", [132, 33])
def test_gradients_of_normalisation_over_many_rows(C):
    N = 600
    values = {"x": normal(N, C), "w": normal(C), "b": normal(C, 1)[:, 0]}
    graph, seed = Graph(), normal(N, C)[::-1]
    leaves = [graph.weight(name, *v.shape) for name, v in values.items()]
    out = layernorm(*leaves)
    instance, found = made(graph, {}, gradients={out: leaves[1:]}, seeds={out: graph.input("seed", N, C)})
    for name, v in {**values, "seed": seed}.items():
        instance[name][...] = v
    instance.run(*[s for s in ("prepare", "forward", "backward") if s in instance.program.segments])
    wanted = layernorm_ref.layernorm_backward(seed.astype(np.float64), *(v.astype(np.float64) for v in values.values()))
    for name, key in (("w", 1), ("b", 2)):
        np.testing.assert_allclose(instance.gradient(name), list(wanted.values())[key], rtol=0, atol=2e-4)


@pytest.mark.parametrize("S", [2048, 2051])
def test_updates_in_fours(S):
    """Adam's first step moves every weight by the rate, against the sign of its gradient."""
    graph, more, optimizer = Graph(), [], Adam(1.0)
    weight = graph.weight("w", S)
    loss = mul(weight, graph.input("x", S))
    instance, _ = made(graph, {}, gradients={loss: [weight]}, updates=lambda: more.append(optimizer.update(graph, [weight])))
    instance["w"][...] = 3
    instance["x"][...] = np.where(np.arange(S) % 3 == 0, -2, 2)
    instance.run(lr=0.125, step=1)
    np.testing.assert_allclose(instance["w"], np.where(np.arange(S) % 3 == 0, 3.125, 2.875), rtol=0, atol=1e-5)
