"""What a detector takes: pictures and their boxes, in whatever form they come, and the names of classes."""
from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dlcore.data.dataset import Dataset, Parts
from dlcore.data.detection.dataset import Detections, Pictures, damage_note, damaged, pictures_of
from dlcore.errors import DataError, ModelFileError
from dlcore.metrics.boxes import Boxes, listed


@dataclass(frozen=True)
class BoxClasses:
    """The names of classes, in the order of their numbers."""

    labels: tuple[str, ...]

    def encode(self, y: Any) -> np.ndarray:
        """`Boxes` as they are; raises `DataError` for a class that is none."""
        for i, boxes in enumerate(y):
            if len(boxes) and not 0 <= int(boxes.labels.min()) <= int(boxes.labels.max()) < len(self.labels):
                raise DataError("a box is of a class that the model does not know", where=f"picture {i + 1}",
                                expected=", ".join(self.labels), got=f"class {int(boxes.labels.max())}")
        return y

    def to_json(self) -> list[str]:
        return list(self.labels)

    @staticmethod
    def from_json(value: Any, where: str) -> BoxClasses:
        """Raises `ModelFileError` unless `value` is a list of different texts."""
        if not isinstance(value, list) or not value or not all(isinstance(v, str) for v in value) or len(set(value)) < len(value):
            raise ModelFileError("the labels are malformed", where=where, expected="a list of different texts")
        return BoxClasses(tuple(value))


def pictures_and_boxes(x: Any, y: Any) -> tuple[Any, np.ndarray | None]:
    """(`Pictures` or a list of arrays, boxes (N,) or None) from data sets, paths and arrays.  Raises `DataError`."""
    if isinstance(x, Dataset):
        x, y = x.x, x.y if y is None else y
    if isinstance(x, (str, os.PathLike)):
        x = pictures_of(Path(x)).x
    elif not isinstance(x, Pictures):
        x = list(x)
        if x and all(isinstance(one, (str, os.PathLike)) for one in x):
            from dlcore.data.pictures import read_head
            files = [Path(one) for one in x]
            x = Pictures(files, np.array([read_head(file).size for file in files]))
        else:
            x = Arrays([np.asarray(one) for one in x])
    if y is None:
        return x, None
    boxes = listed([Boxes.taken(one) for one in y])
    if len(boxes) != len(x):
        raise DataError("pictures and boxes do not fit together", expected=f"{len(x):,} sets of boxes", got=f"{len(boxes):,}")
    return x, boxes


class Arrays(list):
    """Pictures as arrays."""

    def take(self, rows: np.ndarray) -> Arrays:
        """Those of these numbers."""
        return Arrays([self[i] for i in rows])


def list_of(pictures: Any, rows: np.ndarray) -> list[Any]:
    """Files or arrays of these rows."""
    found = pictures.files if isinstance(pictures, Pictures) else pictures
    return [found[i] for i in rows]


def sizes_of(pictures: Any) -> np.ndarray:
    """i64 (N, 2): height and width of each."""
    return pictures.sizes if isinstance(pictures, Pictures) else np.array([p.shape[:2] for p in pictures], np.int64).reshape(-1, 2)


def pixels_of(picture: Any) -> np.ndarray:
    """u8 (H, W, 3) of a file or an array."""
    from dlcore.data.detection.letterbox import in_colour
    from dlcore.data.pictures import decode
    return in_colour(picture, 0) if isinstance(picture, np.ndarray) else decode(picture, True)


def without_bad(parts: Parts) -> Parts:
    """The parts without pictures that cannot be decoded, which are counted in the notes."""
    def checked(part: Any) -> Any:
        if part is None:
            return None
        bad, validation = damaged(part.x.files), checked(part.validation)
        if not bad and validation is part.validation:
            return part
        good = [i for i, file in enumerate(part.x.files) if file not in bad]
        if not good:
            raise DataError("no picture can be read", where=part.source, got=f"{len(bad):,} files, all damaged")
        kept = part.take(np.array(good, np.int64))
        more = [damage_note(bad)] if bad else []
        more += [note for note in (validation.notes if validation is not None else ()) if note not in part.notes]
        return Detections(kept.x, kept.y, part.source, (*part.notes, *more), classes=part.classes, validation=validation)
    return Parts(checked(parts.train), checked(parts.test))
