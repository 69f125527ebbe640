"""How long planning takes, and how close the arena comes to its bound: `python benchmarks/planning.py [--json]`.

Graphs: W1 (an MLP 784-256-128-10 trained with Adam), GPT-2 (12 layers, 4 x 1024 tokens) and recurrent nets unrolled over
100 and 800 steps.  The programs are planned, not run.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time

from dlcore import ops
from dlcore.graph import Graph, plan
from dlcore.optim import Adam


def dense_weights(graph, name, rows, columns):
    return graph.weight(name + "/weight", rows, columns), graph.weight(name + "/bias", columns)


def mlp(sizes=(784, 256, 128, 10), batch=64):
    """(graph, outputs, gradients, updates) of W1."""
    graph = Graph()
    x, targets, weights = graph.input("x", batch, sizes[0]), graph.input("targets", batch, dtype="i32"), []
    for n, (rows, columns) in enumerate(zip(sizes, sizes[1:])):
        weights += dense_weights(graph, f"dense_{n}", rows, columns)
        x = ops.dense(x, *weights[-2:], "relu" if n < len(sizes) - 2 else None)
    loss = ops.softmax_cross_entropy(x, targets)
    return graph, {"loss": loss}, {loss: weights}, lambda: Adam(1e-3).update(graph, weights)


def gpt2(B=4, L=1024, C=768, layers=12, V=50257, heads=12, rate=0.1):
    """(graph, outputs, gradients, updates) of GPT-2's shape, its table tied."""
    graph = Graph()
    ids, positions, targets = (graph.input(n, B * L, dtype="i32") for n in ("ids", "positions", "targets"))
    table, places = graph.weight("wte", V, C), graph.weight("wpe", L, C)
    weights = [table, places]

    def normed(x, name):
        weights.extend((graph.weight(name + "/weight", C), graph.weight(name + "/bias", C)))
        return ops.layernorm(x, *weights[-2:])

    def dense(x, name, rows, columns):
        weights.extend(dense_weights(graph, name, rows, columns))
        return ops.dense(x, *weights[-2:])

    x = ops.dropout(ops.add(ops.embedding(table, ids), ops.embedding(places, positions)), rate)
    for n in range(layers):
        with graph.scope(f"block_{n}"):
            h = dense(normed(x, f"{n}/norm_1"), f"{n}/qkv", C, 3 * C).reshape(B, L, 3 * heads, C // heads)
            h = dense(ops.packed_attention(h, heads, causal=True).reshape(B * L, C), f"{n}/out", C, C)
            x = ops.add(x, ops.dropout(h, rate))
            h = ops.gelu(dense(normed(x, f"{n}/norm_2"), f"{n}/up", C, 4 * C))
            x = ops.add(x, ops.dropout(dense(h, f"{n}/down", 4 * C, C), rate))
    loss = ops.softmax_cross_entropy(ops.matmul(normed(x, "norm"), table, "nt"), targets)
    return graph, {"loss": loss}, {loss: weights}, lambda: Adam(1e-3).update(graph, weights)


def recurrent(steps, batch=16, C=24):
    """(graph, outputs, gradients, updates): h = tanh(x + h u), unrolled."""
    graph = Graph()
    x, u = graph.input("x", steps, batch, C), graph.weight("u", C, C)
    h = [ops.tanh(x[0])]
    for t in range(1, steps):
        h.append(ops.tanh(ops.add(x[t], ops.matmul(h[-1], u))))
    loss = graph.sum([ops.row_sum(ops.mul(t, t)) for t in h])
    return graph, {"h": h[-1]}, {loss: [u, x]}, None


GRAPHS = {
    "W1": (mlp, 50),
    "GPT-2": (gpt2, 9),
    "recurrent 100": (lambda: recurrent(100), 7),
    "recurrent 800": (lambda: recurrent(800), 3),
}


def measure(build, repeats):
    """Medians in ms, and what the program looks like."""
    start = time.perf_counter()
    graph, outputs, gradients, updates = build()
    built = time.perf_counter() - start
    times, busy, parts = [], [], []
    for _ in range(repeats):
        start, worked = time.perf_counter(), time.thread_time()
        program = plan(graph, outputs, gradients, updates=updates)
        times.append(time.perf_counter() - start)
        busy.append(time.thread_time() - worked)
        parts.append(program.planning)
    kernels = [s.kernel for s in program.steps]
    return {
        "calls": len(kernels),
        "groups": len({s.group for s in program.steps}),
        "build_ms": built * 1e3,
        "plan_ms": statistics.median(times) * 1e3,
        "cpu_ms": statistics.median(busy) * 1e3,
        "plan_min_ms": min(times) * 1e3,
        "plan_max_ms": max(times) * 1e3,
        "arena_bytes": program.sizes.get("arena", 0),
        "arena_to_bound": program.sizes["arena"] / program.bound,
        "without_reuse": program.total / program.bound,
        "copies": kernels.count("accumulate"),
        "fills": kernels.count("fill"),
        "parts_ms": {
            n: round(statistics.median([p[n] for p in parts]) * 1e3, 3)
            for n in parts[0]
            if isinstance(parts[0][n], float)
        },
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one object per graph instead of a table")
    parser.add_argument("graphs", nargs="*", default=[], help=f"of {', '.join(GRAPHS)}; default: all")
    options = parser.parse_args()
    results = {
        name: measure(build, repeats)
        for name, (build, repeats) in GRAPHS.items()
        if not options.graphs or name in options.graphs
    }
    if options.json:
        print(json.dumps(results))
        return
    names = ("calls", "groups", "build_ms", "plan_ms", "plan_min_ms", "plan_max_ms", "cpu_ms", "arena_to_bound", "copies")
    print(f"{'graph':<15}" + "".join(f"{name:>15}" for name in names))
    for name, r in results.items():
        print(f"{name:<15}" + "".join(f"{r[n]:>15}" if isinstance(r[n], int) else f"{r[n]:>15.3f}" for n in names))
        print(f"{'':<15}{r['parts_ms']}")


if __name__ == "__main__":
    main()
