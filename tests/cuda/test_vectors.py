"""Kernels that read 16 bytes at a time: rows that can be read so, that cannot, that begin in the middle of 16 bytes, and tails."""

from __future__ import annotations

import numpy as np
import pytest
from ptx.device import Emulated
from ptx.machine import launch
from ptx.memory import Memory

from dlcore.graph import Graph, plan
from dlcore.ops import layernorm, softmax_cross_entropy
from dlcore.ops.layernorm import ref as layernorm_ref
from dlcore.ops.softmax_cross_entropy import ref as cross_entropy_ref
from dlcore.runtime.cuda_table import cuda_table


def run(graph, outputs, leaves, values, loss, seed):
    program = plan(graph, outputs, {loss: leaves}, {loss: graph.input("seed", *seed.shape)}, table=cuda_table())
    instance = Emulated(program, shuffle=1)
    for name in ("arena", "outputs", "gradients"):
        if name in instance.buffers:
            instance.buffers[name].fill(0xFF)
    for name, value in {**values, "seed": seed}.items():
        instance[name][...] = value
    instance.run(*[s for s in ("prepare", "forward", "backward") if s in program.segments])
    return instance


@pytest.mark.parametrize("C", [4, 132, 768, 1024, 1028, 130], ids=lambda C: f"layernorm-{C}")
def test_rows_in_registers(C):
    rng, N = np.random.default_rng(C), 3
    values = {"x": 5 + rng.standard_normal((N, C)), "w": rng.standard_normal(C), "b": rng.standard_normal(C)}
    values = {name: v.astype(np.float32) for name, v in values.items()}
    graph = Graph()
    leaves = [graph.weight(name, *v.shape) for name, v in values.items()]
    out, seed = layernorm(*leaves), rng.standard_normal((N, C)).astype(np.float32)
    instance = run(graph, {"out": out}, leaves, values, out, seed)
    exact = [v.astype(np.float64) for v in values.values()]
    np.testing.assert_allclose(instance["out"], layernorm_ref.layernorm(*exact), rtol=0, atol=2e-5)
    wanted = layernorm_ref.layernorm_backward(seed.astype(np.float64), *exact)
    for name, expected in zip(("x", "w", "b"), wanted.values(), strict=True):
        np.testing.assert_allclose(instance.gradient(name), expected, rtol=0, atol=2e-5 * max(1, np.abs(expected).max()))


@pytest.mark.parametrize("C", [1, 3, 7, 128, 131, 517, 1024, 5003], ids=lambda C: f"softmax_cross_entropy-{C}")
@pytest.mark.parametrize("smoothing", [0.0, 0.1], ids=["", "smooth"])
def test_rows_that_begin_anywhere(C, smoothing):
    rng, N = np.random.default_rng(C), 9
    logits = (20 * rng.standard_normal((N, C))).astype(np.float32)
    targets = rng.integers(0, C, N).astype(np.int32)
    targets[4] = -1
    if C > 3 and not smoothing:
        logits[2, (targets[2] + 1) % C] = -np.inf
    graph = Graph()
    x = graph.weight("x", N, C)
    loss, seed = softmax_cross_entropy(x, graph.input("t", N, dtype="i32"), smoothing), rng.standard_normal(N).astype(np.float32)
    instance = run(graph, {"loss": loss}, [x], {"x": logits, "t": targets}, loss, seed)
    exact = logits.astype(np.float64)
    with np.errstate(invalid="ignore"):  # the reference multiplies 0 by the logarithm of 0, and leaves it out
        wanted = cross_entropy_ref.softmax_cross_entropy(exact, targets, smoothing)
    np.testing.assert_allclose(instance["loss"], wanted, rtol=3e-6, atol=3e-6)
    gradient = cross_entropy_ref.softmax_cross_entropy_backward(seed.astype(np.float64), exact, targets, smoothing)
    np.testing.assert_allclose(instance.gradient("x"), gradient["logits"], rtol=0, atol=3e-6)


@pytest.mark.parametrize("begin", [0, 1], ids=["fours", "ones"])
@pytest.mark.parametrize("S", [3, 4100, 70001, 2**20 + 2], ids=lambda S: f"norm-{S}")
def test_sums_of_squares(S, begin):
    """Of parts of one load a lane or none, of several, and of numbers that begin in the middle of 16 bytes."""
    x, memory = np.random.default_rng(S).standard_normal(S + begin).astype(np.float32), Memory(1 << 24)
    source, _ = memory.put(x)
    parts, _ = memory.put(np.zeros(2048, np.float32))
    target, found = memory.put(np.zeros(1, np.float32))
    scalars, _ = memory.put(np.zeros(1, np.int64))
    launch(cuda_table().ptx("square_sums"), 256, 256, [S, source + 4 * begin, parts, scalars], memory)
    launch(cuda_table().ptx("norm_of_sums"), 1, 1024, [parts, target, scalars], memory, 1)
    np.testing.assert_allclose(found, np.linalg.norm(x[begin:].astype(np.float64)), rtol=1e-6)


@pytest.mark.parametrize("M, N, add", [(6, 10, 0), (6, 10, 1), (5, 3, 1), (5, 3, 0)])
def test_parts_are_added(M, N, add):
    """In the order of the parts, and onto what is there."""
    rng = np.random.default_rng(0)
    for name, count in (("add_product_parts", 16), ("add_panel_parts", 8)):
        parts, old, memory = rng.standard_normal((count, M, N)).astype(np.float32), np.ones((M, N), np.float32), Memory(1 << 16)
        source, _ = memory.put(parts)
        target, out = memory.put(old)
        scalars, _ = memory.put(np.array([add], np.int64))
        launch(cuda_table().ptx(name), 1, 256, [M, N, source, target, scalars], memory)
        wanted = parts[0] + (old if add else 0)
        for part in parts[1:]:
            wanted = wanted + part
        np.testing.assert_array_equal(out, wanted)
