"""From raw images and rows to the numbers a network takes; fitted on the training part and saved with the model."""
from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from dlcore.data.columns import Encoder, Ignored, encoder_from_json, fit_encoder
from dlcore.data.saved import fields
from dlcore.data.table import Table, as_table
from dlcore.errors import DataError, ModelFileError

_WIDEST = 1 << 24


@dataclass(frozen=True)
class ImagePreprocessor:
    """Pixel values times `scale`, so that they lie between 0 and 1; images of `shape`, (H, W) or (H, W, C)."""

    shape: tuple[int, ...]
    scale: float

    @staticmethod
    def fit(images: np.ndarray) -> ImagePreprocessor:
        """Whole numbers are divided by the largest that their type holds, others by the largest value if above 1.

        Raises `DataError` for what are no images, and for values that are not finite.
        """
        if images.ndim not in (3, 4) or images.dtype.kind not in "biuf" or 0 in images.shape:
            raise DataError("images are numbers of shape (N, H, W) or (N, H, W, C)",
                            got=f"{images.dtype} {images.shape}")
        if images.dtype == np.uint8:
            return ImagePreprocessor(images.shape[1:], 1 / 255)
        _check_finite(images)
        largest = float(np.abs(images.astype(np.float64)).max())
        if images.dtype.kind in "iu" and largest <= 255:
            largest = 255.0
        return ImagePreprocessor(images.shape[1:], 1 / largest if largest > 1 else 1.0)

    @property
    def width(self) -> int:
        """Numbers per image."""
        return math.prod(self.shape)

    def check(self, images: Any) -> np.ndarray:
        """Images of any numeric type as an array (N, *shape); one image alone is taken for a batch of one."""
        array = np.asarray(images)
        if array.dtype.kind not in "biuf":
            raise DataError("images are numbers", got=str(array.dtype))
        if array.shape == self.shape:
            array = array[np.newaxis]
        if array.ndim == len(self.shape) + 2 and array.shape[-1] == 1:
            array = array[..., 0]
        if array.shape[1:] != self.shape:
            raise DataError("the images have another size than those the model was trained on",
                            expected=f"(N, {', '.join(map(str, self.shape))})", got=str(array.shape))
        if array.dtype.kind == "f":
            _check_finite(array)
        return array

    def transform(self, images: Any) -> np.ndarray:
        """(N, H * W * C), f32."""
        array = self.check(images)
        out = array.reshape(len(array), self.width).astype(np.float32)
        out *= np.float32(self.scale)
        return out

    def to_json(self) -> dict[str, Any]:
        """For `preprocess.json`."""
        return {"kind": "image", "shape": list(self.shape), "scale": self.scale}

    @staticmethod
    def from_json(value: Any, where: str) -> ImagePreprocessor:
        """Raises `ModelFileError` if malformed."""
        kind, shape, scale = fields(value, where, kind=str, shape=list, scale=float)
        if kind != "image" or len(shape) not in (2, 3) or scale <= 0 \
                or not all(type(size) is int and 0 < size < 1 << 20 for size in shape) \
                or math.prod(shape) > _WIDEST:
            raise ModelFileError("the preprocessing of images is malformed", where=where)
        return ImagePreprocessor(tuple(shape), scale)


def _check_finite(images: np.ndarray) -> None:
    if images.dtype.kind == "f" and not np.isfinite(images).all():
        row = int(np.argmin(np.isfinite(images.reshape(len(images), -1)).all(axis=1)))
        raise DataError("an image has a pixel that is not a finite number", where=f"image {row + 1}")


@dataclass(frozen=True)
class TablePreprocessor:
    """An encoder per column of the training table, in its order."""

    encoders: tuple[Encoder, ...]

    @staticmethod
    def fit(table: Table) -> TablePreprocessor:
        """Infer every column from the training rows.  Raises `DataError` if none can be learned from."""
        if len(table) == 0:
            raise DataError("there are no rows", where=table.source)
        result = TablePreprocessor(tuple(fit_encoder(table, name) for name in table.names))
        if result.width == 0:
            raise DataError("no column has anything to learn from", where=table.source,
                            expected="a column with different values", got="; ".join(result.describe())[:400])
        return result

    @property
    def names(self) -> tuple[str, ...]:
        """The columns' names."""
        return tuple(encoder.name for encoder in self.encoders)

    @property
    def width(self) -> int:
        """Numbers per row."""
        return sum(encoder.width for encoder in self.encoders)

    def describe(self) -> list[str]:
        """A line per column."""
        return [encoder.describe() for encoder in self.encoders]

    def rows(self, x: Any) -> Table:
        """Rows in any form as a table that has the columns of training; further columns are left out.

        Dicts may lack columns: their values are missing.  Raises `DataError` if a column of a table is not there.
        """
        if isinstance(x, Mapping) or (isinstance(x, list) and x and isinstance(x[0], Mapping)):
            records = [x] if isinstance(x, Mapping) else x
            x = [{name: record.get(name) for name in self.names} for record in records]
        table = as_table(x, self.names)
        needed = [encoder.name for encoder in self.encoders if not isinstance(encoder, Ignored)]
        if lost := [name for name in needed if name not in table.columns]:
            raise DataError(f"the data has no column {lost[0]!r}, which the model was trained on", where=table.source,
                            expected=", ".join(needed[:30]), got=", ".join(table.names[:30]))
        return table

    def transform(self, x: Any) -> np.ndarray:
        """(N, width), f32; raises `DataError` naming row and column of what cannot be encoded."""
        table = self.rows(x)
        out = np.zeros((len(table), self.width), np.float32)
        at = 0
        for encoder in self.encoders:
            encoder.encode(table, out[:, at:at + encoder.width])
            at += encoder.width
        return out

    def to_json(self) -> dict[str, Any]:
        """For `preprocess.json`."""
        return {"kind": "table", "columns": [encoder.to_json() for encoder in self.encoders]}

    @staticmethod
    def from_json(value: Any, where: str) -> TablePreprocessor:
        """Raises `ModelFileError` if malformed."""
        kind, columns = fields(value, where, kind=str, columns=list)
        result = TablePreprocessor(tuple(encoder_from_json(column, f"{where}, column {i}")
                                         for i, column in enumerate(columns, 1)))
        if kind != "table" or len(set(result.names)) != len(columns) or not 0 < result.width <= _WIDEST:
            raise ModelFileError("the preprocessing of a table is malformed", where=where)
        return result
