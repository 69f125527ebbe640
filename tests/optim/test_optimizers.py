"""Updates against naive float64 rules, step by step; the guard, clipping, groups, settings."""
from __future__ import annotations

import numpy as np
import pytest

from dlcore.errors import UsageError
from dlcore.graph import Graph, plan
from dlcore.ops import mul
from dlcore.optim import SGD, Adam, AdamW, get

SHAPES = {"a": (33, 7), "b": (1001,), "c": (1,)}


def sgd(w, g, state, lr, step, momentum=0.0, nesterov=False, weight_decay=0.0):
    g = g + weight_decay * w
    v = state["v"] = momentum * state.get("v", 0.0) + g
    return w - lr * (g + momentum * v if nesterov else v)


def adam(w, g, state, lr, step, beta_1=0.9, beta_2=0.999, epsilon=1e-8, weight_decay=0.0):
    w = w * (1 - lr * weight_decay)
    m = state["m"] = beta_1 * state.get("m", 0.0) + (1 - beta_1) * g
    v = state["v"] = beta_2 * state.get("v", 0.0) + (1 - beta_2) * g * g
    return w - lr / (1 - beta_1**step) * m / (np.sqrt(v / (1 - beta_2**step)) + epsilon)


class Training:
    """loss = sum(weight * x): the gradients are the inputs x, so every step's gradient is what the test chooses."""

    def __init__(self, optimizer, groups=None, threads=None):
        self.graph, self.threads, losses = Graph(), threads, {}
        for name, shape in SHAPES.items():
            weight = self.graph.weight(name, *shape, group=(groups or {}).get(name, ""))
            losses[mul(weight, self.graph.input("x" + name, *shape))] = [weight]
        weights = [w for (w,) in losses.values()]
        norms = []
        program = plan(self.graph, {}, losses, updates=lambda: norms.append(optimizer.update(self.graph, weights)))
        self.instance = program.bind()
        rng = np.random.default_rng(0)
        for name, shape in SHAPES.items():
            self.instance[name][...] = rng.standard_normal(shape)

    def step(self, gradients, step, lr):
        for name, g in gradients.items():
            self.instance["x" + name][...] = g
        slots = {"lr": lr} | ({"step": step} if "step" in self.instance.program.slots else {})
        self.instance.run(threads=self.threads, **slots)

    def weights(self):
        return {name: self.instance[name].copy() for name in SHAPES}


def gradients_of(step, scale=1.0):
    rng = np.random.default_rng(step)
    return {name: (rng.standard_normal(shape) * scale).astype(np.float32) for name, shape in SHAPES.items()}


RULES = [
    (SGD(), sgd, {}), (SGD(weight_decay=0.1), sgd, {"weight_decay": 0.1}), (SGD(momentum=0.9), sgd, {"momentum": 0.9}),
    (SGD(momentum=0.9, nesterov=True, weight_decay=0.01), sgd, {"momentum": 0.9, "nesterov": True, "weight_decay": 0.01}),
    (Adam(), adam, {}), (Adam(beta_1=0.5, beta_2=0.9, epsilon=1e-3), adam, {"beta_1": 0.5, "beta_2": 0.9, "epsilon": 1e-3}),
    (Adam(beta_1=0.0), adam, {"beta_1": 0.0}), (AdamW(weight_decay=0.1), adam, {"weight_decay": 0.1})]


@pytest.mark.parametrize("optimizer, rule, options", RULES, ids=lambda v: getattr(v, "name", None))
def test_follows_the_rule(optimizer, rule, options):
    training, states = Training(optimizer), {name: {} for name in SHAPES}
    expected = {name: w.astype(np.float64) for name, w in training.weights().items()}
    for step in range(1, 13):
        lr, gradients = 0.1 / step, gradients_of(step)
        training.step(gradients, step, lr)
        for name in SHAPES:
            expected[name] = rule(expected[name], gradients[name].astype(np.float64), states[name], lr, step, **options)
    for name, w in training.weights().items():
        np.testing.assert_allclose(w, expected[name], rtol=0, atol=3e-6)


