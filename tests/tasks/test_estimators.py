"""Estimators: they learn, take inputs in any form, keep scikit-learn's manners, and come back from a file as they were."""
from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.metrics import accuracy_score, f1_score, log_loss, mean_absolute_error, r2_score, root_mean_squared_error

import dlcore
from dlcore.data.dataset import Dataset
from dlcore.data.images import read_images
from dlcore.errors import DataError, UsageError
from dlcore.tasks import ImageClassifier, TabularClassifier, TabularRegressor
from dlcore.training.callbacks import Callback

ROWS = [{"size": float(i % 17), "colour": ("red", "green", "blue")[i % 3], "weight": None if i % 11 == 0 else i / 7}
        for i in range(400)]
LABELS = np.array([f"{row['colour']}-{'big' if row['size'] > 8 else 'small'}" for row in ROWS])
NUMBERS = np.array([1000 + 30 * row["size"] + (200 if row["colour"] == "red" else 0) for row in ROWS])
SMALL = {"hidden": (8,), "epochs": 2}


@pytest.fixture(scope="session")
def digits(mnist):
    return read_images(mnist)


@pytest.fixture(scope="session")
def images(digits) -> ImageClassifier:
    return ImageClassifier(hidden=(64,), epochs=4, batch_size=32, lr=3e-3).fit(digits.train)


@pytest.fixture(scope="session")
def labels() -> TabularClassifier:
    return TabularClassifier(hidden=(32,), epochs=40, patience=0, batch_size=32).fit(ROWS, LABELS)


@pytest.fixture(scope="session")
def numbers() -> TabularRegressor:
    return TabularRegressor(hidden=(32,), epochs=60, patience=0, batch_size=32).fit(ROWS, NUMBERS)


def test_images_are_learned_and_predicted_in_any_numeric_type(images, digits):
    assert images.score(digits.test) > 0.8
    x = digits.test.x[:50]
    want = images.predict_proba(x)
    assert want.dtype == np.float32 and want.shape == (50, 10)
    np.testing.assert_allclose(want.sum(axis=1), 1, rtol=1e-5)
    for dtype in (np.int16, np.int64, np.float32, np.float64, np.uint32):
        np.testing.assert_array_equal(images.predict_proba(x.astype(dtype)), want)
    np.testing.assert_array_equal(images.predict_proba(x[..., None]), want)
    labels = images.predict(x)
    np.testing.assert_array_equal(labels, images.classes_[want.argmax(axis=1)])
    assert labels.dtype == np.int64 and len(images.predict(x[:0])) == 0
    assert images.predict(x[0]).tolist() == labels[:1].tolist()


def test_rows_are_learned_and_predicted_in_any_form(labels, numbers):
    assert labels.score(ROWS, LABELS) > 0.95 and numbers.score(ROWS, NUMBERS) > 0.95
    few = ROWS[:9]
    as_lists = [list(row.values()) for row in few]
    want, quantities = labels.predict(few).tolist(), numbers.predict(few)
    for rows in (as_lists, np.array(as_lists, object), [tuple(row) for row in as_lists]):
        assert labels.predict(rows).tolist() == want
        np.testing.assert_array_equal(numbers.predict(rows), quantities)
    assert labels.predict(few[0]).tolist() == want[:1]
    assert quantities.dtype == np.float32 and quantities.shape == (9,)
    assert labels.predict([{"size": 3, "colour": "violet"}]).shape == (1,)          # unseen, and a column is not given


def test_metrics_are_those_of_scikit_learn(labels, numbers):
    rng = np.random.default_rng(0)
    shuffled, weight = rng.permutation(LABELS), rng.random(len(ROWS))
    for w in (None, weight):
        got = labels.evaluate(ROWS, shuffled, w)
        predicted, probs = labels.predict(ROWS), labels.predict_proba(ROWS).astype(np.float64)
        probs /= probs.sum(axis=1, keepdims=True)
        assert got["accuracy"] == pytest.approx(accuracy_score(shuffled, predicted, sample_weight=w))
        assert got["macro_f1"] == pytest.approx(f1_score(shuffled, predicted, average="macro", sample_weight=w))
        clipped = np.clip(probs, np.finfo(np.float32).eps, 1)
        clipped /= clipped.sum(axis=1, keepdims=True)
        assert got["log_loss"] == pytest.approx(log_loss(shuffled, clipped, sample_weight=w), rel=1e-4)
        other = rng.permutation(NUMBERS)
        got, predicted = numbers.evaluate(ROWS, other, w), numbers.predict(ROWS)
        assert got["rmse"] == pytest.approx(root_mean_squared_error(other, predicted, sample_weight=w))
        assert got["mae"] == pytest.approx(mean_absolute_error(other, predicted, sample_weight=w))
        assert got["r2"] == pytest.approx(r2_score(other, predicted, sample_weight=w))


