"""Checks of the kernels that are installed, on this processor, in a few seconds: `dlcore doctor` runs them.

Gradients are compared with central differences of the same float32 kernels along the gradient itself, where the signal is
strongest: a step of EPSILON on functions without kinks leaves an error far below TOLERANCE.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

EPSILON, TOLERANCE = 1e-2, 1e-3
ROWS, INNER, COLUMNS = 37, 53, 29  # odd sizes: no vector or tile fits

Shapes = dict[str, tuple[int, ...]]
Build = Callable[[Any, Mapping[str, Any]], Any]  # (dlcore.ops, tensors) -> f32[ROWS, columns] or f32[ROWS]

DENSE: Shapes = {"x": (ROWS, INNER), "weight": (INNER, COLUMNS), "bias": (COLUMNS,)}
MATRIX: Shapes = {"x": (ROWS, COLUMNS)}
TARGET: Shapes = {"target": (ROWS, COLUMNS)}  # no gradient is asked for by this name
PAIR: Shapes = {"x": (ROWS, COLUMNS), "y": (ROWS, COLUMNS)}


SMOOTH = ("sigmoid", "tanh", "gelu", "silu", "softplus")
UNARY = (*SMOOTH, "gelu_tanh", "elu", "softmax", "log_softmax", "exp", "square", "neg")


def _dense(activation: str | None) -> Build:
    return lambda ops, t: ops.dense(t["x"], t["weight"], t["bias"], activation=activation)


def _unary(name: str) -> Build:
    return lambda ops, t: getattr(ops, name)(t["x"])


def _binary(name: str, second: str = "y") -> Build:
    return lambda ops, t: getattr(ops, name)(t["x"], t[second])


FUNCTIONS: dict[str, tuple[Shapes, Build]] = {
    "dense": (DENSE, _dense(None)),
    **{f"dense {name}": (DENSE, _dense(name)) for name in SMOOTH},
    **{name: (MATRIX, _unary(name)) for name in UNARY},
    **{name: (PAIR, _binary(name)) for name in ("add", "sub", "mul", "mean_squared_error")},
    **{name: (MATRIX | TARGET, _binary(name, "target")) for name in ("binary_cross_entropy", "softmax_cross_entropy")},
    "matmul": ({"x": (ROWS, INNER), "y": (INNER, COLUMNS)}, _binary("matmul")),
    "layernorm": (
        {"x": (ROWS, COLUMNS), "weight": (COLUMNS,), "bias": (COLUMNS,)},
        lambda ops, t: ops.layernorm(t["x"], t["weight"], t["bias"]),
    ),
    "concat": (PAIR, lambda ops, t: ops.concat([t["x"], t["y"]])),
    "transpose": ({"x": (COLUMNS, ROWS)}, _unary("transpose")),
}


def gradients() -> tuple[bool, str]:
    """Every function's gradient by every input against differences."""
    errors = {name: _error(shapes, build) for name, (shapes, build) in FUNCTIONS.items()}
    name, worst = max(errors.items(), key=lambda item: item[1])
    return (
        worst <= TOLERANCE,
        f"{len(FUNCTIONS)} functions, greatest relative difference {worst:.1e} ({name}; at most {TOLERANCE:g})",
    )


def _error(shapes: Shapes, build: Build) -> float:
    """The greatest relative difference over the inputs of one function."""
    instance, values = _instance(shapes, build)
    directions = {}
    for name in shapes.keys() - TARGET.keys():
        gradient = instance[f"d {name}"].astype(np.float64)
        directions[name] = gradient, np.sqrt((gradient**2).sum())
    worst = 0.0
    for name, (gradient, length) in directions.items():
        step = (gradient / length * EPSILON).astype(np.float32)
        difference = _loss(instance, {**values, name: values[name] + step}) - _loss(
            instance, {**values, name: values[name] - step}
        )
        worst = max(worst, abs(difference / (2 * EPSILON) - length) / length)
    return worst


def _instance(shapes: Shapes, build: Build) -> tuple[Any, dict[str, np.ndarray]]:
    """A program of sum(out * projection), its gradients, and random inputs on which it has run."""
    from dlcore import ops
    from dlcore.graph import Graph, plan

    graph = Graph()
    tensors = {name: graph.input(name, *shape) for name, shape in shapes.items()}
    out = build(ops, tensors)
    values = {name: _random(*shape, seed=i) for i, (name, shape) in enumerate(shapes.items())}
    if len(out.shape) > 1:
        values["projection"] = _random(*out.shape, seed=99)
        out = ops.row_sum(ops.mul(out, graph.input("projection", *out.shape)))
    program = plan(graph, {"loss": out}, gradients={out: [tensors[name] for name in tensors if name not in TARGET]})
    instance = program.bind()
    _loss(instance, values)
    return instance, values


def _loss(instance: Any, values: Mapping[str, np.ndarray]) -> float:
    for name, value in values.items():
        instance[name][...] = value
    instance.run()
    return float(instance["loss"].sum(dtype=np.float64))


def _random(*shape: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def threads() -> tuple[bool, str]:
    """Training on 1, 2 and 3 threads ends in the same bits, and learns."""
    import dlcore
    from dlcore.runtime import set_threads

    x = _random(384, 61, seed=1)
    y = (x[:, 0] > x[:, 1]).astype(np.int32)
    ends, accuracy = [], 0.0
    try:
        for count in (1, 2, 3):
            set_threads(count)
            dense = dlcore.layers.Dense
            model = dlcore.Sequential(
                [
                    dense(160, activation="relu", input_shape=(61,)),
                    dlcore.layers.Dropout(0.1),
                    dense(2, activation="softmax"),
                ]
            )
            model.compile("adam", "sparse_categorical_crossentropy", ["accuracy"])
            history = model.fit(x, y, epochs=8, batch_size=128, verbose=0, seed=0)
            accuracy = history.history["accuracy"][-1]
            ends.append([weight.tobytes() for weight in model.get_weights()])
    finally:
        set_threads(None)
    same = ends[0] == ends[1] == ends[2]
    return (
        same and accuracy > 0.8,
        f"1, 2 and 3 threads give {'equal' if same else 'DIFFERENT'} bits; training reaches accuracy {accuracy:.2f}",
    )


def entries() -> tuple[bool, str]:
    """Every kernel that the list names can be found in the library."""
    from dlcore.runtime import kernel_table
    from dlcore.runtime.device import current_cuda

    if (gpu := current_cuda()) is not None:
        found = [(name, dtypes) for name, call in gpu.table.calls.items() for dtypes in call["entries"]]
        loaded = sum(gpu.function(name, dtypes) != 0 for name, dtypes in found)
        return loaded == len(found) > 0, f"{loaded} kernels loaded on {gpu.name}, as {gpu.arch or 'PTX'}"
    table = kernel_table()
    count = 0
    for name, call in table.calls.items():
        for dtypes in {dtypes for levels in call["entries"].values() for level in levels.values() for dtypes in level}:
            if table.has(name, dtypes):
                count += table.entry(name, dtypes) != 0
    return count > 0, f"{count} kernels found at level {table.level}"


CHECKS: dict[str, Callable[[], tuple[bool, str]]] = {"kernels": entries, "gradients": gradients, "threads": threads}
