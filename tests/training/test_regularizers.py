"""Penalties of weights and activations: losses and gradients by their formulas, names, files, errors."""
from __future__ import annotations

import numpy as np
import pytest

import dlcore as dl
from dlcore.errors import UsageError
from dlcore.layers import LSTM, Dense, Input
from dlcore.layers.regularizers import L1, L1L2, L2, get, serialise
from dlcore.optim import SGD

RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((12, 5)).astype(np.float32), RNG.standard_normal((12, 3)).astype(np.float32)


def model(optimizer=None, **options):
    made = dl.Sequential([Input((5,)), Dense(3, name="d", **options)])
    made.compile(optimizer or SGD(1.0), "mse")
    return made


def penalty(w, l1, l2):
    return l1 * np.abs(w).sum() + l2 * (w.astype(np.float64)**2).sum()


def test_weights_are_penalised():
    plain, ours = model(), model(kernel_regularizer=L1L2(0.01, 0.02), bias_regularizer="l2")
    bias = np.array([0.5, -1.0, 2.0], np.float32)
    w = plain.get_weights()[0]
    for m in (plain, ours):
        m.set_weights([w, bias])
    cost = penalty(w, 0.01, 0.02) + penalty(bias, 0, 0.01)
    assert ours.evaluate(X, Y) == pytest.approx(plain.evaluate(X, Y) + cost, rel=1e-5)
    assert ours.train_on_batch(X, Y) == pytest.approx(plain.train_on_batch(X, Y) + cost, rel=1e-5)
    (w1, b1), (w2, b2) = plain.get_weights(), ours.get_weights()
    np.testing.assert_allclose(w2, w1 - (0.01 * np.sign(w) + 0.04 * w), atol=1e-6)
    np.testing.assert_allclose(b2, b1 - 0.02 * bias, atol=1e-6)


@pytest.mark.parametrize("weighted", [False, True])
def test_activations_are_penalised(weighted):
    ours = model(activity_regularizer=L1L2(0.1, 0.05))
    w, b = (a.astype(np.float64) for a in ours.get_weights())
    weight = np.linspace(0, 2, 12).astype(np.float32) if weighted else np.ones(12, np.float32)
    out = X @ w + b
    loss = (weight * ((out - Y)**2).mean(axis=1)).mean() + (0.1 * np.abs(out) + 0.05 * out**2).sum() / 12
    assert ours.train_on_batch(X, Y, sample_weight=weight if weighted else None) == pytest.approx(loss, rel=1e-5)
    dout = weight[:, None] * 2 * (out - Y) / 3 / 12 + (0.1 * np.sign(out) + 0.1 * out) / 12
    np.testing.assert_allclose(ours.get_weights()[0], w - X.T @ dout, atol=1e-5)


def test_frozen_weights_have_no_penalty():
    made = dl.Sequential([Input((5,)), Dense(4, kernel_regularizer=L2(1.0), trainable=False), Dense(3)])
    made.compile(SGD(0.1), "mse")
    plain = dl.Sequential([Input((5,)), Dense(4, trainable=False), Dense(3)])
    plain.compile(SGD(0.1), "mse")
    assert made.evaluate(X, Y) == plain.evaluate(X, Y)


def test_all_weights_of_a_layer_have_a_name_for_it():
    made = dl.Sequential([Input((4, 5)), LSTM(3, kernel_regularizer="l1", recurrent_regularizer=L2(0.3))])
    made.compile(SGD(1e-9), "mse")
    by_name = {v.name: v.regularizer for v in made.variables}
    assert type(by_name["kernel"]) is L1 and by_name["recurrent_kernel"].l2 == 0.3 and by_name["bias"] is None
    x = RNG.standard_normal((6, 4, 5)).astype(np.float32)
    assert len(made.get_weights()) == 3
    w = {v.name: v.numpy() for v in made.variables}
    plain = ((made.predict(x) - Y[:6])**2).mean()
    assert made.evaluate(x, Y[:6]) == pytest.approx(plain + penalty(w["kernel"], 0.01, 0) + penalty(w["recurrent_kernel"], 0, 0.3),
                                                    rel=1e-5)


def test_saved_and_loaded(tmp_path):
    made = model(kernel_regularizer=L1(0.3), activity_regularizer="l1_l2")
    made.fit(X, Y, verbose=0)
    made.save(tmp_path / "m.dlc")
    again = dl.Model.load(tmp_path / "m.dlc")
    assert again.evaluate(X, Y) == made.evaluate(X, Y)
    assert serialise(again.layers[0]._regularizers["kernel"]) == {"name": "l1", "l1": 0.3}


def test_errors():
    with pytest.raises(UsageError, match="unknown regulariser"):
        get("l3")
    with pytest.raises(UsageError, match="l2 is out of its range"):
        L2(-1.0)
    with pytest.raises(UsageError, match="no weight called 'gamma'"):
        model(gamma_regularizer="l2")
    with pytest.raises(TypeError, match="unexpected keyword argument 'kernel_initialiser'"):
        Dense(3, kernel_initialiser="zeros")
