"""The edge: whatever the user has becomes contiguous NumPy arrays of a few dtypes, checked once.

Inputs keep float32, uint8, int32 and int64 as they are (a program converts rows as it gathers them, so a data set in
memory is not copied); other floats and truth values become float32, other integers int32 or int64.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dlcore.errors import DataError, ShapeError, UsageError

DTYPES = {np.dtype(np.float32): "f32", np.dtype(np.uint8): "u8", np.dtype(np.int32): "i32", np.dtype(np.int64): "i64"}


def as_array(value: Any, what: str) -> np.ndarray:
    """A C-contiguous array of float32, uint8, int32 or int64, without a copy where `value` is one already.

    value: NumPy, anything with `__array__` or `__dlpack__`, or (nested) lists of numbers.   DataError for anything
    else."""
    array = value if isinstance(value, np.ndarray) else _converted(value, what)
    if array.dtype == object:
        array = _numbers(array, what)
    if array.dtype not in DTYPES:
        array = array.astype(_plain(array, what))
    return np.ascontiguousarray(array) if array.ndim else array.reshape(1)


def _converted(value: Any, what: str) -> np.ndarray:
    if getattr(value, "requires_grad", False) and hasattr(value, "detach"):
        value = value.detach()      # PyTorch's, whose gradients are its own
    try:
        if not hasattr(value, "__array__") and hasattr(value, "__dlpack__"):
            return np.from_dlpack(value)
        return np.asarray(value)
    except Exception as error:      # whatever a foreign array raises: on another device, ragged, needs a gradient
        raise DataError(f"{what} cannot be read as an array", got=f"{type(value).__name__}: {error}") from error


def _numbers(array: np.ndarray, what: str) -> np.ndarray:
    """Of Python's numbers as NumPy keeps them; DataError where there is anything else among them."""
    try:
        if not any(isinstance(v, (str, bytes)) for v in array.flat):
            return np.array(array.tolist()) if array.size else array.astype(np.float32)
    except (TypeError, ValueError):
        pass
    return array


def _plain(array: np.ndarray, what: str) -> type:
    """The dtype that this one is converted to."""
    kind = array.dtype.kind
    if kind in "fb":
        return np.float32
    if kind in "iu":
        if array.dtype.itemsize == 8 and array.size and array.max() > np.iinfo(np.int64).max:
            raise DataError(f"{what} holds numbers beyond int64", got=str(array.max()))
        return np.int64 if array.dtype.itemsize >= 4 else np.int32
    raise DataError(f"{what} must hold numbers", expected="float or integer values", got=f"dtype {array.dtype}",
                    hint="encode text and categories as numbers first")


def as_list(value: Any, names: Sequence[str], what: str) -> list[np.ndarray]:
    """One array for each name: `value` is an array, or a list or dict of them where there are several."""
    if isinstance(value, Mapping):
        missing = [n for n in names if n not in value]
        if missing or len(value) != len(names):
            raise DataError(f"{what} does not fit the model", expected=", ".join(names), got=", ".join(map(str, value)))
        return [as_array(value[n], f"{what} {n!r}") for n in names]
    if len(names) == 1:
        if isinstance(value, (list, tuple)) and len(value) == 1 and hasattr(value[0], "shape") and len(value[0].shape):
            value = value[0]
        return [as_array(value, what)]
    if not isinstance(value, (list, tuple)) or len(value) != len(names):
        got = f"{len(value)} arrays" if isinstance(value, (list, tuple)) else "one array"
        raise DataError(f"{what} must be a list of {len(names)} arrays", expected=", ".join(names), got=got)
    return [as_array(v, f"{what} {n!r}") for v, n in zip(value, names, strict=True)]


def same_rows(arrays: Mapping[str, np.ndarray]) -> int:
    """The number of rows that all arrays have.  DataError where they differ, or where there are none."""
    counts = {name: len(a) for name, a in arrays.items()}
    if len(set(counts.values())) > 1:
        raise DataError("the arrays have different numbers of rows",
                        got=", ".join(f"{n}: {k}" for n, k in counts.items()))
    rows = next(iter(counts.values()))
    if rows == 0:
        raise DataError("the data is empty", got="0 rows")
    return rows


