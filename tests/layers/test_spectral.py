"""Spectral normalisation against singular values, and the small layers of adversarial networks."""
from __future__ import annotations

import numpy as np
import pytest

import dlcore as dl
from dlcore import layers as L
from dlcore.errors import ShapeError, UsageError

RNG = np.random.default_rng(0)


def trained(layer, shape, steps=0):
    """A model of this layer and a dense one behind it, after some steps at a rate of nearly 0."""
    model = dl.Sequential([L.Input(shape), layer, L.Flatten(), L.Dense(1)], seed=1)
    model.compile(dl.SGD(1e-12), "mean_squared_error")
    x = RNG.standard_normal((8, *shape)).astype(np.float32)
    for _ in range(steps):
        model.train_on_batch(x, np.zeros((8, 1), np.float32))
    return model, x


@pytest.mark.parametrize("layer, shape", [(lambda: L.Dense(5), (7,)), (lambda: L.Conv2D(6, 3, padding="same"), (5, 4, 2)),
                                          (lambda: L.Conv2DTranspose(3, 4, 2), (3, 3, 2)), (lambda: L.Conv1D(4, 3), (6, 3))])
def test_the_kernel_is_divided_by_its_greatest_singular_value(layer, shape):
    model, x = trained(L.SpectralNormalization(layer()), shape, steps=60)
    spectral, plain = model.layers[0], layer()
    kernel, bias = spectral.layer.get_weights()
    sigma = np.linalg.svd(kernel.reshape(-1, kernel.shape[-1]), compute_uv=False)[0]
    other = dl.Sequential([L.Input(shape), plain])
    other.set_weights([kernel / sigma, bias])
    made = dl.Model(model.network.inputs[0], model.network.nodes[0].outputs[0]).predict(x)
    np.testing.assert_allclose(made, other.predict(x), rtol=2e-3, atol=2e-4)


def test_one_step_of_the_power_iteration():
    model, x = trained(L.SpectralNormalization(L.Dense(5)), (7,), steps=1)
    kernel, u = (a.astype(float) for a in (model.layers[0].layer.get_weights()[0], model.layers[0].vector.numpy()))
    v = kernel @ u / np.linalg.norm(kernel @ u)
    after = kernel.T @ v / np.linalg.norm(kernel.T @ v)
    model.train_on_batch(x, np.zeros((8, 1), np.float32))
    np.testing.assert_allclose(model.layers[0].vector.numpy(), after, rtol=1e-5, atol=1e-6)
    before = model.layers[0].vector.numpy()
    model.predict(x)
    assert np.array_equal(before, model.layers[0].vector.numpy())


def test_a_file_keeps_it(tmp_path):
    model, x = trained(L.SpectralNormalization(L.Conv2D(4, 3), power_iterations=2), (6, 6, 2), steps=2)
    model.save(tmp_path / "m.dlc")
    again = dl.Model.load(tmp_path / "m.dlc")
    assert np.array_equal(again.predict(x), model.predict(x)) and again.layers[0].power_iterations == 2


def test_what_it_does_not_take():
    with pytest.raises(UsageError, match="takes a layer"):
        L.SpectralNormalization("dense")
    with pytest.raises(UsageError, match="power_iterations"):
        L.SpectralNormalization(L.Dense(2), power_iterations=0)
    with pytest.raises(UsageError, match="with a kernel"):
        dl.Sequential([L.Input((3,)), L.SpectralNormalization(L.Flatten())])


def test_inner_products():
    a, b = (RNG.standard_normal((6, 5)).astype(np.float32) for _ in range(2))
    left, right = L.Input((5,)), L.Input((5,))
    made = dl.Model([left, right], L.InnerProduct()([left, right])).predict([a, b])
    np.testing.assert_allclose(made, (a.astype(float) * b).sum(1, keepdims=True), rtol=1e-5, atol=1e-6)
    with pytest.raises(ShapeError, match="one shape"):
        L.InnerProduct()([left, L.Input((4,))])


def test_random_codes():
    """Normal numbers in training, zeros else."""
    from dlcore import ops
    from dlcore.graph import Graph, plan
    from dlcore.layers.trace import Trace, tracing
    made = []
    for training in (True, False):
        graph = Graph()
        with tracing(Trace(graph, training)):
            code = L.RandomCode(400)(graph.input("x", 50, 3))
        instance = plan(graph, {"out": ops.scale(code, 1.0)}).bind()
        instance.run(**({"seed": 0, "step": 1} if training else {}))
        made.append(instance["out"].copy())
    assert made[0].shape == (50, 400) and abs(made[0].mean()) < 0.03 and abs(made[0].std() - 1) < 0.03 and not made[1].any()
    with pytest.raises(UsageError, match="at least one"):
        L.RandomCode(0)
