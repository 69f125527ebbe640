"""Checkpoints: whole or not there, refused when damaged; a training that resumes from one ends in the same bits."""
import errno
import math
import os

import numpy as np
import pytest

import dlcore as dl
from dlcore.callbacks import BackupAndRestore, Callback, CSVLogger, EarlyStopping
from dlcore.errors import ModelFileError, UsageError, WriteError
from dlcore.layers import Dense, Dropout
from dlcore.runtime import set_threads
from dlcore.training import checkpoint
from dlcore.training.checkpoint import Snapshot


def data(rows=70, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((rows, 4)).astype(np.float32), rng.integers(0, 3, rows)


def make(lr=0.01):
    model = dl.Sequential([Dense(8, activation="relu", input_shape=(4,)), Dropout(0.3), Dense(3, activation="softmax")])
    model.compile(dl.Adam(lr), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def bits(model):
    return b"".join(w.tobytes() for w in model.get_weights())


class Falling(Callback):
    """A learning rate that falls with every step, by a counter of its own."""

    def on_train_begin(self, logs=None):
        self.count = 0

    def on_train_batch_begin(self, batch, logs=None):
        self.count += 1
        self.model.optimizer.learning_rate = 0.02 / self.count

    def get_state(self):
        return {"count": self.count, "some": np.arange(3), "others": [math.inf, {"a": math.nan}]}

    def set_state(self, state):
        assert state["some"].tolist() == [0, 1, 2] and state["others"][0] == math.inf
        self.count = state["count"]


class Cut(Callback):
    """Interrupts the training after a step."""

    def __init__(self, step):
        self.step = step

    def on_train_batch_end(self, batch, logs=None):
        if self.model.state.step == self.step:
            self.session.interrupt()


def train(folder, cut=None, epochs=6, **options):
    """5 steps an epoch; stops early in epoch 5 or so.  Returns (model, history, early, log)."""
    x, y = data()
    model, early = make(), EarlyStopping(patience=2)
    callbacks = [Falling(), early, CSVLogger(folder / "log.csv"), BackupAndRestore(folder / "ckpt", **options)]
    history = model.fit(x, y, batch_size=16, epochs=epochs, seed=3, verbose=0, validation_data=data(30, 1),
                        callbacks=callbacks + ([Cut(cut)] if cut else []))
    log = folder / "log.csv"
    return model, history, early, log.read_text() if log.exists() else ""


def test_a_checkpoint_is_read_as_it_was_written(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {"a/b": rng.standard_normal((3, 5)).astype(np.float32), "scalar": np.array(7), "empty": np.zeros((0, 2)),
              "large": rng.integers(0, 255, (checkpoint._LARGE // 8, 9), dtype=np.uint8)}
    numbers = {"x": [1, 2.5, math.inf, -math.inf], "text": 'a "sha256":"b', "none": None, "deep": {"y": True}}
    size = checkpoint.write(tmp_path / "c", Snapshot(arrays, {**numbers, "nan": math.nan}))
    found = checkpoint.read(tmp_path / "c")
    assert size == (tmp_path / "c").stat().st_size and os.listdir(tmp_path) == ["c"]
    assert math.isnan(found.numbers.pop("nan")) and found.numbers == numbers
    assert all(np.array_equal(found.arrays[n], a) and found.arrays[n].dtype == a.dtype for n, a in arrays.items())


def test_other_readers_know_the_format(tmp_path):
    from safetensors.numpy import load_file
    checkpoint.write(tmp_path / "c", Snapshot({"a": np.arange(6.0).reshape(2, 3)}, {}))
    assert load_file(tmp_path / "c")["a"].tolist() == [[0, 1, 2], [3, 4, 5]]


def test_every_damage_is_noticed(tmp_path):
    path = tmp_path / "c"
    checkpoint.write(path, Snapshot({"a": np.arange(40.0)}, {"step": 3}))
    whole = path.read_bytes()
    for at in range(0, len(whole), 7):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1:])
        with pytest.raises(ModelFileError):
            checkpoint.read(path)
    for length in (0, 5, 100, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(ModelFileError):
            checkpoint.read(path)
    with pytest.raises(ModelFileError, match="cannot be read"):
        checkpoint.read(tmp_path / "nothing")


def test_what_cannot_be_kept_is_refused(tmp_path):
    with pytest.raises(UsageError, match="cannot keep"):
        checkpoint.write(tmp_path / "c", Snapshot({}, {"x": object()}))
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("cut", [1, 4, 5, 8, 13, 17])
@pytest.mark.parametrize("threads", [1, 2])
def test_resuming_gives_the_bits_of_the_whole(tmp_path, cut, threads):
    for name in ("whole", "cut"):
        (tmp_path / name).mkdir()
    whole, history, early, log = train(tmp_path / "whole")
    try:
        set_threads(threads)
        train(tmp_path / "cut", cut)
        set_threads(3 - threads)
        model, resumed, again, text = train(tmp_path / "cut")
    finally:
        set_threads(None)
    assert bits(model) == bits(whole) and model.state == whole.state
    assert resumed.history == history.history and resumed.epoch == history.epoch and text == log
    assert again.describe() == early.describe() and again.best_epoch == early.best_epoch
    assert not os.listdir(tmp_path / "cut" / "ckpt")            # it ended, so they are gone


def test_resuming_a_training_that_was_cut_many_times(tmp_path):
    (tmp_path / "whole").mkdir()
    whole, *_, log = train(tmp_path / "whole")
    for cut in range(1, whole.state.step, 3):
        train(tmp_path, cut)
    model, *_, text = train(tmp_path)
    assert bits(model) == bits(whole) and text == log


def test_a_training_that_ended_stays_as_it_is_and_may_be_given_more(tmp_path):
    model, history, early, log = train(tmp_path, epochs=3, delete_checkpoint=False)
    again, same, *_ = train(tmp_path, epochs=3, delete_checkpoint=False)
    assert bits(again) == bits(model) and same.history == history.history
    more, longer, *_ = train(tmp_path, epochs=4, delete_checkpoint=False)
    (tmp_path / "other").mkdir()
    assert bits(more) == bits(train(tmp_path / "other", epochs=4)[0]) and len(longer.epoch) == 4


def test_checkpoints_of_steps_are_kept(tmp_path):
    class Slow(Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.session.callbacks.named()["BackupAndRestore"].writer.wait()
    x, y = data()
    make().fit(x, y, batch_size=16, epochs=4, verbose=0, callbacks=[
        Slow(), BackupAndRestore(tmp_path, save_freq=3, keep=3, delete_checkpoint=False, best="loss")])
    assert sorted(os.listdir(tmp_path)) == ["best", "last", "step-15", "step-18"]
    steps = {name: checkpoint.read(tmp_path / name).numbers["state"]["step"] for name in os.listdir(tmp_path)}
    assert steps.pop("best") % 5 == 0 and steps == {"last": 20, "step-15": 15, "step-18": 18}


def test_a_damaged_checkpoint_is_passed_over_or_refused(tmp_path):
    whole = train(tmp_path, epochs=4)[0]
    train(tmp_path, 12, epochs=4, keep=2)
    path = tmp_path / "ckpt" / "last"
    data_ = bytearray(path.read_bytes())
    data_[len(data_) // 2] ^= 1
    path.write_bytes(data_)
    assert bits(train(tmp_path, epochs=4)[0]) == bits(whole)        # from the one before
    train(tmp_path, 12, epochs=4)
    path.write_bytes(data_)
    with pytest.raises(ModelFileError, match="damaged"):
        train(tmp_path, epochs=4)


def test_another_training_is_refused(tmp_path):
    train(tmp_path, 7)
    x, y = data()
    backup = BackupAndRestore(tmp_path / "ckpt")
    with pytest.raises(UsageError, match="other data"):
        make().fit(x[::-1].copy(), y, batch_size=16, epochs=6, verbose=0, callbacks=[backup])
    with pytest.raises(UsageError, match="other data") as caught:
        make().fit(x, y, batch_size=8, epochs=6, verbose=0, callbacks=[backup])
    assert "batch size" in str(caught.value)
    with pytest.raises(UsageError, match="other callbacks"):
        make().fit(x, y, batch_size=16, epochs=6, verbose=0, callbacks=[backup])
    wide = dl.Sequential([Dense(9, input_shape=(4,)), Dense(3, activation="softmax")])
    wide.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    with pytest.raises(ValueError, match="another model"):
        wide.fit(x, y, batch_size=16, epochs=6, verbose=0, callbacks=[backup])


def test_a_full_disk_stops_the_training_and_keeps_what_was_there(tmp_path, monkeypatch):
    train(tmp_path, 7)
    before = (tmp_path / "ckpt" / "last").read_bytes()

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(WriteError, match="No space left"):
        train(tmp_path)
    assert os.listdir(tmp_path / "ckpt") == ["last"] and (tmp_path / "ckpt" / "last").read_bytes() == before
    monkeypatch.undo()
    (tmp_path / "whole").mkdir()
    assert bits(train(tmp_path)[0]) == bits(train(tmp_path / "whole")[0])


def test_a_batch_source_of_the_users_own_is_resumed_at_its_batch(tmp_path):
    x, y = data(60)
    batches = [(x[i:i + 15], y[i:i + 15]) for i in range(0, 60, 15)]

    def run(folder, cut=None):
        model = make()
        model.fit(batches, epochs=3, verbose=0, callbacks=[BackupAndRestore(folder)] + ([Cut(cut)] if cut else []))
        return model
    whole = run(tmp_path / "a")
    run(tmp_path / "b", 6)
    assert bits(run(tmp_path / "b")) == bits(whole)
