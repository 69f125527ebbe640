"""Pictures of any size, whole and undistorted in one size, with grey around; and batches of them for training.

    shape = shape_for(pictures.sizes, 320)
    images, frames = letterboxed(pictures.files, shape)           # u8 (N, H, W, 3), and where each picture lies
    source = BoxedImages(images, packed(boxes, frames), augment)

A frame is (scale, left, top): a place x of the picture lies at scale x + left of the image.
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from dlcore.data.augment import Augment
from dlcore.data.kernels import direct
from dlcore.data.loader import Source
from dlcore.errors import DataError
from dlcore.metrics.boxes import Boxes

GREY = 114
STEP = 16                   # sizes are multiples of it
VISIBLE, LEAST = 0.3, 2.0   # a box that is cut off by more, or is thinner, is none


def shape_for(sizes: np.ndarray, longest: int) -> tuple[int, int]:
    """(height, width): the longer side is `longest`, the other follows the median of the pictures' sizes (N, 2)."""
    height, width = np.exp(np.median(np.log(np.asarray(sizes, np.float64)), axis=0))
    factor = longest / max(height, width)
    return max(STEP, round(height * factor / STEP) * STEP), max(STEP, round(width * factor / STEP) * STEP)


def frame_of(size: Sequence[int], shape: Sequence[int]) -> tuple[float, int, int, int, int]:
    """(scale, left, top, height, width) of a picture of this size (height, width) in an image of this shape."""
    scale = min(shape[0] / size[0], shape[1] / size[1])
    height, width = (max(1, min(limit, round(n * scale))) for n, limit in zip(size, shape, strict=False))
    return scale, (shape[1] - width) // 2, (shape[0] - height) // 2, height, width


