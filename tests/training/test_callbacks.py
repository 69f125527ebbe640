"""Callbacks under Keras' names: what they stop, keep, write and remember."""
import csv
import math

import numpy as np
import pytest

import dlcore as dl
from dlcore.callbacks import (
    BackupAndRestore,
    Callback,
    CSVLogger,
    EarlyStopping,
    LambdaCallback,
    ModelCheckpoint,
    TerminateOnNaN,
)
from dlcore.errors import UsageError, WriteError
from dlcore.layers import Dense
from dlcore.optim import SGD
from dlcore.training.monitor import Monitor


def data(rows=60, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((rows, 4)).astype(np.float32), rng.integers(0, 3, rows)


def make(lr=0.01):
    model = dl.Sequential([Dense(8, activation="tanh", input_shape=(4,)), Dense(3, activation="softmax")])
    model.compile(dl.Adam(lr), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


class Script(Callback):
    """Puts a quantity of its own into the logs, and keeps the weights of every epoch."""

    def __init__(self, values):
        self.values, self.weights = values, []

    def on_epoch_end(self, epoch, logs=None):
        logs["quality"] = self.values[epoch]
        self.weights.append(self.model.get_weights())


def fit(*callbacks, epochs=10, model=None, **options):
    x, y = data()
    model = model or make()
    return model, model.fit(x, y, epochs=epochs, batch_size=20, callbacks=callbacks, verbose=0, **options)


@pytest.mark.parametrize("values, options, epochs, best", [
    ([3, 2, 1, 2, 2, 2, 2], {"patience": 2}, 5, 3),
    ([3, 2, 1, 2, 2, 2, 2], {"patience": 0}, 4, 3),
    ([1, 2, 3, 2, 2, 2, 4], {"patience": 3, "mode": "max"}, 6, 3),
    ([3, 2.9, 2.8, 2.7, 2.6], {"patience": 2, "min_delta": 0.5}, 3, 1),
    ([5, 4, 3, 2, 1], {"patience": 2, "baseline": 0.5}, 5, 5),
    ([1, 3, 2, 4, 4, 4], {"patience": 2, "start_from_epoch": 2}, 5, 3),
    ([math.nan, 3, math.nan, 2, 3], {"patience": 4}, 5, 4),
    ([3, 2, 1, 2, 2], {"patience": None}, 5, 3),
    ([5, 4, 3, 2, 1], {"patience": 1}, 5, 5),
])
def test_early_stopping_ends_on_the_best_weights(values, options, epochs, best):
    script, early = Script(values), EarlyStopping("quality", **options)
    model, history = fit(script, early, epochs=len(values))
    assert len(history.epoch) == epochs and early.best_epoch == best
    for got, want in zip(model.get_weights(), script.weights[best - 1], strict=True):
        assert np.array_equal(got, want)
    assert str(best) in early.describe()


def test_early_stopping_may_leave_the_last_weights():
    script = Script([1, 2, 2, 2])
    model, _ = fit(script, EarlyStopping("quality", patience=1, restore_best_weights=False), epochs=4)
    assert np.array_equal(model.get_weights()[0], script.weights[-1][0]) and len(script.weights) == 2


def test_a_quantity_that_is_not_there_is_named():
    with pytest.raises(UsageError, match="no validation data"):
        fit(EarlyStopping())
    with pytest.raises(UsageError, match="did you mean 'accuracy'"):
        fit(EarlyStopping("acuracy"))
    with pytest.raises(UsageError, match="mode"):
        EarlyStopping(mode="up")
    with pytest.raises(UsageError, match="patience"):
        EarlyStopping(patience=-1)


@pytest.mark.parametrize("name, greater", [("val_loss", False), ("accuracy", True), ("val_roc_auc", True), ("mse", False),
                                           ("val_f1", True), ("brier_score", False), ("val_mean_squared_error", False),
                                           ("val_top_k_accuracy", True), ("r2", True), ("log_loss", False)])
def test_the_mode_goes_by_the_name(name, greater):
    assert Monitor(name).better(2, 1) == greater and Monitor(name).better(1, 2) != greater
    assert not Monitor(name).better(math.nan, Monitor(name).worst) and Monitor(name).better(0, Monitor(name).worst)


def test_model_checkpoint_names_epochs_and_keeps_the_best(tmp_path):
    script = Script([3, 1, 2])
    model, _ = fit(script, ModelCheckpoint(tmp_path / "{epoch:02d}-{quality:.1f}.dlc"),
                   ModelCheckpoint(tmp_path / "best.dlc", "quality", save_best_only=True), epochs=3)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["01-3.0.dlc", "02-1.0.dlc", "03-2.0.dlc", "best.dlc"]
    loaded = dl.load(tmp_path / "best.dlc")
    assert all(np.array_equal(a, b) for a, b in zip(loaded.get_weights(), script.weights[1], strict=True))
    with pytest.raises(UsageError, match="nothing"):
        fit(ModelCheckpoint(tmp_path / "{nothing}.dlc"), epochs=1)


def test_model_checkpoint_every_so_many_steps(tmp_path):
    fit(ModelCheckpoint(tmp_path / "{epoch}-{loss:.4f}.dlc", save_freq=2), epochs=2)      # 3 steps an epoch
    assert sorted(p.name[:2] for p in tmp_path.iterdir()) == ["1-", "2-", "2-"]
    model, _ = fit(ModelCheckpoint(tmp_path / "good.dlc", "accuracy", save_best_only=True, initial_value_threshold=2.0))
    assert not (tmp_path / "good.dlc").exists()


def test_csv_logger(tmp_path):
    path = tmp_path / "log.csv"
    _, history = fit(CSVLogger(path), epochs=3)
    rows = list(csv.DictReader(path.open()))
    assert list(rows[0]) == ["epoch", "accuracy", "loss"] and [row["epoch"] for row in rows] == ["0", "1", "2"]
    assert [float(row["loss"]) for row in rows] == history.history["loss"]
    fit(CSVLogger(path, append=True), epochs=1)
    assert len(path.read_text().splitlines()) == 5
    fit(CSVLogger(path, separator=";"), epochs=1)
    assert path.read_text().splitlines()[0] == "epoch;accuracy;loss" and len(path.read_text().splitlines()) == 2
    with pytest.raises(WriteError):
        fit(CSVLogger(tmp_path / "no" / "log.csv"), epochs=1)


def test_terminate_on_nan_names_call_step_and_rate(tmp_path, capsys):
    x, _ = data()
    model = dl.Sequential([Dense(8, activation="relu", input_shape=(4,), name="hidden"), Dense(1)])
    model.compile(SGD(1e30), "mse")
    stop = TerminateOnNaN()
    model.fit(x, x[:, :1], epochs=5, batch_size=60, verbose=0,
              callbacks=[stop, BackupAndRestore(tmp_path, delete_checkpoint=False)])
    text = str(stop.failure)
    assert "diverged at step 2" in text and "1e+30" in text and "wrote" in text and text in capsys.readouterr().err
    assert all(np.isfinite(w).all() for w in model.get_weights()) and (tmp_path / "last").exists()


def test_lambda_callback_calls_what_it_was_given():
    seen = []
    fit(LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append((epoch, sorted(logs))),
                       on_train_batch_end=lambda batch, logs: seen.append(batch),
                       on_train_begin=lambda logs: seen.append("begin")), epochs=1)
    assert seen == ["begin", 0, 1, 2, (0, ["accuracy", "loss"])]
    assert "on_epoch_begin" not in vars(LambdaCallback())


@pytest.mark.parametrize("weights_only", [False, True])
def test_model_checkpoint_writes_copies_beside_the_training(tmp_path, weights_only):
    """What is written is the model between two steps, though training went on: each file has the weights of its step."""
    from dlcore.training.weight_files import read

    model, kept = make(), {}
    name = "w-{epoch}.safetensors" if weights_only else "m-{epoch}.dlc"
    keep = LambdaCallback(on_epoch_end=lambda epoch, logs: kept.update({epoch + 1: model.get_weights()}))
    model.fit(*data(), epochs=3, batch_size=16, verbose=0,
              callbacks=[ModelCheckpoint(tmp_path / name, save_weights_only=weights_only), keep])
    for epoch, weights in kept.items():
        found = read(tmp_path / name.format(epoch=epoch))
        assert sorted(a.tobytes() for a in found.values()) == sorted(a.tobytes() for a in weights)


def test_model_checkpoint_says_what_could_not_be_written(tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(WriteError):
        make().fit(*data(), epochs=2, verbose=0, callbacks=[ModelCheckpoint(tmp_path / "taken" / "m.dlc")])
