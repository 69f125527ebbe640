"""Random changes of training images: what the user asks for, `crop,flip,rotate=10`, and batches made by it.

    augment = Augment.parse("crop=4,flip,rotate=10,brightness=0.2,cutout=8")
    model.fit(augment(images, labels), epochs=20)

The kernels are those of the room `augment`; the draws of a sample depend on (seed, epoch, row) alone.
"""
from __future__ import annotations

import difflib
import math
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from dlcore.data.kernels import direct
from dlcore.data.loader import Source
from dlcore.errors import DataError, UsageError
from dlcore.ops.augment import SETTINGS

MIX = 0x3147            # tells the generator of a batch's mixing from others


@dataclass(frozen=True)
class _Option:
    """bare: the value of the name alone; low, high: what is allowed; help: one line."""

    bare: float
    low: float
    high: float
    help: str


OPTIONS = {
    "crop": _Option(0.125, 0, 4096, "a window of the image's size, moved by up to so many pixels (below 1: a share of the height)"),
    "flip": _Option(0.5, 0, 1, "mirrored left to right, with this probability"),
    "vflip": _Option(0.5, 0, 1, "mirrored top to bottom, with this probability"),
    "rotate": _Option(10, 0, 180, "turned by up to so many degrees"),
    "shift": _Option(0.1, 0, 1, "moved by up to this share of the size"),
    "zoom": _Option(0.1, 0, 0.9, "enlarged by a factor of 1 - zoom to 1 + zoom"),
    "shear": _Option(10, 0, 60, "slanted by up to so many degrees"),
    "brightness": _Option(0.2, 0, 10, "times 1 - brightness to 1 + brightness"),
    "contrast": _Option(0.2, 0, 10, "distance from the mean grey times 1 - contrast to 1 + contrast"),
    "saturation": _Option(0.2, 0, 10, "distance from grey times 1 - saturation to 1 + saturation; colour images only"),
    "hue": _Option(0.05, 0, 0.5, "hue moved by up to this part of a turn; colour images only"),
    "cutout": _Option(0.25, 0, 4096, "a square of so many pixels set to 0 (below 1: a share of the height)"),
    "mixup": _Option(0.2, 0, 100, "two images and their labels mixed, shares drawn from Beta(mixup, mixup)"),
    "mosaic": _Option(0.5, 0, 1, "joined with three other pictures, boxes included, with this probability; detectors only"),
    "fill": _Option(0, 0, 255, "the value around an image that is moved, of 255"),
}
_PIXELS = ("crop", "cutout")


