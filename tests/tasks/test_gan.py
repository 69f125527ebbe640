"""GANs as estimators and on the command line: losses against formulas, samples, measures, files, pictures, resumed runs."""
from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

import dlcore as dl
from dlcore.cli.main import run
from dlcore.data.images import read_images
from dlcore.errors import DataError, DivergedError, ModelFileError, UsageError
from dlcore.runtime import set_threads
from dlcore.tasks import GAN
from dlcore.tasks.judge import Judge
from dlcore.training.backup import BackupAndRestore
from dlcore.training.callbacks import Callback

SMALL = {"latent": 6, "filters": (4, 8), "epochs": 2, "batch_size": 32, "judge": ""}
KINDS = {"dcgan": {}, "sngan": {}, "wgan-gp": {"critic_steps": 2}}


@pytest.fixture(scope="module")
def digits(mnist):
    parts = read_images(mnist)
    return parts.train.x[:300, ::2, ::2], parts.train.y[:300]


@pytest.fixture(scope="module")
def conditional(digits):
    return GAN(**{**SMALL, "judge": "lenet", "conditional": True}).fit(*digits)


@pytest.mark.parametrize("arch", KINDS)
def test_every_kind_trains_on_images_of_any_size(arch):
    """Colour images of an odd size, which the generator has to cut."""
    x = np.random.default_rng(0).integers(0, 256, (70, 9, 11, 3), np.uint8)
    lines = []
    model = GAN.of(arch, **{**SMALL, **KINDS[arch]}).fit(x, log=lines.append)
    history = model.history_.history
    assert {"d_loss", "g_loss", "real", "fake"} <= set(history) and np.isfinite(np.concatenate(list(history.values()))).all()
    assert ("penalty" in history) == (arch == "wgan-gp") and model.model.state.step == 4
    assert any("filters 4-8" in line for line in lines)
    made = model.generate(5, seed=1)
    assert made.shape == (5, 9, 11, 3) and 0 <= made.min() and made.max() <= 1
    assert np.array_equal(made, model.generate(5, seed=1)) and not np.array_equal(made, model.generate(5, seed=2))
    assert model.predict(x).shape == (70,) and set(model.evaluate(x)) == {"real", "fake"}
    with pytest.raises(UsageError, match="nothing measures"):
        model.score(x)


def test_it_learns(digits):
    """A generator of a few steps is nearer to the digits than one of no steps, by the features of a LeNet."""
    judge = Judge.trained(*digits, seed=0, say=lambda line: None)
    found = []
    for epochs in (1, 40):
        model = GAN(latent=8, filters=(16, 32), epochs=epochs, batch_size=32, lr=1e-3, judge="").fit(digits[0])
        model.judge_ = judge
        found.append(model.evaluate(digits[0]))
    assert found[1]["fid"] < 0.6 * found[0]["fid"] and found[1]["classes_covered"] >= found[0]["classes_covered"]
    assert found[1]["classes_covered"] >= 6 and found[1]["class_shift"] < found[0]["class_shift"]


def test_labels_reach_the_images(conditional, digits):
    sevens, threes = conditional.generate(4, seed=3, label=7), conditional.generate(4, seed=3, label="3")
    assert sevens.shape == (4, 14, 14) and not np.array_equal(sevens, threes)
    mixed = conditional.generate(4, seed=3, label=[7, 3, 7, 3])
    np.testing.assert_allclose(mixed[0], sevens[0], atol=1e-6)
    np.testing.assert_allclose(mixed[1], threes[1], atol=1e-6)
    found = conditional.evaluate(*digits)
    assert set(found) == {"fid", "classes_covered", "class_shift", "label_accuracy", "real", "fake"}
    assert 0 <= found["label_accuracy"] <= 1 and 0 <= found["class_shift"] <= 1 and conditional.score(digits[0]) == -found["fid"]
    assert conditional.grids()["samples"].shape == (8 * 16 - 2, 10 * 16 - 2, 1)
    for wrong in (12, "x", [1, 2]):
        with pytest.raises(UsageError):
            conditional.generate(4, label=wrong)
    with pytest.raises(DataError, match="no labels"):
        GAN(**SMALL, conditional=True).fit(digits[0])


@pytest.mark.parametrize("wrong", [{"latent": 0}, {"arch": "vae"}, {"loss": "l2"}, {"penalty": 0.0}, {"filters": (0,)},
                                   {"critic_steps": 0}, {"beta1": 1.0}, {"sample_every": -1}, {"spectral": 2}, {"lr": 0.0},
                                   {"discriminator_lr": -1.0}, {"training": {"accumulate": 2}}, {"training": {"l2": 0.1}}])
