"""The C export: one file, no allocation, the model's answers."""
from __future__ import annotations

import ctypes
import subprocess

import numpy as np
import pytest

import dlcore
from dlcore import layers
from dlcore.data.images import read_images
from dlcore.deploy.c import export
from dlcore.errors import DlcoreError, ModelFileError, UsageError, WriteError
from dlcore.tasks import GAN, ImageClassifier, TabularClassifier, TabularRegressor

ROWS = [{"size": float(i % 17), "colour": ("red", "green", "blue")[i % 3], "gap": None if i % 11 == 0 else i / 7}
        for i in range(300)]


def compiled(path):
    """The library, compiled as the format promises: C99, no warning, nothing but libm."""
    library = path.with_suffix(".so")
    flags = ["-std=c99", "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
    subprocess.run(["cc", *flags, path, "-o", library, "-lm"], check=True)
    symbols = subprocess.run(["nm", "-u", library], capture_output=True, text=True, check=True).stdout
    assert not any(word in symbols for word in ("malloc", "calloc", "realloc", "printf", "fopen")), symbols
    return ctypes.CDLL(str(library))


def answers(function, samples: np.ndarray, outputs: int) -> np.ndarray:
    pointer = ctypes.POINTER(ctypes.c_float)
    got = np.full((len(samples), outputs), np.nan, np.float32)
    for sample, out in zip(np.ascontiguousarray(samples, np.float32), got, strict=True):
        function(sample.ctypes.data_as(pointer), out.ctypes.data_as(pointer))
    return got


def test_images(tmp_path, mnist):
    parts = read_images(mnist)
    model = ImageClassifier(hidden=(48, 33), epochs=3, batch_size=32).fit(parts.train)
    report = export(model, tmp_path / "model.c", parts.test.x)
    assert (report.function, report.inputs, report.outputs, report.samples) == ("model_predict", 784, 10, 1000)
    assert report.difference <= 1e-5 and report.size == (tmp_path / "model.c").stat().st_size
    assert export(model, tmp_path / "again.c").difference <= 1e-5           # without data
    want = model.predict_proba(parts.test.x)
    got = answers(compiled(tmp_path / "model.c").model_predict, parts.test.x, 10)
    assert np.abs(got - want).max() <= 1e-5 and want.std() > 0.05


def test_convolutions(tmp_path):
    """Convolutions, normalisation, residuals and means on images in colour, of a size that the strides do not divide."""
    x = np.random.default_rng(0).integers(0, 256, (24, 11, 10, 3), np.uint8)
    model = ImageClassifier.of("resnet8", epochs=1, batch_size=8, val_split=0.0).fit(x, np.arange(24) % 3)
    report = export(model, tmp_path / "model.c", x)
    assert (report.inputs, report.outputs, report.samples) == (330, 3, 24) and report.difference <= 1e-5


def test_what_makes_images(tmp_path):
    """Transposed convolutions, cropped: a GAN's generator, codes in and pixels out."""
    x = np.random.default_rng(0).integers(0, 256, (24, 9, 7), np.uint8)
    model = GAN(latent=5, filters=(4, 8), epochs=1, batch_size=8, judge="").fit(x)
    report = export(model, tmp_path / "model.c", x)
    assert (report.inputs, report.outputs) == (5, 63) and report.difference <= 1e-5
    codes = model.codes(4, seed=2)
    got = answers(compiled(tmp_path / "model.c").model_predict, codes, 63)
    np.testing.assert_allclose((got.reshape(4, 9, 7) + 1) / 2, model.images_of(codes), atol=1e-5)


def test_rows_of_a_table(tmp_path):
    labels = TabularClassifier(hidden=(20,), epochs=3).fit(ROWS, [row["colour"] for row in ROWS])
    report = export(labels, tmp_path / "my-labels.v2.c", ROWS)
    assert report.function == "my_labels_predict" and report.difference <= 1e-5
    got = answers(compiled(tmp_path / "my-labels.v2.c").my_labels_predict, labels.encode(ROWS), 3)
    np.testing.assert_allclose(got, labels.predict_proba(ROWS), atol=1e-5)


def test_numbers_come_in_their_own_unit(tmp_path):
    numbers = TabularRegressor(hidden=(20,), epochs=10).fit(ROWS, [1e4 + 500 * row["size"] for row in ROWS])
    assert export(numbers, tmp_path / "n.c").difference <= 1e-5
    got = answers(compiled(tmp_path / "n.c").n_predict, numbers.encode(ROWS), 1)
    np.testing.assert_allclose(got[:, 0], numbers.predict(ROWS), rtol=1e-5)
    assert got.std() > 100


@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "elu", "sigmoid", "tanh", "gelu", "gelu_tanh", "silu", "softplus"])
def test_models_of_layers(tmp_path, activation):
    inputs = layers.Input((3, 5))
    x = layers.Flatten()(inputs)
    a, b = layers.Dense(9, activation=activation, bias_initializer="random_normal")(x), layers.Dense(9)(x)
    model = dlcore.Model(inputs, layers.Dense(4, activation="softmax")(layers.Concatenate()([layers.Add()([a, b]), x])))
    samples = np.random.default_rng(0).standard_normal((50, 3, 5), dtype=np.float32)
    assert export(model, tmp_path / "m.c", samples).difference <= 1e-5
    got = answers(compiled(tmp_path / "m.c").m_predict, samples, 4)
    np.testing.assert_allclose(got, model.predict(samples), atol=1e-5)