@dataclass(frozen=True)
class Augment:
    """Changes drawn anew for every image and epoch; 0 leaves one out.  The names are explained in `OPTIONS`.

    Raises `UsageError` for a value out of range.
    """

    crop: float = 0
    flip: float = 0
    vflip: float = 0
    rotate: float = 0
    shift: float = 0
    zoom: float = 0
    shear: float = 0
    brightness: float = 0
    contrast: float = 0
    saturation: float = 0
    hue: float = 0
    cutout: float = 0
    mixup: float = 0
    mosaic: float = 0
    fill: float = 0

    def __post_init__(self) -> None:
        for field in fields(self):
            value, option = getattr(self, field.name), OPTIONS[field.name]
            if isinstance(value, bool):
                object.__setattr__(self, field.name, option.bare if value else 0)
            elif not isinstance(value, (int, float)) or not option.low <= value <= option.high:
                raise UsageError(f"augment: {field.name} = {value!r} is of no use",
                                 expected=f"{option.low:g} to {option.high:g}")
            if field.name in _PIXELS and value > 1 and value != int(value):
                raise UsageError(f"augment: {field.name} = {value!r} is neither pixels nor a share",
                                 expected="a whole number, or below 1")

    def check_images(self) -> None:
        """Raises `UsageError` for what only pictures with boxes can be put to."""
        if self.mosaic:
            raise UsageError("augment: mosaics are for pictures with boxes", got=f"mosaic={self.mosaic:g}",
                             hint="leave out mosaic; mixup mixes images and their labels")

    @staticmethod
    def parse(text: str) -> Augment:
        """`crop,flip,rotate=10`: names, each with a number or alone; `color` is brightness, contrast, saturation and hue.

        Raises `UsageError` for unknown names (with the nearest known one), numbers that are none, and names given twice."""
        if not isinstance(text, str):
            raise UsageError("augment: a text is wanted", expected="words as crop,flip,rotate=10", got=repr(text))
        values: dict[str, float] = {}
        for word in (w.strip() for w in text.split(",")):
            name, equals, number = (part.strip() for part in word.partition("="))
            names = ("brightness", "contrast", "saturation", "hue") if name in ("color", "colour") and not equals else (name,)
            for one in names:
                if one not in OPTIONS:
                    raise _unknown(one, bool(equals))
                if one in values:
                    raise UsageError(f"augment: {one} is given twice", got=text)
                values[one] = _number(one, number) if equals else OPTIONS[one].bare
        return Augment(**values)

    def __str__(self) -> str:
        """The text that `parse` reads back."""
        return ",".join(f"{f.name}={getattr(self, f.name):g}" for f in fields(self) if getattr(self, f.name))

    def __bool__(self) -> bool:
        return any(getattr(self, f.name) for f in fields(self) if f.name != "fill")

    def settings(self, height: int, width: int, channels: int) -> np.ndarray:
        """f32[16] for `augment_draw`, in the order of `SETTINGS`.  UsageError where the images are too small or not in colour."""
        pad, hole = (math.ceil(v * height) if v < 1 else int(v) for v in (self.crop, self.cutout))
        if pad > min(height, width):
            raise UsageError("augment: the images are smaller than the margin of the crop",
                             expected=f"crop at most {min(height, width)}", got=f"crop={pad} for images of {height}x{width}")
        if hole > 2 * max(height, width):
            raise UsageError("augment: the hole covers any image", expected=f"cutout at most {2 * max(height, width)}",
                             got=f"cutout={hole}")
        if channels != 3 and (self.saturation or self.hue):
            raise UsageError("augment: saturation and hue are for colour images", expected="3 channels",
                             got=str(channels), hint="leave them out; color=... includes them")
        values = {"height": height, "width": width, "out_height": height, "out_width": width, "pad": pad, "flip_x": self.flip,
                  "flip_y": self.vflip, "rotate": math.radians(self.rotate), "shear": math.radians(self.shear), "hole": hole,
                  **{name: getattr(self, name) for name in ("shift", "zoom", "brightness", "contrast", "saturation", "hue")}}
        return np.array([values[name] for name in SETTINGS], np.float32)

    def __call__(self, x: Any, y: Any = None, **options: Any) -> AugmentedImages:
        """Images as a source for `Model.fit`; see `AugmentedImages`."""
        return AugmentedImages(x, y, self, **options)


def _unknown(name: str, numbered: bool) -> UsageError:
    if not name:
        return UsageError("augment: a name is missing", expected=", ".join(OPTIONS), hint="--augment crop,flip,rotate=10")
    if name in ("color", "colour"):
        return UsageError(f"augment: {name} stands for four changes and takes no number", hint="brightness=0.2,contrast=0.2,...")
    near = difflib.get_close_matches(name, OPTIONS, n=1, cutoff=0.5)
    return UsageError(f"augment: there is no change called {name!r}", expected=", ".join(OPTIONS),
                      hint=f"did you mean {near[0]!r}?" if near else "--augment crop,flip,rotate=10")


