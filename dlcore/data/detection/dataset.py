"""What the readers of boxes give, and how they count what is wrong."""
from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dlcore.data.dataset import Dataset
from dlcore.data.pictures import SUFFIXES, decode, read_head
from dlcore.errors import DataError, UsageError
from dlcore.metrics.boxes import Boxes, listed

POLICIES = ("warn", "error")
Row = tuple[int, tuple[float, float, float, float], bool]       # label, box, ignored
Place = tuple[str, str]                                         # where a fault is, and what stands there


class Pictures:
    """Files of pictures.  files: N paths;  sizes: i64 (N, 2), height and width as they are seen."""

    def __init__(self, files: Sequence[Path], sizes: np.ndarray):
        self.files, self.sizes = list(files), np.asarray(sizes, np.int64).reshape(-1, 2)

    def __len__(self) -> int:
        return len(self.files)

    def take(self, rows: np.ndarray) -> Pictures:
        """Those of these numbers, in this order."""
        return Pictures([self.files[i] for i in rows], self.sizes[rows])

    def joined(self, others: Sequence[Pictures]) -> Pictures:
        """These and then those of the others."""
        return Pictures([f for each in (self, *others) for f in each.files], np.concatenate([p.sizes for p in (self, *others)]))


@dataclass(frozen=True)
class Detections(Dataset):
    """x: `Pictures`;  y: (N,) of `Boxes`, or None.  classes: their names.  validation: the part to validate on, where the source
    has one.  size: (height, width) that pictures shall be brought to, where the reader was told.  faults: what was wrong with
    annotations, by kind, where and what."""

    classes: tuple[str, ...] = ()
    validation: Detections | None = field(default=None)
    size: tuple[int, int] | None = None
    faults: Mapping[str, Sequence[Place]] = field(default_factory=dict)

    def take(self, rows: np.ndarray) -> Detections:
        """The pictures with these numbers, in this order, without a part to validate on."""
        assert isinstance(self.x, Pictures)
        return Detections(self.x.take(rows), None if self.y is None else self.y[rows], self.source, label=self.label,
                          classes=self.classes, size=self.size)


class Faults:
    """What is wrong with annotations: raised at once, or counted.   places: of each kind, in the order in which they were met."""

    def __init__(self, policy: str):
        if policy not in POLICIES:
            raise UsageError("faults of annotations are counted or raised", expected=", ".join(POLICIES), got=repr(policy))
        self.policy = policy
        self.places: dict[str, list[Place]] = {}

    def add(self, kind: str, where: str, expected: str = "", got: str = "") -> None:
        """One more of a kind ("degenerate box").  Raises `DataError` where that is the policy."""
        if self.policy == "error":
            raise DataError(f"a {kind}" if kind[0] not in "aeiou" else f"an {kind}", where=where, expected=expected, got=got,
                            hint="faults=\"warn\" (data.faults) counts such and goes on")
        self.count(kind, where, got)

    def count(self, kind: str, where: str, got: str = "") -> None:
        """One more that is not raised in any case."""
        self.places.setdefault(kind, []).append((where, got))

    def notes(self, what: dict[str, str]) -> list[str]:
        """A line for each kind; what: what became of it."""
        return [f"{len(places)} x {kind} {what[kind]} (first: {': '.join(filter(None, places[0]))})"
                for kind, places in self.places.items()]


DEGENERATE, OUTSIDE, CUT, UNKNOWN = "degenerate box", "box outside its picture", "box beyond the edge", "unknown class"
BARE, LOST = "picture without annotation", "annotation without a picture"
UNREADABLE, MISSING = "picture that cannot be read", "missing picture"
BECAME = {DEGENERATE: "left out", OUTSIDE: "left out", CUT: "cut off there", UNKNOWN: "left out", BARE: "kept as background",
          LOST: "left out", UNREADABLE: "left out", MISSING: "left out"}
_ROUNDING = 0.51              # pixels beyond the edge that are taken for rounding