def test_the_scikit_learn_protocol():
    estimator = TabularClassifier(lr=0.5, hidden=(3, 4))
    copy = clone(estimator)
    assert copy.get_params() == estimator.get_params() and copy is not estimator and copy.hidden == (3, 4)
    assert is_classifier(estimator) and is_classifier(ImageClassifier()) and is_regressor(TabularRegressor())
    assert repr(estimator.set_params(lr=0.1)) == "TabularClassifier(hidden=(3, 4), lr=0.1)"
    with pytest.raises(UsageError, match="no parameter 'learning_rate'"):
        estimator.set_params(learning_rate=1)
    with pytest.raises(UsageError, match="not fitted"):
        estimator.predict([[1, 2]])


def test_sklearn_is_not_imported_by_us():
    code = ("import sys, numpy as np, dlcore as dl; e = dl.TabularClassifier(epochs=1, hidden=(2,)).fit(np.eye(4), [0, 1, 0, 1]);"
            "e.score(np.eye(4), [0, 1, 0, 1]); print([m for m in ('sklearn', 'click', 'pydantic', 'safetensors', 'PIL', 'scipy',"
            " 'numba') if m in sys.modules])")
    assert run(code) == "[]"


def run(code: str, *arguments: object) -> str:
    path = os.pathsep.join([str(Path(dlcore.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path}
    return subprocess.run([sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, check=True,
                          env=environment).stdout.strip()


# ---- training --------------------------------------------------------------------------------------------------------

def test_the_same_seed_gives_the_same_bits_and_another_does_not():
    first, second, third = (TabularClassifier(**SMALL, random_state=seed).fit(ROWS, LABELS).get_weights() for seed in (7, 7, 8))
    assert all(a.tobytes() == b.tobytes() for a, b in zip(first, second, strict=True))
    assert any(a.tobytes() != b.tobytes() for a, b in zip(first, third, strict=True))
    TabularClassifier(**SMALL, random_state=None).fit(ROWS, LABELS)


def test_every_decision_is_told():
    lines: list[str] = []
    TabularClassifier(**SMALL).fit(ROWS, LABELS, log=lines.append)
    text = "\n".join(lines)
    for part in ("6 labels", "360 rows to train on, 40 for validation", "column size: number", "column colour: 3 categories",
                 "network 6-8-6", "adamw, learning rate 0.002", "best"):
        assert part in text, (part, text)


def test_training_stops_early_on_the_best_weights():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((300, 20)), rng.integers(0, 2, 300)                   # nothing to learn: it overfits
    lines: list[str] = []
    estimator = TabularClassifier(epochs=200, patience=3, lr=1e-2).fit(x, y, log=lines.append)
    losses = estimator.history_.history["val_loss"]
    assert len(losses) < 50 and lines[-1].startswith("stopped: validation loss not better for 3 epochs")
    best = int(np.argmin(losses))
    assert f"(epoch {best + 1})" in lines[-1] and len(losses) == best + 4


def test_validation_data_sample_weights_and_data_sets():
    validation = Dataset(ROWS[:50], LABELS[:50])
    for given in (validation, (ROWS[:50], LABELS[:50])):
        fitted = TabularClassifier(**SMALL).fit(ROWS, LABELS, validation_data=given)
        assert "val_loss" in fitted.history_.history
    rows, answers = [{"a": i % 2} for i in range(200)] * 2, np.array(["x"] * 200 + ["y"] * 200)
    weight = np.where(answers == "y", 5.0, 0.1)
    assert set(TabularClassifier(epochs=10).fit(rows, answers, weight).predict(rows)) == {"y"}


def test_callbacks_can_save(tmp_path):
    class Saver(Callback):
        def on_epoch_end(self, epoch, logs=None):
            estimator.save(tmp_path / f"{epoch}.dlc")

    estimator = TabularClassifier(**SMALL)
    estimator.fit(ROWS, LABELS, callbacks=[Saver()])
    assert not np.array_equal(*(dlcore.load(tmp_path / f"{n}.dlc").get_weights()[0] for n in (0, 1)))


def test_an_estimator_can_be_fitted_again_to_something_else(labels):
    estimator = TabularClassifier(**SMALL).fit(ROWS, LABELS)
    estimator.fit(np.eye(60), np.arange(60) % 2)
    assert estimator.n_features_in_ == 60 and estimator.classes_.tolist() == [0, 1]
    assert labels.feature_names_in_.tolist() == ["size", "colour", "weight"]


@pytest.mark.parametrize("params", [
    {"hidden": "64"}, {"hidden": (0,)}, {"hidden": [1.5]}, {"dropout": 1}, {"dropout": -0.1}, {"epochs": 0}, {"epochs": 1.5},
    {"batch_size": 0}, {"lr": 0}, {"lr": float("nan")}, {"lr": "1e-3"}, {"optimizer": "adem"}, {"schedule": "cosin"},
    {"weight_decay": -1}, {"training": {"warm-up": 1}}, {"training": {"ema": 1.0}}, {"training": {"freeze": "a"}},
    {"training": 3}, {"patience": -1}, {"val_split": 1}, {"random_state": -1}, {"epochs": True}])
def test_parameters_of_no_use_are_named_before_anything_is_trained(params):
    estimator = TabularClassifier(**params)
    with pytest.raises(UsageError, match=next(iter(params)) if "training" not in params else "training|is of no use"):
        estimator.fit(ROWS, LABELS)
    assert not hasattr(estimator, "_network")


def test_networks_without_hidden_layers_and_other_optimizers():
    for params in ({"hidden": (), "lr": 0.02}, {"optimizer": "sgd", "weight_decay": 0.0, "lr": 0.05, "schedule": "linear"},
                   {"optimizer": "adam", "weight_decay": 0, "schedule": "constant", "dropout": 0},
                   {"optimizer": "lamb", "lr": 0.02, "schedule": "one-cycle"},
                   {"optimizer": "muon", "schedule": "plateau", "training": {"schedule_options": {"gamma": 0.5, "patience": 3}}}):
        assert TabularClassifier(epochs=25, **params).fit(ROWS, LABELS).score(ROWS, LABELS) > 0.8, params


# ---- what is refused -------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("x", "y"), [
    (ROWS, LABELS[:-1]), (ROWS, None), ([], []), (ROWS, ["same"] * len(ROWS)), (np.zeros((4, 2, 2)), [0, 1, 0, 1]),
    ([[1.0, np.inf], [2.0, 3.0]], [0, 1]), (np.ones((4, 2)), [0, 1, 0, 1]), (ROWS, np.full(len(ROWS), np.nan)),
])
def test_data_that_cannot_be_learned_from(x, y):
    with pytest.raises(DataError):
        TabularClassifier(**SMALL).fit(x, y)


def test_inputs_unlike_those_of_training(images, labels, numbers):
    for estimator, x in ((images, np.zeros((2, 27, 28))), (images, [["a"]]), (images, np.full((1, 28, 28), np.nan)),
                         (labels, [{"size": "large", "colour": "red", "weight": 1}]), (labels, [[1, 2]]),
                         (numbers, np.zeros((2, 4)))):
        with pytest.raises(DataError):
            estimator.predict(x)
    with pytest.raises(DataError, match="row 1"):
        labels.evaluate(ROWS[:1], ["violet-small"])
    with pytest.raises(DataError):
        numbers.evaluate(ROWS[:1], ["many"])


# ---- files -----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("folder", [False, True])
def test_estimators_come_back_from_a_file(tmp_path, images, labels, numbers, digits, folder):
    for n, (estimator, x) in enumerate(((images, digits.test.x[:20]), (labels, ROWS), (numbers, ROWS))):
        path = tmp_path / f"{n}.dlc"
        estimator.save(path, folder=folder)
        loaded = dlcore.load(path)
        assert type(loaded) is type(estimator)
        assert {k: list(v) if isinstance(v, tuple) else v for k, v in estimator.get_params().items()} == loaded.get_params()
        np.testing.assert_array_equal(loaded.predict(x), estimator.predict(x))
        np.testing.assert_array_equal(loaded._predict(x), estimator._predict(x))
        for a, b in zip(loaded.get_weights(), estimator.get_weights(), strict=True):
            assert a.tobytes() == b.tobytes()
        loaded.save(tmp_path / "again.dlc") if not folder else None
    assert not folder or (tmp_path / "0.dlc" / "README.md").read_text().startswith("# image-classify")


def test_loading_and_predicting_need_numpy_alone_and_little_memory(tmp_path, images):
    images.save(tmp_path / "m.dlc")
    code = ("import sys\n"
            "others = 'click', 'pydantic', 'safetensors', 'PIL', 'scipy', 'sklearn', 'numba', 'rich'\n"
            "for name in others: sys.modules[name] = None\n"
            "import numpy as np, dlcore\n"
            "out = dlcore.load(sys.argv[1]).predict(np.zeros((3, 28, 28), 'f4'))\n"
            "peak = next(line for line in open('/proc/self/status') if line.startswith('VmHWM'))\n"
            "print(len(out), peak.split()[1])")
    count, kilobytes = run(code, tmp_path / "m.dlc").split()
    assert int(count) == 3 and int(kilobytes) < 60 << 10


def test_images_are_changed_at_random(mnist):
    from dlcore.data.images import read_images
    data = read_images(mnist).train.take(np.arange(600))
    same = [ImageClassifier(hidden=(32,), epochs=2, augment="crop=2,rotate=10").fit(data) for _ in range(2)]
    np.testing.assert_array_equal(same[0].get_weights()[0], same[1].get_weights()[0])
    mixed = ImageClassifier(hidden=(32,), epochs=2, augment="mixup=0.3").fit(data)
    assert mixed.evaluate(data)["accuracy"] > 0.2
    with pytest.raises(UsageError, match="did you mean 'rotate'"):
        ImageClassifier(augment="rotat=3").fit(data)
