"""Layers on series, and the networks made of them: values against NumPy, what is learned, saving, bad arguments."""
import numpy as np
import pytest

import dlcore as dl
from dlcore import layers as L
from dlcore.errors import ShapeError, UsageError
from dlcore.models import dlinear, segment_lstm, series_transformer

X = np.random.default_rng(0).normal(3, 2, (5, 3, 12)).astype(np.float32)
NETWORKS = {
    "dlinear": lambda **o: dlinear(12, 3, 4, 2, window=5, **o),
    "lstm": lambda **o: segment_lstm(12, 3, 4, 2, patch=3, width=8, layers=2, **o),
    "lstm mixed": lambda **o: segment_lstm(12, 3, 4, 2, patch=4, width=8, mix=True, **o),
    "transformer": lambda **o: series_transformer(12, 3, 4, 2, patch=3, width=8, layers=1, heads=2, **o),
    "patches": lambda **o: series_transformer(12, 3, 4, 2, patch=3, width=8, layers=1, heads=2, mix=False, **o),
}


def model_of(layer, shape=(3, 12)):
    x = L.Input(shape)
    out = layer(x)
    return dl.Model(x, list(out) if isinstance(out, tuple) else out)


@pytest.mark.parametrize("affine", [True, False])
def test_windows_are_normalised_and_come_back(affine):
    layer = L.ReversibleNormalization(affine=affine)
    model = model_of(layer)
    gamma, beta = np.array([1.5, -0.5, 2.0]), np.array([0.1, 0.2, -0.3])
    if affine:
        model.set_weights([gamma.astype(np.float32), beta.astype(np.float32)])
    out, shift, scale = model.predict(X)
    mean, deviation = X.mean(2, dtype=float), np.sqrt(X.var(2, dtype=float) + 1e-5)
    expected = (X - mean[..., None]) / deviation[..., None]
    expected = expected * gamma[:, None] + beta[:, None] if affine else expected
    np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(scale, deviation / gamma if affine else deviation, rtol=1e-5)
    np.testing.assert_allclose(out * scale[..., None] + shift[..., None], X, rtol=1e-4, atol=1e-4)


def test_rescaling_takes_the_first_variables():
    y, shift, scale = L.Input((2, 7)), L.Input((3,)), L.Input((3,))
    model = dl.Model([y, shift, scale], L.Rescaling1D()([y, shift, scale]))
    given = [X[:, :2, :7], X[:, :, 0], X[:, :, 1]]
    np.testing.assert_allclose(model.predict(given), given[0] * given[2][:, :2, None] + given[1][:, :2, None], rtol=1e-5, atol=1e-5)
    with pytest.raises(ShapeError, match="a shift and a scale"):
        L.Rescaling1D()([L.Input((4, 7)), shift, scale])


@pytest.mark.parametrize("size", [1, 5, 25])
def test_a_trend_and_the_rest(size):
    """Against NumPy's convolution of the series with its ends repeated."""
    rest, trend = model_of(L.SeriesDecomposition(size)).predict(X)
    longer = np.pad(X, ((0, 0), (0, 0), (size // 2, size // 2)), mode="edge")
    expected = np.array([[np.convolve(row, np.full(size, 1 / size), "valid") for row in rows] for rows in longer])
    np.testing.assert_allclose(trend, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(rest + trend, X, rtol=1e-5, atol=1e-5)


def test_segments_and_first_variables():
    expected = X.reshape(5, 3, 4, 3).transpose(0, 2, 1, 3).reshape(5, 4, 9)
    np.testing.assert_array_equal(model_of(L.Segments(3)).predict(X), expected)
    np.testing.assert_array_equal(model_of(L.FirstVariables(2)).predict(X), X[:, :2])
    with pytest.raises(ShapeError, match="segments of 5 steps"):
        L.Segments(5)(L.Input((3, 12)))
    for bad in (lambda: L.Segments(0), lambda: L.SeriesDecomposition(4), lambda: L.ReversibleNormalization(epsilon=0)):
        with pytest.raises(UsageError):
            bad()


def test_dlinear_by_its_definition():
    model = dlinear(12, 3, 4, 2, window=5)
    longer = np.pad(X[:, :2], ((0, 0), (0, 0), (2, 2)), mode="edge").astype(float)
    trend = np.stack([longer[..., i:i + 12] for i in range(5)]).mean(0)
    (w, a), (v, b) = model.get_weights()[:2], model.get_weights()[2:]
    np.testing.assert_allclose(model.predict(X), (X[:, :2] - trend) @ w + a + trend @ v + b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_learn_and_are_saved(name, tmp_path):
    """The next values of sines, whose level and size differ from sample to sample."""
    rng = np.random.default_rng(1)
    phase, level, size = rng.uniform(0, 6, (256, 3, 1)), rng.normal(0, 5, (256, 3, 1)), rng.uniform(1, 2, (256, 3, 1))
    series = (level + size * np.sin(0.7 * np.arange(16) + phase)).astype(np.float32)
    x, y = series[..., :12], series[:, :2, 12:]
    model = NETWORKS[name](seed=0, normalize=True)
    model.compile(dl.Adam(5e-3), "mse")
    losses = model.fit(x, y, epochs=25, batch_size=32, verbose=0).history["loss"]
    assert losses[-1] < 0.35 * losses[0] and losses[-1] < 0.5
    model.save(tmp_path / "m.dlc")
    np.testing.assert_array_equal(dl.Model.load(tmp_path / "m.dlc").predict(x[:9]), model.predict(x[:9]))


@pytest.mark.parametrize("name", ["lstm", "patches", "dlinear"])
def test_variables_that_are_not_mixed_do_not_see_each_other(name):
    model, other = NETWORKS[name](seed=0), X.copy()
    other[:, 1:] += 1
    assert np.array_equal(model.predict(X)[:, 0], model.predict(other)[:, 0])


@pytest.mark.parametrize("name", ["lstm mixed", "transformer"])
def test_mixed_variables_do(name):
    model, other = NETWORKS[name](seed=0), X.copy()
    other[:, 2] = other[:, 2, ::-1]
    assert not np.allclose(model.predict(X), model.predict(other))
