"""Products and a dense layer under `precision="bf16"`; prints errors, kernels and equality over threads as JSON."""
from __future__ import annotations

import json

import numpy as np

SIZES = [(13, 17, 33), (61, 50, 64), (101, 1300, 270), (12, 2, 32), (7, 1, 5)]


def rounded(x: np.ndarray) -> np.ndarray:
    """float32 values of the nearest bf16, ties to even."""
    bits = x.astype(np.float32).view(np.uint32).astype(np.uint64)
    up = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16 << 16
    return np.where(np.isnan(x), np.float32(np.nan), up.astype(np.uint32).view(np.float32))


# Of few rows, with weights that are held: short, narrow, of several parts, wider than what is parted.
HELD = [(1, 5, 3), (1, 40, 300), (3, 611, 437), (16, 1301, 515), (1, 65, 4200), (2, 1203, 4099)]


def program(name: str, shapes: dict, build, held: bool) -> dict:
    from dlcore.graph import Graph, plan
    graph = Graph(precision="bf16")
    tensors = {n: (graph.weight if held and n in ("b", "weight") else graph.input)(n, *shape) for n, shape in shapes.items()}
    made = plan(graph, {"out": build(**tensors)})
    return {"instance": made.bind(), "kernels": [str(s["kernel"]) for s in made.table()]}


def measure(name: str, arrays: dict, build, exact, held: bool = False) -> dict:
    """held: matrices that are not the first are weights, which alone are rounded."""
    made = program(name, {n: a.shape for n, a in arrays.items()}, build, held)
    instance, outs = made["instance"], []
    for n, a in arrays.items():
        instance[n][...] = a
    if held:
        instance.run("prepare")
    for threads in (1, 2, 3, 8):
        instance.run(threads=threads)
        outs.append(np.array(instance["out"]))
    first, array = next(iter(arrays.items()))
    expected = exact(*[rounded(a).astype(np.float64) if a.ndim > 1 and not (held and n == first) else a.astype(np.float64)
                       for n, a in arrays.items()])
    error = float(np.abs(outs[0] - expected).max() / max(1, np.abs(expected).max()))
    special = []
    for value in (np.nan, np.inf, -np.inf):
        instance[first][...] = np.abs(array)
        instance[first][0, 0] = value
        instance.run()
        special.append(str(np.array(instance["out"])[0, 0]))
    return {"error": error, "kernels": made["kernels"], "equal": all((o == outs[0]).all() for o in outs), "special": special}


def main() -> None:
    from dlcore.ops import dense, matmul
    rng, results = np.random.default_rng(0), {}
    for M, K, N in SIZES:
        a, b = rng.standard_normal((M, K)).astype(np.float32) / K**0.5, np.abs(rng.standard_normal((K, N))).astype(np.float32)
        given = {"nn": (a, b), "nt": (a, b.T), "tn": (a.T, b)}
        for form, (left, right) in given.items():
            results[f"{form}-{M}x{K}x{N}"] = measure(
                form, {"a": left, "b": right}, lambda a, b, form=form: matmul(a, b, form),
                lambda a, b, form=form: (a.T if form == "tn" else a) @ (b.T if form == "nt" else b))
        bias = rng.standard_normal(N).astype(np.float32)
        results[f"dense-{M}x{K}x{N}"] = measure(
            "dense", {"x": a, "weight": b, "bias": bias}, lambda x, weight, bias: dense(x, weight, bias, "relu"),
            lambda x, weight, bias: np.maximum(x @ weight + bias, 0))
    for M, K, N in HELD:
        a, b = rng.standard_normal((M, K)).astype(np.float32) / K**0.5, rng.standard_normal((K, N)).astype(np.float32)
        bias = rng.standard_normal(N).astype(np.float32)
        results[f"held-nn-{M}x{K}x{N}"] = measure("nn", {"a": a, "b": b}, matmul, np.matmul, held=True)
        results[f"held-nt-{M}x{K}x{N}"] = measure("nt", {"a": a, "b": np.ascontiguousarray(b.T)},
                                                  lambda a, b: matmul(a, b, "nt"), lambda a, b: a @ b.T, held=True)
        results[f"held-dense-{M}x{K}x{N}"] = measure(
            "dense", {"x": a, "weight": b, "bias": bias}, lambda x, weight, bias: dense(x, weight, bias, "relu"),
            lambda x, weight, bias: np.maximum(x @ weight + bias, 0), held=True)
    print(json.dumps(results))


if __name__ == "__main__":
    main()
