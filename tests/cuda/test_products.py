"""Matrix products at the edges of their tiles and slices, and summed in parts."""

from __future__ import annotations

import numpy as np
import pytest
from ptx.device import Emulated
from ptx.machine import launch
from ptx.memory import Memory
from ptx.products import FORMS, of_any_size, rounded, run_product, without

from dlcore.graph import Graph, plan
from dlcore.ops import conv2d, dense, matmul
from dlcore.runtime.cuda_table import cuda_table


def name_of(form, side):
    return f"matmul_{form}" + {16: "_small", 32: "_whole" if form == "tn" else "", 64: "_middle"}[side]


SIZES = ((32, 32, 128), (33, 31, 17), (66, 68, 420), (1, 65, 5), (20, 10, 0), (7, 40, 401))


@pytest.mark.parametrize("form, M, N, K", [
    pytest.param(form, *sizes, id=f"matmul-{form}-{'x'.join(map(str, sizes))}") for form in FORMS for sizes in SIZES
])  # fmt: skip
@pytest.mark.parametrize("side", [16, 32, 64])
def test_tiles(form, M, N, K, side):
    """Of one slice of K for some of the warps up to several for each, of vectors and of single numbers."""
    table = {16: cuda_table(), 32: without("_small"), 64: of_any_size(f"matmul_{form}_middle")}[side]
    found, wanted, kernels = run_product(table, form, M, N, K, "float32", side if K < 100 else None)
    assert kernels == [name_of(form, side)]
    np.testing.assert_allclose(found, wanted, rtol=0, atol=2e-5 * max(K, 1) ** 0.5)


@pytest.mark.parametrize("side", [16, 32, 64])
@pytest.mark.parametrize("form", FORMS)
def test_products_are_added_to_memory(form, side):
    """And of a left operand that begins in the middle of 16 bytes, although its rows are whole vectors long."""
    M, N, K = 20, 8, 12
    shapes = {"nn": ((M, K), (K, N)), "nt": ((M, K), (N, K)), "tn": ((K, M), (K, N))}[form]
    rng, memory = np.random.default_rng(0), Memory(1 << 16)
    a, b = rng.standard_normal(1 + M * K).astype(np.float32), rng.standard_normal(shapes[1]).astype(np.float32)
    places = [memory.put(v)[0] for v in (a, b)]
    target, out = memory.put(np.ones((M, N), np.float32))
    flags, _ = memory.put(np.ones(1, np.int64))
    sizes = {"nn": [M, K, N], "nt": [M, K, N], "tn": [K, M, N]}[form]
    blocks, block = (2, 256) if side == 16 else (1, 128)
    launch(cuda_table().ptx(name_of(form, side)), blocks, block, [*sizes, places[0] + 4, places[1], target, flags], memory, 3)
    np.testing.assert_allclose(out, 1 + FORMS[form](a[1:].reshape(shapes[0]), b), rtol=0, atol=1e-5)


@pytest.mark.parametrize("N", [6, 7], ids=["fours", "ones"])
def test_a_long_sum_is_made_of_parts(N):
    for name, precision, rounding in (("matmul_tn_parts", "float32", np.asarray), ("matmul_tn_parts_bf16", "bf16", rounded)):
        found, wanted, kernels = run_product(of_any_size(name), "tn", 41 - N, N, 1040, precision, 1, rounding)
        assert kernels == [name, "add_product_parts"]
        np.testing.assert_allclose(found, wanted, rtol=0, atol=5e-4)


def bf16_program(build, arrays, shuffle=None):
    graph = Graph(precision="bf16")
    out = build({name: graph.input(name, *a.shape) for name, a in arrays.items()})
    program = plan(graph, {"out": out}, table=cuda_table())
    assert program.planning["precision"] == "bf16"
    instance = Emulated(program, shuffle=shuffle)
    instance.buffers["outputs"].fill(0xFF)
    for name, a in arrays.items():
        instance[name][...] = a
    instance.run()
    return instance["out"], [step.kernel for step in program.steps]


@pytest.mark.parametrize("form, M, N, K", [
    pytest.param(form, *sizes, id=f"matmul-bf16-{form}-{'x'.join(map(str, sizes))}")
    for form in FORMS for sizes in ((32, 64, 64), (35, 66, 420), (1, 130, 1), (40, 7, 401))
])  # fmt: skip
def test_tensor_cores(form, M, N, K):
    """Operands are rounded to bf16; sums are float32."""
    rng = np.random.default_rng(1)
    shapes = {"nn": ((M, K), (K, N)), "nt": ((M, K), (N, K)), "tn": ((K, M), (K, N))}[form]
    a, b = (rng.standard_normal(s).astype(np.float32) for s in shapes)
    found, kernels = bf16_program(lambda t: matmul(t["a"], t["b"], form), {"a": a, "b": b}, shuffle=5)
    assert kernels == [f"matmul_{form}_bf16"]
    np.testing.assert_allclose(found, FORMS[form](rounded(a).astype(np.float64), rounded(b)), rtol=0, atol=2e-5 * K**0.5)


def test_a_dense_layer_on_tensor_cores():
    rng = np.random.default_rng(2)
    x, w, bias = (rng.standard_normal(s).astype(np.float32) for s in ((9, 21), (21, 130), (130,)))
    made = {"x": x, "w": w, "bias": bias}
    found, kernels = bf16_program(lambda t: dense(t["x"], t["w"], t["bias"], "tanh"), made)
    assert kernels == ["dense_forward_bf16"]
    np.testing.assert_allclose(found, np.tanh(rounded(x).astype(np.float64) @ rounded(w) + bias), rtol=0, atol=1e-5)


