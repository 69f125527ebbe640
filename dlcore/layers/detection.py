"""Layers of detectors: what the last maps of a network say, together with the boxes that it is about.

Their outputs are flat, f32[B, n]: `training.detection_losses` finds the parts by `origin`, `data.detection.decode` by position.
Boxes are corners in pixels of the network's input; they are made when a layer is built and are kept with its weights.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from dlcore import ops
from dlcore.errors import ShapeError, UsageError
from dlcore.layers.layer import Layer
from dlcore.layers.trace import note, origin

Sizes = Sequence[Sequence[float]]       # (width, height) each


def grid(rows: int, columns: int, stride: int, sizes: Sizes) -> np.ndarray:
    """Cells of a map row by row, f32 (rows * columns * sizes, 5): column, row, stride, width, height."""
    at = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), -1).reshape(-1, 1, 2)
    count = len(sizes)
    cells = np.concatenate([np.repeat(at, count, 1), np.full((len(at), count, 1), stride),
                            np.broadcast_to(np.asarray(sizes, np.float64), (len(at), count, 2))], 2)
    return cells.reshape(-1, 5).astype(np.float32)


def corners(cells: np.ndarray) -> np.ndarray:
    """The boxes around the middles of cells, f32 (P, 4)."""
    middle = (cells[:, :2] + 0.5) * cells[:, 2:3]
    return np.concatenate([middle - cells[:, 3:] / 2, middle + cells[:, 3:] / 2], 1).astype(np.float32)


class _Maps(Layer):
    """strides: pixels from one place of each map to the next;  sizes: of each map's boxes, (width, height) each."""

    def __init__(self, strides: Sequence[int], sizes: Sequence[Sizes], **options: Any):
        super().__init__(**options)
        if len(strides) != len(sizes) or not all(len(s) for s in sizes):
            raise UsageError(f"{type(self).__name__}: sizes of boxes for each map", expected=f"{len(strides)} lists",
                             got=repr(sizes)[:80])
        self.strides, self.sizes = list(strides), sizes

    def shapes(self, input_shape: Any) -> list[Any]:
        """Those of the maps, checked.  Raises ShapeError."""
        shapes = input_shape if isinstance(input_shape, list) else [input_shape]
        if len(shapes) != len(self.strides) or any(len(s) != 4 or s[3] % len(z) for s, z in zip(shapes, self.sizes, strict=True)):
            raise ShapeError(f"layer {self.name!r} takes a map [B, H, W, boxes * numbers] for each stride",
                             expected=f"{len(self.strides)} maps", got=", ".join(map(str, shapes)))
        return shapes

    def count(self, input_shape: Any) -> int:
        """How many boxes there are on all maps."""
        return sum(s[1] * s[2] * len(sizes) for s, sizes in zip(self.shapes(input_shape), self.sizes, strict=True))

    def cells(self, input_shape: Any) -> np.ndarray:
        """Those of all maps."""
        return np.concatenate([grid(s[1], s[2], stride, sizes)
                               for s, stride, sizes in zip(self.shapes(input_shape), self.strides, self.sizes, strict=True)])

    def add_boxes(self, name: str, input_shape: Any) -> Any:
        """A weight of their corners, f32 (P, 4); computed when values are asked for, not where a file has them."""
        return self.add_weight(name, (self.count(input_shape), 4), self._given(lambda: corners(self.cells(input_shape))),
                               statistic=True)

    @staticmethod
    def _given(make: Callable[[], np.ndarray]) -> Any:
        """An initializer that draws nothing."""
        return lambda shape, rng: make()

    def joined(self, maps: Any) -> Any:
        """f32[B, P, D] of the maps."""
        maps = list(maps) if isinstance(maps, (tuple, list)) else [maps]
        parts = []
        for m, sizes in zip(maps, self.sizes, strict=True):
            B, H, W, C = m.shape
            parts.append(m.reshape(B, H * W * len(sizes), C // len(sizes)))
        return parts[0] if len(parts) == 1 else ops.concat(parts, 1)


class YoloOutput(_Maps):
    """Maps f32[B, H, W, A (5 + K)], one for each stride -> f32[B, P (5 + K)]: see the room `box_loss`."""

    def build(self, input_shape: Any) -> None:
        self.places = self.add_weight("cells", (self.count(input_shape), 5), self._given(lambda: self.cells(input_shape)),
                                      statistic=True)

    def call(self, maps):
        z = self.joined(maps)
        return note(z.reshape(z.shape[0], z.size // z.shape[0]), "yolo", (z, self.places))


class PriorOutput(_Maps):
    """Maps f32[B, H, W, A (4 + 1 + K)], one for each stride -> f32[B, P (5 + K)]: offsets and classes of each default box."""

    def build(self, input_shape: Any) -> None:
        self.priors = self.add_boxes("priors", input_shape)

    def call(self, maps):
        z = self.joined(maps)
        return note(z.reshape(z.shape[0], z.size // z.shape[0]), "priors", (z, self.priors))


class RegionProposals(_Maps):
    """A map f32[B, H, W, 6 A] -> (regions f32[B, regions, 4], what the map says f32[B, P, 6]): see the room `proposals`."""

    def __init__(self, strides: Sequence[int], sizes: Sequence[Sizes], regions: int, height: int, width: int, iou: float = 0.7,
                 least: float = 4.0, **options: Any):
        super().__init__(strides, sizes, **options)
        self.regions, self.height, self.width, self.iou, self.least = regions, height, width, iou, least

    def build(self, input_shape: Any) -> None:
        self.anchors = self.add_boxes("anchors", input_shape)

    def call(self, maps):
        z = self.joined(maps)
        regions = ops.propose(z, self.anchors, count=self.regions, height=float(self.height), width=float(self.width), iou=self.iou,
                              least=self.least)
        return note(regions, "anchors", self.anchors), z


class RoIAlign(Layer):
    """[features f32[B, H, W, C], regions f32[B, R, 4]] -> f32[B, R, size * size * C]: see the room `roi_align`."""

    def __init__(self, size: int, stride: int, **options: Any):
        super().__init__(**options)
        if size < 1 or stride < 1:
            raise UsageError("RoIAlign: size and stride are positive", got=f"{size}, {stride}")
        self.size, self.stride = size, stride

    def call(self, tensors):
        features, regions = tensors
        out = ops.roi_align(features, regions, size=self.size, scale=1.0 / self.stride)
        return out.reshape(*regions.shape[:2], self.size * self.size * features.shape[3])


class RegionOutput(Layer):
    """[what the map says f32[B, P, 6], regions f32[B, R, 4], what the second stage says f32[B, R, 5 + K]] -> one after the other,
    f32[B, 6 P + 4 R + (5 + K) R]."""

    def call(self, tensors):
        z, regions, said = tensors
        flat = [t.reshape(t.shape[0], t.size // t.shape[0]) for t in tensors]
        return note(ops.concat(flat, 1), "regions", (z, origin(regions)[1], regions, said))
