"""Pictures with boxes in them, as they are published: Pascal VOC (xml), COCO (json), YOLO (yaml and txt).

    parts = read_detection("bccd/")                 # parts.train, parts.train.validation, parts.test
    parts.train.x.files[0], parts.train.y[0].xyxy   # a path, and the boxes of that picture
"""
from __future__ import annotations

from pathlib import Path

from dlcore.data.dataset import Parts
from dlcore.data.detection.dataset import Detections, Pictures, pictures_of
from dlcore.data.files import similar_path
from dlcore.errors import DataError

__all__ = ["Detections", "Pictures", "is_detection", "pictures_of", "read_detection"]


def is_detection(path: Path) -> bool:
    """Whether a file or folder looks like a data set of boxes, by its names and the first bytes of its annotations; it may also be
    a folder or a table of another kind that merely has a json or yaml in it, and is none then."""
    from dlcore.data.detection import coco, voc, yolo
    return voc.is_source(path) or coco.looks_like(path) or yolo.looks_like(path)


def read_detection(source: str | Path, *, faults: str = "warn", skip_bad: bool = False, classes: tuple[str, ...] = ()) -> Parts:
    """A data set of boxes in the parts that its source has; `train.validation` is the part to validate on, or None.

    source    a folder of Pascal VOC (Annotations, JPEGImages, ImageSets/Main), a COCO json or a folder of them, a YOLO yaml
    faults    "warn": degenerate boxes, boxes outside their picture, unknown classes and pictures without annotation are left out
              or mended, and counted in the notes;  "error": the first of them is raised
    skip_bad  pictures that cannot be read are left out and counted
    classes   the names to number classes by, as a model has them; by default those of the source

    Raises `DataError`."""
    path = Path(source)
    if not path.exists():
        raise DataError("there is no such file or folder", where=str(path), hint=similar_path(path))
    from dlcore.data.detection import coco, voc, yolo
    for module in (voc, coco, yolo):
        if module.is_source(path):
            return module.read(path, faults, skip_bad, tuple(classes))
    raise DataError("pictures with boxes are read as Pascal VOC, COCO or YOLO", where=str(path),
                    expected="a folder with Annotations and JPEGImages, a COCO .json (or a folder of them), or a YOLO .yaml")