def checked_box(box: tuple[float, float, float, float], size: tuple[int, int], faults: Faults,
                where: str) -> tuple[float, float, float, float] | None:
    """The part of a box (x1, y1, x2, y2) that lies in a picture of (height, width); None where nothing of it does."""
    height, width = size
    shown = "(" + ", ".join(f"{v:g}" for v in box) + ")"
    x1, y1, x2, y2 = box
    if not all(math.isfinite(v) for v in box) or x2 <= x1 or y2 <= y1:
        faults.add(DEGENERATE, where, "x1 < x2 and y1 < y2", shown)
        return None
    inside = max(x1, 0.0), max(y1, 0.0), min(x2, float(width)), min(y2, float(height))
    if inside[2] <= inside[0] or inside[3] <= inside[1]:
        faults.add(OUTSIDE, where, f"within {width} x {height}", shown)
        return None
    if max(abs(a - b) for a, b in zip(inside, box, strict=True)) > _ROUNDING:
        faults.add(CUT, where, f"within {width} x {height}", shown)
    return inside


@dataclass
class Found:
    """Pictures of one part while they are read."""

    faults: Faults
    skip_bad: bool
    files: list[Path] = field(default_factory=list)
    sizes: list[tuple[int, int]] = field(default_factory=list)
    boxes: list[Boxes] = field(default_factory=list)

    def size_of(self, path: Path) -> tuple[int, int] | None:
        """(height, width) of a picture; None for one that is left out because it is missing or cannot be read."""
        try:
            return read_head(path).size
        except DataError as error:
            if not self.skip_bad:
                raise
            if path.is_file():
                self.faults.count(UNREADABLE, str(path), error.got or error.message)
            else:
                self.faults.count(MISSING, str(path))
            return None

    def add(self, path: Path, size: tuple[int, int], rows: list[Row]) -> None:
        self.files.append(path)
        self.sizes.append(size)
        self.boxes.append(Boxes.of(rows))

    def dataset(self, source: str, classes: tuple[str, ...], name: str, validation: Detections | None = None) -> Detections:
        """The part, with notes on what is in it.  Raises `DataError` for one without pictures."""
        if not self.files:
            raise DataError(f"the part {name!r} has no pictures", where=source)
        labels = np.concatenate([b.labels for b in self.boxes]) if self.boxes else np.zeros(0, np.int64)
        each = ", ".join(f"{c} {n:,}" for c, n in zip(classes, np.bincount(labels, minlength=len(classes)), strict=True))
        notes = [f"{name}: {len(self.files):,} pictures, {len(labels):,} boxes ({each})", *self.faults.notes(BECAME)]
        if validation is not None:
            notes += validation.notes
        pictures: Any = Pictures(self.files, np.array(self.sizes))
        return Detections(pictures, listed(self.boxes), source, tuple(notes), classes=classes, validation=validation,
                          faults=self.faults.places)


def pictures_of(source: str | Path, skip_bad: bool = False) -> Detections:
    """Pictures without boxes, to find some in: one file, or a folder of them.  skip_bad: those that cannot be decoded are left out
    and counted.  Raises `DataError`."""
    from dlcore.data.files import similar_path
    path = Path(source)
    if not path.exists():
        raise DataError("there is no such file or folder", where=str(path), hint=similar_path(path))
    files = [path] if path.is_file() else sorted(child for child in path.iterdir() if child.suffix.lower() in SUFFIXES)
    if not files:
        raise DataError("the folder has no pictures", where=str(path), expected=" ".join(SUFFIXES))
    bad = damaged(files) if skip_bad else {}
    files = [file for file in files if file not in bad]
    if not files:
        raise DataError("no picture can be read", where=str(path), got=f"{len(bad):,} files, all damaged")
    notes = (damage_note(bad),) if bad else ()
    pictures: Any = Pictures(files, np.array([read_head(f).size for f in files]))
    return Detections(pictures, None, str(path), notes)


def damaged(files: Sequence[Path]) -> dict[Path, str]:
    """Pictures that cannot be decoded to their end, and why."""
    found = {}
    for file in files:
        try:
            decode(file, True)
        except DataError as error:
            found[file] = error.got or error.message
    return found


def damage_note(bad: Mapping[Path, str]) -> str:
    """A line about them."""
    first, why = next(iter(bad.items()))
    return f"{len(bad)} damaged pictures left out (first: {first}: {why})"