def test_every_weight_arrives_exactly(tmp_path):
    model = dlcore.Sequential([layers.Dense(3, input_shape=(4,))])
    weights = [[1e-45, -0.0, 1e30], [1 / 3, 5, -1e-10], [2 ** 24 + 2, np.pi, 0.1], [7e-39, 1e-38, 123456.789]]
    weights = np.array(weights, np.float32)
    model.set_weights([weights, np.zeros(3, np.float32)])
    export(model, tmp_path / "m.c", np.eye(4, dtype=np.float32))
    np.testing.assert_array_equal(answers(compiled(tmp_path / "m.c").m_predict, np.eye(4), 3), weights)


def test_equal_models_give_equal_files_and_two_can_be_linked_together(tmp_path):
    model = dlcore.Sequential([layers.Dense(3, input_shape=(4,))])
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        export(model, tmp_path / folder / "m.c")
    assert (tmp_path / "a" / "m.c").read_bytes() == (tmp_path / "b" / "m.c").read_bytes()
    export(model, tmp_path / "other.c")
    sources = tmp_path / "a" / "m.c", tmp_path / "other.c"
    subprocess.run(["cc", "-std=c99", "-shared", "-fPIC", *sources, "-o", tmp_path / "two.so", "-lm"], check=True)


def test_without_a_compiler_the_file_is_written_and_not_compared(tmp_path, monkeypatch):
    monkeypatch.setenv("CC", "no-such-compiler")
    report = export(dlcore.Sequential([layers.Dense(3, input_shape=(4,))]), tmp_path / "m.c")
    assert report.difference is None and report.compiler == "" and (tmp_path / "m.c").exists()


def test_what_cannot_be_exported(tmp_path):
    inputs = layers.Input((4,))
    two = dlcore.Model(inputs, [layers.Dense(2)(inputs), layers.Dense(3)(inputs)])
    with pytest.raises(UsageError, match="one float32 input and one output"):
        export(two, tmp_path / "m.c")
    model = dlcore.Sequential([layers.Dense(3, input_shape=(4,))])
    with pytest.raises(WriteError):
        export(model, tmp_path / "no folder" / "m.c")
    model.set_weights([np.full((4, 3), np.nan, np.float32), np.zeros(3, np.float32)])
    with pytest.raises(ModelFileError):
        export(model, tmp_path / "m.c")
    assert list(tmp_path.iterdir()) == []


def test_an_export_that_does_not_agree_is_refused(tmp_path, monkeypatch):
    model = dlcore.Sequential([layers.Dense(3, input_shape=(4,))])
    predict = model.predict
    monkeypatch.setattr(model, "predict", lambda x: predict(x) + 1e-3)
    with pytest.raises(DlcoreError, match="does not agree"):
        export(model, tmp_path / "m.c")
    assert list(tmp_path.iterdir()) == []


def test_answers_near_zero_are_compared_by_the_scale_of_all(tmp_path):
    """200 +- 150 in float32: an answer near 0 has the error of 200."""
    x = np.random.default_rng(0).standard_normal((400, 6))
    numbers = TabularRegressor(hidden=(16,), epochs=3).fit(x, 200 + 150 * x[:, 0])
    near = np.repeat(x[:1], 400, axis=0)
    near[:, 0] = np.linspace(-3, 3, 400)            # crosses 0
    assert np.abs(numbers.predict(near)).min() < 3
    assert export(numbers, tmp_path / "n.c", near).difference <= 1e-6
