"""Products and dense layers under `precision="int8"`; prints errors, kernels and equality over threads as JSON."""
from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np

# One row, fewer and more than a tile, edges of all three heights, steps of K that are no multiple of 4.
SIZES = [(1, 40, 300), (1, 64, 32), (2, 17, 65), (5, 611, 437), (7, 64, 31), (9, 99, 64), (12, 64, 64), (13, 102, 33),
         (26, 1301, 270)]


def quantized(x: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """x in 127 steps to either side of 0, by the greatest magnitude along the axis, and what a step is; in float64."""
    scale = (np.abs(x).max(axis, keepdims=True) / np.float32(127)).astype(np.float32)
    inverse = np.where(scale > 0, np.float32(1) / np.where(scale > 0, scale, np.float32(1)), np.float32(0))
    codes = np.floor((x * inverse).astype(np.float32) + np.float32(128.5)).astype(np.float64).clip(1, 255) - 128
    return codes, scale.astype(np.float64)


def exact(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    (rows, row_scales), (columns, scales) = quantized(a, 1), quantized(b, 0)
    return rows @ columns * row_scales * scales


def planned(shapes: dict[str, tuple[int, ...]], build: Callable) -> tuple:
    from dlcore.graph import Graph, plan
    graph = Graph(precision="int8")
    tensors = {name: (graph.input if name in ("a", "d") else graph.weight)(name, *shape) for name, shape in shapes.items()}
    program = plan(graph, {"out": build(**tensors)})
    return program.bind(), [str(step["kernel"]).partition("[")[0] for step in program.table()]


def answers(arrays: dict[str, np.ndarray], build: Callable, expected: np.ndarray) -> dict:
    """error: beside float64 on the quantized factors, of the greatest result."""
    instance, kernels = planned({name: x.shape for name, x in arrays.items()}, build)
    for name, x in arrays.items():
        instance[name][...] = x
    if "prepare" in instance.program.segments:
        instance.run("prepare")
    outs, first = [], next(iter(arrays))
    for threads in (1, 2, 3, 8):
        instance.run("forward", threads=threads)
        outs.append(np.array(instance["out"]))
    special = []
    for value in (np.nan, np.inf):
        instance[first][0, 0] = value
        instance.run("forward")
        special.append(bool(np.isfinite(instance["out"][0]).any()))
    instance[first][...] = 0
    instance.run("forward")
    error = np.abs(outs[0] - expected).max() / np.abs(expected).max()
    return {"error": float(error), "kernels": kernels, "equal": all((out == outs[0]).all() for out in outs),
            "finite beside": special, "of zeros": np.array(instance["out"])[0].tolist()}


def main() -> None:
    from dlcore.ops import dense, matmul
    rng, results = np.random.default_rng(0), {}
    for M, K, N in SIZES:
        a, b = rng.standard_normal((M, K)).astype(np.float32), rng.standard_normal((K, N)).astype(np.float32)
        a[0], b[:, 0] = a[0] * 1e-3, 0                      # a row of another size, a column of zeros
        bias = rng.standard_normal(N).astype(np.float32)
        name = f"{M}x{K}x{N}"
        results[f"nn-{name}"] = answers({"a": a, "b": b}, matmul, exact(a, b))
        results[f"nt-{name}"] = answers({"a": a, "b": b.T}, lambda a, b: matmul(a, b, "nt"), exact(a, b))
        results[f"dense-{name}"] = answers({"a": a, "b": b, "bias": bias}, lambda a, b, bias: dense(a, b, bias, "relu"),
                                           np.maximum(exact(a, b) + bias, 0))
        results[f"tanh-{name}"] = answers({"a": a, "b": b}, lambda a, b: dense(a, b, None, "tanh"), np.tanh(exact(a, b)))
    d, v, w = (rng.standard_normal(shape).astype(np.float32) for shape in ((5, 70), (33, 70), (33, 70)))
    results["sum"] = answers({"d": d, "v": v, "w": w}, of_two, exact(d, v.T) + exact(d, w.T))
    results["few weights"] = answers({"a": d, "b": v.T[:, :8]}, matmul, d.astype(np.float64) @ v.T[:, :8])
    print(json.dumps(results))


def of_two(d: object, v: object, w: object) -> object:
    """d v^T + d w^T, as the gradient by x of x v and x w: the second is added to the first."""
    from dlcore.ops import matmul
    graph = d.graph
    x = graph.input("x", 5, 33)
    return graph.gradients(matmul(x, v) + matmul(x, w), [x], d)[0]


if __name__ == "__main__":
    main()
