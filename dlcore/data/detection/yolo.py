"""YOLO's form: a yaml file with the parts and the names of classes, and a txt file for each picture (class cx cy w h, shares of
the size).

    path: ../bccd            # folder of the data, seen from the yaml file; by default the yaml file's
    train: images/train      # a folder of pictures, a txt file that lists pictures, or a list of them; val and test as well
    names: [RBC, WBC]        # or numbers with names, a line each

The txt file lies where the picture does, `images` replaced by `labels` where the path has it.  Of yaml this form is read: keys with
texts, numbers, lists and maps of one level.
"""
from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from dlcore.data.dataset import Parts
from dlcore.data.detection.dataset import BARE, UNKNOWN, Detections, Faults, Found, Row, checked_box
from dlcore.data.pictures import SUFFIXES
from dlcore.errors import DataError


def is_source(path: Path) -> bool:
    """Whether a path is read by this module."""
    return path.suffix.lower() in (".yaml", ".yml") if path.is_file() else _yaml_in(path) is not None


def looks_like(path: Path) -> bool:
    """Whether a yaml names pictures and classes, where another yaml could lie."""
    file = path if path.is_file() else _yaml_in(path)
    if file is None or file.suffix.lower() not in (".yaml", ".yml"):
        return False
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    keys = {line.partition(":")[0].strip() for line in lines if not line[:1].isspace()}
    return bool(keys & {"train", "val", "test"}) and bool(keys & {"names", "nc"})


def read(path: Path, faults: str, skip_bad: bool, classes: tuple[str, ...]) -> Parts:
    """See `read_detection`."""
    file = path if path.is_file() else _yaml_in(path)
    assert file is not None
    said = parse_yaml(file.read_text(encoding="utf-8"), str(file))
    names = _names(said, file)
    known = classes or names
    root = file.parent / str(said.get("path", "."))
    root = root if root.is_dir() or "path" not in said else file.parent

    def part(key: str, name: str, validation: Detections | None = None) -> Detections | None:
        if not said.get(key):
            return None
        found = Found(Faults(faults), skip_bad)
        for picture in _pictures(said[key], root, file):
            _add(found, picture, names, known)
        return found.dataset(str(file), known, name, validation)
    if not said.get("train"):
        said["train"] = said.get("val") or said.get("test")
        said = {key: value for key, value in said.items() if key not in ("val", "test")}
    if not said["train"]:
        raise DataError("the file names no pictures", where=str(file), expected="train: images/train")
    train = part("train", "train", part("val", "val"))
    assert train is not None
    return Parts(train, part("test", "test"))


def _yaml_in(folder: Path) -> Path | None:
    """The one yaml file of a folder."""
    found = sorted([*folder.glob("*.yaml"), *folder.glob("*.yml")])
    return found[0] if len(found) == 1 else None


def _names(said: dict[str, Any], file: Path) -> tuple[str, ...]:
    """The names of the classes by their number."""
    names = said.get("names")
    if isinstance(names, dict):
        numbers = [int(k) if k.isdigit() else -1 for k in names]
        if sorted(numbers) != list(range(len(numbers))):
            raise DataError("the numbers of the classes are not 0, 1, 2, ...", where=f"{file}, names", got=", ".join(names)[:100])
        names = [name for _, name in sorted(zip(numbers, names.values(), strict=True))]
    if not names and str(said.get("nc", "")).isdigit():
        names = [str(i) for i in range(int(said["nc"]))]
    if not isinstance(names, list) or not names or len(set(names)) != len(names):
        raise DataError("the file does not name the classes", where=f"{file}, names", expected="names: [RBC, WBC], each once")
    return tuple(str(name) for name in names)


def _pictures(value: Any, root: Path, file: Path) -> list[Path]:
    """The pictures that an entry of the yaml file stands for."""
    found: list[Path] = []
    for entry in value if isinstance(value, list) else [value]:
        place = root / str(entry)
        if place.is_dir():
            found += sorted(child for child in place.rglob("*") if child.suffix.lower() in SUFFIXES)
        elif place.suffix == ".txt" and place.is_file():
            lines = filter(None, map(str.strip, place.read_text(encoding="utf-8").splitlines()))
            found += [(place.parent if line.startswith(".") else root) / line for line in lines]
        elif place.is_file():
            found.append(place)
        else:
            raise DataError("there is no such folder of pictures", where=str(file), expected=str(place))
    return found


def _label_file(picture: Path) -> Path:
    """Where the boxes of a picture stand."""
    parts = list(picture.with_suffix(".txt").parts)
    places = [i for i, name in enumerate(parts) if name == "images"]
    if places:
        parts[places[-1]] = "labels"
    return Path(*parts)