def letterboxed(pictures: Sequence[Any], shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Files, or arrays (H, W) or (H, W, C) of u8, as images u8 (N, *shape, 3) and frames f64 (N, 3).  DataError names a bad one."""
    from dlcore.data.pictures import decode, resize
    images = np.full((len(pictures), *shape, 3), GREY, np.uint8)
    frames = np.empty((len(pictures), 3))
    for i, given in enumerate(pictures):
        picture = in_colour(given, i) if isinstance(given, np.ndarray) else decode(given, True)
        scale, left, top, height, width = frame_of(picture.shape[:2], shape)
        frames[i] = scale, left, top
        inner = np.empty((1, height, width, 3), np.uint8)
        resize([np.ascontiguousarray(picture)], inner)
        images[i, top:top + height, left:left + width] = inner[0]
    return images, frames


def in_colour(picture: np.ndarray, number: int) -> np.ndarray:
    """u8 (H, W, 3) of an array.  Raises DataError."""
    if picture.ndim == 2:
        picture = picture[..., None]
    if picture.ndim != 3 or picture.shape[2] not in (1, 3) or picture.dtype != np.uint8:
        raise DataError("this is no picture", where=f"picture {number + 1}", expected="u8 (H, W), (H, W, 1) or (H, W, 3)",
                        got=f"{picture.dtype} {picture.shape}")
    return picture if picture.shape[2] == 3 else np.repeat(picture, 3, 2)


def packed(boxes: Sequence[Boxes] | np.ndarray, frames: np.ndarray, room: int = 0) -> np.ndarray:
    """Boxes of pictures as f32 (N, M, 5), rows of label, x1, y1, x2, y2 in pixels of the image; label -1 fills up.  Boxes that are
    to be ignored are left out.   room: M at least."""
    most = max([1, room, *(int((~b.ignored).sum()) for b in boxes)])
    out = np.zeros((len(boxes), most, 5), np.float32)
    out[..., 0] = -1
    for i, (b, (scale, left, top)) in enumerate(zip(boxes, frames, strict=True)):
        kept = ~b.ignored
        count = int(kept.sum())
        out[i, :count, 0] = b.labels[kept]
        out[i, :count, 1:] = b.xyxy[kept] * scale + (left, top, left, top)
    return out


def moved(boxes: np.ndarray, moves: np.ndarray, height: int, width: int, tiles: np.ndarray | None = None) -> np.ndarray:
    """Boxes f32 (B, M, 5) where `augment` has taken their pictures by `moves` f32 (B, 6): around the moved corners, cut off at the
    edges; what is hardly to be seen any more is none.   tiles: (B, 4), left, top, right, bottom of what shows, by default all."""
    edges = np.array([[0, 0, width, height]]) if tiles is None else tiles
    a, b, c, d, e, f = (moves[:, k, None, None].astype(np.float64) for k in range(6))
    x, y = boxes[:, :, [1, 3, 1, 3]] - c, boxes[:, :, [2, 2, 4, 4]] - f
    turned = a * e - b * d
    u, v = (e * x - b * y) / turned, (a * y - d * x) / turned
    whole = np.stack([u.min(2), v.min(2), u.max(2), v.max(2)], 2)
    seen = np.clip(whole, edges[:, None, [0, 1, 0, 1]], edges[:, None, [2, 3, 2, 3]])
    sides, all_sides = seen[..., 2:] - seen[..., :2], np.maximum(whole[..., 2:] - whole[..., :2], 1e-9)
    kept = (boxes[..., 0] >= 0) & (sides.min(2) >= LEAST) & (sides.prod(2) >= VISIBLE * all_sides.prod(2))
    return np.concatenate([np.where(kept, boxes[..., 0], -1)[..., None], np.where(kept[..., None], seen, 0)], 2).astype(np.float32)


def joined(boxes: np.ndarray, images: np.ndarray, moves: np.ndarray, crosses: np.ndarray, height: int, width: int) -> np.ndarray:
    """Boxes f32 (B, 4 M, 5) where `mosaic` has joined `images` i32 (B, 4) by `moves` f32 (B, 24) at `crosses` i32 (B, 2); boxes are
    f32 (N, M, 5), one set for each image.  Those that are to be seen come first."""
    cy, cx = crosses[:, 0], crosses[:, 1]
    low, bottom, right = np.zeros_like(cy), np.full_like(cy, height), np.full_like(cx, width)
    parts = []
    for t in range(4):
        top, end = (low, cy) if t < 2 else (cy, bottom)
        left, side = (low, cx) if t % 2 == 0 else (cx, right)
        tiles = np.stack([left, top, side, end], 1)
        parts.append(moved(boxes[images[:, t]], moves[:, 6 * t:6 * t + 6], height, width, tiles))
    found = np.concatenate(parts, 1)
    order = np.argsort(found[..., 0] < 0, axis=1, kind="stable")
    return np.take_along_axis(found, order[..., None], 1)


class BoxedImages(Source):
    """Batches of images and their boxes for `Model.fit`, changed at random together.

    images u8 (N, H, W, 3);  boxes f32 (N, M, 5), as `packed` makes them;  augment None: as they are.  Pixels become 0 to 1.
    With mosaics the batches have room for the boxes of four images, f32 (B, 4 M, 5)."""

    def __init__(self, images: np.ndarray, boxes: np.ndarray, augment: Augment | None = None, weight: Any = None):
        self.images, self.boxes, self.augment = images, boxes, augment or Augment()
        _, self.height, self.width, channels = images.shape
        self.settings = self.augment.settings(self.height, self.width, channels)
        if self.augment.mosaic:
            more = np.zeros((len(boxes), 3 * boxes.shape[1], 5), np.float32)
            more[..., 0] = -1
            boxes = np.concatenate([boxes, more], 1)
        super().__init__(len(images), (self.height * self.width * channels,), boxes, weight)

    def fill(self, x: np.ndarray, y: np.ndarray, rows: np.ndarray, seed: int, epoch: int, position: int) -> None:
        """Writes the images `rows` (i32) into x and their boxes into y."""
        B = len(rows)
        moves, colours, holes = np.empty((B, 6), np.float32), np.empty((B, 4), np.float32), np.empty((B, 4), np.int32)
        direct("augment_draw")({"rows": rows, "settings": self.settings, "moves": moves, "colours": colours, "holes": holes},
                               {"seed": seed, "epoch": epoch})
        gain, offset = np.full(3, 1 / 255, np.float32), np.zeros(3, np.float32)
        made = {"data": self.images, "colours": colours, "gain": gain, "offset": offset,
                "out": x.reshape(B, self.height, self.width, 3)}
        if self.augment.mosaic:
            images, four, crosses = np.empty((B, 4), np.int32), np.empty((B, 24), np.float32), np.empty((B, 2), np.int32)
            drawn = {"images": images, "moves": four, "crosses": crosses}
            direct("mosaic_draw")({"rows": rows, "settings": self.settings, **drawn},
                                  {"seed": seed, "epoch": epoch, "chance": self.augment.mosaic, "total": self.rows})
            direct("mosaic")({**made, **drawn}, {"fill": GREY, "peak": 255.0})
            y[...] = joined(self.boxes, images, four, crosses, self.height, self.width).reshape(y.shape)
        else:
            direct("augment")({**made, "rows": rows, "moves": moves, "holes": holes}, {"fill": GREY, "peak": 255.0})
            y[...] = moved(self.boxes[rows], moves, self.height, self.width).reshape(y.shape)
