"""Callbacks of the learning rate: as in Keras, PyTorch's steps, resumed to the same bits; the finder; schedules in fit."""
from __future__ import annotations

import csv
import math

import numpy as np
import pytest
from optim import trajectories as t

import dlcore as dl
from dlcore.callbacks import BackupAndRestore, Callback, LearningRateFinder, LearningRateScheduler, ReduceLROnPlateau
from dlcore.errors import UsageError
from dlcore.layers import Dense, Input
from dlcore.optim import SGD, Adam, schedules

FIXED = np.load(t.FIXTURES / "torch.npz")
RNG = np.random.default_rng(0)
X = RNG.standard_normal((64, 6)).astype(np.float32)
Y = (X @ RNG.standard_normal((6, 2))).astype(np.float32)


def model(optimizer=None):
    made = dl.Sequential([Input((6,)), Dense(9, activation="tanh"), Dense(2)], seed=3)
    made.compile(optimizer or SGD(0.1), "mse")
    return made


class Rates(Callback):
    """The rate of every step."""

    def __init__(self):
        self.rates = []

    def on_train_batch_end(self, batch, logs=None):
        self.rates.append(self.model.optimizer.learning_rate)


@pytest.mark.parametrize("key", t.PLATEAUS)
@pytest.mark.parametrize("cut", [None, 37])
def test_plateau_equals_torch(key, cut):
    ours, _ = t.PLATEAUS[key]
    made, found = model(), []
    callback = ReduceLROnPlateau("m", **ours)
    callback.set_model(made)
    callback.set_params({})
    callback.on_train_begin()
    for epoch, value in enumerate(t.metric()):
        if epoch == cut:                # another takes over where the first stopped
            state = callback.get_state()
            callback = ReduceLROnPlateau("m", **ours)
            callback.set_model(made)
            callback.set_params({})
            callback.on_train_begin()
            callback.set_state(state)
        logs = {"m": float(value)}
        before = made.optimizer.learning_rate
        callback.on_epoch_end(epoch, logs)
        assert logs["learning_rate"] == before
        found.append(made.optimizer.learning_rate)
    np.testing.assert_allclose(found, FIXED[f"plateau/{key}"], rtol=1e-9)


def test_scheduler_as_in_keras(capsys):
    made, rates = model(), Rates()
    made.fit(X, Y, batch_size=32, epochs=3, verbose=0,
             callbacks=[LearningRateScheduler(lambda epoch, lr: lr if epoch < 1 else lr / 2, verbose=1), rates])
    assert rates.rates == [0.1, 0.1, 0.05, 0.05, 0.025, 0.025]
    assert "learning rate 0.05" in capsys.readouterr().err


def test_a_schedule_in_fit_goes_on_where_it_stopped(tmp_path):
    rates, steps = Rates(), 12
    made = model(Adam(schedules.Warmup(schedules.CosineDecay(0.1, steps), 4)))
    made.fit(X, Y, batch_size=16, epochs=3, verbose=0, callbacks=[rates])
    expected = schedules.Warmup(schedules.CosineDecay(0.1, steps), 4)
    assert rates.rates == [expected(n) for n in range(12)]
    made.save(tmp_path / "m.dlc")
    again = dl.Model.load(tmp_path / "m.dlc")
    more = Rates()
    again.fit(X, Y, batch_size=16, epochs=1, verbose=0, callbacks=[more])
    assert more.rates == [expected(n) for n in range(12, 16)]


class Stop(Callback):
    """Stops at a step, as an interruption does."""

    def __init__(self, step):
        self.step = step

    def on_train_batch_end(self, batch, logs=None):
        if self.model.state.step == self.step:
            self.session.interrupt()


@pytest.mark.parametrize("make", [
    lambda: (Adam(schedules.CosineDecay(0.1, 16), use_ema=True), []),
    lambda: (SGD(0.3, gradient_accumulation_steps=2, use_ema=True), [ReduceLROnPlateau("loss", 0.5, patience=0, min_delta=10)]),
    lambda: (SGD(0.3, momentum=0.9), [LearningRateScheduler(lambda epoch, lr: lr * 0.9)])])
