"""What the cases of `ref.py` do not show: which kernels serve which shapes, NaN, infinities, errors, norms of samples."""
from __future__ import annotations

import numpy as np
import pytest

from dlcore.errors import NotDifferentiableError, ShapeError, UsageError
from dlcore.graph import Graph, plan
from dlcore.ops import dense, matmul, mul, row_sum

# form, M, K, N, kernel that must be among those of the program
SERVED = [("nn", 1, 40, 300, "few_nn"), ("nn", 1, 1300, 1235, "few_nn"), ("nn", 7, 700, 611, "few_nn"),
          ("nt", 1, 1303, 41, "few_nt"), ("nt", 16, 770, 611, "few_nt"), ("nt", 1, 4101, 9, "few_nt"), ("nt", 1, 3, 2, "few_nt"),
          ("nn", 5, 700, 300, "multiply_nn"), ("nn", 97, 900, 250, "multiply_nn"), ("nn", 300, 128, 64, "multiply_nn"),
          ("nn", 97, 700, 300, "blocked_nn"), ("nt", 20, 30, 40, "transposed_copy"), ("nt", 97, 700, 300, "blocked_nt"),
          ("tn", 300, 64, 50, "multiply_tn"), ("tn", 97, 700, 300, "blocked_tn")]


def instance_of(outputs: dict, **more):
    graph = next(iter(outputs.values())).graph
    program = plan(graph, outputs, **more)
    return program.bind(), [str(step["kernel"]) for step in program.table()]


@pytest.mark.parametrize("form, M, K, N, kernel", SERVED)
def test_each_shape_has_its_kernel_and_any_number_of_threads_its_bits(form, M, K, N, kernel):
    rng, graph = np.random.default_rng(0), Graph()
    a, b = rng.standard_normal((M, K)).astype(np.float32), rng.standard_normal((K, N)).astype(np.float32)
    left, right = a.T if form == "tn" else a, b.T if form == "nt" else b
    instance, kernels = instance_of({"out": matmul(graph.input("a", *left.shape), graph.input("b", *right.shape), form)})
    assert any(k.startswith(kernel) for k in kernels), kernels
    instance["a"][...], instance["b"][...] = left, right
    outs = []
    for threads in (1, 2, 3, 5, 16, 40):
        instance["out"][...] = np.nan
        instance.run(threads=threads)
        outs.append(np.array(instance["out"]))
    exact = a.astype(np.float64) @ b
    assert np.abs(outs[0] - exact).max() < 2e-6 * np.abs(exact).max()
    assert all(np.array_equal(o, outs[0]) for o in outs)


@pytest.mark.parametrize("form", ["nn", "nt", "dense"])
def test_a_row_is_the_same_bits_whatever_stands_beside_it(form):
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((16, 700)).astype(np.float32), rng.standard_normal((700, 611)).astype(np.float32)
    found = {}
    for M in (1, 2, 5, 16):
        graph = Graph()
        given = b.T if form == "nt" else b
        left, right = graph.input("a", M, 700), graph.input("b", *given.shape)
        instance, _ = instance_of({"out": dense(left, right) if form == "dense" else matmul(left, right, form)})
        instance["a"][...], instance["b"][...] = a[:M], given
        instance.run()
        found[M] = np.array(instance["out"])
    assert all(np.array_equal(out, found[16][:M]) for M, out in found.items())


@pytest.mark.parametrize("rows, features", [(1, 30), (3, 3000), (20, 30), (120, 1400)])
@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "elu", "sigmoid", "tanh", "gelu", "gelu_tanh", "silu", "softplus"])
@pytest.mark.parametrize("differentiable", [True, False])
def test_nan_comes_out_as_nan(rows, features, activation, differentiable):
    graph = Graph()
    x, weight = graph.input("x", rows, features), graph.input("weight", features, 101)
    instance, _ = instance_of({"out": dense(x, weight, None, activation, differentiable=differentiable)})
    instance["x"][...], instance["weight"][...] = 0.5, 0.25 / features
    instance["x"][0, 3] = np.nan
    instance.run()
    assert np.isnan(instance["out"][0]).all()
    assert np.isfinite(instance["out"][1:]).all()


