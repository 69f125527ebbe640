"""Convolutional networks for images.  All take images [B, H, W, C] flattened to one axis (as data sets have them) or as they are.

lenet       LeCun et al., Gradient-based learning applied to document recognition, 1998, with ReLU and maxima
cnn         Keras' example for MNIST (mnist_convnet's predecessor, mnist_cnn): two convolutions, one pooling
resnet      He et al., Deep residual learning, 2016, section 4.2: 6 n + 2 layers for small images
mobilenet   Howard et al., MobileNets, 2017, narrowed and with strides for small images
"""
from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from dlcore.errors import UsageError
from dlcore.layers import (
    Activation,
    Add,
    AveragePooling2D,
    BatchNormalization,
    ChannelPadding,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Dropout,
    Flatten,
    GlobalAveragePooling2D,
    Input,
    MaxPooling2D,
    Reshape,
)
from dlcore.training.model import Model

MOMENTUM, EPSILON = 0.9, 1e-5           # of the normalisations: those of the papers' own code


def start(image_shape: Sequence[int], flat: bool) -> tuple[Any, Any]:
    """(input, images [H, W, C]): the input is flat where `flat`."""
    shape = tuple(int(n) for n in image_shape)
    if len(shape) not in (2, 3):
        raise UsageError("images are (H, W) or (H, W, C)", got=str(shape))
    whole = shape if len(shape) == 3 else (*shape, 1)
    x = Input((prod(shape),) if flat else shape)
    return x, x if not flat and len(shape) == 3 else Reshape(whole)(x)


def answer(x: Any, outputs: int, hidden: Sequence[int], dropout: float, activation: str | None) -> Any:
    """Dense layers with dropout in front of each, and the outputs."""
    for width in hidden:
        x = Dense(int(width), activation="relu", kernel_initializer="he_uniform")(x)
        x = Dropout(dropout)(x) if dropout else x
    return Dense(int(outputs), activation=activation)(x)


def lenet(image_shape: Sequence[int], outputs: int, *, hidden: Sequence[int] = (120, 84), dropout: float = 0.0,
          output_activation: str | None = None, flat: bool = False, seed: int = 0, name: str | None = None) -> Model:
    """6 and 16 filters of 5 x 5, each pooled, then dense layers."""
    inputs, x = start(image_shape, flat)
    x = Conv2D(6, 5, padding="same", activation="relu", kernel_initializer="he_uniform")(x)
    x = MaxPooling2D(2, padding="same")(x)
    x = Conv2D(16, 5, padding="same" if min(x.shape[1:3]) < 5 else "valid", activation="relu", kernel_initializer="he_uniform")(x)
    x = Flatten()(MaxPooling2D(2, padding="same")(x))
    return Model(inputs, answer(x, outputs, hidden, dropout, output_activation), name=name, seed=seed)


def cnn(image_shape: Sequence[int], outputs: int, *, hidden: Sequence[int] = (128,), dropout: float = 0.5,
        output_activation: str | None = None, flat: bool = False, seed: int = 0, name: str | None = None) -> Model:
    """32 and 64 filters of 3 x 3, one pooling, dense layers; half of `dropout` behind the pooling."""
    inputs, x = start(image_shape, flat)
    x = Conv2D(32, 3, activation="relu", kernel_initializer="he_uniform")(x)
    x = Conv2D(64, 3, activation="relu", kernel_initializer="he_uniform")(x)
    x = MaxPooling2D(2, padding="same")(x)
    x = Flatten()(Dropout(dropout / 2)(x) if dropout else x)
    return Model(inputs, answer(x, outputs, hidden, dropout, output_activation), name=name, seed=seed)


def normalised(x: Any, filters: int, size: int, stride: int = 1, activation: str | None = "relu") -> Any:
    """A convolution without bias, padded as PyTorch's networks are, its normalisation, and the activation."""
    x = Conv2D(filters, size, stride, padding=size // 2, use_bias=False, kernel_initializer="he_normal")(x)
    x = BatchNormalization(momentum=MOMENTUM, epsilon=EPSILON)(x)
    return Activation(activation)(x) if activation else x


def residual(x: Any, filters: int, stride: int, shortcut: str) -> Any:
    """Two convolutions beside a shortcut.  shortcut, where the size changes: "projection" by a convolution of 1 x 1 (option B of
    the paper), or "padding": every other place, and channels of zeros (option A)."""
    beside, more = x, filters - x.shape[-1]
    if shortcut not in ("projection", "padding"):
        raise UsageError("a shortcut is 'projection' or 'padding'", got=repr(shortcut))
    if shortcut == "projection" and (stride != 1 or more):
        beside = normalised(x, filters, 1, stride, None)
    elif stride != 1 or more:
        beside = AveragePooling2D(1, stride)(x) if stride != 1 else x
        beside = ChannelPadding(more // 2, more - more // 2)(beside)
    out = normalised(normalised(x, filters, 3, stride), filters, 3, 1, None)
    return Activation("relu")(Add()([out, beside]))


def resnet(image_shape: Sequence[int], outputs: int, *, depth: int = 20, width: int = 16, hidden: Sequence[int] = (),
           dropout: float = 0.0, output_activation: str | None = None, flat: bool = False, seed: int = 0,
           name: str | None = None, shortcut: str = "projection", mean: Sequence[float] = (), std: Sequence[float] = ()) -> Model:
    """depth = 6 n + 2 layers: a convolution, three stages of n blocks with `width`, 2 and 4 times as many filters, the mean of each
    channel, dense layers.  shortcut: see `residual`.  mean, std: of each channel of the images, taken off first."""
    if depth < 8 or (depth - 2) % 6:
        raise UsageError("a ResNet for small images has 6 n + 2 layers", expected="8, 14, 20, 26, 32, ...", got=str(depth))
    inputs, x = start(image_shape, flat)
    if mean:
        standardise = BatchNormalization(epsilon=EPSILON, center=False, scale=False, trainable=False)
        x = standardise(x)
        standardise.set_weights([mean, [s * s - EPSILON for s in std]])
    x = normalised(x, width, 3)
    for stage in range(3):
        for block in range((depth - 2) // 6):
            x = residual(x, width << stage, 2 if stage and not block else 1, shortcut)
    x = GlobalAveragePooling2D()(x)
    return Model(inputs, answer(x, outputs, hidden, dropout, output_activation), name=name, seed=seed)


def mobilenet(image_shape: Sequence[int], outputs: int, *, width: int = 16, hidden: Sequence[int] = (), dropout: float = 0.0,
              output_activation: str | None = None, flat: bool = False, seed: int = 0, name: str | None = None) -> Model:
    """A convolution, then seven depthwise convolutions, each followed by one of 1 x 1; the size is halved three times."""
    inputs, x = start(image_shape, flat)
    x = normalised(x, width, 3)
    for factor, stride in ((2, 1), (4, 2), (4, 1), (8, 2), (8, 1), (16, 2), (16, 1)):
        x = DepthwiseConv2D(3, stride, padding=1, use_bias=False, depthwise_initializer="he_normal")(x)
        x = Activation("relu")(BatchNormalization(momentum=MOMENTUM, epsilon=EPSILON)(x))
        x = normalised(x, width * factor, 1)
    x = GlobalAveragePooling2D()(x)
    return Model(inputs, answer(x, outputs, hidden, dropout, output_activation), name=name, seed=seed)
