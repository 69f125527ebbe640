"""Updates against naive float64 rules, step by step; the guard, clipping, groups, settings."""
from __future__ import annotations

import json

import numpy as np
import pytest

from dlcore.errors import UsageError
from dlcore.graph import Graph, plan
from dlcore.ops import mul
from dlcore.optim import (
    SGD,
    Adadelta,
    Adagrad,
    Adam,
    Adamax,
    AdamW,
    Lamb,
    Lion,
    Muon,
    Nadam,
    RMSprop,
    get,
    schedules,
)
from dlcore.optim.adadelta.ref import adadelta
from dlcore.optim.adagrad.ref import adagrad
from dlcore.optim.adam.ref import adam
from dlcore.optim.adamax.ref import adamax
from dlcore.optim.average.ref import average
from dlcore.optim.lamb.ref import lamb
from dlcore.optim.lion.ref import lion
from dlcore.optim.muon.ref import muon
from dlcore.optim.nadam.ref import nadam
from dlcore.optim.rmsprop.ref import rmsprop
from dlcore.optim.sgd.ref import sgd

SHAPES = {"a": (33, 7), "b": (1001,), "c": (1,)}


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

    def step(self, gradients, step, lr, **slots):
        for name, g in gradients.items():
            self.instance["x" + name][...] = g
        slots = slots | {"lr": lr} | ({"step": step} if "step" in self.instance.program.slots else {})
        self.instance.run(threads=self.threads, **slots)

    def weights(self):
        return {name: self.instance[name].copy() for name in SHAPES}


def gradients_of(step, scale=1.0):
    rng = np.random.default_rng(step)
    return {name: (rng.standard_normal(shape) * scale).astype(np.float32) for name, shape in SHAPES.items()}


RULES = [
    (SGD(), sgd, {}), (SGD(weight_decay=0.1), sgd, {"weight_decay": 0.1}), (SGD(momentum=0.9), sgd, {"momentum": 0.9}),
    (SGD(momentum=0.9, nesterov=True, weight_decay=0.01), sgd, {"momentum": 0.9, "nesterov": True, "weight_decay": 0.01}),
    (SGD(momentum=0.9, weight_decay=0.1, decoupled_weight_decay=True), sgd,
     {"momentum": 0.9, "weight_decay": 0.1, "decoupled": True}),
    (Adam(), adam, {}), (Adam(beta_1=0.5, beta_2=0.9, epsilon=1e-3), adam, {"beta_1": 0.5, "beta_2": 0.9, "epsilon": 1e-3}),
    (Adam(beta_1=0.0), adam, {"beta_1": 0.0}), (AdamW(weight_decay=0.1), adam, {"weight_decay": 0.1, "decoupled": True}),
    (AdamW(weight_decay=0.1, amsgrad=True), adam, {"weight_decay": 0.1, "decoupled": True, "amsgrad": True}),
    (Adadelta(weight_decay=0.1), adadelta, {"weight_decay": 0.1}), (Adagrad(), adagrad, {}),
    (Adagrad(initial_accumulator_value=0.1, weight_decay=0.1, decoupled_weight_decay=True), adagrad,
     {"initial_accumulator_value": 0.1, "weight_decay": 0.1, "decoupled": True}),
    (Adamax(weight_decay=0.1), adamax, {"weight_decay": 0.1}), (Nadam(weight_decay=0.1), nadam, {"weight_decay": 0.1}),
    (RMSprop(weight_decay=0.1), rmsprop, {"weight_decay": 0.1}),
    (RMSprop(centered=True), rmsprop, {"centered": True}), (RMSprop(momentum=0.5), rmsprop, {"momentum": 0.5}),
    (RMSprop(momentum=0.5, centered=True), rmsprop, {"momentum": 0.5, "centered": True}),
    (Lion(weight_decay=0.1), lion, {"weight_decay": 0.1}), (Lamb(weight_decay=0.1), lamb, {"weight_decay": 0.1}),
    (Lamb(weight_decay=0.1, decoupled_weight_decay=False), lamb, {"weight_decay": 0.1, "decoupled": False}),
    (Muon(), muon, {}), (Muon(nesterov=False, ns_steps=3), muon, {"nesterov": False, "ns_steps": 3})]


@pytest.mark.parametrize("optimizer, rule, options", RULES, ids=lambda v: getattr(v, "name", None))
def test_follows_the_rule(optimizer, rule, options):
    training, states = Training(optimizer), {name: {} for name in SHAPES}
    expected = {name: w.astype(np.float64) for name, w in training.weights().items()}
    for step in range(1, 13):
        lr, gradients = 0.05 / step, gradients_of(step)
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


def norm(arrays):
    return np.sqrt(sum((a.astype(np.float64)**2).sum() for a in arrays))


