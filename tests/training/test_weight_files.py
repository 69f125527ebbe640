"""save_weights, load_weights, freeze."""
from __future__ import annotations

import numpy as np
import pytest

import dlcore as dl
from dlcore.errors import ModelFileError, UsageError
from dlcore.layers import Dense, Input
from dlcore.optim import SGD

X, Y = np.ones((4, 6), np.float32), np.ones((4, 2), np.float32)


def model(units=9, seed=0, outputs=2):
    made = dl.Sequential([Input((6,)), Dense(units, name="body"), Dense(outputs, name="head")], seed=seed)
    made.compile(SGD(0.1), "mse")
    return made


def equal(a, b):
    return all(np.array_equal(v, w) for v, w in zip(a.get_weights(), b.get_weights(), strict=True))


@pytest.mark.parametrize("name", ["w.safetensors", "m.dlc"])
def test_round_trip(tmp_path, name):
    one, other = model(), model(seed=1)
    one.save_weights(tmp_path / name) if name.startswith("w") else one.save(tmp_path / name)
    assert not equal(one, other)
    assert other.load_weights(tmp_path / name) == ["body/kernel", "body/bias", "head/kernel", "head/bias"]
    assert equal(one, other)
    assert [p.name for p in tmp_path.iterdir()] == [name]
    from safetensors.numpy import load_file
    if name.startswith("w"):
        assert load_file(tmp_path / name)["body/kernel"].shape == (6, 9)


def test_only_what_fits(tmp_path):
    one, other = model(), model(seed=1, outputs=3)
    one.save_weights(tmp_path / "w.safetensors")
    before = other.get_weights()
    with pytest.raises(ModelFileError, match="head/bias") as caught:
        other.load_weights(tmp_path / "w.safetensors")
    assert "skip_mismatch" in str(caught.value)
    assert all(np.array_equal(v, w) for v, w in zip(before, other.get_weights(), strict=True))
    assert other.load_weights(tmp_path / "w.safetensors", skip_mismatch=True) == ["body/kernel", "body/bias"]
    assert np.array_equal(other.get_weights()[0], one.get_weights()[0])
    assert np.array_equal(other.get_weights()[2], before[2])


def test_what_cannot_be_read(tmp_path):
    with pytest.raises(ModelFileError, match="no such model file"):
        model().load_weights(tmp_path / "none.safetensors")
    (tmp_path / "bad.safetensors").write_bytes(b"\xff" * 64)
    with pytest.raises(ModelFileError):
        model().load_weights(tmp_path / "bad.safetensors")
    with pytest.raises(UsageError, match="without shapes"):
        dl.Sequential([Dense(3)]).load_weights(tmp_path / "bad.safetensors")


def test_a_run_folder_gives_its_models_weights(tmp_path):
    one, other = model(), model(seed=1)
    (tmp_path / "run").mkdir()
    one.save(tmp_path / "run" / "model.dlc")
    (tmp_path / "run" / "config.toml").write_text("")
    assert len(other.load_weights(tmp_path / "run")) == 4 and equal(one, other)


def test_freeze():
    made = dl.Sequential([Input((6,)), Dense(9, name="body_1"), Dense(9, name="body_2"), Dense(2, name="head")])
    assert made.freeze("body_*") == ["body_1", "body_2"]
    made.compile(SGD(0.1), "mse")
    before = made.get_weights()
    made.fit(X, Y, epochs=2, verbose=0)
    same = [np.array_equal(v, w) for v, w in zip(before, made.get_weights(), strict=True)]
    assert same == [True, True, True, True, False, False]
    with pytest.raises(UsageError, match="no layer to freeze matches"):
        made.freeze("tail*")