def _number(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UsageError(f"augment: {name} needs a number", expected=f"{name}={OPTIONS[name].bare:g}", got=f"{name}={text}")
    return value


class AugmentedImages(Source):
    """Batches of changed images for `Model.fit`.

    x          u8 or f32 (N, H, W) or (N, H, W, C), in memory or memory-mapped; values from 0 to `peak` (default 255 for u8, else 1)
    y          labels (N,), or targets (N, K); mixing needs targets
    weight     one per row, or None
    scale      what pixels are multiplied by (default 1 / peak), then `mean` is subtracted and divided by `std` (per channel)
    shape      of a row as the model takes it, by default that of the images
    index      numbers of the images to take, by default all; y and weight are theirs
    """

    def __init__(self, x: Any, y: Any, augment: Augment, *, weight: Any = None, scale: float | None = None,
                 mean: Any = 0.0, std: Any = 1.0, peak: float | None = None, shape: tuple[int, ...] | None = None,
                 index: np.ndarray | None = None):
        augment.check_images()
        images = np.ascontiguousarray(x)
        if images.ndim not in (3, 4) or images.dtype.kind not in "biuf":
            raise DataError("augmentation takes images", expected="(N, H, W) or (N, H, W, C)", got=f"{images.dtype} {images.shape}")
        if images.dtype != np.uint8:
            images = images.astype(np.float32, copy=False)
        self.images = images if images.ndim == 4 else images[..., np.newaxis]
        _, height, width, channels = self.images.shape
        self.augment, self.peak = augment, peak if peak is not None else 255.0 if images.dtype == np.uint8 else 1.0
        self.settings = augment.settings(height, width, channels)
        factor, std = 1.0 / self.peak if scale is None else scale, np.asarray(std, np.float64)
        self.gain = np.broadcast_to(np.asarray(factor / std, np.float32), channels).copy()
        self.offset = np.broadcast_to(np.asarray(-np.asarray(mean, np.float64) / std, np.float32), channels).copy()
        self.fill_value = augment.fill / 255.0 * self.peak
        super().__init__(len(images), shape or images.shape[1:], y, weight, index)
        if augment.mixup and y is not None and self.y is not None and self.y.ndim != 2:
            raise UsageError("augment: mixup mixes targets", expected="y of shape (N, classes)",
                             got=f"labels of shape {self.y.shape}", hint="give one-hot rows and train on categorical_crossentropy")

    def fill(self, x: np.ndarray, y: np.ndarray, rows: np.ndarray, seed: int, epoch: int, position: int) -> None:
        """Writes the images `rows` (i32) into x, and their targets into y."""
        B, (_, height, width, channels) = len(rows), self.images.shape
        moves, colours, holes = np.empty((B, 6), np.float32), np.empty((B, 4), np.float32), np.empty((B, 4), np.int32)
        out = x.reshape(B, height, width, channels)
        places = self.places(rows)
        direct("augment_draw")({"rows": places, "settings": self.settings, "moves": moves, "colours": colours, "holes": holes},
                               {"seed": seed, "epoch": epoch})
        made = np.empty_like(out) if self.augment.mixup else out
        direct("augment")({"data": self.images, "rows": places, "moves": moves, "colours": colours, "holes": holes,
                           "gain": self.gain, "offset": self.offset, "out": made}, {"fill": self.fill_value, "peak": self.peak})
        super().fill(x, y, rows, seed, epoch, position)
        if self.augment.mixup:
            self._mix(made, x, y, seed, epoch, position)

    def _mix(self, made: np.ndarray, x: np.ndarray, y: np.ndarray, seed: int, epoch: int, position: int) -> None:
        B = len(made)
        random = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, MIX, epoch, position])))
        partners = random.permutation(B).astype(np.int32)
        shares = random.beta(self.augment.mixup, self.augment.mixup, B).astype(np.float32)
        direct("mix_rows")({"x": made.reshape(B, -1), "partners": partners, "shares": shares, "out": x.reshape(B, -1)})
        targets = y.copy()
        direct("mix_rows")({"x": targets.reshape(B, -1), "partners": partners, "shares": shares, "out": y.reshape(B, -1)})