def test_parameters_of_no_use(wrong, digits):
    with pytest.raises(UsageError):
        GAN(**{**SMALL, **wrong}).fit(digits[0])


def test_what_does_not_go_with_it(digits, tmp_path):
    with pytest.raises(UsageError, match="validation"):
        GAN(**SMALL).fit(digits[0], validation_data=digits)
    model = GAN(**SMALL).fit(digits[0])
    with pytest.raises(UsageError, match="without labels"):
        model.generate(2, label=1)
    with pytest.raises(UsageError, match="nothing to generate"):
        model.generate(0)
    with pytest.raises(DataError, match="codes"):
        model.images_of(np.zeros((2, 5)))
    for call in (model.model.evaluate, model.model.train_on_batch):
        with pytest.raises(UsageError):
            call(digits[0], digits[1])
    model.save(tmp_path / "g.dlc")
    with pytest.raises(UsageError, match="classifier of images"):
        GAN(**{**SMALL, "judge": str(tmp_path / "g.dlc")}).fit(digits[0])


def test_labels_that_are_none_are_refused_before_the_training(digits):
    with pytest.raises(DataError, match="continuous"):
        GAN(**{**SMALL, "judge": "lenet"}).fit(digits[0], np.linspace(0, 1, len(digits[0])))


def test_a_training_that_diverges_says_where(digits):
    model = GAN(**{**SMALL, "optimizer": "sgd", "lr": 1e30})
    with pytest.raises(DivergedError, match="diverged at step"):
        model.fit(digits[0])
    assert all(np.isfinite(w).all() for w in model.get_weights())


def test_a_file_holds_everything(conditional, digits, tmp_path):
    conditional.save(tmp_path / "m.dlc")
    again = dl.load(tmp_path / "m.dlc")
    assert isinstance(again, GAN) and again.latent == 6 and again.conditional
    assert np.array_equal(again.generate(3, seed=5, label=2), conditional.generate(3, seed=5, label=2))
    assert np.array_equal(again.predict(digits[0][:9]), conditional.predict(digits[0][:9]))
    assert again.evaluate(digits[0]) == conditional.evaluate(digits[0])
    conditional.save(tmp_path / "f", folder=True)
    (tmp_path / "f" / "SHA256SUMS").unlink()
    config = json.loads((tmp_path / "f" / "config.json").read_text())
    for change in ({"latent": 5}, {"conditional": False}):
        broken = {**config, "params": {**config["params"], **change}}
        (tmp_path / "f" / "config.json").write_text(json.dumps(broken))
        with pytest.warns(UserWarning, match="SHA256SUMS"), pytest.raises(ModelFileError):
            dl.load(tmp_path / "f")
    for judge in (3, {}, config["judge"] | {"params": {"epochs": 0}}):
        (tmp_path / "f" / "config.json").write_text(json.dumps({**config, "judge": judge}))
        with pytest.warns(UserWarning, match="SHA256SUMS"), pytest.raises(ModelFileError):
            dl.load(tmp_path / "f")


class StopAt(Callback):
    def __init__(self, step):
        self.step = step

    def on_train_batch_end(self, batch, logs=None):
        if self.session.loop.state.step == self.step:
            self.session.interrupt()


@pytest.mark.parametrize("arch, more", [("dcgan", {"training": {"ema": 0.9}}), ("wgan-gp", {"critic_steps": 3}),
                                        ("sngan", {"conditional": True})])
def test_a_resumed_training_ends_with_the_same_bits(arch, more, digits, tmp_path):
    params = {**SMALL, "epochs": 3, **more}
    whole = GAN.of(arch, **params).fit(*digits)
    backup = BackupAndRestore(tmp_path, save_freq=4, delete_checkpoint=False)
    GAN.of(arch, **params).fit(*digits, callbacks=[StopAt(13), backup])
    again = BackupAndRestore(tmp_path, save_freq=4, delete_checkpoint=False)
    resumed = GAN.of(arch, **params).fit(*digits, callbacks=[again])
    assert again.resumed_step == 13
    assert all(np.array_equal(a, b) for a, b in zip(whole.get_weights(), resumed.get_weights(), strict=True))
    assert whole.history_.history == resumed.history_.history


def test_threads_change_no_bit(digits):
    made = []
    for threads in (1, 2):
        set_threads(threads)
        try:
            model = GAN.of("wgan-gp", **{**SMALL, "critic_steps": 2, "epochs": 1, "batch_size": 64}).fit(digits[0])
        finally:
            set_threads(None)
        made.append(model.get_weights())
    assert all(np.array_equal(a, b) for a, b in zip(*made, strict=True))