def _add(found: Found, picture: Path, names: tuple[str, ...], known: tuple[str, ...]) -> None:
    size = found.size_of(picture)
    if size is None:
        return
    file = _label_file(picture)
    text = file.read_text(encoding="utf-8") if file.is_file() else ""
    if not text.strip():
        found.faults.add(BARE, str(picture), "", "" if file.is_file() else f"no {file.name}")
    rows: list[Row] = []
    for number, line in enumerate(text.splitlines(), 1):
        where = f"{file}:{number}"
        if not line.strip():
            continue
        label, box = _row(line, where)
        name = names[label] if 0 <= label < len(names) else ""
        if name not in known:
            found.faults.add(UNKNOWN, where, f"0 to {len(names) - 1}" if not name else ", ".join(known), name or str(label))
            continue
        cx, cy, w, h = (v * n for v, n in zip(box, (size[1], size[0], size[1], size[0]), strict=True))
        inside = checked_box((cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2), size, found.faults, where)
        if inside is not None:
            rows.append((known.index(name), inside, False))
    found.add(picture, size, rows)


def _row(line: str, where: str) -> tuple[int, list[float]]:
    """Class and box of a line; more than four numbers are corners of a polygon, whose box is taken."""
    words = line.split()
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        numbers = []
    if len(numbers) < 5 or not all(map(math.isfinite, numbers)) or numbers[0] != int(numbers[0]):
        raise DataError("a line of boxes is malformed", where=where, expected="class cx cy w h, numbers", got=line[:60])
    if len(numbers) == 5:
        return int(numbers[0]), numbers[1:]
    if len(numbers) % 2 == 0 or len(numbers) < 7:
        raise DataError("a line of a polygon is malformed", where=where, expected="class x y x y x y ...", got=line[:60])
    xs, ys = numbers[1::2], numbers[2::2]
    box = [(min(xs) + max(xs)) / 2, (min(ys) + max(ys)) / 2, max(xs) - min(xs), max(ys) - min(ys)]
    return int(numbers[0]), box


# ---- the part of yaml that such files use --------------------------------------------------------------------------
def parse_yaml(text: str, where: str = "") -> dict[str, Any]:
    """Keys with texts, lists (`[a, b]` or a `- a` a line) and maps of one level.  Raises `DataError` for what is more."""
    found: dict[str, Any] = {}
    key = ""
    for number, raw in enumerate(text.splitlines(), 1):
        line = _without_comment(raw).rstrip()
        if not line.strip() or line.strip() == "---":
            continue
        inner = line.strip()
        item = inner.startswith("- ") or inner == "-"
        if not line[0].isspace() and not item:
            key, colon, value = inner.partition(":")
            if not colon:
                raise _not_read(where, number, raw)
            key = _text(key)
            found[key] = _inline(value.strip(), where, number, raw)
        elif item and key and isinstance(found[key], (list, str)) and not (isinstance(found[key], str) and found[key]):
            found[key] = [*(found[key] or []), _text(inner[1:])]
        elif ":" in inner and key and (found[key] == "" or isinstance(found[key], dict)):
            name, _, value = inner.partition(":")
            found[key] = {**(found[key] or {}), _text(name): _text(value)}
        elif key == "download":                # a script in a block, which is not run
            continue
        else:
            raise _not_read(where, number, raw)
    return found


def _not_read(where: str, number: int, line: str) -> DataError:
    return DataError("the yaml file says something that is not read here", where=f"{where}:{number}",
                     expected="key: value, key: [a, b], or an indented list or map of one level", got=line[:60])


def _without_comment(line: str) -> str:
    quote = ""
    for i, c in enumerate(line):
        if quote:
            quote = "" if c == quote else quote
        elif c in "'\"":
            quote = c
        elif c == "#" and (i == 0 or line[i - 1].isspace()):
            return line[:i]
    return line


def _text(value: str) -> str:
    value = value.strip()
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"" else value


def _inline(value: str, where: str, number: int, line: str) -> Any:
    if value.startswith("["):
        if not value.endswith("]"):
            raise _not_read(where, number, line)
        return [_text(word) for word in value[1:-1].split(",") if word.strip()]
    if value.startswith("{"):
        if not value.endswith("}"):
            raise _not_read(where, number, line)
        pairs = [word.partition(":") for word in value[1:-1].split(",") if word.strip()]
        return {_text(name): _text(text) for name, _, text in pairs}
    return _text(value)
