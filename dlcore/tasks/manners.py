"""What scikit-learn asks of an estimator beyond its methods, without importing scikit-learn.

Its tools catch exceptions and warnings of its own classes.  Where a program has loaded them, ours derive from them as well;
where it has not, nobody can be waiting for them.
"""
from __future__ import annotations

import functools
import sys
import warnings
from typing import Any

import numpy as np

from dlcore.errors import DataError, NotFittedError


class DataConversionWarning(UserWarning):
    """Data was taken in a form that it probably was not meant to have."""


def not_fitted(message: str, **details: str) -> NotFittedError:
    """The error for an estimator used before `fit`; scikit-learn's class of that name catches it, too."""
    error = _kin(NotFittedError)(message, **details)
    assert isinstance(error, NotFittedError)
    return error


def as_column(y: Any) -> np.ndarray:
    """Answers as an array; a single column (N, 1) becomes (N,), with the warning that scikit-learn gives."""
    y = np.asarray(y)
    if y.ndim == 2 and y.shape[1] == 1:
        category = _kin(DataConversionWarning)
        assert issubclass(category, Warning)
        warnings.warn("A column-vector y was passed when a 1d array was expected: y.ravel() gives one", category, stacklevel=4)
        return y[:, 0]
    return y


def weights(sample_weight: Any, rows: int) -> np.ndarray | None:
    """One weight per row, f64, or None.  Raises `DataError` unless they are finite, not negative, and not all zero."""
    if sample_weight is None:
        return None
    try:
        weight = np.asarray(sample_weight, np.float64)
    except (TypeError, ValueError):
        raise DataError("sample weights are numbers", got=repr(sample_weight)[:60]) from None
    if weight.ndim == 0:
        weight = np.full(rows, float(weight))
    if weight.shape != (rows,):
        raise DataError("sample weights are one per row", expected=f"shape ({rows},)", got=f"shape {weight.shape}")
    if not np.isfinite(weight).all() or (weight < 0).any():
        row = int(np.argmin(np.isfinite(weight) & (weight >= 0)))
        raise DataError("a sample weight is negative or not finite", where=f"row {row + 1}", got=str(weight[row]))
    if rows and not weight.any():
        raise DataError("all sample weights are zero: nothing would be learned")
    return weight


def _kin(ours: type[Exception]) -> type[Exception]:
    """`ours`, derived from scikit-learn's class of that name as well where scikit-learn is loaded."""
    theirs = getattr(sys.modules.get("sklearn.exceptions"), ours.__name__, None)
    if theirs is None:
        return ours
    return _both(ours, theirs)      # type: ignore[arg-type]  # a class is hashable, whatever its instances are


@functools.cache
def _both(ours: type[Exception], theirs: type[Exception]) -> type[Exception]:
    def reduced(self: Exception) -> Any:                  # pickled as ours: the other end may have no scikit-learn
        return ours, self.args, self.__dict__
    return type(ours.__name__, (ours, theirs), {"__module__": ours.__module__, "__doc__": ours.__doc__,
                                                "__reduce__": reduced})
