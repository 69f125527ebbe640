"""Layers of variational autoencoders, and cropping: values against the formulas, draws by seed and step, bad arguments."""
import numpy as np
import pytest

import dlcore as dl
from dlcore import layers as L
from dlcore.errors import ShapeError, UsageError

RNG = np.random.default_rng(0)
MEAN, LOG_VARIANCE = (RNG.standard_normal((500, 6)).astype(np.float32) for _ in range(2))


def coded(layer):
    mean, log_variance = L.Input((6,)), L.Input((6,))
    return dl.Model([mean, log_variance], layer([mean, log_variance]))


def test_divergence():
    expected = 0.5 * (MEAN.astype(float)**2 + np.exp(LOG_VARIANCE.astype(float)) - 1 - LOG_VARIANCE).sum(1, keepdims=True)
    np.testing.assert_allclose(coded(L.GaussianDivergence()).predict([MEAN, LOG_VARIANCE]), expected, rtol=1e-5, atol=1e-5)


def test_the_mean_outside_of_training():
    assert np.array_equal(coded(L.GaussianSample()).predict([MEAN, LOG_VARIANCE]), MEAN)


def drawn(step=1, seed=0, batch=500):
    """What a step of training draws: the loss per sample, one column at a time, is the draw."""
    from dlcore import ops
    from dlcore.graph import Graph, plan
    from dlcore.layers.trace import Trace, tracing
    graph = Graph()
    with tracing(Trace(graph, True)):
        mean, log_variance = graph.input("mean", batch, 6), graph.input("log_variance", batch, 6)
        out = ops.scale(L.GaussianSample()([mean, log_variance]), 1.0)
    instance = plan(graph, {"out": out}).bind()
    instance["mean"][...], instance["log_variance"][...] = MEAN[:batch], LOG_VARIANCE[:batch]
    instance.run(seed=seed, step=step, first_sample=0)
    return instance["out"].copy()


def test_draws_have_the_distribution_and_follow_seed_and_step():
    noise = (drawn().astype(float) - MEAN) / np.exp(0.5 * LOG_VARIANCE.astype(float))
    assert abs(noise.mean()) < 0.06 and abs(noise.std() - 1) < 0.05 and abs((noise**4).mean() - 3) < 0.5
    assert abs(np.corrcoef(noise.T) - np.eye(6)).max() < 0.15
    assert np.array_equal(drawn(), drawn())
    assert not np.array_equal(drawn(), drawn(step=2)) and not np.array_equal(drawn(), drawn(seed=1))
    assert np.array_equal(drawn()[:100], drawn(batch=100))


def test_shapes_must_agree():
    mean, log_variance = L.Input((6,)), L.Input((5,))
    with pytest.raises(ShapeError, match="one shape"):
        L.GaussianDivergence()([mean, log_variance])


def test_cropping():
    x = RNG.standard_normal((3, 7, 6, 2)).astype(np.float32)
    for cropping, expected in ((1, x[:, 1:-1, 1:-1]), ((2, 0), x[:, 2:-2]), (((0, 3), (1, 0)), x[:, :-3, 1:])):
        model = dl.Sequential([L.Input((7, 6, 2)), L.Cropping2D(cropping)])
        assert np.array_equal(model.predict(x), expected)
    with pytest.raises(ShapeError, match="everything"):
        dl.Sequential([L.Input((7, 6, 2)), L.Cropping2D((0, 3))])
    with pytest.raises(UsageError, match="Cropping2D"):
        L.Cropping2D((1, 2, 3))