def convolved(x, w, bias, dout, table, precision):
    """conv2d with relu, stride 2 and padding: out, dx, dw, db."""
    graph = Graph(precision=precision)
    given = {"x": graph.weight("x", *x.shape), "w": graph.weight("w", *w.shape), "bias": graph.weight("bias", *bias.shape)}
    out = conv2d(*given.values(), stride=2, padding="same", activation="relu")
    program = plan(graph, {"out": out}, {out: list(given.values())}, {out: graph.input("dout", *dout.shape)}, table=table)
    instance = Emulated(program) if table is not None else program.bind()
    for name, value in (("x", x), ("w", w), ("bias", bias), ("dout", dout)):
        instance[name][...] = value
    instance.run(*[s for s in ("prepare", "forward", "backward") if s in program.segments])
    return [instance["out"].copy(), *(instance.gradient(n).copy() for n in given)], {s.kernel for s in program.steps}


def test_convolutions_on_tensor_cores():
    """Numbers of few bits, so that rounding to bf16 changes none of them, and products are exact."""
    rng = np.random.default_rng(3)
    x, w, bias, dout = (
        rng.integers(-8, 9, s).astype(np.float32) / 8 for s in ((2, 9, 8, 5), (3, 3, 5, 7), (7,), (2, 5, 4, 7))
    )
    found, kernels = convolved(x, w, bias, dout, cuda_table(), "bf16")
    assert {"conv2d_forward_bf16", "conv2d_data_bf16", "conv2d_weight_bf16"} <= kernels
    wanted, _ = convolved(x, w, bias, dout, None, "float32")
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5)


PANEL_SIZES = ((128, 128, 96), (131, 65, 37), (1, 130, 1), (9, 12, 200))


@pytest.mark.parametrize("form, M, N, K", [
    pytest.param(form, *sizes, id=f"matmul-panels-{form}-{'x'.join(map(str, sizes))}") for form in FORMS for sizes in PANEL_SIZES
])  # fmt: skip
def test_products_of_rounded_operands(form, M, N, K):
    """Three stages of copies, for K of one slice to seven; in random order, so that a copy that is not waited for shows."""
    found, wanted, kernels = run_product(of_any_size(f"multiply_bf16_{form}"), form, M, N, K, "bf16", 5, rounded)
    assert kernels == ["round_to_blocks", "round_to_blocks", f"multiply_bf16_{form}"]
    np.testing.assert_allclose(found, wanted, rtol=0, atol=2e-5 * K**0.5)


@pytest.mark.parametrize("M", [5, 8], ids=["ones", "fours"])
def test_a_long_product_of_rounded_operands_is_made_of_parts(M):
    found, wanted, kernels = run_product(of_any_size("multiply_bf16_parts"), "tn", M, 9, 150, "bf16", None, rounded)
    assert kernels[-2:] == ["multiply_bf16_parts", "add_panel_parts"]
    np.testing.assert_allclose(found, wanted, rtol=0, atol=3e-4)


@pytest.mark.parametrize("form, M, N, K", [
    pytest.param(form, *sizes, id=f"matmul-large-{form}-{'x'.join(map(str, sizes))}")
    for form in FORMS for sizes in ((128, 128, 16), (131, 65, 9), (4, 132, 20))
])  # fmt: skip
def test_large_tiles(form, M, N, K):
    found, wanted, kernels = run_product(of_any_size(f"matmul_{form}_large"), form, M, N, K, "float32", 5)
    assert kernels == [f"matmul_{form}_large"]
    np.testing.assert_allclose(found, wanted, rtol=0, atol=2e-5 * K**0.5)


@pytest.mark.parametrize("precision, kernel", [
    ("float32", "dense_forward_small"), ("float32", "dense_forward_middle"), ("float32", "dense_forward_large"),
    ("bf16", "multiply_bf16_dense")])  # fmt: skip
def test_a_large_dense_layer(precision, kernel):
    table, rng, graph = of_any_size(kernel), np.random.default_rng(2), Graph(precision=precision)
    given = {"x": rng.standard_normal((9, 21)), "w": rng.standard_normal((21, 131)), "b": rng.standard_normal(131)}
    given = {name: v.astype(np.float32) for name, v in given.items()}
    program = plan(graph, {"out": dense(*(graph.input(n, *v.shape) for n, v in given.items()), "tanh")}, table=table)
    assert program.steps[-1].kernel == kernel
    instance = Emulated(program)
    for name, v in given.items():
        instance[name][...] = v
    instance.run()
    x, w = (rounded(given[n]) if precision == "bf16" else given[n] for n in "xw")
    np.testing.assert_allclose(instance["out"], np.tanh(x.astype(np.float64) @ w + given["b"]), rtol=0, atol=1e-5)


def test_operands_are_rounded_once():
    """A weight and what it multiplies serve forward and backward: three operands are rounded for three products."""
    graph = Graph(precision="bf16")
    x, w = graph.weight("x", 40, 24), graph.weight("w", 24, 16)
    out = matmul(x, w)
    table = of_any_size("multiply_bf16_tn", "multiply_bf16_nt", "multiply_bf16_nn")
    program = plan(graph, {}, {out: [x, w]}, {out: graph.input("dout", 40, 16)}, table=table)
    kernels = [step.kernel for step in program.steps]
    assert kernels.count("round_to_blocks") == 3 and sum("multiply_bf16" in k for k in kernels) == 2
