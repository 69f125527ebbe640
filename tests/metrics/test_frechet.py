"""The Frechet distance against SciPy's matrix square root, and by cases that are known."""
from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import sqrtm

from dlcore.errors import DataError
from dlcore.metrics.frechet import frechet_distance, frechet_of_moments

RNG = np.random.default_rng(0)


def by_scipy(a, b):
    """The formula as it is usually written, float64."""
    s1, s2 = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    return np.square(a.mean(0) - b.mean(0)).sum() + np.trace(s1 + s2 - 2 * np.real(sqrtm(s1 @ s2)))


@pytest.mark.parametrize("columns, rows, others", [(1, 20, 30), (5, 200, 150), (24, 300, 90)])
def test_as_scipy(columns, rows, others):
    a = RNG.standard_normal((rows, columns)) @ RNG.standard_normal((columns, columns)) + RNG.standard_normal(columns)
    b = RNG.standard_normal((others, columns)) @ RNG.standard_normal((columns, columns))
    expected = by_scipy(a, b) if columns > 1 else (a.mean() - b.mean())**2 + (a.std(ddof=1) - b.std(ddof=1))**2
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-8)
    assert frechet_distance(b, a) == pytest.approx(expected, rel=1e-8)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9 * np.square(a).sum())


def test_fewer_rows_than_columns():
    """Covariances without full rank, where a root of their product cannot be taken directly."""
    a, b = RNG.standard_normal((6, 20)), RNG.standard_normal((9, 20)) + 1
    s1, s2 = (np.cov(x, rowvar=False) for x in (a, b))
    near = np.square(a.mean(0) - b.mean(0)).sum() + np.trace(s1 + s2 - 2 * np.real(sqrtm((s1 + 1e-9 * np.eye(20)) @ s2)))
    assert frechet_distance(a, b) == pytest.approx(near, rel=1e-3)


def test_moments_that_commute():
    """Of diagonal covariances it is the distance of the means and of the standard deviations."""
    m1, m2, d1, d2 = (RNG.random(7) for _ in range(4))
    expected = np.square(m1 - m2).sum() + np.square(d1 - d2).sum()
    assert frechet_of_moments(m1, np.diag(d1**2), m2, np.diag(d2**2)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("a, b", [((3, 2), (1, 2)), ((3, 2), (3, 3)), ((3,), (3,)), ((3, 0), (3, 0))])
def test_samples_that_are_none(a, b):
    with pytest.raises(DataError, match="two samples"):
        frechet_distance(np.ones(a), np.ones(b))


def test_numbers_that_are_none():
    with pytest.raises(DataError, match="finite"):
        frechet_distance(np.array([[1.0], [np.nan], [2.0]]), np.ones((3, 1)))
