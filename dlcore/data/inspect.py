"""What is in a file or folder, whatever it is: behind `dlcore data check` and `dlcore data show`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dlcore.data.check import check_tables
from dlcore.data.check_detection import check_detection, show_detection
from dlcore.data.check_images import check_arrays, check_folder
from dlcore.data.dataset import Dataset
from dlcore.data.detection import is_detection
from dlcore.data.files import bare, similar_path
from dlcore.data.findings import Report
from dlcore.data.idx import find_idx
from dlcore.data.image_folder import PATH_COLUMNS, is_image_folder, list_folder, list_table, part_folders
from dlcore.data.images import read_images
from dlcore.data.table import Table, is_number, read_table
from dlcore.errors import DataError


def kind_of(source: str) -> str:
    """ "table", "pictures" (a folder of class folders), "boxes" (Pascal VOC, COCO, YOLO), "paths" (a table of pictures) or "arrays"
    (idx, npz, cache)."""
    path = Path(source)
    if source == "-":
        return "table"
    if not path.exists():
        raise DataError("there is no such file or folder", where=source, hint=similar_path(Path(source)))
    if is_detection(path):
        return "boxes"
    if path.is_dir():
        return "pictures" if is_image_folder(path) and not find_idx(path) else "arrays"
    suffix = Path(bare(source)).suffix
    if suffix == ".npz":
        with np.load(path, allow_pickle=False) as archive:
            images = any(len(_shape(archive, name)) in (3, 4) for name in archive.files)
        return "arrays" if images else "table"
    if suffix in (".csv", ".tsv", ".jsonl"):
        names = read_table(path).names if path.stat().st_size < 1 << 26 else ()
        return "paths" if any(name.lower() in PATH_COLUMNS for name in names) and _pictures(path) else "table"
    return "table"


def _shape(archive: Any, name: str) -> tuple[int, ...]:
    with archive.zip.open(f"{name}.npy") as file:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        return tuple(read(file)[0])


def _pictures(path: Path) -> bool:
    try:
        return bool(list_table(path).files)
    except DataError:
        return False


def check(sources: Mapping[str, str], label_col: str = "", text_col: str = "", max_len: int = 0) -> Report:
    """Everything there is to say about the parts of a data set; all parts must be of one kind.

    sources: "train", "val", "test" -> file or folder.  A folder with a test part in it is looked at with both."""
    kinds = {name: _kind_or_table(source) for name, source in sources.items()}
    first = kinds["train"]
    if any(kind != first for kind in kinds.values()):
        raise DataError("the parts are of different kinds", got=", ".join(f"{n}: {k}" for n, k in kinds.items()))
    if first == "table":
        return check_tables(sources, label_col, text_col, max_len)
    if first == "boxes":
        return check_detection(sources)
    if first == "arrays":
        parts: dict[str, Dataset] = {}
        for name, source in sources.items():
            found = read_images(source)
            parts[name] = found.train
            if name == "train" and found.test is not None and "test" not in sources:
                parts["test"] = found.test
        return check_arrays(parts)
    listings = {}
    for name, source in sources.items():
        if first == "paths":
            listings[name] = (source, list_table(Path(source), label_col))
            continue
        train, test = part_folders(Path(source))
        listings[name] = (str(train), list_folder(train))
        if name == "train" and test is not None and "test" not in sources:
            listings["test"] = (str(test), list_folder(test))
    return check_folder(listings)


def _kind_or_table(source: str) -> str:
    """Of a table that cannot be read the check itself says why."""
    try:
        return kind_of(source)
    except DataError:
        if source != "-" and not Path(source).exists():
            raise
        return "table"


def show(source: str, rows: int) -> dict[str, Any]:
    """Notes, columns with what they hold, and the first rows of a table; notes and classes of images and boxes."""
    kind = kind_of(source)
    if kind == "table":
        return _show_table(read_table(source), rows)
    if kind == "boxes":
        return show_detection(source)
    parts = read_images(source, skip_bad=True)
    named = {"train": parts.train, **({"test": parts.test} if parts.test else {})}
    classes = {
        name: dict(sorted(Counter(np.asarray(part.y).tolist()).items()))
        for name, part in named.items()
        if part.y is not None
    }
    return {
        "kind": "images",
        "notes": list(parts.notes),
        "rows": {name: len(part) for name, part in named.items()},
        "classes": classes,
    }


def _show_table(table: Table, rows: int) -> dict[str, Any]:
    first = table.take(np.arange(min(rows, len(table))))
    columns = [
        [None if v != v else v for v in c.tolist()] if isinstance(c, np.ndarray) else c for c in first.columns.values()
    ]
    return {
        "kind": "table",
        "notes": list(table.notes),
        "columns": {name: _about(column) for name, column in table.columns.items()},
        "lines": list(first.lines),
        "rows": [list(row) for row in zip(*columns, strict=True)],
        "count": len(table),
    }


def _about(column: Any) -> str:
    """What a column holds: "numbers, 0.5 to 9.1", "text, 77 different", "3 missing"."""
    cells = [None if v != v else v for v in column.tolist()] if isinstance(column, np.ndarray) else column
    values = [v for v in cells if v is not None]
    missing = f", {len(cells) - len(values):,} missing" if len(values) < len(cells) else ""
    numbers = [float(v) for v in values if not isinstance(v, str) or is_number(v)]
    if values and len(numbers) == len(values):
        return f"numbers, {min(numbers):g} to {max(numbers):g}, {len(set(numbers)):,} different{missing}"
    mixed = f", {len(numbers):,} of them numbers" if numbers else ""
    return f"text, {len(set(map(str, values))):,} different{mixed}{missing}" if values else f"empty{missing}"
