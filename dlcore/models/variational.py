"""Convolutional autoencoders, plain and variational (Kingma and Welling, Auto-encoding variational Bayes, 2014)."""
from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from dlcore.layers import (
    Activation,
    Conv2D,
    Conv2DTranspose,
    Cropping2D,
    Dense,
    Flatten,
    GaussianDivergence,
    GaussianSample,
    Input,
    Reshape,
)
from dlcore.models.convolutional import start
from dlcore.training.model import Model

ENCODER, DECODER, RECONSTRUCTION, DIVERGENCE = "encoder", "decoder", "reconstruction", "divergence"


def autoencoder(image_shape: Sequence[int], latent: int, *, filters: Sequence[int] = (32, 64), hidden: Sequence[int] = (256,),
                variational: bool = True, flat: bool = False, seed: int = 0) -> Model:
    """x -> its reconstruction, pixels between 0 and 1; of a variational one also the divergence of its code, f32[B, 1].

    Convolutions of 4 x 4 halve the size once for each of `filters`; dense layers of `hidden` widths lead to `latent` numbers, and
    the same way back through transposed convolutions.  The model's layers `encoder` (images -> code, or [mean, log_variance]) and
    `decoder` (code -> logits of the pixels) are models of their own.   flat: images come and go as one axis."""
    image, code = start(image_shape, flat)[0], Input((latent,))
    encoder = _encoder(image_shape, latent, filters, hidden, variational, flat)
    decoder = Model(code, _decode(code, image_shape, filters, hidden, flat), name=DECODER)
    made = encoder(image)
    z = GaussianSample(name="sample")(list(made)) if variational else made
    out = Activation("sigmoid", name=RECONSTRUCTION)(decoder(z))
    if not variational:
        return Model(image, out, seed=seed)
    return Model(image, [out, GaussianDivergence(name=DIVERGENCE)(list(made))], seed=seed)


def _encoder(image_shape: Sequence[int], latent: int, filters: Sequence[int], hidden: Sequence[int], variational: bool,
             flat: bool) -> Model:
    image, x = start(image_shape, flat)
    for n in filters:
        x = Conv2D(int(n), 4, 2, padding="same", activation="relu", kernel_initializer="he_uniform")(x)
    x = Flatten()(x)
    for n in hidden:
        x = Dense(int(n), activation="relu", kernel_initializer="he_uniform")(x)
    if not variational:
        return Model(image, Dense(latent, name="code")(x), name=ENCODER)
    return Model(image, [Dense(latent, name="mean")(x), Dense(latent, name="log_variance")(x)], name=ENCODER)


def _decode(x: Any, image_shape: Sequence[int], filters: Sequence[int], hidden: Sequence[int], flat: bool) -> Any:
    """Logits of the pixels: sizes are doubled once per filter, then what is too large is cut off."""
    H, W, C = (*image_shape, 1)[:3]
    sizes = [(H, W)]
    for _ in filters:
        sizes.append((-(-sizes[-1][0] // 2), -(-sizes[-1][1] // 2)))
    for n in reversed(hidden):
        x = Dense(int(n), activation="relu", kernel_initializer="he_uniform")(x)
    first = (*sizes[-1], int(filters[-1]) if filters else C)
    x = Dense(prod(first), activation="relu" if filters else None, kernel_initializer="he_uniform")(x)
    x = Reshape(first)(x)
    for level in reversed(range(len(filters))):
        out, last = int(filters[level - 1]) if level else C, level == 0
        x = Conv2DTranspose(out, 4, 2, padding="same", activation=None if last else "relu", kernel_initializer="he_uniform")(x)
        (h, w), (H2, W2) = sizes[level], (2 * sizes[level + 1][0], 2 * sizes[level + 1][1])
        if (h, w) != (H2, W2):
            x = Cropping2D(((0, H2 - h), (0, W2 - w)))(x)
    return Flatten()(x) if flat else x if len(image_shape) == 3 else Reshape((H, W))(x)
