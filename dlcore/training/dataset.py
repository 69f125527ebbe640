"""Training data as programs take it: arrays of the right kind and shape, checked once."""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dlcore.errors import DataError, UsageError
from dlcore.training import arrays

if TYPE_CHECKING:
    from dlcore.training.model import Model


@dataclass(frozen=True)
class DataSet:
    """x, y: one array per input and output that has a loss; weight: float32 [rows] or None."""

    x: tuple[np.ndarray, ...]
    y: tuple[np.ndarray, ...]
    weight: np.ndarray | None

    @property
    def rows(self) -> int:
        return len(self.x[0])

    def slice(self, start: int, stop: int) -> DataSet:
        """Rows start to stop, as views."""
        weight = None if self.weight is None else self.weight[start:stop]
        return DataSet(tuple(a[start:stop] for a in self.x), tuple(a[start:stop] for a in self.y), weight)

    def arrays(self) -> tuple[np.ndarray, ...]:
        """All arrays in the order of a program's inputs."""
        return (*self.x, *self.y, *(() if self.weight is None else (self.weight,)))


def inputs(model: Model, x: Any, what: str = "x") -> tuple[np.ndarray, ...]:
    """The arrays of a model's inputs, of the shapes it was built for; builds it by them if it was not yet."""
    if not model.built:
        model.build_from(x)
    network = model.network
    given = arrays.as_list(x, network.input_names, what)
    out = []
    for array, symbol, name in zip(given, network.inputs, network.input_names, strict=True):
        label = what if len(given) == 1 else f"{what} {name!r}"
        array = arrays.fit_shape(array, network.shape_of(symbol.shape[1:], array.shape), label)
        out.append(arrays.to_ids(array, label) if symbol.dtype == "i32" else array)
    if any(symbol.dtype == "i32" for symbol in network.inputs):
        for array, count, name in zip(out, network.id_limits(), network.input_names, strict=True):
            if count is not None:
                arrays.check_ids(array, count, "an id in " + (what if len(given) == 1 else f"{what} {name!r}"))
    arrays.same_rows(dict(zip(network.input_names, out, strict=True)))
    return tuple(out)


def make(model: Model, x: Any, y: Any, sample_weight: Any = None, class_weight: Mapping[int, float] | None = None,
         what: str = "") -> DataSet:
    """Checks everything that a program cannot: dtypes, shapes, row counts, NaN, labels in range."""
    xs = inputs(model, x, what + "x")
    objective = model.objective
    for array, name in zip(xs, model.network.input_names, strict=True):
        arrays.check_finite(array, what + ("x" if len(xs) == 1 else f"x {name!r}"))
    if y is None:
        raise UsageError("targets are missing", expected=f"{what}y")
    names = objective.target_names
    given = arrays.as_list(y, names, what + "y")
    labels = [what + ("y" if len(given) == 1 else f"y {n!r}") for n in names]
    ys = tuple(target(array, objective.kind(i, array), objective.symbols[i], label, model.network)
               for i, (array, label) in enumerate(zip(given, labels, strict=True)))
    rows = arrays.same_rows({**dict(zip(model.network.input_names, xs, strict=True)),
                             **dict(zip(labels, ys, strict=True))})
    weight = None if sample_weight is None else arrays.float_weights(sample_weight, rows, what + "sample_weight")
    if class_weight is not None and class_weight != {}:
        if len(ys) != 1:
            raise UsageError("class_weight needs a model with one output", got=f"{len(ys)} outputs")
        width = objective.symbols[0].shape[-1]
        by_class = arrays.class_weights(class_weight, ys[0], max(2, width) if isinstance(width, int) else None)
        weight = by_class if weight is None else weight * by_class
    return DataSet(xs, ys, weight)


def target(array: np.ndarray, kind: str, symbol: Any, what: str, network: Any = None) -> np.ndarray:
    """One target as its loss takes it: ids in range, or finite numbers of the output's shape."""
    if kind == "ids":
        wanted = symbol.shape[1:-1] if network is None else network.shape_of(symbol.shape[1:-1], array.shape)
        ids = arrays.fit_shape(arrays.to_ids(array, what), wanted, what)
        arrays.check_ids(ids, symbol.shape[-1], f"a label in {what}", ignore=True)
        return ids
    if kind == "float":
        array = arrays.fit_shape(array, symbol.shape[1:], what)
    # a loss of the user's own: a single column may come without axis
    elif kind == "any" and (*array.shape[1:], 1) == symbol.shape[1:]:
        array = array.reshape(*array.shape, 1)
    arrays.check_finite(array, what)
    return array


def split(data: DataSet, share: float) -> tuple[DataSet, DataSet]:
    """(training, validation): the last `share` of the rows is held back, before any shuffling, as in Keras."""
    if not 0 < share < 1:
        raise UsageError("validation_split lies between 0 and 1", got=repr(share))
    at = int(data.rows * (1 - share))
    if at == 0 or at == data.rows:
        raise DataError("validation_split leaves one part empty", got=f"{share} of {data.rows} rows")
    return data.slice(0, at), data.slice(at, data.rows)


def describe_split(validation: DataSet, rows: int, share: float) -> str:
    """One line that says which rows are held back, and a second where their labels look sorted."""
    text = f"validation: last {share:.0%} of rows ({validation.rows} of {rows})"
    y = validation.y[0]
    if y.dtype == np.float32 or y.ndim > 1:
        return text
    values, counts = np.unique(y, return_counts=True)
    shown = "/".join(str(v) for v in values[:10]) + ("/..." if len(values) > 10 else "")
    shares = "/".join(f"{c / len(y):.0%}"[:-1] for c in counts[:10])
    return f"{text}, labels {shown} = {shares} %"


def looks_sorted(y: np.ndarray) -> bool:
    """Whether labels stand in blocks: far fewer changes from row to row than classes would give in any mixed order."""
    if y.dtype == np.float32 or y.ndim > 1 or len(y) < 20:
        return False
    classes = len(np.unique(y))
    return classes > 1 and int(np.count_nonzero(y[1:] != y[:-1])) <= classes
