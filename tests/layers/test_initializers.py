"""Initial values: moments, limits, seeds."""
import numpy as np
import pytest

import dlcore as dl
from dlcore.errors import UsageError
from dlcore.layers import Dense, initializers

SHAPE = (300, 200)
# name -> (standard deviation, greatest absolute value) for SHAPE
EXPECTED = {
    "glorot_uniform": (np.sqrt(2 / 500), np.sqrt(6 / 500)),
    "glorot_normal": (np.sqrt(2 / 500), 2 * np.sqrt(2 / 500) / 0.8796),
    "he_uniform": (np.sqrt(2 / 300), np.sqrt(6 / 300)), "he_normal": (np.sqrt(2 / 300), 2 * np.sqrt(2 / 300) / 0.8796),
    "lecun_uniform": (np.sqrt(1 / 300), np.sqrt(3 / 300)),
    "lecun_normal": (np.sqrt(1 / 300), 2 * np.sqrt(1 / 300) / 0.8796),
    "random_normal": (0.05, 1.0), "random_uniform": (0.05 / np.sqrt(3), 0.05),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_moments(name):
    values = initializers.get(name)(SHAPE, initializers.generator(0))
    std, limit = EXPECTED[name]
    assert values.dtype == np.float32 and values.shape == SHAPE
    assert values.std() == pytest.approx(std, rel=0.02)
    assert abs(values.mean()) < 0.02 * std
    assert np.abs(values).max() <= limit * 1.0001


def test_constants():
    rng = initializers.generator(0)
    np.testing.assert_array_equal(initializers.get("zeros")((2, 3), rng), np.zeros((2, 3)))
    np.testing.assert_array_equal(initializers.get("ones")((2, 3), rng), np.ones((2, 3)))
    np.testing.assert_array_equal(initializers.Constant(0.25)((2, 3), rng), np.full((2, 3), 0.25))


@pytest.mark.parametrize("shape", [(20, 30), (30, 20), (3, 3, 5, 7)])
def test_orthogonal(shape):
    w = initializers.Orthogonal(gain=2.0)(shape, initializers.generator(1)).reshape(-1, shape[-1]).astype(np.float64)
    small = w.T @ w if w.shape[0] >= w.shape[1] else w @ w.T
    np.testing.assert_allclose(small, 4 * np.eye(len(small)), atol=1e-5)
    with pytest.raises(UsageError, match="two axes"):
        initializers.Orthogonal()((5,), initializers.generator(0))


def test_fans_of_filters():
    assert initializers.fans((3, 5, 4, 8)) == (60, 120)
    assert initializers.fans((4, 8)) == (4, 8) and initializers.fans((7,)) == (7, 7) and initializers.fans(()) == (1, 1)


def first_weights(seed, **options):
    return dl.Sequential([Dense(5, input_shape=(4,), **options), Dense(5, **options)], seed=seed).get_weights()


def test_seeds():
    a, b, c = first_weights(3), first_weights(3), first_weights(4)
    for u, v in zip(a, b, strict=True):
        np.testing.assert_array_equal(u, v)
    assert not np.array_equal(a[0], c[0])
    assert not np.array_equal(a[0][:4], a[2][:4])               # every weight draws its own numbers
    own = initializers.HeNormal(seed=9)
    d, e = first_weights(3, kernel_initializer=own), first_weights(4, kernel_initializer=own)
    np.testing.assert_array_equal(d[0], e[0])


def test_names_and_descriptions():
    for name in initializers.INITIALIZERS:
        made = initializers.get(name)
        assert initializers.get(initializers.serialise(made)).get_config() == made.get_config()
    with pytest.raises(UsageError, match="unknown initializer"):
        initializers.get("magic")
    with pytest.raises(UsageError, match="glorot_uniform"):
        initializers.get({"name": "glorot_uniform", "wrong": 1})
