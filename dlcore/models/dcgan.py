"""Generator and discriminator of convolutions (Radford et al., Unsupervised representation learning with deep convolutional
generative adversarial networks, 2016), of any image size, with labels where wanted.

The discriminator takes labels by their inner product with its features (Miyato and Koyama, cGANs with projection discriminator,
2018), the generator beside its code (Mirza and Osindero, Conditional generative adversarial nets, 2014).
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

from dlcore.errors import UsageError
from dlcore.layers import (
    Activation,
    Add,
    BatchNormalization,
    Concatenate,
    Conv2D,
    Conv2DTranspose,
    Cropping2D,
    Dense,
    Flatten,
    InnerProduct,
    Input,
    LeakyReLU,
    RandomCode,
    Reshape,
    SpectralNormalization,
)
from dlcore.layers.initializers import RandomNormal
from dlcore.models.convolutional import EPSILON, MOMENTUM, start
from dlcore.training.adversarial import DISCRIMINATOR, GENERATOR, Adversarial
from dlcore.training.model import Model

SLOPE = 0.2             # of the discriminator's leaky relu
FIRST, WIDEST = 64, 512
SMALLEST = 7            # images are halved until no side is larger


def filters_for(image_shape: Sequence[int]) -> tuple[int, ...]:
    """64, 128, 256, ... up to 512, as many as halve the larger side to at most 7; two at least."""
    side, found = max(image_shape[:2]), list[int]()
    while side > SMALLEST or len(found) < 2:
        found.append(min(FIRST << len(found), WIDEST))
        side = -(-side // 2)
    return tuple(found)


def dcgan(image_shape: Sequence[int], latent: int = 100, *, filters: Sequence[int] = (), classes: int = 0,
          batchnorm: bool = True, spectral: bool = False, flat: bool = False, seed: int = 0) -> Adversarial:
    """Two networks on images with pixels from -1 to 1, as one `Adversarial` whose layers `generator` and `discriminator` they are.

    generator      code f32[B, latent + classes] (labels one-hot behind the code) -> images
    discriminator  images, and with `classes` also labels f32[B, classes] one-hot -> f32[B, 1], greater for what looks real
    filters        of the convolutions of 4 x 4 that halve the size; none: `filters_for`
    batchnorm      between the discriminator's convolutions; the generator always has it
    spectral       each layer of the discriminator divided by its greatest singular value.   flat: images come as one axis"""
    if spectral and batchnorm:
        raise UsageError("a discriminator has batch normalisation or spectral normalisation", hint="batchnorm=False")
    widths = tuple(int(n) for n in filters) or filters_for(image_shape)
    generator = _generator(image_shape, latent + classes, widths, flat)
    discriminator = _discriminator(image_shape, widths, classes, batchnorm, spectral, flat)
    image = start(image_shape, flat)[0]
    code, given = RandomCode(latent)(image), [image]
    if classes:
        given.append(Input((classes,)))
        code = Concatenate()([code, given[1]])
    judged = discriminator(given) if classes else discriminator(image)
    return Adversarial(given if classes else image, [generator(code), judged], seed=seed)


def small() -> RandomNormal:
    return RandomNormal(stddev=0.02)


def _generator(image_shape: Sequence[int], width: int, filters: Sequence[int], flat: bool) -> Model:
    H, W, C = (*image_shape, 1)[:3]
    sizes = [(H, W)]
    for _ in filters:
        sizes.append((-(-sizes[-1][0] // 2), -(-sizes[-1][1] // 2)))
    code = Input((width,))
    first = (*sizes[-1], filters[-1])
    x = Dense(prod(first), kernel_initializer=small())(code)
    x = Activation("relu")(BatchNormalization(momentum=MOMENTUM, epsilon=EPSILON)(x))
    x = Reshape(first)(x)
    for level in reversed(range(len(filters))):
        x = Conv2DTranspose(filters[level - 1] if level else C, 4, 2, padding="same", activation=None if level else "tanh",
                            kernel_initializer=small())(x)
        more = 2 * sizes[level + 1][0] - sizes[level][0], 2 * sizes[level + 1][1] - sizes[level][1]
        if any(more):
            x = Cropping2D(((0, more[0]), (0, more[1])))(x)
        if level:
            x = Activation("relu")(BatchNormalization(momentum=MOMENTUM, epsilon=EPSILON)(x))
    return Model(code, Flatten()(x) if flat else x if len(image_shape) == 3 else Reshape((H, W))(x), name=GENERATOR)


def _discriminator(image_shape: Sequence[int], filters: Sequence[int], classes: int, batchnorm: bool, spectral: bool,
                   flat: bool) -> Model:
    def made(layer: Any) -> Callable[[Any], Any]:
        return SpectralNormalization(layer) if spectral else layer
    image, x = start(image_shape, flat)
    for level, n in enumerate(filters):
        x = made(Conv2D(n, 4, 2, padding="same", kernel_initializer=small()))(x)
        if level and batchnorm:
            x = BatchNormalization(momentum=MOMENTUM, epsilon=EPSILON)(x)
        x = LeakyReLU(SLOPE)(x)
    x = Flatten()(x)
    judged = made(Dense(1, kernel_initializer=small()))(x)
    if not classes:
        return Model(image, judged, name=DISCRIMINATOR)
    labels = Input((classes,))
    named = made(Dense(x.shape[1], use_bias=False, kernel_initializer=small()))(labels)
    return Model([image, labels], Add()([judged, InnerProduct()([x, named])]), name=DISCRIMINATOR)
