"""Nets and checks for the tests of programs on real kernels."""
from __future__ import annotations

import numpy as np

from dlcore import ops
from dlcore.graph import Graph
from dlcore.optim import Adam


def mlp(graph, sizes, x, rate=0.0, activation="relu", prefix=""):
    """(output, weights) of dense layers with dropout between."""
    weights = []
    for n, (rows, columns) in enumerate(zip(sizes, sizes[1:])):
        with graph.scope(f"{prefix}dense_{n}"):
            weights += [graph.weight(f"{prefix}w{n}", rows, columns), graph.weight(f"{prefix}b{n}", columns)]
            last = n == len(sizes) - 2
            x = ops.dense(x, *weights[-2:], None if last else activation)
            x = ops.dropout(x, rate) if rate and not last else x
    return x, weights


def classifier(sizes, batch, wide=False, rate=0.0):
    """(graph, loss, weights) of an MLP with cross-entropy."""
    graph = Graph(wide=wide)
    x, targets = graph.input("x", batch, sizes[0]), graph.input("targets", batch, dtype="i32")
    logits, weights = mlp(graph, sizes, x, rate)
    return graph, ops.softmax_cross_entropy(logits, targets), weights


def adam(graph, weights, name="adam"):
    """A function for `plan(updates=...)`."""
    return lambda: Adam(0.01, name=name).update(graph, weights)


def fill(instance, names, seed=0, scale=0.3, classes=5):
    """Random values: normal ones, or numbers of classes."""
    r = np.random.default_rng(seed)
    for name in names:
        a = instance[name]
        a[...] = r.standard_normal(a.shape) * scale if a.dtype.kind == "f" else r.integers(0, classes, a.shape)


def free_leaves(program):
    """Names of weights and inputs."""
    return [n for n, where in program.leaves.items() if where[0] in ("weights", "inputs")]


def directional_error(program, names, slots, loss="loss", step=1e-5):
    """Greatest relative error of the gradients against central differences along one random direction per tensor, in float64 and
    on the kernels that ship."""
    instance, worst, r = program.bind(), 0.0, np.random.default_rng(7)
    fill(instance, free_leaves(program))
    for name in names:
        instance.run("forward", "backward", **slots)
        gradient = instance["d " + name] if "d " + name in program.outputs else instance.gradient(name)
        direction, values, a = r.standard_normal(gradient.shape), [], instance[name]
        got, keep = float((gradient * direction).sum()), a.copy()
        for sign in (1, -1):
            a[...] = keep + sign * step * direction
            instance.run("forward", **slots)
            values.append(float(instance[loss].sum()))
        a[...] = keep
        want = (values[0] - values[1]) / (2 * step)
        worst = max(worst, abs(want - got) / max(1e-3, abs(want), abs(got)))
    return worst


def bits(program, threads, segments, steps=2, **slots):
    """Everything that a few steps leave behind, the arena poisoned before each."""
    instance = program.bind()
    fill(instance, free_leaves(program))
    for step in range(1, steps + 1):
        instance.buffers["arena"].fill(255)
        known = {n: v for n, v in {**slots, "step": step}.items() if n in program.slots}
        instance.run(*segments, threads=threads, **known)
    kept = b"".join([instance.buffers[n].tobytes() for n in ("weights", "gradients", "state") if n in program.sizes])
    return kept + b"".join([instance[n].tobytes() for n in program.outputs])


def assert_equal_bits(program, segments=("forward", "backward"), **slots):
    """1, 2, 3 and 7 threads leave the same bits."""
    want = bits(program, 1, segments, **slots)
    for threads in (2, 3, 7):
        assert bits(program, threads, segments, **slots) == want, f"{threads} threads"
