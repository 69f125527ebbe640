"""Dividing rows into training and validation, by seed alone: equal on every machine and NumPy version."""
from __future__ import annotations

import numpy as np

from dlcore.errors import DataError


def shuffled(count: int, seed: int) -> np.ndarray:
    """The numbers 0 to `count` - 1 in an order given by the seed.

    It sorts the raw words of a bit generator, whose stream NumPy keeps; what `Generator.permutation` gives may change.
    """
    return np.argsort(np.random.PCG64(seed).random_raw(count), kind="stable")


def split(count: int, fraction: float, seed: int, classes: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers for training and for validation, each sorted; about `fraction` of the rows are for validation.

    With `classes` (an i64 per row) every class is divided alike, up to one row, and keeps a row for training.
    Raises `DataError` if a part would be empty.
    """
    if not 0 < fraction < 1:
        raise DataError("the share for validation must lie between 0 and 1", got=str(fraction))
    order = shuffled(count, seed)
    if classes is None:
        chosen = order[:round(count * fraction)]
    else:
        # rows class by class, shuffled within each; every row knows its rank in its class
        by_class = order[np.argsort(classes[order], kind="stable")]
        sizes = np.bincount(classes)
        rank = np.arange(count) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        wanted = np.minimum(_rounded(sizes * fraction), np.maximum(sizes - 1, 0))
        chosen = by_class[rank < np.repeat(wanted, sizes)]
    if not 0 < len(chosen) < count:
        raise DataError(f"{count} rows are too few to keep a share of {fraction:g} for validation",
                        hint="give more rows, another share, or 0 to train without validation")
    is_validation = np.zeros(count, bool)
    is_validation[chosen] = True
    return np.flatnonzero(~is_validation), np.flatnonzero(is_validation)


def _rounded(shares: np.ndarray) -> np.ndarray:
    """Whole numbers near `shares` whose sum is the rounded sum: the largest remainders are rounded up."""
    low = np.floor(shares).astype(np.int64)
    left = int(round(float(shares.sum()))) - int(low.sum())
    low[np.argsort(low - shares, kind="stable")[:left]] += 1
    return low
