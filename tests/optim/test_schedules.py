"""Schedules that PyTorch has not, those of the command line, and what bad arguments get.  The others: test_trajectories.py."""
from __future__ import annotations

import json
import math

import pytest

from dlcore.errors import UsageError
from dlcore.optim import schedules as s


def test_cosine_with_warmup_as_in_keras():
    schedule = s.CosineDecay(0.0, decay_steps=100, alpha=0.1, warmup_target=1.0, warmup_steps=10)
    assert [schedule(n) for n in (0, 5, 10)] == [0.0, 0.5, 1.0]
    assert schedule(60) == pytest.approx(0.55)
    assert schedule(110) == schedule(1000) == pytest.approx(0.1)


def test_restarts_grow_and_shrink():
    schedule = s.CosineDecayRestarts(1.0, first_decay_steps=10, t_mul=2.0, m_mul=0.5)
    assert [schedule(n) for n in (0, 10, 30)] == pytest.approx([1.0, 0.5, 0.25])
    assert schedule(5) == pytest.approx(0.5) and schedule(20) == pytest.approx(0.25)
    equal = s.CosineDecayRestarts(1.0, 10, t_mul=1.0, m_mul=0.5)
    assert [equal(n) for n in (0, 10, 20, 70)] == pytest.approx([1.0, 0.5, 0.25, 0.5**7])


def test_polynomial_cycles():
    schedule = s.PolynomialDecay(1.0, 10, end_learning_rate=0.1, power=1.0, cycle=True)
    assert [schedule(n) for n in (0, 10, 15, 20)] == pytest.approx([1.0, 0.1, 0.325, 0.1])


def test_inverse_square_root():
    schedule = s.InverseSquareRootDecay(2.0, warmup_steps=4)
    assert [schedule(n) for n in (0, 1, 3, 15)] == pytest.approx([0.5, 1.0, 2.0, 1.0])


def test_inverse_time_and_staircases():
    assert s.InverseTimeDecay(1.0, 10, 0.5)(20) == 0.5
    assert s.InverseTimeDecay(1.0, 10, 1.0, staircase=True)(19) == 0.5
    assert s.ExponentialDecay(1.0, 10, 0.5, staircase=True)(19) == 0.5
    assert s.ExponentialDecay(1.0, 10, 0.25)(5) == 0.5


def test_piecewise_constant():
    schedule = s.PiecewiseConstantDecay([3, 5], [1.0, 0.5, 0.1])
    assert [schedule(n) for n in range(7)] == [1.0, 1.0, 1.0, 1.0, 0.5, 0.5, 0.1]


@pytest.mark.parametrize("name", s.NAMES)
@pytest.mark.parametrize("warmup", [0, 0.1, 7])
def test_named_schedules(name, warmup):
    schedule = s.named(name, 0.1, 90, steps_per_epoch=10, warmup=warmup, end=0.01)
    rates = [schedule(n) for n in range(90)]
    assert all(0 <= r <= 0.1 + 1e-12 for r in rates) and max(rates) == pytest.approx(0.1, rel=0.01)
    if warmup and name != "one-cycle":
        assert rates[0] < 0.02 and max(rates[:10]) == pytest.approx(0.1, rel=0.01)
    config = json.loads(json.dumps(schedule.serialise()))
    again = s.get(config)
    assert again == schedule and [again(n) for n in range(90)] == rates


def test_named_ends():
    assert s.named("linear", 1.0, 100)(100) == 0 and s.named("cosine", 1.0, 100, end=0.2)(100) == pytest.approx(0.2)
    assert s.named("multi-step", 1.0, 100, steps_per_epoch=10, milestones=[2, 4], gamma=0.5)(40) == 0.25
    assert s.named("step", 1.0, 100, steps_per_epoch=10, milestones=[2], gamma=0.5)(40) == 0.25
    assert s.named("exponential", 1.0, 100, steps_per_epoch=10, gamma=0.5)(20) == pytest.approx(0.25)
    assert math.isclose(s.named("cosine-restarts", 1.0, 100, cycles=4)(25), 1.0)


class Own(s.Schedule):
    def rate(self, step):
        return 1.0 / (step + 1)


def test_one_of_the_users_own():
    own = Own()
    assert s.get(own) is own and own(1) == 0.5
    with pytest.raises(UsageError, match="own"):
        own.serialise()


@pytest.mark.parametrize("make, message", [
    (lambda: s.StepDecay(0.1, 0), "step_size"), (lambda: s.StepDecay(-1.0, 3), "initial_learning_rate"),
    (lambda: s.CosineDecay(0.1, 2.5), "decay_steps"), (lambda: s.CosineDecay(math.nan, 2), "initial_learning_rate"),
    (lambda: s.PiecewiseConstantDecay([3, 2], [1, 2, 3]), "ascend"), (lambda: s.PiecewiseConstantDecay([3], [1]), "more than"),
    (lambda: s.OneCycle(0.1, 10, pct_start=1.0), "OneCycle"), (lambda: s.OneCycle(0.1, 10, anneal_strategy="sin"), "OneCycle"),
    (lambda: s.CosineDecayRestarts(0.1, 10, t_mul=0.5), "t_mul"), (lambda: s.Warmup("cosine", 3), "not there"),
    (lambda: s.named("cosinus", 0.1, 3), "not there"), (lambda: s.get(True), "not there"),
    (lambda: s.Constant("fast"), "learning_rate"), (lambda: s.get({"class_name": "Constant"}), "cannot be made")])
def test_bad_arguments(make, message):
    with pytest.raises(UsageError, match=message):
        make()
