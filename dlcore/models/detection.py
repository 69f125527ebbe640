"""Networks that find things in pictures, small enough to be trained on a processor.

yolo_tiny    one look, boxes of two sizes of cells (Redmon et al., 2016; Redmon and Farhadi, YOLOv3, 2018)
ssd          default boxes on four maps (Liu et al., SSD: Single shot multibox detector, 2016)
faster_rcnn  regions proposed, then looked at once more (Ren et al., 2015; He et al., Mask R-CNN, 2017, for RoIAlign)

All share a residual backbone (He et al., 2016) with maps of 1/8, 1/16 and 1/32 of the picture's size, joined from coarse to fine
(Lin et al., Feature pyramid networks, 2017).  Pictures come as one axis, f32[B, H * W * 3], as data sets have them.
"""
from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from dlcore.errors import UsageError
from dlcore.layers import (
    Activation,
    Add,
    Concatenate,
    Conv2D,
    Cropping2D,
    Dense,
    LayerNormalization,
    MultiHeadAttention,
    PriorOutput,
    RegionOutput,
    RegionProposals,
    Reshape,
    RoIAlign,
    UpSampling2D,
    YoloOutput,
)
from dlcore.models.convolutional import normalised, residual, start
from dlcore.training.model import Model

RARE = 0.01             # how likely a place holds something, as a network starts (Lin et al., Focal loss, 2017, section 3.3)
SCALE = 2.4             # pixels of a default box for each pixel of its map's stride
PART = 5                # a region is cut into PART x PART


def backbone(x: Any, width: int, attention: bool) -> list[Any]:
    """Maps of 1/8, 1/16 and 1/32 of the size, with 4, 8 and 12 `width` channels."""
    x = normalised(normalised(x, width, 3, 2), 2 * width, 3, 2)
    maps = []
    for channels, blocks in ((4 * width, 1), (8 * width, 2), (12 * width, 1)):
        x = normalised(x, channels, 3, 2)
        for _ in range(blocks):
            x = residual(x, channels, 1, "projection")
        maps.append(x)
    if attention:
        maps[-1] = look_around(maps[-1])
    return maps


def look_around(x: Any, heads: int = 4) -> Any:
    """x + attention between all places of a map (Vaswani et al., 2017; Wang et al., Non-local neural networks, 2018)."""
    _, H, W, C = x.shape
    rows = Reshape((H * W, C))(x)
    seen = MultiHeadAttention(heads, max(1, C // heads))(LayerNormalization()(rows))
    return Reshape((H, W, C))(Add()([rows, seen]))


def finer(coarse: Any, fine: Any, channels: int) -> Any:
    """A map joined with the one of half its size, f32[B, H, W, channels]."""
    x = UpSampling2D(2)(normalised(coarse, fine.shape[3], 1))
    more, wider = x.shape[1] - fine.shape[1], x.shape[2] - fine.shape[2]
    if more or wider:
        x = Cropping2D(((0, more), (0, wider)))(x)
    return normalised(Concatenate()([x, fine]), channels, 3)


def yolo_tiny(image_shape: Sequence[int], classes: int, anchors: Sequence[Sequence[float]], *, width: int = 16,
              attention: bool = False, seed: int = 0) -> Model:
    """anchors: (width, height) in pixels, small to large; the smaller half belongs to cells of 8 pixels, the others of 16."""
    if len(anchors) < 2:
        raise UsageError("yolo_tiny needs two anchors or more", got=str(len(anchors)))
    inputs, x = start(image_shape, True)
    eighth, sixteenth, small = backbone(x, width, attention)
    middle = finer(small, sixteenth, 8 * width)
    fine = finer(middle, eighth, 4 * width)
    half = len(anchors) // 2
    parts = [[[float(v) for v in a] for a in part] for part in (anchors[:half], anchors[half:])]
    heads = [Conv2D(len(part) * (5 + classes), 1) for part in parts]
    maps = [head(m) for head, m in zip(heads, (fine, middle), strict=True)]
    for head, part in zip(heads, parts, strict=True):
        bias = np.zeros((len(part), 5 + classes), np.float32)
        bias[:, 4] = math.log(RARE / (1 - RARE))
        head.bias.assign(bias.reshape(-1))
    return Model(inputs, YoloOutput([8, 16], parts, name="boxes")(maps), seed=seed)


def default_boxes(strides: Sequence[int]) -> list[list[list[float]]]:
    """For each map (width, height) of its default boxes: those of section 2.2, of shapes 1, 2, 1/2, 3, 1/3, and a square of the
    scale between this map's and the next.  A scale is SCALE times the map's stride, so that boxes reach well over each other."""
    scales = [SCALE * stride for stride in (*strides, 2 * strides[-1])]
    found = []
    for s, larger in pairwise(scales):
        between = math.sqrt(s * larger)
        found.append([[float(s * r), float(s / r)] for r in map(math.sqrt, (1, 2, 1 / 2, 3, 1 / 3))] + [[between, between]])
    return found


def ssd(image_shape: Sequence[int], classes: int, *, width: int = 16, attention: bool = False, seed: int = 0) -> Model:
    """Default boxes on maps of 1/8, 1/16, 1/32 and 1/64 of the size."""
    inputs, x = start(image_shape, True)
    maps = backbone(x, width, attention)
    maps.append(normalised(maps[-1], 8 * width, 3, 2))
    maps[1] = finer(maps[2], maps[1], 8 * width)
    maps[0] = finer(maps[1], maps[0], 4 * width)
    strides = [8, 16, 32, 64]
    boxes = default_boxes(strides)
    said = [Conv2D(len(sizes) * (5 + classes), 3, padding="same")(m) for m, sizes in zip(maps, boxes, strict=True)]
    return Model(inputs, PriorOutput(strides, boxes, name="boxes")(said), seed=seed)


def faster_rcnn(image_shape: Sequence[int], classes: int, anchors: Sequence[Sequence[float]], *, width: int = 16,
                regions: int = 64, hidden: int = 128, attention: bool = False, seed: int = 0) -> Model:
    """anchors: (width, height) in pixels, at each place of the map of 1/16.   regions: that the second stage looks at."""
    height, across = (int(n) for n in image_shape[:2])
    inputs, x = start(image_shape, True)
    eighth, sixteenth, small = backbone(x, width, attention)
    middle = finer(small, sixteenth, 8 * width)
    fine = finer(middle, eighth, 4 * width)
    sizes = [[float(v) for v in a] for a in anchors]
    said = Conv2D(6 * len(sizes), 1)(normalised(middle, 8 * width, 3))
    proposed, z = RegionProposals([16], [sizes], regions, height, across)(said)
    seen = RoIAlign(PART, 8)([fine, proposed])
    for _ in range(2):
        seen = Activation("relu")(Dense(hidden, kernel_initializer="he_normal")(seen))
    return Model(inputs, RegionOutput(name="boxes")([z, proposed, Dense(5 + classes)(seen)]), seed=seed)
