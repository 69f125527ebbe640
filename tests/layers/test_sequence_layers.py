"""Embedding, masks from layer to layer, pooling over steps."""
import numpy as np
import pytest

import dlcore as dl
from dlcore import ops
from dlcore.errors import DataError, ShapeError, UsageError
from dlcore.layers import (
    Activation,
    Add,
    Concatenate,
    Dense,
    Embedding,
    Flatten,
    GlobalAveragePooling1D,
    GlobalMaxPooling1D,
    Input,
    Layer,
    Masking,
    Multiply,
)
from dlcore.optim import Adam

IDS = np.array([[3, 1, 0, 0], [2, 0, 4, 0], [0, 0, 0, 0]])
TABLE = np.arange(10, dtype=np.float32).reshape(5, 2)


class Mask(Layer):
    """What mask a layer is given, as its output."""

    def call(self, x, mask=None):
        return ops.fill(-1.0, *x.shape[:2], graph=x.graph) if mask is None else ops.scale(mask, 1.0)


def masks(*layers, x=IDS, dtype="int32"):
    source = out = Input(x.shape[1:], dtype)
    for layer in layers:
        out = layer(out)
    return dl.Model(source, Mask()(out)).predict(x)


def test_embedding_looks_rows_up():
    model = dl.Sequential([Embedding(5, 2)])
    model.build((None, 4))
    model.set_weights([TABLE])
    np.testing.assert_array_equal(model.predict(IDS), TABLE[IDS])


def test_embedding_learns_and_is_saved(tmp_path):
    model = dl.Sequential([Embedding(5, 8, mask_zero=True), GlobalAveragePooling1D(), Dense(2, activation="softmax")])
    model.compile(Adam(0.02), "sparse_categorical_crossentropy", metrics=["accuracy"])
    x = np.random.default_rng(0).integers(1, 5, (200, 6))
    y = (x == 3).any(1).astype(int)
    model.fit(x, y, epochs=40, verbose=0)
    assert model.evaluate(x, y)[1] > 0.95
    model.save(tmp_path / "m.dlc")
    np.testing.assert_array_equal(dl.Model.load(tmp_path / "m.dlc").predict(x), model.predict(x))


@pytest.mark.parametrize("bad, got", [(5, "5"), (-1, "-1")])
def test_an_id_out_of_range_is_named(bad, got):
    model = dl.Sequential([Embedding(5, 2), GlobalAveragePooling1D(), Dense(1)])
    model.compile("adam", "mse")
    x = IDS.copy()
    x[1, 2] = bad
    for use in (lambda: model.predict(x), lambda: model.fit(x, np.zeros(3)), lambda: model.predict_on_batch(x)):
        with pytest.raises(DataError, match="an id in x is out of range") as caught:
            use()
        assert caught.value.where == "row 1, column 2" and caught.value.got == got and caught.value.expected == "0 to 4"


def test_masks_pass_through_layers():
    there = (IDS != 0).astype(float)
    np.testing.assert_array_equal(masks(Embedding(5, 2, mask_zero=True)), there)
    np.testing.assert_array_equal(masks(Embedding(5, 2, mask_zero=True), Dense(3), Activation("relu")), there)
    np.testing.assert_array_equal(masks(Embedding(5, 2)), np.full((3, 4), -1))
    steps = TABLE[IDS] * there[..., None]
    steps[steps.sum(-1) == 0] = 7
    np.testing.assert_array_equal(masks(Masking(7.0), x=steps, dtype="float32"), there)


def test_masking_makes_padding_zero():
    source = Input((2, 2))
    model = dl.Model(source, Masking(7.0)(source))
    x = np.array([[[7, 7], [7, 1]]], np.float32)
    np.testing.assert_array_equal(model.predict(x), [[[0, 0], [7, 1]]])


def test_masks_of_merged_layers():
    a, b = Input((4,), "int32"), Input((4,), "int32")
    embed = Embedding(5, 2, mask_zero=True)
    both, other = [embed(a), embed(b)], [embed(a), Embedding(5, 2)(b)]
    x = [IDS, IDS[:, ::-1].copy()]
    ours, theirs = (IDS != 0).astype(float), (x[1] != 0).astype(float)
    for merge, inputs, expected in (
            (Add(), both, ours * theirs), (Multiply(), other, ours), (Concatenate(), both, ours * theirs),
            (Concatenate(axis=1), both, np.concatenate([ours, theirs], 1)), (Concatenate(axis=1), other, np.full((3, 8), -1))):
        np.testing.assert_array_equal(dl.Model([a, b], Mask()(merge(inputs))).predict(x), expected)


def test_a_mask_reaches_a_model_in_a_model():
    inner_in = Input((4, 2))
    inner = dl.Model(inner_in, GlobalMaxPooling1D()(Dense(3)(inner_in)))
    source = Input((4,), "int32")
    model = dl.Model(source, inner(Embedding(5, 2, mask_zero=True)(source)))
    table, kernel, bias = model.get_weights()
    steps = np.where((IDS != 0)[..., None], table[IDS] @ kernel + bias, -np.inf).max(1)
    np.testing.assert_allclose(model.predict(IDS)[:2], steps[:2], rtol=1e-5)


@pytest.mark.parametrize("layer, reduce", [(GlobalAveragePooling1D, np.mean), (GlobalMaxPooling1D, np.max)])
def test_pooling_leaves_padding_out(layer, reduce):
    model = dl.Sequential([Embedding(5, 2, mask_zero=True), layer(keepdims=True)])
    model.build((None, 4))
    model.set_weights([TABLE])
    out = model.predict(IDS)
    assert out.shape == (3, 1, 2)
    np.testing.assert_allclose(out[0, 0], reduce(TABLE[[3, 1]], 0))
    np.testing.assert_allclose(out[1, 0], reduce(TABLE[[2, 4]], 0))
    np.testing.assert_array_equal(out[2, 0], 0)                         # nothing there


@pytest.mark.parametrize("make, error, message", [
    (lambda: Embedding(0, 3), UsageError, "input_dim"),
    (lambda: Embedding(5, 2)(Input((4,))), ShapeError, "takes ids"),
    (lambda: Masking()(Input((4,))), ShapeError, "sequences of vectors"),
    (lambda: GlobalAveragePooling1D()(Input((4,))), ShapeError, "no sequence"),
    (lambda: GlobalMaxPooling1D(keepdims=3), UsageError, "keepdims"),
])
def test_errors(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_flatten_has_no_mask():
    assert (masks(Embedding(5, 2, mask_zero=True), Flatten(), Dense(3)) == -1).all()