@pytest.mark.parametrize("limit, scale", [(1.0, 1.0), (1.0, 1e-3)])
@pytest.mark.parametrize("groups", [{}, {"a": "one", "b": "two"}])
def test_gradients_are_clipped_together(limit, scale, groups):
    training = Training(SGD(global_clipnorm=limit), groups)
    before, g = training.weights(), gradients_of(1, scale)
    training.step(g, 1, 1.0)
    for name, w in training.weights().items():
        np.testing.assert_allclose(w, before[name] - g[name] * min(1, limit / norm(g.values())), rtol=0, atol=1e-6)


@pytest.mark.parametrize("limit, scale", [(1.0, 1.0), (1.0, 1e-3)])
def test_gradients_are_clipped_by_weight(limit, scale):
    training = Training(SGD(clipnorm=limit))
    before, g = training.weights(), gradients_of(1, scale)
    training.step(g, 1, 1.0)
    for name, w in training.weights().items():
        np.testing.assert_allclose(w, before[name] - g[name] * min(1, limit / norm([g[name]])), rtol=0, atol=1e-6)


@pytest.mark.parametrize("optimizer, rule, options", [
    (SGD(clipvalue=0.5), sgd, {}), (Adam(clipvalue=0.5), adam, {}), (Lamb(clipvalue=0.5), lamb, {}),
    (Muon(clipvalue=0.5), muon, {}), (Lion(clipvalue=0.5), lion, {"weight_decay": 0.0})])
def test_gradients_are_clipped_by_value(optimizer, rule, options):
    training, states = Training(optimizer), {name: {} for name in SHAPES}
    expected = {name: w.astype(np.float64) for name, w in training.weights().items()}
    for step in (1, 2, 3):
        g = gradients_of(step)
        training.step(g, step, 0.1)
        for name in SHAPES:
            expected[name] = rule(expected[name], np.clip(g[name], -0.5, 0.5).astype(np.float64), states[name], 0.1, step,
                                  **options)
    for name, w in training.weights().items():
        np.testing.assert_allclose(w, expected[name], rtol=0, atol=3e-6)


