"""Autoencoders as estimators and on the command line: codes, scores, samples, files, pictures, resumed runs."""
from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

import dlcore as dl
from dlcore.cli.main import run
from dlcore.data.images import read_images, read_unlabelled
from dlcore.errors import DataError, ModelFileError, UsageError
from dlcore.report import png
from dlcore.tasks import Autoencoder
from dlcore.training.backup import BackupAndRestore
from dlcore.training.callbacks import Callback

SMALL = {"latent": 4, "filters": (4, 8), "hidden": (32,), "epochs": 2, "batch_size": 32, "lr": 3e-3}
GOOD = {"latent": 4, "filters": (8,), "hidden": (64,), "epochs": 16, "batch_size": 32, "lr": 1e-2}


@pytest.fixture(scope="module")
def digits(mnist):
    parts = read_images(mnist)
    return parts.train.x[:600, ::2, ::2], parts.train.y[:600]


@pytest.fixture(scope="module")
def vae(digits):
    return Autoencoder(**GOOD).fit(digits[0])


def test_it_learns(vae, digits):
    history = vae.history_.history
    assert history["val_loss"][-1] < 0.8 * history["val_loss"][0] and len(vae.validation_rows_) == 60
    before = float(np.square(digits[0] / 255 - (digits[0] / 255).mean(0)).mean())
    found = vae.evaluate(digits[0])
    assert found["reconstruction_error"] < 0.85 * before
    assert found["elbo"] == pytest.approx(-found["reconstruction_nats"] - found["kl_nats"]) and found["kl_nats"] > 1
    assert vae.score(digits[0]) == found["elbo"]


def test_scores_and_losses_are_those_of_the_formulas(vae, digits):
    """-log p(x | mean) + KL in float64, from the codes and images alone; and the loss that training reports."""
    x = digits[0][:70]
    means, log_variances = (a.astype(float) for a in vae._encode(vae._inputs(x)))
    image, p = x / 255, 1 / (1 + np.exp(-vae._half("decoder").predict(vae.transform(x)).astype(float))).reshape(x.shape)
    unsaid = -(image * np.log(p) + (1 - image) * np.log(1 - p)).sum((1, 2))
    kl = 0.5 * (means**2 + np.exp(log_variances) - 1 - log_variances).sum(1)
    np.testing.assert_allclose(vae.predict(x), unsaid + kl, rtol=1e-4)
    np.testing.assert_array_equal(vae.transform(x), means.astype(np.float32))
    np.testing.assert_allclose(vae.reconstruct(x), p, atol=1e-6)
    logs = vae.model.evaluate(vae._inputs(x), vae._wanted(vae._inputs(x)), return_dict=True)
    assert logs["loss"] == pytest.approx((unsaid + kl).mean(), rel=1e-4)
    assert logs["divergence_loss"] == pytest.approx(kl.mean(), rel=1e-4)


def test_generated_images_follow_the_seed(vae):
    a, b, c = vae.generate(9, seed=1), vae.generate(9, seed=1), vae.generate(9, seed=2)
    assert a.shape == (9, 14, 14) and np.array_equal(a, b) and not np.array_equal(a, c)
    assert 0 <= a.min() and a.max() <= 1
    with pytest.raises(UsageError, match="nothing to generate"):
        vae.generate(0)


@pytest.mark.parametrize("arch, likelihood", [("vae", "gaussian"), ("conv", "gaussian"), ("conv", "bernoulli")])
def test_other_kinds_learn(arch, likelihood):
    """Colour images of an odd size, which the decoder has to cut."""
    rng = np.random.default_rng(0)
    x = np.clip(rng.random((150, 1, 1, 3)) * rng.random((1, 9, 11, 3)) * 255, 0, 255).astype(np.uint8)
    model = Autoencoder.of(arch, **{**SMALL, "epochs": 6, "likelihood": likelihood}).fit(x)
    loss = model.history_.history["loss"]
    assert loss[-1] < loss[0] and model.reconstruct(x[:5]).shape == (5, 9, 11, 3)
    assert model.picture(x[:5]).shape == (2 * 11 - 2, 8 * 13 - 2, 3)
    if arch == "conv":
        expected = np.square(model.reconstruct(x) - x / 255).mean((1, 2, 3))
        np.testing.assert_allclose(model.predict(x), expected, rtol=1e-4)
        with pytest.raises(UsageError, match="variational"):
            model.generate(2)