def check_finite(array: np.ndarray, what: str) -> None:
    """DataError with row and value for the first NaN or infinity."""
    # the sum is quick; only if it is not finite, look closer
    if array.dtype != np.float32 or np.isfinite(np.sum(array)):
        return
    rows = array.reshape(len(array), -1)
    for row, values in enumerate(rows):
        if not np.isfinite(values).all():
            column = int(np.argmin(np.isfinite(values)))
            raise DataError(f"{what} holds a value that is not finite", where=f"row {row}, column {column}",
                            got=str(values[column]), hint="remove such rows, or replace missing values")


def check_ids(ids: np.ndarray, count: int, what: str, ignore: bool = False) -> None:
    """DataError with row and value for the first id outside 0 .. count - 1 (`ignore`: -1 is allowed)."""
    low = -1 if ignore else 0
    if ids.size == 0 or (low <= ids.min() and ids.max() < count):
        return
    flat = ids.reshape(len(ids), -1)
    row, column = np.argwhere((flat < low) | (flat >= count))[0]
    raise DataError(f"{what} is out of range", where=f"row {row}" + (f", column {column}" if flat.shape[1] > 1 else ""),
                    expected=f"0 to {count - 1}" + (", or -1 to ignore" if ignore else ""), got=str(flat[row, column]))


def to_ids(array: np.ndarray, what: str) -> np.ndarray:
    """Integers; floats are accepted where each is a whole number."""
    if array.dtype != np.float32:
        return array
    check_finite(array, what)
    whole = np.rint(array)
    if not np.array_equal(whole, array):
        row = int(np.argmax((whole != array).reshape(len(array), -1).any(1)))
        raise DataError(f"{what} must be integers", where=f"row {row}", got=str(array[row]))
    return whole.astype(np.int32)


def fit_shape(array: np.ndarray, shape: tuple[int, ...], what: str) -> np.ndarray:
    """`array` as (rows, *shape); an axis of one at the end is added or dropped.  ShapeError where that is not
    enough."""
    if array.shape[1:] == shape:
        return array
    if array.shape[1:] == (*shape, 1):
        return array.reshape(array.shape[:-1])
    if (*array.shape[1:], 1) == shape:
        return array.reshape(*array.shape, 1)
    raise ShapeError(f"{what} has the wrong shape", expected=str((None, *shape)), got=str((None, *array.shape[1:])))


def float_weights(value: Any, rows: int, what: str) -> np.ndarray:
    """Weights of samples: float32 [rows], finite and not negative."""
    w = as_array(value, what).astype(np.float32).reshape(-1)
    if len(w) != rows:
        raise DataError(f"{what} needs one number per row", expected=str(rows), got=str(len(w)))
    check_finite(w, what)
    if (w < 0).any():
        row = int(np.argmax(w < 0))
        raise DataError(f"{what} must not be negative", where=f"row {row}", got=str(w[row]))
    return w


def class_weights(weights: Mapping[int, float], y: np.ndarray, classes: int | None = None) -> np.ndarray:
    """float32 [rows]: the weight of each row's class; classes that are not named weigh 1.   y: ids, or one-hot rows.
    classes: how many there are, where that is known.  UsageError for a class that is not there, or a weight that is none."""
    if not isinstance(weights, Mapping):
        raise UsageError("class_weight is a dict", expected="{0: 1.0, 1: 5.0}", got=type(weights).__name__,
                         hint="class_weight=dict(enumerate(weights))")
    labels = to_ids(y, "y").reshape(len(y), -1) if y.ndim == 1 or y.shape[-1] == 1 else y.argmax(-1).reshape(len(y), -1)
    if labels.shape[1] != 1:
        raise DataError("class_weight needs one class per row", got=f"y of shape {y.shape}")
    out = np.ones(len(y), np.float32)
    for label, weight in weights.items():
        if not isinstance(label, (int, np.integer)) or not (isinstance(weight, (int, float, np.number)) and 0 <= weight < np.inf):
            raise UsageError("class_weight gives a finite weight, not negative, to the number of a class", where=f"class {label!r}",
                             got=repr(weight), expected="{0: 1.0, 1: 5.0}")
        if classes is not None and not 0 <= label < classes:
            raise UsageError("class_weight names a class that the model does not have", expected=f"0 to {classes - 1}",
                             got=repr(label))
        out[labels[:, 0] == label] = weight
    return out
