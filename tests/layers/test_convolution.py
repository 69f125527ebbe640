"""Layers for images: shapes, values against the rooms' references, bad arguments, what is fused in inference."""
import numpy as np
import pytest

import dlcore as dl
from dlcore import layers as L
from dlcore.errors import ShapeError, UsageError
from dlcore.ops.conv2d import ref as conv
from dlcore.ops.pooling import ref as pooling

X = np.random.default_rng(0).standard_normal((3, 9, 8, 6)).astype(np.float32)


def predicted(layer, x=X):
    model = dl.Sequential([L.Input(x.shape[1:]), layer])
    return model.predict(x), [v.numpy() for v in layer.variables]


@pytest.mark.parametrize("options", [{}, {"padding": "same", "strides": 2}, {"dilation_rate": 2}, {"groups": 2, "padding": "same"},
                                     {"padding": ((1, 0), (2, 1))}, {"padding": 1, "use_bias": False}])
def test_conv2d(options):
    out, (kernel, *bias) = predicted(L.Conv2D(8, 3, **options))
    renamed = {"strides": "stride", "dilation_rate": "dilation"}
    rest = {renamed.get(n, n): v for n, v in options.items() if n != "use_bias"}
    np.testing.assert_allclose(out, conv.conv2d(X, kernel, *bias, **rest), atol=1e-5)


def test_depthwise_and_separable():
    out, (kernel, bias) = predicted(L.DepthwiseConv2D(3, padding="same", depth_multiplier=2))
    assert kernel.shape == (3, 3, 6, 2)
    np.testing.assert_allclose(out, conv.conv2d(X, kernel.reshape(3, 3, 1, 12), bias, padding="same", groups=6), atol=1e-5)
    out, (depth, point, bias) = predicted(L.SeparableConv2D(5, 3, activation="relu"))
    expected = conv.conv2d(conv.conv2d(X, depth.reshape(3, 3, 1, 6), groups=6), point, bias)
    np.testing.assert_allclose(out, np.maximum(expected, 0), atol=1e-5)


@pytest.mark.parametrize("padding, size", [("same", (18, 16)), ("valid", (19, 17))])
def test_transposed(padding, size):
    out, (kernel, bias) = predicted(L.Conv2DTranspose(4, 3, strides=2, padding=padding))
    assert kernel.shape == (3, 3, 4, 6) and out.shape[1:3] == size
    np.testing.assert_allclose(out, conv.conv2d_transpose(X, kernel, stride=2, padding=padding) + bias, atol=1e-5)


@pytest.mark.parametrize("padding, length", [("causal", 9), ("valid", 5), ("same", 9)])
def test_conv1d(padding, length):
    x = X[:, :, 0]
    out, (kernel, bias) = predicted(L.Conv1D(4, 3, padding=padding, dilation_rate=2), x)
    assert out.shape == (3, length, 4)
    np.testing.assert_allclose(out, conv.conv1d(x, kernel, bias, padding=padding, dilation=2), atol=1e-5)


def test_causal_sees_no_future():
    layer = L.Conv1D(4, 3, padding="causal")
    model = dl.Sequential([L.Input((9, 6)), layer])
    changed = X[:, :, 0].copy()
    changed[:, 5:] += 1
    before, after = model.predict(X[:, :, 0]), model.predict(changed)
    assert np.array_equal(before[:, :5], after[:, :5]) and not np.array_equal(before[:, 5], after[:, 5])


def test_pooling():
    for kind, reference in ((L.MaxPooling2D, lambda x, w: pooling.maxima(x, w)[0]), (L.AveragePooling2D, pooling.mean)):
        out, _ = predicted(kind(3, strides=2, padding="same"))
        np.testing.assert_allclose(out, reference(X, pooling.windows(X, 3, 2, "same")), atol=1e-6)
    np.testing.assert_allclose(predicted(L.GlobalAveragePooling2D())[0], X.mean((1, 2)), atol=1e-6)
    assert np.array_equal(predicted(L.GlobalMaxPooling2D(keepdims=True))[0], X.max((1, 2), keepdims=True))
    for kind in (L.AdaptiveAveragePooling2D, L.AdaptiveMaxPooling2D):
        assert predicted(kind((2, 3)))[0].shape == (3, 2, 3, 6)


