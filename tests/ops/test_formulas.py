"""The float32 formulas at their ends, and their accuracy over the whole range, through the kernels that use them."""
from __future__ import annotations

import numpy as np
import pytest
from scipy import special

from dlcore import ops
from dlcore.graph import Graph, plan

INF, NAN = np.inf, np.nan


def apply(name: str, x) -> np.ndarray:
    """What the op makes of these float32 numbers."""
    x = np.asarray(x, np.float32)
    graph = Graph()
    program = plan(graph, {"out": getattr(ops, name)(graph.statistic("x", x.size))})
    instance = program.bind()
    instance["x"][...] = x
    instance.run(*[s for s in ("prepare", "forward") if s in program.segments])
    return instance["out"].copy()


@pytest.mark.parametrize("x, expected", [
    (INF, INF), (-INF, 0), (1000, INF), (-1000, 0), (104, INF), (-104, 0), (89, INF), (-89, 0), (-88, 0), (0, 1), (-0.0, 1)])
def test_exp_at_its_ends(x, expected):
    assert apply("exp", [x])[0] == expected


def test_exp_is_finite_up_to_88():
    np.testing.assert_allclose(apply("exp", [88, 88.7, -86.9]), np.exp([88, np.float32(88.7), np.float32(-86.9)]), rtol=2e-7)


@pytest.mark.parametrize("x, expected", [(INF, INF), (0, -INF), (-0.0, -INF), (-1, NAN), (-INF, NAN), (1, 0)])
def test_log_at_its_ends(x, expected):
    assert np.array_equal(apply("log", [x])[0], np.float32(expected), equal_nan=True)


def test_log_of_the_smallest():
    """Subnormal numbers are read as 0."""
    got = apply("log", [1e-45, 1e-40, 1.1754944e-38, 3.4e38])
    assert np.isneginf(got[:2]).all()
    np.testing.assert_allclose(got[2:], np.log([1.1754944e-38, 3.4e38]), rtol=2e-7)


@pytest.mark.parametrize("name", [
    "exp", "log", "sqrt", "reciprocal", "square", "abs", "neg", "relu", "leaky_relu", "elu", "sigmoid", "tanh", "gelu",
    "gelu_tanh", "silu", "softplus", "clip", "softmax", "log_softmax"])
def test_nan_comes_out(name):
    for nan in (np.float32(NAN), -np.float32(NAN)):
        assert np.isnan(apply(name, np.full(37, nan))).all()


@pytest.mark.parametrize("name", ["maximum", "minimum"])
def test_nan_on_either_side_comes_out(name):
    graph = Graph()
    out = getattr(ops, name)(graph.statistic("x", 40), graph.statistic("y", 40))
    program = plan(graph, {"out": out})
    instance = program.bind()
    instance["x"][...], instance["y"][...] = 1, 2
    instance["x"][3] = instance["y"][30] = NAN
    instance.run(*[s for s in ("prepare", "forward") if s in program.segments])
    assert np.flatnonzero(np.isnan(instance["out"])).tolist() == [3, 30]


@pytest.mark.parametrize("name, high, low", [("sigmoid", 1, 0), ("tanh", 1, -1), ("relu", INF, 0), ("elu", INF, -1),
                                             ("softplus", INF, 0)])
def test_limits(name, high, low):
    got = apply(name, [INF, 1000, -INF, -1000])
    assert got[0] == high and got[2] == low
    assert got[1] == min(high, 1000) and got[3] == low


# name -> (float64 function, lowest, highest x, greatest error in units in the last place)
ACCURACY = {
    "exp": (np.exp, -86.9, 88.7, 1.5), "log": (np.log, 1e-6, 1e6, 1.5), "tanh": (np.tanh, -12, 12, 3.5),
    "sigmoid": (special.expit, -86, 100, 3.5), "silu": (lambda x: x * special.expit(x), -80, 80, 4.0),
    "softplus": (lambda x: np.logaddexp(0, x), -80, 100, 3.0)}


@pytest.mark.parametrize("name", ACCURACY)
def test_accuracy(name):
    function, low, high, units = ACCURACY[name]
    rng = np.random.default_rng(0)
    near_zero = rng.uniform(-1, 1, 100_000) * 10.0 ** rng.uniform(-6, 0, 100_000)
    x = np.concatenate([rng.uniform(low, high, 200_000), np.abs(near_zero) if low > 0 else near_zero]).astype(np.float32)
    expected = function(x.astype(np.float64))
    errors = np.abs(apply(name, x) - expected) / np.spacing(np.abs(expected).astype(np.float32))
    assert errors.max() <= units, f"{errors.max():.2f} units at {x[errors.argmax()]}"


@pytest.mark.parametrize("name, function, units", [
    ("gelu", lambda x: x * special.ndtr(x), 9),
    ("gelu_tanh", lambda x: x * special.expit(2 * np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)), 17)])
def test_accuracy_of_gelu(name, function, units):
    """In units of max(|result|, 1e-3 |x|): the tail of x * P(normal < x) is below the rounding of its neighbours in a sum."""
    x = np.random.default_rng(0).uniform(-12, 12, 300_000).astype(np.float32)
    expected = function(x.astype(np.float64))
    unit = np.spacing(np.maximum(np.abs(expected), 1e-3 * np.abs(x)).astype(np.float32))
    assert (np.abs(apply(name, x) - expected) / unit).max() <= units
