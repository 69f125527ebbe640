"""The Frechet distance of two samples of vectors, each taken as a normal distribution: of features of images, the FID (Heusel et
al., GANs trained by a two time-scale update rule converge to a local Nash equilibrium, 2017).

    d**2 = |m1 - m2|**2 + tr(S1) + tr(S2) - 2 tr((S1 S2)**(1/2))        Dowson and Landau, 1982

S1 S2 has the eigenvalues of the symmetric S1**(1/2) S2 S1**(1/2), none of which is negative.
"""
from __future__ import annotations

import numpy as np

from dlcore.errors import DataError


def frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
    """d**2 of the rows of a, f[N, C], and of b, f[M, C]; covariances are divided by N - 1 and M - 1.  DataError for other shapes,
    fewer than two rows, or numbers that are not finite."""
    samples = [np.asarray(x, np.float64) for x in (a, b)]
    for x in samples:
        if x.ndim != 2 or len(x) < 2 or x.shape[1] != samples[0].shape[1] or not x.shape[1]:
            raise DataError("a Frechet distance is of two samples of vectors", expected="two rows or more of as many numbers",
                            got=" and ".join(str(s.shape) for s in samples))
        if not np.isfinite(x).all():
            raise DataError("a Frechet distance is of finite numbers", got=f"row {int(np.argmin(np.isfinite(x).all(1))) + 1}")
    means = [x.mean(0) for x in samples]
    covariances = [np.atleast_2d(np.cov(x, rowvar=False)) for x in samples]
    return frechet_of_moments(means[0], covariances[0], means[1], covariances[1])


def frechet_of_moments(m1: np.ndarray, s1: np.ndarray, m2: np.ndarray, s2: np.ndarray) -> float:
    """The same of means f[C] and covariances f[C, C]; not below 0."""
    root = symmetric_root(s1)
    values = np.linalg.eigvalsh(symmetric(root @ s2 @ root))
    shared = np.sqrt(np.clip(values, 0, None)).sum()
    return max(0.0, float(np.square(m1 - m2).sum() + np.trace(s1) + np.trace(s2) - 2 * shared))


def symmetric_root(matrix: np.ndarray) -> np.ndarray:
    """The square root of a symmetric matrix without negative eigenvalues (those below 0 by rounding count as 0)."""
    values, vectors = np.linalg.eigh(symmetric(matrix))
    return (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T


def symmetric(matrix: np.ndarray) -> np.ndarray:
    return (matrix + matrix.T) / 2
