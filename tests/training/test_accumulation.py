"""Gradient accumulation: micro-batches before an update are the whole batch, also with dropout, weights, a rest."""
from __future__ import annotations

import numpy as np
import pytest

import dlcore as dl
from dlcore.errors import DivergedError
from dlcore.layers import Dense, Dropout, Input
from dlcore.optim import SGD, Adam

RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((70, 6)).astype(np.float32), RNG.standard_normal((70, 2)).astype(np.float32)
WEIGHT = RNG.random(70).astype(np.float32)


def model(optimizer, dropout=0.0, **options):
    made = dl.Sequential([Input((6,)), Dense(9, activation="tanh", kernel_regularizer="l2"), Dropout(dropout), Dense(2)], seed=3)
    made.compile(optimizer, "mse", metrics=["mae"], **options)
    return made


def close(a, b, atol=2e-6):
    for v, w in zip(a.get_weights(), b.get_weights(), strict=True):
        np.testing.assert_allclose(v, w, rtol=0, atol=atol)


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("weight", [None, WEIGHT])
@pytest.mark.parametrize("clip", [{}, {"global_clipnorm": 0.1}])
def test_fit_equals_the_big_batch(dropout, weight, clip):
    big, small = model(Adam(0.01, **clip), dropout), model(Adam(0.01, gradient_accumulation_steps=4, **clip), dropout)
    one = big.fit(X, Y, batch_size=32, epochs=3, verbose=0, sample_weight=weight)
    two = small.fit(X, Y, batch_size=8, epochs=3, verbose=0, sample_weight=weight)
    assert big.state.step == small.state.step == 9
    close(big, small)
    for name, values in one.history.items():
        np.testing.assert_allclose(two.history[name], values, rtol=1e-5)


def test_batches_of_the_users_own():
    big, small = model(SGD(0.1)), model(SGD(0.1, gradient_accumulation_steps=3))
    cuts = [0, 10, 25, 31, 50, 70]
    batches = [(X[a:b], Y[a:b]) for a, b in zip(cuts, cuts[1:], strict=False)]
    small.fit(batches, epochs=2, verbose=0)
    big.fit([(X[:31], Y[:31]), (X[31:], Y[31:])], epochs=2, verbose=0)
    assert small.state.step == 4
    close(big, small)


def test_train_on_batch_and_mapped_data(tmp_path):
    big, small = model(SGD(0.1)), model(SGD(0.1, gradient_accumulation_steps=3))
    for _ in range(3):
        a, b = big.train_on_batch(X[:32], Y[:32]), small.train_on_batch(X[:32], Y[:32])
        np.testing.assert_allclose(a, b, rtol=1e-5)
    np.save(tmp_path / "x.npy", X)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    big.fit(mapped, Y, batch_size=30, epochs=2, verbose=0)
    small.fit(mapped, Y, batch_size=10, epochs=2, verbose=0)
    close(big, small)


def test_bits_do_not_depend_on_threads():
    found = []
    for threads in (1, 2, 3):
        dl.runtime.set_threads(threads)
        try:
            made = model(Adam(0.01, gradient_accumulation_steps=4), 0.2)
            made.fit(X, Y, batch_size=8, epochs=2, verbose=0)
        finally:
            dl.runtime.set_threads(None)
        found.append([w.tobytes() for w in made.get_weights()])
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("row", [1, 20, 31])
def test_a_bad_micro_batch_changes_nothing(row):
    made = model(Adam(0.01, gradient_accumulation_steps=4))
    made.train_on_batch(X[:32], Y[:32])
    before, bad = made.get_weights(), Y[:32].copy()
    bad[row] = 3e38
    with pytest.raises(DivergedError):
        made.train_on_batch(X[:32], bad)
    assert all(np.array_equal(a, b) for a, b in zip(before, made.get_weights(), strict=True))
    assert made.state.step == 1
    made.train_on_batch(X[:32], Y[:32])
    assert made.state.step == 2
