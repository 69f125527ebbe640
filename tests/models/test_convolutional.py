"""Networks for images: shapes, training, what inference folds, saving, the C export."""
import shutil

import numpy as np
import pytest

import dlcore as dl
from dlcore import models
from dlcore.deploy import c
from dlcore.errors import UsageError

RNG = np.random.default_rng(0)
X = RNG.integers(0, 256, (60, 12, 12, 3)).astype(np.uint8)
Y = np.arange(60) % 3
X[np.arange(60), :4, :, Y] = 255               # a bright band in the channel of the label


OPTION_A = {"depth": 8, "shortcut": "padding", "mean": (0.5, 0.4, 0.3), "std": (0.2, 0.2, 0.1)}


@pytest.mark.parametrize("make, options", [("lenet", {}), ("cnn", {}), ("resnet", {"depth": 8}), ("mobilenet", {"width": 4}),
                                           ("resnet", OPTION_A), ("vit", {"width": 12, "depth": 2, "heads": 3}),
                                           ("vit", {"width": 12, "depth": 1, "patch": 5, "hidden": (8,)})])
def test_shapes_and_evaluation(make, options):
    images = (X[:6] / 255).astype(np.float32)
    network = getattr(models, make)((12, 12, 3), 3, **options)
    assert network.predict(images).shape == (6, 3)
    flat = getattr(models, make)((12, 12, 3), 3, flat=True, **options)
    flat.set_weights(network.get_weights())
    assert np.array_equal(flat.predict(images.reshape(6, -1)), network.predict(images))
    alone = np.concatenate([network.predict(images[i:i + 1]) for i in range(6)])
    np.testing.assert_allclose(alone, network.predict(images), atol=1e-5)


def test_depths():
    assert models.resnet((32, 32, 3), 10).count_params() == 274_042          # 784 moving means, 784 moving variances among them
    with pytest.raises(UsageError, match="6 n"):
        models.resnet((32, 32, 3), 10, depth=18)


@pytest.mark.parametrize("arch", ["cnn", "lenet", "resnet8", "vit"])
def test_estimators_learn_save_and_export(arch, tmp_path):
    model = dl.ImageClassifier.of(arch, epochs=12, batch_size=20, val_split=0.0, **({"lr": 0.02} if arch == "resnet8" else {}))
    model.fit(X, Y)
    assert model.score(X, Y) >= 0.9
    model.save(tmp_path / "m.dlc")
    again = dl.load(tmp_path / "m.dlc")
    assert again.arch == arch and np.array_equal(again.predict_proba(X), model.predict_proba(X))
    made = c.export(model, tmp_path / "m.c", X[:5])
    assert shutil.which("cc") is None or made.difference <= 1e-5


def test_vision_transformer_takes_its_patches_from_the_size():
    assert [models.vision_transformer.patch_of(shape, None) for shape in ((28, 28), (32, 20), (64, 64, 3), (5, 3))] == [4, 4, 8, 1]
    assert models.vit((28, 28), 10).count_params() == 456_202
    for options in ({"patch": 13}, {"patch": 0}, {"width": 10, "heads": 4}):
        with pytest.raises(UsageError):
            models.vit((12, 12, 3), 3, **options)


def test_bad_architecture():
    with pytest.raises(UsageError, match="no architecture"):
        dl.ImageClassifier.of("vgg")
    with pytest.raises(UsageError, match="no architecture"):
        dl.ImageClassifier(arch="vgg").fit(X, Y)