@pytest.mark.parametrize("step", [1, 4, 7])
def test_resumes_to_the_same_bits(make, step, tmp_path):
    def fit(*callbacks):
        optimizer, own = make()
        made = model(optimizer)
        made.fit(X, Y, batch_size=8 if optimizer.gradient_accumulation_steps else 16, epochs=4, verbose=0, validation_data=(X, Y),
                 callbacks=[*own, BackupAndRestore(tmp_path / "backup"), *callbacks])
        return made
    optimizer, own = make()
    whole = model(optimizer)
    whole.fit(X, Y, batch_size=8 if optimizer.gradient_accumulation_steps else 16, epochs=4, verbose=0, validation_data=(X, Y),
              callbacks=own)
    stopped = fit(Stop(step))
    assert stopped.state.step == step
    resumed = fit()
    assert resumed.state.step == whole.state.step == 16
    assert all(np.array_equal(a, b) for a, b in zip(resumed.get_weights(), whole.get_weights(), strict=True))
    assert resumed.optimizer.learning_rate == whole.optimizer.learning_rate


def test_errors():
    with pytest.raises(UsageError, match="follows a schedule"):
        model(SGD(schedules.CosineDecay(0.1, 9))).fit(X, Y, verbose=0, callbacks=[LearningRateScheduler(lambda e, lr: lr)])
    with pytest.raises(UsageError, match="must return a number"):
        model().fit(X, Y, verbose=0, callbacks=[LearningRateScheduler(lambda e, lr: None)])
    with pytest.raises(UsageError, match="no validation data"):
        model().fit(X, Y, verbose=0, callbacks=[ReduceLROnPlateau()])
    with pytest.raises(UsageError, match="factor"):
        ReduceLROnPlateau(factor=1.0)
    with pytest.raises(UsageError, match="patience"):
        ReduceLROnPlateau(patience=-1)
    with pytest.raises(UsageError, match="rates that grow"):
        LearningRateFinder(1.0, 0.1)


@pytest.mark.parametrize("optimizer", [lambda: SGD(0.1), lambda: Adam(schedules.CosineDecay(0.1, 50), use_ema=True)])
def test_finder_suggests_and_leaves_no_trace(optimizer, tmp_path):
    made, plain = model(optimizer()), model(optimizer())
    for m in (made, plain):
        m.fit(X, Y, batch_size=16, epochs=1, verbose=0)
    finder = made.find_learning_rate(X, Y, batch_size=16, min_lr=1e-5, max_lr=100.0, steps=80)
    assert 1e-4 < finder.suggestion < 3 and len(finder.rates) == len(finder.losses) <= 80
    assert finder.rates[0] == pytest.approx(1e-5) and all(b > a for a, b in zip(finder.rates, finder.rates[1:], strict=False))
    finder.to_csv(tmp_path / "rates.csv")
    with open(tmp_path / "rates.csv") as file:
        rows = list(csv.DictReader(file))
    assert [float(r["learning_rate"]) for r in rows] == finder.rates and math.isfinite(float(rows[0]["loss"]))
    for m in (made, plain):
        m.fit(X, Y, batch_size=16, epochs=1, verbose=0)
    assert all(np.array_equal(a, b) for a, b in zip(made.get_weights(), plain.get_weights(), strict=True))
    assert made.optimizer.learning_rate == plain.optimizer.learning_rate


def test_finder_on_a_fresh_model_leaves_no_state():
    made, plain = model(Adam(0.01)), model(Adam(0.01))
    made.find_learning_rate(X, Y, steps=20)
    for m in (made, plain):
        m.fit(X, Y, epochs=2, verbose=0)
    assert all(np.array_equal(a, b) for a, b in zip(made.get_weights(), plain.get_weights(), strict=True))