def test_sizes_and_orders():
    assert np.array_equal(predicted(L.UpSampling2D((2, 3)))[0], X.repeat(2, 1).repeat(3, 2))
    assert predicted(L.UpSampling2D(2, interpolation="bilinear"))[0].shape == (3, 18, 16, 6)
    assert np.array_equal(predicted(L.ZeroPadding2D(((1, 0), (2, 3))))[0], np.pad(X, ((0, 0), (1, 0), (2, 3), (0, 0))))
    assert np.array_equal(predicted(L.ChannelShuffle(3))[0], X[..., [0, 2, 4, 1, 3, 5]])
    assert predicted(L.PixelShuffle(1))[0].shape == X.shape
    assert np.array_equal(predicted(L.LeakyReLU(0.5))[0], np.where(X > 0, X, X * 0.5))


def test_batch_normalisation_trains_and_infers():
    layer = L.BatchNormalization(momentum=0.75, epsilon=1e-3)
    model = dl.Sequential([L.Input((9, 8, 6)), layer, L.Flatten(), L.Dense(2, activation="softmax")])
    model.compile(dl.SGD(0.0), "sparse_categorical_crossentropy")
    model.train_on_batch(X * 3 + 1, np.array([0, 1, 0]))
    mean, var = (X * 3 + 1).mean((0, 1, 2)), (X * 3 + 1).var((0, 1, 2))
    found = {v.name: v.numpy() for v in layer.variables}
    np.testing.assert_allclose(found["moving_mean"], 0.25 * mean, atol=1e-5)
    np.testing.assert_allclose(found["moving_variance"], 0.75 + 0.25 * var, rtol=1e-5)
    assert [v.name for v in layer.trainable_variables] == ["gamma", "beta"]
    alone = dl.Sequential([L.Input((9, 8, 6)), again := L.BatchNormalization(momentum=0.75, epsilon=1e-3)])
    again.set_weights(layer.get_weights())
    expected = (X - found["moving_mean"]) / np.sqrt(found["moving_variance"] + 1e-3)
    np.testing.assert_allclose(alone.predict(X), expected, atol=1e-5)


def test_group_normalisation():
    out, _ = predicted(L.GroupNormalization(2))
    groups = out.reshape(3, -1, 2, 3)
    np.testing.assert_allclose(groups.mean((1, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(groups.std((1, 3)), 1, atol=1e-2)
    assert predicted(L.GroupNormalization(-1))[0].shape == X.shape


def block():
    """conv - norm - relu - conv - norm, joined with the input, relu; statistics that are no identity."""
    x = inputs = L.Input((9, 8, 6))
    for last in (False, True):
        x = L.BatchNormalization()(L.Conv2D(6, 3, padding="same", use_bias=last)(x))
        x = L.Activation("relu")(L.Add()([x, inputs]) if last else x)
    model = dl.Model(inputs, x)
    rng = np.random.default_rng(1)
    model.set_weights([np.abs(w) + 0.5 if v.name.endswith(("variance", "gamma")) else rng.standard_normal(w.shape) * 0.3
                       for v, w in zip(model.variables, model.get_weights(), strict=True)])
    return model


def test_inference_folds_and_joins():
    model = block()
    x = X.astype(np.float64)
    for layer in model.layers:
        if isinstance(layer, L.Conv2D):
            x = conv.conv2d(x, *(w.astype(np.float64) for w in layer.get_weights()), padding="same")
        elif isinstance(layer, L.BatchNormalization):
            gamma, beta, mean, var = (w.astype(np.float64) for w in layer.get_weights())
            x = (x - mean) / np.sqrt(var + 1e-3) * gamma + beta
        elif isinstance(layer, L.Add):
            x = x + X
        elif isinstance(layer, L.Activation):
            x = np.maximum(x, 0)
    np.testing.assert_allclose(model.predict(X), x, atol=3e-5)


@pytest.mark.parametrize("make", [
    lambda: L.Conv2D(0, 3), lambda: L.Conv2D(4, (3, 3, 3)), lambda: L.Conv2D(4, 3, padding="full"), lambda: L.LeakyReLU(-1.0),
    lambda: L.UpSampling2D(2, interpolation="cubic"), lambda: L.BatchNormalization(momentum=2), lambda: L.ZeroPadding2D(-1),
    lambda: L.GroupNormalization(0)])
def test_bad_arguments(make):
    with pytest.raises(UsageError):
        make()


def test_bad_shapes():
    with pytest.raises(ShapeError, match="smaller than the window"):
        predicted(L.Conv2D(4, 11))
    with pytest.raises(ShapeError, match="takes \\[B, H, W, C\\]"):
        predicted(L.Conv2D(4, 3), X[:, :, 0])
    with pytest.raises(ShapeError, match="multiples of groups"):
        predicted(L.Conv2D(4, 3, groups=5))


def test_saved_and_loaded(tmp_path):
    model = block()
    model.save(tmp_path / "m.dlc")
    assert np.array_equal(dl.Model.load(tmp_path / "m.dlc").predict(X), model.predict(X))