def test_anomalies_are_left_out_and_told_apart(digits):
    """Noise, labelled -1, is none of the digits."""
    x, y = digits
    noise = np.random.default_rng(0).integers(0, 256, (60, 14, 14), np.uint8)
    all_x, all_y = np.concatenate([noise, x]), np.concatenate([np.full(60, -1), y.astype(int)])
    lines = []
    model = Autoencoder(**SMALL, anomalies="-1").fit(all_x, all_y, log=lines.append)
    assert lines[0] == "60 images labelled -1 are not trained on" and (all_y[model.validation_rows_] >= 0).all()
    assert model.evaluate(all_x, all_y)["auc"] > 0.99
    assert "auc" not in model.evaluate(x, y) and "auc" not in model.evaluate(all_x)
    plain = Autoencoder(**SMALL).fit(x)
    assert all(np.array_equal(a, b) for a, b in zip(plain.get_weights(), model.get_weights(), strict=True))
    with pytest.raises(DataError, match="no labels"):
        Autoencoder(**SMALL, anomalies="3").fit(x)
    with pytest.raises(DataError, match="no image has this label"):
        Autoencoder(**SMALL, anomalies="11").fit(x, y)


@pytest.mark.parametrize("wrong", [{"latent": 0}, {"arch": "gan"}, {"likelihood": "beta"}, {"noise": 0.0}, {"beta": -1.0},
                                   {"filters": (0,)}, {"sample_every": -1}, {"lr": 0.0}])
def test_parameters_of_no_use(wrong, digits):
    with pytest.raises(UsageError):
        Autoencoder(**{**SMALL, **wrong}).fit(digits[0])


def test_a_file_holds_everything(vae, digits, tmp_path):
    vae.save(tmp_path / "m.dlc")
    again = dl.load(tmp_path / "m.dlc")
    assert isinstance(again, Autoencoder) and again.latent == 4 and tuple(again.filters) == vae.filters
    assert np.array_equal(again.predict(digits[0][:9]), vae.predict(digits[0][:9]))
    assert np.array_equal(again.generate(3, seed=5), vae.generate(3, seed=5))
    with pytest.raises(DataError, match="size"):
        again.predict(np.zeros((2, 9, 9), np.uint8))
    vae.save(tmp_path / "f", folder=True)
    (tmp_path / "f" / "SHA256SUMS").unlink()
    config = json.loads((tmp_path / "f" / "config.json").read_text())
    config["params"]["latent"] = 5
    (tmp_path / "f" / "config.json").write_text(json.dumps(config))
    with pytest.warns(UserWarning, match="SHA256SUMS"), pytest.raises(ModelFileError, match="do not fit together"):
        dl.load(tmp_path / "f")


class StopAt(Callback):
    def __init__(self, step):
        self.step = step

    def on_train_batch_end(self, batch, logs=None):
        if self.session.loop.state.step == self.step:
            self.session.interrupt()


def test_a_resumed_training_ends_with_the_same_bits(digits, tmp_path):
    whole = Autoencoder(**SMALL).fit(digits[0])
    backup = BackupAndRestore(tmp_path, save_freq=5, delete_checkpoint=False)
    Autoencoder(**SMALL).fit(digits[0], callbacks=[StopAt(23), backup])
    again = BackupAndRestore(tmp_path, save_freq=5, delete_checkpoint=False)
    resumed = Autoencoder(**SMALL).fit(digits[0], callbacks=[again])
    assert again.resumed_step == 23
    assert all(np.array_equal(a, b) for a, b in zip(whole.get_weights(), resumed.get_weights(), strict=True))
    assert whole.history_.history == resumed.history_.history


