"""Looking through pictures with boxes before a detector is trained on them: annotations, classes, files, duplicates, leakage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from dlcore.data import check_images
from dlcore.data.check_images import FEW, UNBALANCED, Part
from dlcore.data.detection import read_detection
from dlcore.data.detection.dataset import (
    BARE,
    CUT,
    DEGENERATE,
    LOST,
    MISSING,
    OUTSIDE,
    UNKNOWN,
    UNREADABLE,
    Detections,
)
from dlcore.data.findings import ERROR, NOTE, WARNING, Report, plural
from dlcore.errors import DataError

# what is wrong with annotations -> code, severity, words for one and for several
FAULTS = {
    UNREADABLE: ("DL-D20", ERROR, "picture cannot be read", "pictures cannot be read"),
    OUTSIDE: ("DL-D25", WARNING, "box lies outside its picture", "boxes lie outside their pictures"),
    DEGENERATE: ("DL-D26", WARNING, "box has no area", "boxes have no area"),
    CUT: ("DL-D27", NOTE, "box reaches beyond the edge of its picture", "boxes reach beyond the edges of their pictures"),
    LOST: ("DL-D28", WARNING, "annotation is of a picture that is not there", "annotations are of pictures that are not there"),
    MISSING: ("DL-D28", ERROR, "picture is listed and not there", "pictures are listed and not there"),
    BARE: ("DL-D29", NOTE, "picture has no annotation: all of it is background", "pictures have no annotation: background"),
    UNKNOWN: ("DL-D30", WARNING, "box is of an unknown class", "boxes are of unknown classes"),
}


def parts_of(sources: Mapping[str, str]) -> dict[str, Detections]:
    """The parts of data sets by name; those that the first source has itself count where no source of that name is given."""
    found: dict[str, Detections] = {}
    for name, source in sources.items():
        parts = read_detection(source, skip_bad=True)
        train: Any = parts.train
        test: Any = parts.test
        found[name] = train if name == "train" else test or train
        if name == "train":
            own = {"val": train.validation, "test": test}
            found.update({other: part for other, part in own.items() if part is not None and other not in sources})
    return {name: found[name] for name in ("train", "val", "test") if name in found}


def check_detection(sources: Mapping[str, str]) -> Report:
    """Everything there is to say about data sets of boxes (Pascal VOC, COCO, YOLO); "train" is what the others are compared with.
    Annotations that are malformed are an error of the report, not an exception."""
    report = Report()
    try:
        parts = parts_of(sources)
    except DataError as error:
        report.add("DL-D03", ERROR, f"the annotations cannot be read: {error.message}", sources["train"],
                   [error.where] if error.where else [], [error.got])
        return report
    compared = [_check_part(report, name, part) for name, part in parts.items()]
    check_images.compare_all(report, compared)
    for name, part in parts.items():
        new = sorted(set(_counts(part)) - set(parts["train"].classes))
        if new:
            message = f"{plural(len(new), 'class', 'classes')} of {name} ({', '.join(new[:5])}) not in train"
            report.add("DL-D14", ERROR, message, part.source)
    return report


def show_detection(source: str) -> dict[str, Any]:
    """Notes, and boxes by class."""
    parts = parts_of({"train": source})
    notes = [note for name, part in parts.items() if name != "val" for note in part.notes]
    return {"kind": "boxes", "notes": notes, "rows": {name: len(part) for name, part in parts.items()},
            "classes": {name: _counts(part) for name, part in parts.items()}}


def _counts(part: Detections) -> dict[str, int]:
    """Boxes by the name of their class, of classes that occur."""
    assert part.y is not None
    labels = np.concatenate([boxes.labels for boxes in part.y])
    counts = np.bincount(labels, minlength=len(part.classes)).tolist()
    return {name: count for name, count in zip(part.classes, counts, strict=True) if count}


def _check_part(report: Report, name: str, part: Detections) -> Part:
    pictures: Any = part.x
    for kind, places in part.faults.items():
        code, severity, one, many = FAULTS[kind]
        report.add(code, severity, plural(len(places), one, many), part.source, [where for where, _ in places],
                   [got for _, got in places])
    looked = check_images.look_through(pictures.files)
    seen = Part(name, part.source, [str(file) for file in pictures.files], [], looked.keys)
    check_images.add_broken(report, seen, looked)
    check_images.add_odd(report, seen, looked)
    check_images.add_repeated(report, seen)
    counts = _counts(part)
    if name == "train":
        _balance(report, part, counts)
    assert part.y is not None
    each = np.array([len(boxes) for boxes in part.y])
    sizes = sorted(tuple(size) for size in pictures.sizes.tolist())
    spread = "x".join(map(str, sizes[0])) + ("" if sizes[0] == sizes[-1] else " to " + "x".join(map(str, sizes[-1])))
    report.summary[name] = {"source": part.source, "rows": len(each), "boxes": int(each.sum()), "classes": counts,
                            "most_boxes": int(each.max())}
    shown = ", ".join(f"{label} {count:,}" for label, count in counts.items()) or "no boxes"
    boxes = f"{plural(int(each.sum()), 'box', 'boxes')} ({shown}), {each.mean():.1f} a picture, at most {each.max():,}"
    report.lines.append(f"{name}: {plural(len(each), 'picture')} of {part.source} · {boxes} · sizes {spread}")
    return seen


def _balance(report: Report, part: Detections, counts: dict[str, int]) -> None:
    """Classes with few boxes, and classes of very different numbers."""
    for label in part.classes:
        count = counts.get(label, 0)
        if count < FEW:
            report.add("DL-D07", WARNING, f"class {label!r} has {plural(count, 'box', 'boxes') if count else 'no box'}; "
                       f"fewer than {FEW} is unlikely to be learned", part.source)
    if counts and max(counts.values()) > UNBALANCED * min(counts.values()):
        times = max(counts.values()) / min(counts.values())
        report.add("DL-D08", WARNING, f"the commonest class has {times:,.0f} times the boxes of the rarest", part.source)
