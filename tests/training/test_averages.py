"""Averages of weights: what is evaluated, saved, resumed and trained on."""
from __future__ import annotations

import numpy as np
import pytest

import dlcore as dl
from dlcore.callbacks import Callback, EarlyStopping
from dlcore.layers import Dense, Input
from dlcore.optim import SGD, Adam
from dlcore.training.state import TrainingState

RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((64, 6)).astype(np.float32), RNG.standard_normal((64, 2)).astype(np.float32)


def model(**options):
    made = dl.Sequential([Input((6,)), Dense(9, activation="tanh"), Dense(2)], seed=3)
    made.compile(Adam(0.05, **options), "mse")
    return made


class Steps(Callback):
    """The weights after each step."""

    def __init__(self):
        self.weights = []

    def on_train_batch_end(self, batch, logs=None):
        self.weights.append(self.model.get_weights())


def averaged(steps, momentum):
    found = [w.astype(np.float64) for w in steps[0]]
    for weights in steps[1:]:
        found = [momentum * a + (1 - momentum) * w for a, w in zip(found, weights, strict=True)]
    return found


def equal(a, b):
    return all(np.array_equal(v, w) for v, w in zip(a, b, strict=True))


def test_the_averages_are_used_and_the_weights_trained_on():
    ours, plain, steps = model(use_ema=True, ema_momentum=0.8), model(), Steps()
    history = ours.fit(X, Y, batch_size=8, epochs=3, callbacks=[steps], verbose=0, validation_data=(X, Y))
    trained = Steps()
    plain.fit(X, Y, batch_size=8, epochs=3, callbacks=[trained], verbose=0)
    assert all(equal(a, b) for a, b in zip(steps.weights, trained.weights, strict=True))
    for w, a in zip(ours.get_weights(), averaged(steps.weights, 0.8), strict=True):
        np.testing.assert_allclose(w, a, atol=1e-6)
    assert ours.evaluate(X, Y) == pytest.approx(history.history["val_loss"][-1], rel=1e-6)
    ours.fit(X, Y, batch_size=8, epochs=1, verbose=0)           # goes on as if nothing had been evaluated
    plain.fit(X, Y, batch_size=8, epochs=1, verbose=0)
    ours.averages.use(False)
    assert equal(ours.get_weights(), plain.get_weights())


def test_saved_with_the_averages_and_goes_on(tmp_path):
    whole, parts = model(use_ema=True), model(use_ema=True)
    whole.fit(X, Y, batch_size=8, epochs=2, verbose=0)
    parts.fit(X, Y, batch_size=8, epochs=1, verbose=0)
    parts.save(tmp_path / "m.dlc")
    again = dl.Model.load(tmp_path / "m.dlc")
    assert equal(again.get_weights(), parts.get_weights()) and again.evaluate(X, Y) == parts.evaluate(X, Y)
    again.fit(X, Y, batch_size=8, epochs=1, verbose=0)
    assert equal(again.get_weights(), whole.get_weights())


def test_state_is_exported_and_restored():
    whole, first, second = (model(use_ema=True, ema_momentum=0.7) for _ in range(3))
    whole.fit(X, Y, batch_size=8, epochs=2, verbose=0)
    first.fit(X, Y, batch_size=8, epochs=1, verbose=0)
    second.fit(X, Y, batch_size=8, epochs=0, verbose=0)
    second.state = TrainingState.restore(second, *first.state.export(first))
    second.fit(X, Y, batch_size=8, epochs=1, verbose=0)
    assert equal(second.get_weights(), whole.get_weights())


def test_train_on_batch_evaluate_predict():
    ours, plain = model(use_ema=True), model()
    for _ in range(3):
        ours.train_on_batch(X, Y)
        plain.train_on_batch(X, Y)
        out = ours.predict_on_batch(X)
        assert np.array_equal(out, ours.predict(X)) and not np.array_equal(out, plain.predict(X)) or ours.state.step == 1
    ours.averages.use(False)
    assert equal(ours.get_weights(), plain.get_weights())


def test_weights_that_are_set_are_what_is_used():
    ours = model(use_ema=True)
    ours.fit(X, Y, batch_size=8, epochs=1, verbose=0)
    given = [w + 1 for w in ours.get_weights()]
    ours.set_weights(given)
    assert equal(ours.get_weights(), given)
    ours.averages.use(False)
    assert equal(ours.get_weights(), given)


def test_best_weights_are_averages():
    stopping, ours = EarlyStopping(patience=1), model(use_ema=True)
    history = ours.fit(X, Y, batch_size=8, epochs=4, callbacks=[stopping], validation_data=(X[:9], Y[:9]), verbose=0)
    assert ours.evaluate(X[:9], Y[:9]) == pytest.approx(min(history.history["val_loss"]), rel=1e-6)


def test_overwriting_and_groups():
    made = dl.Sequential([Input((6,)), Dense(9), Dense(2)], seed=3)
    made.compile(SGD(0.1, use_ema=True, weight_decay=0.1, exclude_from_weight_decay=["*/bias"], ema_overwrite_frequency=8), "mse")
    made.fit(X, Y, batch_size=8, epochs=1, verbose=0)
    averages = made.get_weights()
    made.averages.use(False)
    assert equal(made.get_weights(), averages)          # step 8 was the last: both are the same now
