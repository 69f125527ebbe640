"""Hundred steps beside PyTorch's (frozen), and beside formulas written from the papers where PyTorch has no such optimizer."""
from __future__ import annotations

import importlib

import numpy as np
import pytest
from optim import trajectories as t

from dlcore import optim
from dlcore.graph import Graph, plan
from dlcore.ops import mul
from dlcore.optim import schedules

FIXED = np.load(t.FIXTURES / "torch.npz")
KEPT = FIXED["kept"].tolist()
# arguments of the optimizer's class that its reference does not take, or calls otherwise
RENAMED = {"decoupled_weight_decay": "decoupled"}


def reference(name: str, arguments: dict, steps: int = t.STEPS, start=None, gradients=t.gradients):
    """The weights after each step, by the room's ref.py."""
    room = next(room for room, names in optim.ROOMS.items() if name in names)
    rule = getattr(importlib.import_module(f"dlcore.optim.{room}.ref"), room)
    options = {RENAMED.get(k, k): v for k, v in arguments.items() if k != "learning_rate"}
    if name == "AdamW":
        options["decoupled"] = True
    lr = arguments.get("learning_rate", getattr(optim, name)().learning_rate)
    weights, states, found = dict(start or t.start()), {}, []
    for step in range(1, steps + 1):
        g = gradients(step)
        weights = {n: rule(w, g[n], states.setdefault(n, {}), lr, step, **options) for n, w in weights.items()}
        found.append(weights)
    return found


def kernels(optimizer, steps: int = t.STEPS, start=None, gradients=t.gradients, threads=None):
    """The weights after each step, by the kernels: loss = sum(weight * x), so x is the gradient."""
    graph, losses, begin = Graph(), {}, start or t.start()
    for n, w in begin.items():
        weight = graph.weight(n, *w.shape)
        losses[mul(weight, graph.input("x" + n, *w.shape))] = [weight]
    weights = [w for (w,) in losses.values()]
    instance = plan(graph, {}, losses, updates=lambda: optimizer.update(graph, weights)).bind()
    for n, w in begin.items():
        instance[n][...] = w
    found = []
    for step in range(1, steps + 1):
        for n, g in gradients(step).items():
            instance["x" + n][...] = g
        slots = {"lr": optimizer.rate(step)} | ({"step": step} if "step" in instance.program.slots else {})
        instance.run(threads=threads, **slots)
        assert instance["status"][0] == 0
        found.append({n: instance[n].copy() for n in begin})
    return found


@pytest.mark.parametrize("key", t.OPTIMIZERS)
def test_reference_equals_torch(key):
    name, arguments, *_ = t.OPTIMIZERS[key]
    found = reference(name, arguments)
    for n in t.SHAPES:
        np.testing.assert_allclose([found[k - 1][n] for k in KEPT], FIXED[f"optimizer/{key}/{n}"], rtol=0, atol=1e-6)


@pytest.mark.parametrize("key", t.OPTIMIZERS)
def test_kernels_equal_torch(key):
    name, arguments, *_ = t.OPTIMIZERS[key]
    found = kernels(getattr(optim, name)(**arguments))
    for n in t.SHAPES:
        np.testing.assert_allclose([found[k - 1][n] for k in KEPT], FIXED[f"optimizer/{key}/{n}"], rtol=0, atol=1e-5)


@pytest.mark.parametrize("key", t.SCHEDULES)
def test_schedules_equal_torch(key):
    name, arguments, *_ = t.SCHEDULES[key]
    schedule = getattr(schedules, name)(**arguments)
    np.testing.assert_allclose([schedule(step) for step in range(t.STEPS)], FIXED[f"schedule/{key}"], rtol=1e-9, atol=1e-12)
    again = schedules.get(schedule.serialise())
    assert again == schedule and [again(s) for s in range(0, 100, 7)] == [schedule(s) for s in range(0, 100, 7)]


# ---- formulas of the papers, written again ---------------------------------------------------------------------------
def lion_of_the_paper(theta, g, m, lr, step, b1=0.9, b2=0.99, wd=0.1):
    update = b1 * m + (1 - b1) * g                                  # Algorithm 2
    theta = theta - lr * (np.sign(update) + wd * theta)
    return theta, b2 * m + (1 - b2) * g


def lamb_of_the_paper(x, g, mv, lr, step, b1=0.9, b2=0.999, eps=1e-6, wd=0.1):
    m, v = mv if isinstance(mv, tuple) else (mv, np.zeros_like(x))  # Algorithm 2
    m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * np.square(g)
    r = (m / (1 - b1**step)) / (np.sqrt(v / (1 - b2**step)) + eps) + wd * x
    return x - lr * np.sqrt((x**2).sum()) / np.sqrt((r**2).sum()) * r, (m, v)


def muon_of_the_post(w, g, m, lr, step, mu=0.95, wd=0.1):
    m = mu * m + g                                                  # as published: not averaged, so u is 1 / (1 - mu) times ours
    u = g + mu * m
    x = u / np.linalg.norm(u)
    if transposed := x.shape[0] > x.shape[1]:
        x = x.T
    for _ in range(5):
        a = x @ x.T
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    x = x.T if transposed else x
    return w * (1 - lr * wd) - lr * 0.2 * np.sqrt(max(w.shape)) * x, m


@pytest.mark.parametrize("name, formula, shapes, tolerance", [
    ("Lion", lion_of_the_paper, t.SHAPES, 1e-5), ("Lamb", lamb_of_the_paper, t.SHAPES, 1e-5),
    ("Muon", muon_of_the_post, {"a": (5, 7), "b": (19, 3), "c": (8, 8)}, 1e-5)])
def test_follows_the_paper(name, formula, shapes, tolerance):
    def numbers(seed):
        rng = np.random.default_rng(seed)
        return {n: rng.standard_normal(s).astype(np.float32).astype(np.float64) for n, s in shapes.items()}
    start, lr = numbers(0), 0.01
    weights, states = dict(start), {n: np.zeros(s) for n, s in shapes.items()}
    for step in range(1, t.STEPS + 1):
        g = numbers(step)
        for n in shapes:
            weights[n], states[n] = formula(weights[n], g[n], states[n], lr, step)
    arguments = {"learning_rate": lr, "weight_decay": 0.1}
    by_reference = reference(name, arguments, start=start, gradients=numbers)[-1]
    by_kernels = kernels(getattr(optim, name)(**arguments), start=start, gradients=numbers)[-1]
    for n in shapes:
        np.testing.assert_allclose(by_reference[n], weights[n], rtol=0, atol=1e-6)
        np.testing.assert_allclose(by_kernels[n], weights[n], rtol=0, atol=tolerance)
