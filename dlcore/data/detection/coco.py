"""COCO's json (Lin et al., Microsoft COCO, 2014; https://cocodataset.org/#format-data): images, annotations, categories.

A file is one part.  In a folder the parts are told by the names of files or of the folders around them: train, val or valid, test.
Pictures lie beside the file, in `images`, in the folder that the part is called, or in one called as the file's end
(`annotations/instances_train2017.json` and `train2017/`).
"""
from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from dlcore.data.dataset import Parts
from dlcore.data.detection.dataset import BARE, LOST, UNKNOWN, Detections, Faults, Found, Row, checked_box
from dlcore.errors import DataError

_WORDS = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}


def is_source(path: Path) -> bool:
    """Whether a path is read by this module."""
    return path.suffix.lower() == ".json" if path.is_file() else bool(_files(path))


def looks_like(path: Path) -> bool:
    """Whether a json is COCO's by its first bytes, where another json could lie."""
    files = [path] if path.is_file() else list(_files(path).values())
    if not files or files[0].suffix.lower() != ".json":
        return False
    with files[0].open("rb") as file:
        head = file.read(1 << 16).lstrip()
    return head.startswith(b"{") and re.search(rb'"(images|annotations|categories)"\s*:\s*\[', head) is not None


def read(path: Path, faults: str, skip_bad: bool, classes: tuple[str, ...]) -> Parts:
    """See `read_detection`.  The classes are, without `classes`, the categories of the training part in the order of their ids."""
    files = {"train": path} if path.is_file() else _files(path)
    files = files if "train" in files else {"train": next(iter(files.values()))}
    contents = {part: _parsed(file) for part, file in files.items()}
    known = classes or tuple(_categories(contents["train"], files["train"]).values())
    if len(set(known)) != len(known):
        raise DataError("two categories have one name", where=str(files["train"]))

    def part(name: str, validation: Detections | None = None) -> Detections | None:
        if name not in files:
            return None
        found = Found(Faults(faults), skip_bad)
        _fill(found, contents[name], files[name], name, known)
        return found.dataset(str(files[name]), known, name, validation)
    train = part("train", part("val"))
    assert train is not None
    return Parts(train, part("test"))


def _files(folder: Path) -> dict[str, Path]:
    """The json file of each part in a folder, in folders directly below it, or in `annotations`."""
    found: dict[str, Path] = {}
    for file in sorted([*folder.glob("*.json"), *folder.glob("*/*.json")]):
        if "captions" in file.name or "keypoints" in file.name:
            continue
        words = re.findall(r"[a-z]+", f"{file.stem if file.parent == folder else file.parent.name + ' ' + file.stem}".lower())
        for part, names in _WORDS.items():
            if part not in found and any(word in names for word in words):
                found[part] = file
    return {part: found[part] for part in _WORDS if part in found}


def _parsed(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise DataError("the file is no json", where=str(path), got=str(error)[:100]) from None
    if not isinstance(content, dict) or not all(isinstance(content.get(k), list) for k in ("images", "annotations", "categories")):
        raise DataError("the file is no COCO annotation", where=str(path), expected="lists images, annotations and categories")
    return content


def _value(row: Any, key: str, kinds: type | tuple[type, ...], where: str) -> Any:
    value = row.get(key) if isinstance(row, dict) else None
    if not isinstance(value, kinds) or isinstance(value, bool):
        raise DataError(f"{key!r} is missing or malformed", where=where, got=repr(value)[:60])
    return value


def _categories(content: dict[str, Any], path: Path) -> dict[int, str]:
    """id -> name, in the order of the ids."""
    rows = {_value(c, "id", int, f"{path}, category {i}"): _value(c, "name", str, f"{path}, category {i}")
            for i, c in enumerate(content["categories"], 1)}
    if not rows:
        raise DataError("there are no categories", where=str(path))
    return dict(sorted(rows.items()))


def _fill(found: Found, content: dict[str, Any], path: Path, part: str, known: tuple[str, ...]) -> None:
    names = _categories(content, path)
    annotated: dict[int, list[tuple[int, dict[str, Any]]]] = {}
    images = {_value(image, "id", int, f"{path}, image {i}"): image for i, image in enumerate(content["images"], 1)}
    for number, row in enumerate(content["annotations"], 1):
        image = _value(row, "image_id", int, f"{path}, annotation {number}")
        if image not in images:
            found.faults.add(LOST, f"{path}, annotation {number}", "the id of an image", str(image))
        else:
            annotated.setdefault(image, []).append((number, row))
    for i, (image, entry) in enumerate(images.items(), 1):
        name = _value(entry, "file_name", str, f"{path}, image {i}")
        picture = _picture(path, part, name, found.skip_bad)
        size = found.size_of(picture)
        if size is None:
            continue
        if image not in annotated:
            found.faults.add(BARE, str(picture))
        rows: list[Row] = []
        for number, row in annotated.get(image, ()):
            where = f"{path}, annotation {number}"
            name = names.get(_value(row, "category_id", int, where), "")
            box = _value(row, "bbox", list, where)
            if len(box) != 4 or not all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in box):
                raise DataError("'bbox' is no list of four numbers", where=where, got=repr(box)[:60])
            if name not in known:
                found.faults.add(UNKNOWN, where, ", ".join(known), name or f"category_id {row['category_id']}")
                continue
            x, y, w, h = (float(v) for v in box)
            if (inside := checked_box((x, y, x + w, y + h), size, found.faults, where)) is not None:
                rows.append((known.index(name), inside, row.get("iscrowd", 0) == 1))
        found.add(picture, size, rows)


def _picture(path: Path, part: str, name: str, may_miss: bool) -> Path:
    """Where a picture lies, or would lie.  A name that leaves the data set's folder is refused."""
    around = path.parent
    ending = path.stem.rpartition("_")[2]
    root = around.parent if around.name.lower() == "annotations" else around
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise DataError("a picture's name leaves the folder of the data", where=str(path), got=name[:100])
    folders = [around, around / "images", *(base / end for base in (root, root / "images") for end in (".", part, ending))]
    found = next((folder / name for folder in folders if (folder / name).is_file()), None)
    if found is None and may_miss:
        return around / name
    if found is None:
        raise DataError("a picture is missing", where=str(path), expected=f"{name} beside it, in images, {part} or {ending}",
                        hint="--skip-bad leaves such pictures out")
    return found
