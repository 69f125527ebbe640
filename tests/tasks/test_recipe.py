"""The training recipe of the estimators: what `training` may say, and what becomes of it."""
from __future__ import annotations

import numpy as np
import pytest

from dlcore import TabularClassifier
from dlcore.callbacks import Callback
from dlcore.errors import ModelFileError, UsageError
from dlcore.optim import schedules
from dlcore.tasks import recipe

RNG = np.random.default_rng(0)
X = RNG.standard_normal((120, 5))
Y = np.where(X[:, 0] + X[:, 1] > 0, "yes", "no")
BASE = {"hidden": (16,), "epochs": 6, "batch_size": 16, "dropout": 0.0, "val_split": 0.0, "random_state": 0}


class Seen(Callback):
    """The rate of each step, and the optimizer."""

    def __init__(self):
        self.rates = []

    def on_train_batch_end(self, batch, logs=None):
        self.rates.append(self.model.optimizer.learning_rate)


def fitted(training=None, **params):
    seen, lines = Seen(), []
    estimator = TabularClassifier(**{**BASE, **params}, training=training)
    estimator.fit(X, Y, callbacks=[seen], log=lines.append)
    return estimator, seen.rates, lines


def test_warmup_and_schedule():
    _, rates, _ = fitted({"warmup": 0.25, "schedule_options": {"end": 0.1}}, schedule="cosine", lr=0.01)
    assert len(rates) == 48
    expected = schedules.named("cosine", 0.01, 48, steps_per_epoch=8, warmup=0.25, end=0.1)
    assert rates == [expected(n) for n in range(48)]


def test_accumulation_counts_updates():
    one, rates, _ = fitted({"accumulate": 4}, batch_size=8)
    other, more, _ = fitted(batch_size=32)
    assert len(rates) == len(more) == 24
    np.testing.assert_allclose(one.predict_proba(X), other.predict_proba(X), atol=2e-6)


def test_options_reach_the_optimizer():
    options = {"beta_1": 0.5, "exclude_from_weight_decay": ["*/bias"]}
    made, _, lines = fitted({"clip": 0.5, "ema": 0.9, "optimizer_options": options}, optimizer="adamw", weight_decay=0.2)
    optimizer = made.model.optimizer
    assert (optimizer.global_clipnorm, optimizer.ema_momentum, optimizer.beta_1) == (0.5, 0.9, 0.5)
    assert optimizer.use_ema and optimizer.exclude_from_weight_decay == ["*/bias"] and made.model.averages.in_place
    assert any("clip 0.5" in line and "ema 0.9" in line for line in lines)


@pytest.mark.parametrize("name", recipe.OPTIMIZERS)
def test_every_optimizer_learns_and_decays_alike(name):
    lr = {"sgd": 0.05, "adadelta": 2.0, "lion": 0.01, "adagrad": 0.1}.get(name, 0.02)
    made, _, _ = fitted(optimizer=name, lr=lr, weight_decay=1e-3, epochs=12, schedule="cosine")
    assert made.model.optimizer.decoupled_weight_decay or name == "adam"
    assert made.score(X, Y) > 0.9


def test_penalties_shrink_weights():
    plain, strong = fitted(lr=0.02)[0], fitted({"l2": 1.0}, lr=0.02)[0]
    assert np.square(strong.get_weights()[0]).sum() < 0.5 * np.square(plain.get_weights()[0]).sum()


def test_begins_with_a_model_and_freezes(tmp_path):
    first, _, _ = fitted()
    first.save(tmp_path / "first.dlc")
    second, _, lines = fitted({"init": str(tmp_path / "first.dlc"), "freeze": ["dense"]}, epochs=2)
    assert any("begins with 4 of 4 weights" in line for line in lines) and any("not trained: dense" in line for line in lines)
    assert np.array_equal(second.get_weights()[0], first.get_weights()[0])
    assert not np.array_equal(second.get_weights()[2], first.get_weights()[2])
    with pytest.raises(ModelFileError):
        fitted({"init": str(tmp_path / "none.dlc")})
    with pytest.raises(UsageError, match="fits"):
        fitted({"init": str(tmp_path / "first.dlc")}, hidden=(7, 7))


def test_precision_is_that_of_training_steps(tmp_path):
    """Products of training are bf16 where the processor has them, else float32, which is said; answers are float32."""
    import dlcore as dl
    from dlcore.runtime import kernel_table
    plain, _, _ = fitted()
    made, _, lines = fitted({"precision": "bf16"})
    has = kernel_table().level.endswith("bf16")
    kinds = {s.kind: program.planning["precision"] for s, program in made.model.programs.cache.items()}
    assert kinds["train"] == ("bf16" if has else "float32")
    assert any("no bf16 products" in line for line in lines) != has
    first, other = plain.get_weights()[0], made.get_weights()[0]
    assert np.array_equal(first, other) != has
    np.testing.assert_allclose(first, other, atol=0.02)
    split, _, lines = fitted({"precision": "tf32x3"})
    assert any("no tf32x3 products" in line for line in lines) and np.array_equal(first, split.get_weights()[0])
    before = made.predict_proba(X)
    assert {p.planning["precision"] for s, p in made.model.programs.cache.items() if s.kind == "predict"} == {"float32"}
    made.save(tmp_path / "m.dlc")
    assert np.array_equal(dl.load(tmp_path / "m.dlc").predict_proba(X), before)


def test_saved_with_its_recipe(tmp_path):
    import dlcore as dl
    made, _, _ = fitted({"ema": 0.9})
    made.save(tmp_path / "m.dlc")
    again = dl.load(tmp_path / "m.dlc")
    assert again.training == {"ema": 0.9}
    assert np.array_equal(again.predict_proba(X), made.predict_proba(X))


@pytest.mark.parametrize("params, match", [
    ({"training": {"optimizer_options": {"rho": 1}}}, "rho"), ({"training": {"schedule_options": {"slope": 1}}}, "slope"),
    ({"schedule": "plateau", "training": {"schedule_options": {"power": 1}}}, "power"),
    ({"schedule": "plateau", "training": {"warmup": 3}}, "warm-up"), ({"training": {"clip": -1}}, "clip"),
    ({"training": {"precision": "fp8"}}, "precision"), ({"training": {"accumulate": 1.5}}, "accumulate"),
    ({"training": {"init": 3}}, "init"),
    ({"training": {"warmup": float("nan")}}, "warmup"), ({"training": {"optimizer_options": 3}}, "optimizer_options")])
def test_what_is_refused(params, match):
    with pytest.raises(UsageError, match=match):
        TabularClassifier(**{"optimizer": "adam", "schedule": "cosine", **params}).fit(X, Y)