def test_pictures_change_nothing(digits, tmp_path):
    """Pictures every 7 steps and at the end, with averages of the generator's weights: the training is the same."""
    params = {**SMALL, "training": {"ema": 0.9}, "sample_every": 7}
    plain, drawn = GAN(**params).fit(digits[0]), GAN(**params)
    drawn.fit(digits[0], callbacks=[drawn.grid_callback(tmp_path / "samples")])
    assert all(np.array_equal(a, b) for a, b in zip(plain.get_weights(), drawn.get_weights(), strict=True))
    names = sorted(path.name for path in (tmp_path / "samples").iterdir())
    assert names == [f"samples-{s:06d}.png" for s in (7, 14, 18)]
    first, last = (np.array(Image.open(tmp_path / "samples" / f"samples-{s:06d}.png")) for s in (7, 18))
    assert first.shape == (8 * 16 - 2, 8 * 16 - 2) and not np.array_equal(first, last)


def test_averages_are_the_generators(digits):
    """After training the generator holds averages; the discriminator's weights are as without them."""
    plain, averaged = GAN(**SMALL).fit(digits[0]), GAN(**SMALL, training={"ema": 0.9}).fit(digits[0])
    halves = [[m.model.half(n).get_weights() for n in ("generator", "discriminator")] for m in (plain, averaged)]
    assert all(np.array_equal(a, b) for a, b in zip(halves[0][1], halves[1][1], strict=True))
    assert not np.array_equal(halves[0][0][0], halves[1][0][0])


def test_as_it_is_typed(digits, tmp_path, capsys):
    x, y = digits
    np.savez(tmp_path / "d.npz", x_train=x, y_train=y, x_test=x[:80], y_test=y[:80])
    data, out = str(tmp_path / "d.npz"), str(tmp_path / "run")
    small = ["--set", "model.latent=4", "--set", "model.filters=[4, 8]", "--set", "model.conditional=true", "--epochs", "2",
             "--set", "train.sample-every=5"]
    assert run(["train", "gan", "--data", data, "--out", out, "--json", *small]) == 0
    report = json.loads(capsys.readouterr().out)
    assert {"d_loss", "g_loss", "test_fid", "test_classes_covered"} <= set(report["metrics"])
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert len(rows) == 2 and {"d_loss", "g_loss", "real", "fake"} <= set(rows[0])
    page = (tmp_path / "run" / "report.html").read_text()
    assert "discriminator loss" in page.lower() and "generator loss" in page.lower()
    assert (tmp_path / "run" / "samples" / "samples-000005.png").exists()
    assert run(["evaluate", out, data, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["metrics"]["fid"] == pytest.approx(report["metrics"]["test_fid"])
    assert run(["predict", out, data]) == 0 and len(capsys.readouterr().out.split()) == 80
    assert run(["generate", out, "-n", "16", "-o", str(tmp_path / "g.png"), "--label", "7", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["label"] == "7" and Image.open(tmp_path / "g.png").size == (62, 62)
    assert run(["generate", out, "-n", "2", "-o", str(tmp_path / "h.png"), "--label", "x"]) == 2
    assert "0, 1, 2" in capsys.readouterr().err
    assert run(["train", "gan", "--data", data, "--set", "model.loss=l1", "--set", "train.critic-steps=0"]) == 3
    assert "2 problems" in capsys.readouterr().err


def test_pictures_from_files(tmp_path, capsys):
    """A folder of pictures without labels, one of them cut short; and one picture by itself."""
    folder, rng = tmp_path / "pictures", np.random.default_rng(0)
    folder.mkdir()
    for i in range(40):
        Image.fromarray(rng.integers(0, 256, (9, 8, 3), np.uint8)).save(folder / f"{i}.png")
    whole = (folder / "1.png").read_bytes()
    (folder / "bad.png").write_bytes(whole[:len(whole) // 2])
    out, words = str(tmp_path / "run"), ["train", "gan", "--data", str(folder), "--epochs", "1", "--set", "model.filters=[4, 8]"]
    assert run([*words, "--out", out]) == 4 and "bad.png" in capsys.readouterr().err
    assert run([*words, "--out", out, "--skip-bad", "--size", "8"]) == 0
    assert "1 " in capsys.readouterr().err
    assert run(["evaluate", out, str(folder)]) == 4 and "bad.png" in capsys.readouterr().err
    assert run(["evaluate", out, str(folder), "--skip-bad", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["rows"] == 40 and set(found["metrics"]) == {"real", "fake"}
    assert run(["predict", out, str(folder / "3.png")]) == 0 and len(capsys.readouterr().out.split()) == 1
    assert run([*words, "--skip-bad", "--set", "model.conditional=true"]) == 4