@pytest.mark.parametrize("step", [1, 2, 10, 1000, 100_000, 10_000_000])
def test_bias_correction_keeps_its_digits(step):
    """From m = v = 0, one step at any count: the corrections 1 - beta**step are right to float32's last digits."""
    training = Training(Adam())
    before, g = training.weights()["b"].astype(np.float64), gradients_of(1)
    training.step(g, step, 0.1)
    expected = adam(before, g["b"].astype(np.float64), {}, 0.1, step)
    moved, wanted = training.weights()["b"] - before, expected - before
    np.testing.assert_allclose(moved, wanted, rtol=2e-6, atol=3e-7)


@pytest.mark.parametrize("optimizer, rule, options", RULES, ids=lambda v: getattr(v, "name", None))
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 3e38])
def test_a_bad_step_changes_nothing(optimizer, rule, options, bad):
    training = Training(optimizer)
    training.step(gradients_of(1), 1, 0.1)
    buffers = {n: training.instance.buffers[n].copy() for n in ("weights",)}
    state = {n: training.instance[n].copy() for n in training.instance.program.leaves if "/" in n}
    wrong = gradients_of(2)
    wrong["b"][700] = bad
    training.step(wrong, 2, 0.1)
    assert training.instance["status"][0] == 1
    assert all(np.array_equal(training.instance.buffers[n], b) for n, b in buffers.items())
    assert all(np.array_equal(training.instance[n], s) for n, s in state.items())


@pytest.mark.parametrize("optimizer, rule, options", RULES, ids=lambda v: getattr(v, "name", None))
def test_bits_do_not_depend_on_threads(optimizer, rule, options):
    found = []
    for threads in (1, 2, 3, 7):
        training = Training(optimizer, threads=threads)
        for step in (1, 2, 3):
            training.step(gradients_of(step), step, 0.1)
        found.append(b"".join(w.tobytes() for w in training.weights().values()))
    assert all(f == found[0] for f in found)


@pytest.mark.parametrize("limit, scale", [(1.0, 1.0), (1.0, 1e-3)])
@pytest.mark.parametrize("groups", [{}, {"a": "one", "b": "two"}])
def test_gradients_are_clipped_together(limit, scale, groups):
    training = Training(SGD(global_clipnorm=limit), groups)
    before, g = training.weights(), gradients_of(1, scale)
    training.step(g, 1, 1.0)
    norm = np.sqrt(sum((x.astype(np.float64)**2).sum() for x in g.values()))
    for name, w in training.weights().items():
        np.testing.assert_allclose(w, before[name] - g[name] * min(1, limit / norm), rtol=0, atol=1e-6)


def test_group_no_decay_is_not_decayed():
    training = Training(AdamW(weight_decay=0.5), {"b": "no_decay", "c": "other"})
    before = training.weights()
    zero = {name: np.zeros(shape, np.float32) for name, shape in SHAPES.items()}
    training.step(zero, 1, 0.1)
    after = training.weights()
    assert np.array_equal(after["b"], before["b"])
    for name in ("a", "c"):
        np.testing.assert_allclose(after[name], before[name] * 0.95, rtol=1e-6)


def test_config_makes_an_equal_optimizer():
    for optimizer in (SGD(0.1, momentum=0.5, nesterov=True), Adam(0.1, beta_1=0.8, global_clipnorm=2.0), AdamW(weight_decay=0.3)):
        again = type(optimizer)(**optimizer.get_config())
        assert again.get_config() == optimizer.get_config()


def test_get():
    adamw = AdamW()
    assert get(adamw) is adamw
    assert [type(get(name)) for name in ("sgd", "adam", "AdamW")] == [SGD, Adam, AdamW]
    with pytest.raises(UsageError, match="an optimizer that is not there"):
        get("adadelta")


@pytest.mark.parametrize("make, message", [
    (lambda: SGD(-1.0), "learning_rate"), (lambda: SGD(momentum=1.0), "momentum"), (lambda: SGD(nesterov=True), "momentum"),
    (lambda: Adam(beta_1=1.0), "beta_1"), (lambda: Adam(beta_2=-0.1), "beta_2"), (lambda: Adam(epsilon=0.0), "epsilon"),
    (lambda: AdamW(weight_decay=-1.0), "weight_decay"), (lambda: SGD(global_clipnorm=0.0), "global_clipnorm")])
def test_settings_out_of_range(make, message):
    with pytest.raises(UsageError, match=message):
        make()
