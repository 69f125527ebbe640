"""A small vision transformer: Dosovitskiy et al., An image is worth 16 x 16 words, 2021, narrowed for small images.

Two choices make it learn from tens of thousands of images instead of millions: the answer is read from the mean of all places, not
from a token of its own (Zhai et al., Scaling vision transformers, 2022, section 2.3), and norms stand before each part.
"""
from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from dlcore.errors import UsageError
from dlcore.layers import (
    Conv2D,
    Dropout,
    GlobalAveragePooling1D,
    LayerNormalization,
    PositionalEmbedding,
    Reshape,
    TransformerEncoder,
)
from dlcore.models.convolutional import answer, start
from dlcore.training.model import Model

SIDE = 8            # patches along the longer side, at most, where no size is given


def patch_of(image_shape: Sequence[int], patch: int | None) -> int:
    """The side of a patch in pixels.  Raises UsageError."""
    longer = max(int(n) for n in image_shape[:2])
    if patch is None:
        return math.ceil(longer / SIDE)
    if isinstance(patch, bool) or not isinstance(patch, int) or not 1 <= patch <= longer:
        raise UsageError("a patch is a whole number of pixels that fits the image", expected=f"1 to {longer}", got=repr(patch))
    return patch


def vit(image_shape: Sequence[int], outputs: int, *, width: int = 96, depth: int = 6, heads: int = 4, patch: int | None = None,
        hidden: Sequence[int] = (), dropout: float = 0.1, output_activation: str | None = None, flat: bool = False, seed: int = 0,
        name: str | None = None) -> Model:
    """Patches of patch x patch pixels, by a convolution that steps from one to the next, with learned positions; `depth` blocks of
    self-attention and a dense network twice as wide; a norm, the mean over the patches, dense layers.

    width: columns of a patch's vector, a multiple of heads   patch: None for at most 8 x 8 patches; images whose sides are no
    multiples of it are padded with zeros   dropout: behind the positions, inside the blocks, and in front of dense layers"""
    if width % heads:
        raise UsageError("width is a multiple of heads", got=f"{width} and {heads}")
    side = patch_of(image_shape, patch)
    inputs, images = start(image_shape, flat)
    x: Any = images
    x = Conv2D(width, side, side, padding="same", kernel_initializer="he_normal")(x)
    places = x.shape[1] * x.shape[2]
    x = PositionalEmbedding(places)(Reshape((places, width))(x))
    x = Dropout(dropout)(x) if dropout else x
    for _ in range(depth):
        x = TransformerEncoder(2 * width, heads, dropout=dropout, activation="gelu", normalize_first=True)(x)
    x = GlobalAveragePooling1D()(LayerNormalization()(x))
    return Model(inputs, answer(x, outputs, hidden, dropout, output_activation), name=name, seed=seed)
