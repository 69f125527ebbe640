"""Does the number of threads that a program chooses pay?  `python benchmarks/threads.py [--out FOLDER]`

W1 (training and forward) and 20 shapes of matrix products, each run in turns with at most one thread and with as many as
the program chooses.  Reported is the median time of the choice over that of one thread: 1.05 is the most that is promised.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

import numpy as np
from harness import machine

import dlcore
from dlcore import ops
from dlcore.graph import Graph, plan
from dlcore.layers import Dense
from dlcore.runtime import default_threads, set_threads
from dlcore.training.programs import signature

SHAPES = (
    *((n, n, n) for n in (16, 32, 64, 96, 128, 256, 512)),
    *((1, 64, 64), (1, 784, 256), (1, 4096, 1024), (8, 64, 64), (16, 128, 10), (32, 784, 256), (64, 256, 128)),
    *((64, 128, 10), (128, 768, 768), (512, 10, 128), (1024, 16, 16), (1024, 64, 64), (256, 768, 3072)),
)
SIZES = (784, 256, 128, 10)


def product(M, K, N):
    graph = Graph()
    instance = plan(graph, {"out": ops.matmul(graph.input("a", M, K), graph.input("b", K, N))}).bind()
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        instance[name][...] = rng.standard_normal(instance[name].shape)
    return instance.run


def mlp(kind, batch):
    model = dlcore.Sequential([
        dlcore.layers.Input((SIZES[0],)),
        *[Dense(n, activation="relu" if n != SIZES[-1] else None) for n in SIZES[1:]],
    ])
    model.compile(dlcore.Adam(1e-3), dlcore.training.losses.SparseCategoricalCrossentropy(from_logits=True))
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((batch, SIZES[0]), dtype=np.float32), rng.integers(0, SIZES[-1], batch).astype(np.int32)
    made = signature(model, kind, batch, [x], [y]) if kind == "train" else signature(model, kind, batch, [x])
    runner = model.programs.runner(made)
    runner.put([x, y] if kind == "train" else [x])
    model.programs.refresh(runner)
    slots = {"lr": 1e-3, "step": 10} if kind == "train" else {}
    runner.run() if not slots else runner.instance.run(loss_scale=1 / batch, **slots)
    return lambda: runner.instance.run(**slots)


def measure(run, seconds, rounds):
    """(one thread, as chosen): median seconds per run, in turns."""
    run()
    began = time.perf_counter()
    run()
    count = max(1, int(seconds / max(1e-7, time.perf_counter() - began)))
    most = default_threads()
    times = {1: [], most: []}
    for _ in range(rounds):
        for threads, found in times.items():
            set_threads(threads)
            for _ in range(max(3, count // 10)):
                run()
            began = time.perf_counter()
            for _ in range(count):
                run()
            found.append((time.perf_counter() - began) / count)
    return statistics.median(times[1]), statistics.median(times[most])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--seconds", type=float, default=0.01, help="of one turn")
    parser.add_argument("--rounds", type=int, default=31)
    options = parser.parse_args()
    cases = {f"W1 train, batch {b}": (mlp, "train", b) for b in (32, 64, 512)}
    cases |= {f"W1 forward, batch {b}": (mlp, "predict", b) for b in (1, 64)}
    cases |= {f"matmul {M} x {K} x {N}": (product, M, K, N) for M, K, N in SHAPES}
    lines, records = [], []
    for name, (make, *arguments) in cases.items():
        one, chosen = measure(make(*arguments), options.seconds, options.rounds)
        records.append({"case": name, "one_thread": one, "chosen": chosen})
        lines.append(f"| {name} | {one * 1e6:.4g} | {chosen * 1e6:.4g} | {chosen / one:.3f} |")
        print(lines[-1], flush=True)
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        facts = {**machine(), "most threads": default_threads(), "rounds": options.rounds, "seconds": options.seconds}
        (options.out / "threads.json").write_text(json.dumps({"machine": facts, "records": records}, indent=1) + "\n")
        head = ["# The choice of threads against one thread, microseconds, medians of turns", "",
                "| case | one thread | as chosen | ratio |", "| --- | --- | --- | --- |"]
        about = ["", "## Machine", "", *(f"* {key}: {value}" for key, value in facts.items())]
        (options.out / "threads.md").write_text("\n".join([*head, *lines, *about]) + "\n")


if __name__ == "__main__":
    main()
