"""Pascal VOC: a file of xml for each picture (Everingham et al., The Pascal Visual Object Classes Challenge, 2010).

    Annotations/NAME.xml    JPEGImages/NAME.jpg    ImageSets/Main/train.txt, val.txt, test.txt (names, one a line)

Corners are taken as they are written.  Without ImageSets all annotations are the training part.
"""
from __future__ import annotations

import math
from pathlib import Path
from xml.etree import ElementTree

from dlcore.data.dataset import Parts
from dlcore.data.detection.dataset import BARE, LOST, UNKNOWN, Detections, Faults, Found, Row, checked_box
from dlcore.data.pictures import SUFFIXES
from dlcore.errors import DataError

LARGEST = 64 << 20             # bytes of an xml file: more is none of these


def is_source(path: Path) -> bool:
    """Whether a path is read by this module."""
    return path.is_dir() and (path / "Annotations").is_dir()


def read(path: Path, faults: str, skip_bad: bool, classes: tuple[str, ...]) -> Parts:
    """See `read_detection`.  The classes are, without `classes`, those that occur in the training part, sorted."""
    folder = path / "JPEGImages" if (path / "JPEGImages").is_dir() else path
    pictures = {child.stem: child for child in sorted(folder.iterdir()) if child.suffix.lower() in SUFFIXES}
    names = {part: _listed(path / "ImageSets" / "Main" / f"{part}.txt") for part in ("train", "val", "test")}
    if names["train"] is None:
        if all(found is None for found in names.values()):
            names["train"] = sorted({f.stem for f in (path / "Annotations").glob("*.xml")} | pictures.keys())
        else:
            names["train"] = names["val"] or names["test"]
            names = {part: found if part == "train" else None for part, found in names.items()}
    parsed = {name: _parsed(path / "Annotations" / f"{name}.xml") for found in names.values() for name in found or ()}
    known = classes or tuple(sorted({o[0] for name in names["train"] or () for o in parsed[name] or ()}))
    if not known:
        raise DataError("no annotation of the training part has a class", where=str(path))

    def part(name: str, validation: Detections | None = None) -> Detections | None:
        if names[name] is None:
            return None
        found = Found(Faults(faults), skip_bad)
        for stem in names[name] or ():
            _add(found, pictures.get(stem), path / "Annotations" / f"{stem}.xml", parsed[stem], known)
        return found.dataset(str(path), known, name, validation)
    train = part("train", part("val"))
    assert train is not None
    return Parts(train, part("test"))


def _add(found: Found, picture: Path | None, xml: Path, objects: list[tuple[str, tuple, bool]] | None,
         known: tuple[str, ...]) -> None:
    if picture is None:
        found.faults.add(LOST, str(xml), "a picture of the same name in JPEGImages")
        return
    size = found.size_of(picture)
    if size is None:
        return
    if not objects:
        found.faults.add(BARE, str(picture), "at least one <object>", "none" if objects is not None else f"no {xml.name}")
    rows: list[Row] = []
    for number, (name, box, ignored) in enumerate(objects or (), 1):
        where = f"{xml}, object {number}"
        if name not in known:
            found.faults.add(UNKNOWN, where, ", ".join(known), name)
        elif (inside := checked_box(box, size, found.faults, where)) is not None:
            rows.append((known.index(name), inside, ignored))
    found.add(picture, size, rows)


def _listed(path: Path) -> list[str] | None:
    """The names in a file of a split, its first column; None where there is no such file."""
    if not path.is_file():
        return None
    return [line.split()[0] for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def _parsed(path: Path) -> list[tuple[str, tuple, bool]] | None:
    """(class, corners, difficult) of each object; None where there is no file.  Raises `DataError` for a malformed one."""
    if not path.is_file():
        return None
    data = path.read_bytes()
    if len(data) > LARGEST or b"<!DOCTYPE" in data[:4096] or b"<!ENTITY" in data:
        raise DataError("the annotation is no plain xml", where=str(path), got="a document type, entities, or 64 MB")
    try:
        root = ElementTree.fromstring(data)
    except ElementTree.ParseError as error:
        raise DataError("the annotation is no xml", where=str(path), got=str(error)) from None
    return [_object(node, f"{path}, object {number}") for number, node in enumerate(root.iter("object"), 1)]


def _object(node: ElementTree.Element, where: str) -> tuple[str, tuple, bool]:
    name, box = node.findtext("name"), node.find("bndbox")
    if name is None or box is None:
        raise DataError("an object has no name or no bndbox", where=where)
    corners = []
    for key in ("xmin", "ymin", "xmax", "ymax"):
        text = box.findtext(key) or ""
        try:
            corners.append(float(text))
        except ValueError:
            raise DataError(f"{key} is no number", where=where, got=repr(text)) from None
        if not math.isfinite(corners[-1]):
            raise DataError(f"{key} is no number", where=where, got=repr(text))
    return name.strip(), tuple(corners), (node.findtext("difficult") or "0").strip() == "1"