@pytest.mark.parametrize("clip", [{}, {"global_clipnorm": 1.0}, {"clipnorm": 1.0}, {"clipvalue": 0.3}])
@pytest.mark.parametrize("kind", [SGD, Adam, Lamb, Muon])
def test_scaled_gradients_are_clipped_as_if_they_came_scaled(kind, clip):
    """What gradient accumulation does: the sum over micro-batches times `gradient_scale` is the gradient."""
    plain, summed = Training(kind(**clip)), Training(kind(**clip, gradient_accumulation_steps=4))
    for step in (1, 2, 3):
        g = gradients_of(step)
        plain.step(g, step, 0.1)
        summed.step({name: 8 * a for name, a in g.items()}, step, 0.1, gradient_scale=0.125)
    for name, w in plain.weights().items():
        np.testing.assert_allclose(summed.weights()[name], w, rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", [SGD, AdamW, Lamb])
def test_averages_of_weights(kind):
    training, expected = Training(kind(use_ema=True, ema_momentum=0.9)), {}
    for step in range(1, 9):
        training.step(gradients_of(step), step, 0.05)
        for name, w in training.weights().items():
            expected[name] = average(w.astype(np.float64), expected.get(name), step, 0.9)
    found = np.concatenate([training.instance[n] for n in sorted(training.instance.program.leaves) if "/ema/" in n])
    assert len(found)
    for name in SHAPES:
        at = np.flatnonzero(np.abs(found - expected[name].flat[0]) < 2e-6)
        assert any(np.allclose(found[i:i + expected[name].size], expected[name].ravel(), rtol=0, atol=2e-6) for i in at)


def test_averages_overwrite_the_weights():
    training, plain = (Training(SGD(use_ema=True, ema_momentum=0.5, ema_overwrite_frequency=n)) for n in (2, None))
    for step in (1, 2):
        training.step(gradients_of(step), step, 0.1)
        plain.step(gradients_of(step), step, 0.1)
    average, = (plain.instance[n] for n in plain.instance.program.leaves if "/ema/" in n)
    w = training.instance.buffers["weights"].view(np.float32)[:len(average)]
    assert np.array_equal(w, average) and not np.array_equal(plain.instance.buffers["weights"].view(np.float32)[:len(w)], w)


def test_layers_learn_at_rates_of_their_own():
    training = Training(AdamW(weight_decay=0.5, learning_rate_multipliers={"b*": 0.0, "?": 0.5}))
    single = Training(AdamW(weight_decay=0.5))
    before = training.weights()
    for step in (1, 2):
        training.step(gradients_of(step), step, 0.1)
        single.step(gradients_of(step), step, 0.05)
    assert np.array_equal(training.weights()["b"], before["b"])
    for name in ("a", "c"):
        np.testing.assert_allclose(training.weights()[name], single.weights()[name], rtol=1e-6, atol=1e-7)


def test_patterns_exclude_from_decay():
    training = Training(Lion(weight_decay=0.5, exclude_from_weight_decay=["b", "[x-z]*"]))
    before = training.weights()
    training.step({name: np.zeros(shape, np.float32) for name, shape in SHAPES.items()}, 1, 0.1)
    assert np.array_equal(training.weights()["b"], before["b"])
    np.testing.assert_allclose(training.weights()["a"], before["a"] * 0.95, rtol=1e-6)


def test_group_no_decay_is_not_decayed():
    training = Training(AdamW(weight_decay=0.5), {"b": "no_decay", "c": "other"})
    before = training.weights()
    zero = {name: np.zeros(shape, np.float32) for name, shape in SHAPES.items()}
    training.step(zero, 1, 0.1)
    after = training.weights()
    assert np.array_equal(after["b"], before["b"])
    for name in ("a", "c"):
        np.testing.assert_allclose(after[name], before[name] * 0.95, rtol=1e-6)


@pytest.mark.parametrize("optimizer", [
    SGD(0.1, momentum=0.5, nesterov=True), Adam(0.1, beta_1=0.8, global_clipnorm=2.0), AdamW(weight_decay=0.3, clipvalue=1.0),
    *(rule[0] for rule in RULES),
    Adam(schedules.Warmup(schedules.CosineDecay(0.1, 50), 10), use_ema=True, ema_momentum=0.9, clipnorm=1.0,
         gradient_accumulation_steps=4, exclude_from_weight_decay=["*bias"], learning_rate_multipliers={"a": 0.1})])
def test_config_makes_an_equal_optimizer(optimizer):
    config = json.loads(json.dumps(optimizer.get_config()))
    again = type(optimizer)(**config)
    assert again.get_config() == optimizer.get_config()
    assert [again.rate(step) for step in (1, 7, 40)] == [optimizer.rate(step) for step in (1, 7, 40)]


def test_get():
    adamw = AdamW()
    assert get(adamw) is adamw
    names = ("sgd", "adam", "AdamW", "rmsprop", "nadam", "Lamb", "muon", "lion", "adagrad", "adadelta", "adamax")
    assert [type(get(name)).__name__.lower() for name in names] == [name.lower() for name in names]
    with pytest.raises(UsageError, match="an optimizer that is not there"):
        get("newton")


def test_a_schedule_gives_the_rate():
    optimizer = SGD(schedules.StepDecay(1.0, 2, 0.5))
    assert [optimizer.rate(step) for step in (1, 2, 3, 5)] == [1.0, 1.0, 0.5, 0.25]
    assert optimizer.learning_rate == 0.25
    optimizer.learning_rate = 0.1
    assert optimizer.schedule is None and optimizer.rate(9) == 0.1


@pytest.mark.parametrize("make, message", [
    (lambda: SGD(-1.0), "learning_rate"), (lambda: SGD(momentum=1.0), "momentum"), (lambda: SGD(nesterov=True), "momentum"),
    (lambda: Adam(beta_1=1.0), "beta_1"), (lambda: Adam(beta_2=-0.1), "beta_2"), (lambda: Adam(epsilon=0.0), "epsilon"),
    (lambda: AdamW(weight_decay=-1.0), "weight_decay"), (lambda: SGD(global_clipnorm=0.0), "global_clipnorm"),
    (lambda: SGD(clipnorm=1.0, clipvalue=1.0), "one way"), (lambda: SGD(clipvalue=-1.0), "clipvalue"),
    (lambda: SGD(ema_momentum=1.5), "ema_momentum"), (lambda: SGD(gradient_accumulation_steps=0), "accumulation"),
    (lambda: SGD(gradient_accumulation_steps=1.5), "accumulation"), (lambda: Muon(ns_steps=0), "ns_steps"),
    (lambda: SGD(learning_rate_multipliers={"a": -1.0}), "multiplier"), (lambda: Lamb(beta_2=1.0), "beta_2"),
    (lambda: Lion(beta_1=-0.1), "beta_1"), (lambda: RMSprop(rho=1.0), "rho"), (lambda: Adadelta(epsilon=0.0), "epsilon"),
    (lambda: Adagrad(initial_accumulator_value=-1.0), "initial"), (lambda: Nadam(momentum_decay=-1.0), "momentum_decay"),
    (lambda: Adamax(beta_2=2.0), "beta_2"), (lambda: Muon(rms_rate=0.0), "rms_rate"),
    (lambda: SGD({"class_name": "CosineDecay", "config": {}}), "CosineDecay"), (lambda: SGD({}), "schedule")])
def test_settings_out_of_range(make, message):
    with pytest.raises(UsageError, match=message):
        make()