@pytest.mark.parametrize("activation", ["gelu", "gelu_tanh", "silu", "softplus"])
def test_an_activation_on_the_tiles_equals_one_after_them(activation):
    graph = Graph()
    x, weight, bias = graph.input("x", 33, 17), graph.input("weight", 17, 41), graph.input("bias", 41)
    instance, _ = instance_of({"late": dense(x, weight, bias, activation),
                               "early": dense(x, weight, bias, activation, differentiable=False)})
    rng = np.random.default_rng(1)
    for name in ("x", "weight", "bias"):
        instance[name][...] = rng.standard_normal(instance[name].shape)
    instance.run()
    np.testing.assert_allclose(instance["early"], instance["late"], rtol=1e-6, atol=1e-6)


def test_a_product_whose_gradient_needs_it_is_made_once():
    graph = Graph()
    x, weight = graph.input("x", 130, 600), graph.weight("weight", 600, 400)
    out = dense(x, weight, None, "gelu")
    _, kernels = instance_of({"out": out}, gradients={out: [weight]}, seeds={out: graph.input("seed", *out.shape)})
    assert sum(k.startswith("dense") for k in kernels) == 1, kernels


def test_a_gradient_of_what_was_not_kept_is_refused():
    graph = Graph()
    x, weight = graph.input("x", 3, 4), graph.weight("weight", 4, 5)
    out = dense(x, weight, None, "gelu", differentiable=False)
    with pytest.raises(NotDifferentiableError, match="dense"):
        graph.gradients(out, [weight], graph.input("seed", 3, 5))


@pytest.mark.parametrize("biased", [True, False])
def test_norms_of_samples_are_those_of_single_samples(biased):
    rng = np.random.default_rng(2)
    x, w, b = (rng.standard_normal(s).astype(np.float32) for s in ((6, 5), (5, 7), (7,)))
    graph = Graph()
    weight, bias = graph.weight("weight", 5, 7), graph.weight("bias", 7) if biased else None
    out = dense(graph.input("x", 6, 5), weight, bias, "tanh")
    loss = row_sum(mul(out, out))
    norms = graph.sample_norms(loss, [weight, bias] if biased else [weight])
    instance, _ = instance_of({"norms": norms})
    instance["x"][...], instance["weight"][...] = x, w
    if biased:
        instance["bias"][...] = b
    instance.run()
    y = np.tanh(x.astype(np.float64) @ w + (b if biased else 0))
    d = 2 * y * (1 - y**2)
    expected = [(np.outer(x[n], d[n])**2).sum() + (biased * d[n]**2).sum() for n in range(6)]
    np.testing.assert_allclose(instance["norms"], expected, rtol=1e-5)


def test_norms_of_samples_are_refused_where_a_sample_has_several_rows():
    graph = Graph()
    weight = graph.weight("weight", 5, 7)
    out = dense(graph.input("x", 2, 3, 5), weight)
    with pytest.raises(ShapeError, match="norms per sample"):
        graph.sample_norms(row_sum(out.reshape(2, 21)), [weight])


def test_errors_name_the_fault():
    graph = Graph()
    x, weight = graph.input("x", 3, 4), graph.input("weight", 5, 6)
    with pytest.raises(ShapeError, match="last axis of x") as error:
        dense(x, weight)
    assert "x [3, 4] and weight [5, 6]" in str(error.value)
    with pytest.raises(UsageError, match="no activation 'swoosh'"):
        dense(x, graph.input("w", 4, 6), activation="swoosh")
    with pytest.raises(UsageError, match="no form 'tt'"):
        matmul(x, x, "tt")
    with pytest.raises(ShapeError):
        matmul(x, weight)