def test_pictures_change_nothing(digits, tmp_path):
    """Pictures every 7 steps, in the middle of epochs, with averages of weights: the training is the same."""
    params = {**SMALL, "training": {"ema": 0.9}, "sample_every": 7}
    plain, drawn = Autoencoder(**params).fit(digits[0]), Autoencoder(**params)
    drawn.fit(digits[0], callbacks=[drawn.grid_callback(tmp_path / "samples")])
    assert all(np.array_equal(a, b) for a, b in zip(plain.get_weights(), drawn.get_weights(), strict=True))
    names = sorted(path.name for path in (tmp_path / "samples").iterdir())
    assert names == [f"{n}-{s:06d}.png" for n in ("reconstructions", "samples") for s in (7, 14, 21, 28)]
    first, last = (np.array(Image.open(tmp_path / "samples" / f"samples-{s:06d}.png")) for s in (7, 28))
    assert first.shape == (8 * 16 - 2, 8 * 16 - 2) and not np.array_equal(first, last)


def test_a_grid():
    images = np.arange(5 * 2 * 3, dtype=np.uint8).reshape(5, 2, 3)
    made = png.grid(images, gap=1)
    assert made.shape == (2 * 3 - 1, 3 * 4 - 1, 1)
    assert np.array_equal(made[:2, 4:7, 0], images[1]) and np.array_equal(made[3:5, :3, 0], images[3]) and not made[2].any()
    assert png.grid(np.ones((1, 2, 2, 3))).tolist() == np.full((2, 2, 3), 255).tolist()


def test_images_without_labels(tmp_path, mnist, digits):
    for i, image in enumerate(digits[0][:6]):
        Image.fromarray(image).save(tmp_path / f"{i}.png")
    part = read_unlabelled(tmp_path).train
    assert part.y is None and np.array_equal(part.x, digits[0][:6]) and "folders" not in part.notes[0]
    np.savez(tmp_path / "x.npz", x=digits[0])
    assert read_unlabelled(tmp_path / "x.npz", (7, 7)).train.x.shape == (600, 7, 7)
    assert read_unlabelled(mnist / "t10k-images-idx3-ubyte.gz").train.x.shape == (1000, 28, 28)
    assert read_unlabelled(mnist).test.y is not None
    with pytest.raises(DataError, match="no images"):
        read_unlabelled(mnist / "t10k-labels-idx1-ubyte.gz")


def test_as_it_is_typed(digits, tmp_path, capsys):
    np.savez(tmp_path / "d.npz", x_train=digits[0], y_train=digits[1], x_test=digits[0][:100], y_test=digits[1][:100])
    data, out = str(tmp_path / "d.npz"), str(tmp_path / "run")
    small = ["--set", "model.latent=4", "--set", "model.filters=[4, 8]", "--set", "model.hidden=[32]", "--epochs", "2",
             "--set", "train.sample-every=5", "--set", "data.anomalies=7"]
    assert run(["train", "autoencode", "--data", data, "--out", out, "--json", *small]) == 0
    report = json.loads(capsys.readouterr().out)
    assert {"loss", "val_loss", "test_elbo", "test_auc", "test_kl_nats"} <= set(report["metrics"])
    assert (tmp_path / "run" / "samples" / "reconstructions-000005.png").exists()
    assert run(["evaluate", out, data, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["metrics"]["elbo"] == pytest.approx(report["metrics"]["test_elbo"])
    assert run(["predict", out, data, "--save", str(tmp_path / "p.png")]) == 0
    assert len(capsys.readouterr().out.split()) == 100 and Image.open(tmp_path / "p.png").size[0] == 8 * 16 - 2
    assert run(["generate", out, "-n", "16", "-o", str(tmp_path / "g.png"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["images"] == 16 and Image.open(tmp_path / "g.png").size == (62, 62)
    assert run(["generate", out, "-n", "3", "-o", str(tmp_path / "g.npy")]) == 0
    assert np.load(tmp_path / "g.npy").shape == (3, 14, 14)
    for words in (["generate", out, "-o", str(tmp_path / "g.png")], ["generate", out], ["predict", out, data, "--proba"],
                  ["generate", out, "--prompt", "x", "-o", "y.png"]):
        assert run(words) == 2
    assert run(["train", "autoencode", "--data", data, "--set", "model.likelihood=normal", "--set", "model.latent=0"]) == 3
    assert "2 problems" in capsys.readouterr().err
