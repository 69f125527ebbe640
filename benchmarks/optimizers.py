"""Updates of weights beside PyTorch's: `python benchmarks/optimizers.py [--out FOLDER] [--only w1|gpt2|table]`.  Needs torch.

The weights of W1 (784-256-128-10) and of GPT-2 (124 million), gradients given: one step of each optimizer here, and in
PyTorch fused (where it has that) and foreach, taking turns in one process.  Reported are medians in microseconds, and the
bytes that must be moved (each array read and written once) over the time, as a share of what a copy of one array by one
thread moves.

dlcore's step is whole: the norm of all gradients, the check that they are finite, the update.  PyTorch's is the update alone.
Muon is for matrices: its cases are those of W1, and of one block of GPT-2.

The part `table` is a whole training step (gather, forward, backward, update) of an embedding of 200,000 rows whose batch looks up
2,048: updated row by row and whole, here and in PyTorch (SparseAdam; Adam fused).
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

import numpy as np
import torch
from harness import machine

import dlcore
from dlcore import optim
from dlcore.graph import Graph, plan
from dlcore.ops import mul
from dlcore.runtime import default_threads
from dlcore.training.losses import SparseCategoricalCrossentropy

W1 = [(784, 256), (256,), (256, 128), (128,), (128, 10), (10,)]
BLOCK = [(768,), (768,), (768, 2304), (2304,), (768, 768), (768,), (768,), (768,), (768, 3072), (3072,), (3072, 768), (768,)]
GPT2 = [(50257, 768), (1024, 768), *(12 * BLOCK), (768,), (768,)]
# name -> (optimizer here, class in torch, its arguments, is it fused there, arrays moved per weight)
CASES = {
    "SGD": (lambda: optim.SGD(0.01), torch.optim.SGD, {"lr": 0.01}, True, 3),
    "Adam": (lambda: optim.Adam(1e-3), torch.optim.Adam, {"lr": 1e-3}, True, 7),
    "SGD momentum": (lambda: optim.SGD(0.01, momentum=0.9), torch.optim.SGD, {"lr": 0.01, "momentum": 0.9}, True, 5),
    "AdamW": (lambda: optim.AdamW(1e-3), torch.optim.AdamW, {"lr": 1e-3}, True, 7),
    "Adagrad": (lambda: optim.Adagrad(0.01), torch.optim.Adagrad, {"lr": 0.01}, True, 5),
    "RMSprop": (lambda: optim.RMSprop(0.01), torch.optim.RMSprop, {"lr": 0.01}, False, 5),
    "Adadelta": (lambda: optim.Adadelta(), torch.optim.Adadelta, {}, False, 7),
    "Adamax": (lambda: optim.Adamax(), torch.optim.Adamax, {}, False, 7),
    "Nadam": (lambda: optim.Nadam(), torch.optim.NAdam, {}, False, 7),
    "Lion": (lambda: optim.Lion(1e-4), None, {}, False, 5),
    "Lamb": (lambda: optim.Lamb(1e-3), None, {}, False, 10),
    "Muon": (lambda: optim.Muon(1e-3), getattr(torch.optim, "Muon", None), {"lr": 1e-3}, None, 5),
}


def ours(optimizer, shapes):
    """A function that does one update."""
    graph, losses = Graph(), {}
    for n, shape in enumerate(shapes):
        weight = graph.weight(f"w{n}", *shape)
        losses[mul(weight, graph.input(f"x{n}", *shape))] = [weight]
    weights = [w for (w,) in losses.values()]
    instance = plan(graph, {}, losses, updates=lambda: optimizer.update(graph, weights) and None).bind()
    for name in ("weights", "gradients"):
        flat = instance.buffers[name].view(np.float32)
        flat[:] = np.resize(np.random.default_rng(1).standard_normal(1 << 20, dtype=np.float32), len(flat))
    slots = {"lr": 1e-4} | ({"step": 10} if "step" in instance.program.slots else {})
    return lambda: instance.run("update", **slots)


def theirs(kind, arguments, shapes, mode):
    parameters = [torch.nn.Parameter(torch.randn(shape)) for shape in shapes]
    for p in parameters:
        p.grad = torch.randn_like(p)
    return kind(parameters, **arguments, **({mode: True} if mode != "plain" else {})).step


def timed(functions, turns, inner):
    """Median microseconds of each, in turns."""
    for f in functions.values():
        f()
    samples = {name: [] for name in functions}
    for _ in range(turns):
        for name, f in functions.items():
            begin = time.perf_counter()
            for _ in range(inner):
                f()
            samples[name].append((time.perf_counter() - begin) / inner * 1e6)
    return {name: statistics.median(s) for name, s in samples.items()}


def copier(elements):
    a, b = np.ones(elements, np.float32), np.zeros(elements, np.float32)
    return lambda: np.copyto(b, a)


def measure(name, shapes, turns, inner):
    make, kind, arguments, fused, arrays = CASES[name]
    if name == "Muon":
        shapes = [s for s in (BLOCK if shapes is GPT2 else shapes) if len(s) == 2]
    size = sum(int(np.prod(s)) for s in shapes)
    functions = {"dlcore": ours(make(), shapes)}
    if kind is not None:
        modes = ("plain",) if fused is None else ("fused", "foreach") if fused else ("foreach",)
        functions |= {f"torch {mode}": theirs(kind, arguments, shapes, mode) for mode in modes}
    functions["copy"] = copier(size)
    found = timed(functions, turns, inner)
    share = (arrays * size * 4 / found["dlcore"]) / (2 * size * 4 / found["copy"])
    return {"microseconds": found, "bytes": arrays * size * 4, "of_copy": share}


V, D, T, B = 200_000, 64, 64, 32


def table_steps():
    """Training steps on a large table, by name."""
    rng = np.random.default_rng(0)
    x = (rng.zipf(1.2, (B, T)) % V).astype(np.int32)
    y = rng.integers(0, 10, B).astype(np.int32)

    def here(sparse):
        layers = [dlcore.layers.Embedding(V, D, sparse=sparse), dlcore.layers.GlobalAveragePooling1D(), dlcore.layers.Dense(10)]
        model = dlcore.Sequential([dlcore.layers.Input((T,), "int32"), *layers])
        model.compile(dlcore.Adam(1e-3), SparseCategoricalCrossentropy(from_logits=True))
        return lambda: model.train_on_batch(x, y)

    def there(sparse):
        table, dense = torch.nn.Embedding(V, D, sparse=sparse), torch.nn.Linear(D, 10)
        others = [torch.optim.Adam(dense.parameters(), fused=True)]
        others.append(torch.optim.SparseAdam(table.parameters()) if sparse else torch.optim.Adam(table.parameters(), fused=True))
        ids, answers = torch.from_numpy(x).long(), torch.from_numpy(y).long()

        def step():
            for optimizer in others:
                optimizer.zero_grad()
            torch.nn.functional.cross_entropy(dense(table(ids).mean(1)), answers).backward()
            for optimizer in others:
                optimizer.step()
        return step
    return {"dlcore, rows": here(True), "dlcore, whole": here(False), "torch, SparseAdam": there(True),
            "torch, Adam fused": there(False)}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--only", choices=["w1", "gpt2", "table"])
    parser.add_argument("--names", nargs="*", default=list(CASES))
    chosen = parser.parse_args()
    torch.set_num_threads(default_threads())
    file = chosen.out / "optimizers.json"
    results = json.loads(file.read_text()) if file.exists() else {}
    results |= {"machine": machine(), "torch": torch.__version__, "threads": default_threads()}
    for part, shapes, turns, inner in (("w1", W1, 40, 20), ("gpt2", GPT2, 5, 1)):
        if chosen.only in (None, part):
            for name in chosen.names:
                results.setdefault(part, {})[name] = measure(name, shapes, turns, inner)
    if chosen.only in (None, "table"):
        results["table"] = timed(table_steps(), 15, 3)
    file.write_text(json.dumps(results, indent=1) + "\n")
    (chosen.out / "optimizers.md").write_text(table(results))


def table(results):
    lines = ["# One update, microseconds: medians of turns", ""]
    for part in ("w1", "gpt2"):
        heads = ("| optimizer | dlcore | torch fused | torch foreach or plain | best of torch / dlcore "
                 "| bandwidth of a copy by one thread |")
        lines += [f"## {part}", "", heads, "| --- | --- | --- | --- | --- | --- |"]
        for name, r in results.get(part, {}).items():
            us = r["microseconds"]
            us.setdefault("torch foreach", us.get("torch plain"))
            others = [us[k] for k in ("torch fused", "torch foreach") if us.get(k)]
            cells = [f"{us[k]:,.1f}" if us.get(k) else "" for k in ("dlcore", "torch fused", "torch foreach")]
            ratio = f"{min(others) / us['dlcore']:.2f}" if others else ""
            lines.append(f"| {name} | {' | '.join(cells)} | {ratio} | {r['of_copy']:.0%} |")
        lines.append("")
    if "table" in results:
        lines += ["## A table of 200,000 rows of 64, 2,048 ids a step: the whole step", "", "| | microseconds |", "| --- | --- |"]
        lines += [f"| {name} | {us:,.0f} |" for name, us in results["table"].items()] + [""]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
