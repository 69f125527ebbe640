"""The state of every optimizer goes to a checkpoint and to a model file and back, and training goes on to the same bits."""
from __future__ import annotations

import numpy as np
import pytest

import dlcore as dl
from dlcore import optim
from dlcore.layers import Dense, Input
from dlcore.training.state import TrainingState

RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((48, 6)).astype(np.float32), RNG.standard_normal((48, 2)).astype(np.float32)
NAMES = [name for names in optim.ROOMS.values() for name in names]
MORE = {"SGD": {"momentum": 0.9}, "RMSprop": {"momentum": 0.5, "centered": True}, "Adam": {"amsgrad": True}}


def model(name):
    made = dl.Sequential([Input((6,)), Dense(9, activation="tanh"), Dense(2)], seed=3)
    made.compile(getattr(optim, name)(learning_rate=0.01, weight_decay=0.01, clipnorm=1.0, **MORE.get(name, {})), "mse")
    return made


def equal(a, b):
    return all(np.array_equal(v, w) for v, w in zip(a.get_weights(), b.get_weights(), strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_goes_on_from_a_checkpoint_and_from_a_file(name, tmp_path):
    whole, first, second = (model(name) for _ in range(3))
    whole.fit(X, Y, batch_size=16, epochs=3, verbose=0)
    first.fit(X, Y, batch_size=16, epochs=1, verbose=0)
    arrays, numbers = first.state.export(first)
    assert any(n.startswith("state/") and np.any(a) for n, a in arrays.items())
    first.save(tmp_path / "m.dlc")
    second.state = TrainingState.restore(second, arrays, numbers)
    loaded = dl.Model.load(tmp_path / "m.dlc")
    for made in (second, loaded):
        made.fit(X, Y, batch_size=16, epochs=2, verbose=0)
        assert equal(made, whole)
