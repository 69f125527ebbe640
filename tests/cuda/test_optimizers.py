"""Every optimizer's update on its CUDA kernels against the naive rule, and its guard."""

from __future__ import annotations

import numpy as np
import pytest
from optim.test_optimizers import RULES, gradients_of
from ptx.device import Emulated

from dlcore.graph import Graph, plan
from dlcore.ops import mul
from dlcore.optim import SGD
from dlcore.optim.average.ref import average
from dlcore.runtime.cuda_table import cuda_table

SHAPES = {"a": (33, 7), "b": (301,), "c": (1,)}


def rules():
    """The optimizers of tests/optim, by room."""
    return [pytest.param(*rule, id=f"{type(rule[0]).__module__.split('.')[2]}-{n}") for n, rule in enumerate(RULES)]


class Training:
    """loss = sum(weight * x): every step's gradient is what the test chooses."""

    def __init__(self, optimizer):
        graph, losses, more = Graph(), {}, []
        for name, shape in SHAPES.items():
            weight = graph.weight(name, *shape)
            losses[mul(weight, graph.input("x" + name, *shape))] = [weight]
        weights = [w for (w,) in losses.values()]
        program = plan(graph, {}, losses, updates=lambda: more.append(optimizer.update(graph, weights)), table=cuda_table())
        self.instance, rng = Emulated(program), np.random.default_rng(0)
        for name, shape in SHAPES.items():
            self.instance[name][...] = rng.standard_normal(shape)

    def step(self, gradients, step, lr):
        for name, g in gradients.items():
            self.instance["x" + name][...] = g
        slots = {"lr": lr, "step": step}
        self.instance.run(**{n: v for n, v in slots.items() if n in self.instance.program.slots})

    def weights(self):
        return {name: self.instance[name].copy() for name in SHAPES}


def gradients(step):
    return {name: g.reshape(-1)[: int(np.prod(SHAPES[name]))].reshape(SHAPES[name]) for name, g in gradients_of(step).items()}


@pytest.mark.parametrize("optimizer, rule, options", rules())
def test_follows_the_rule(optimizer, rule, options):
    training, states = Training(optimizer), {name: {} for name in SHAPES}
    expected = {name: w.astype(np.float64) for name, w in training.weights().items()}
    for step in (1, 2, 3):
        training.step(gradients(step), step, 0.05 / step)
        for name, g in gradients(step).items():
            expected[name] = rule(expected[name], g.astype(np.float64), states[name], 0.05 / step, step, **options)
    for name, w in training.weights().items():
        np.testing.assert_allclose(w, expected[name], rtol=0, atol=3e-6)
    before, wrong = training.weights(), gradients(4)
    wrong["b"][200] = np.nan
    training.step(wrong, 4, 0.05)
    assert training.instance["status"][0] == 1
    assert all(np.array_equal(w, before[name]) for name, w in training.weights().items())


@pytest.mark.parametrize("momentum", [0.9], ids=["average-ema"])
def test_averages_follow_the_weights(momentum):
    training, expected = Training(SGD(use_ema=True, ema_momentum=momentum)), None
    for step in (1, 2, 3):
        training.step(gradients(step), step, 0.05)
        expected = average(training.weights()["b"].astype(np.float64), expected, step, momentum)
    found = np.concatenate([training.instance[n] for n in sorted(training.instance.program.leaves) if "/ema/" in n])
    size = expected.size
    assert any(np.allclose(found[i : i + size], expected, rtol=0, atol=2e-6) for i in range(found.size - size + 1))
