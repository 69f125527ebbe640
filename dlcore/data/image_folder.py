"""A folder per class with pictures in it, `train` and `test` folders of such folders, or a table of paths and labels."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dlcore.data.dataset import Dataset, Parts
from dlcore.data.findings import plural
from dlcore.data.pictures import SUFFIXES, choose_shape, read_pictures
from dlcore.errors import DataError

_TRAIN, _TEST = ("train", "training"), ("test", "testing", "val", "valid", "validation")
PATH_COLUMNS = ("path", "image", "file", "filename", "file_name", "image_path")


@dataclass
class Listing:
    """Picture files and their labels.  empty: class folders without pictures."""

    files: list[Path] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)


def is_image_folder(folder: Path) -> bool:
    """Whether some folder in `folder`, or two levels down, holds an image file."""
    return any(path.suffix.lower() in SUFFIXES for pattern in ("*/*", "*/*/*") for path in folder.glob(pattern))


def part_folders(folder: Path) -> tuple[Path, Path | None]:
    """The folders of the training part and, if there is one, of the test part."""
    children = {child.name.lower(): child for child in folder.iterdir() if child.is_dir()}
    train = next((children[name] for name in _TRAIN if name in children), None)
    if train is None or not any(child.is_dir() for child in train.iterdir()):
        return folder, None
    return train, next((children[name] for name in _TEST if name in children), None)


def read_image_folder(folder: str | Path, size: tuple[int, int] | None = None, skip_bad: bool = False,
                      shape: tuple[int, ...] | None = None) -> Parts:
    """Images (N, H, W) or (N, H, W, 3) of u8 and their folders' names as answers.

    Images of another size than `size`, by default the commonest, are resized, which is noted; `shape` gives the channels too.
    Files that cannot be read raise `DataError`, or are left out and counted with `skip_bad`."""
    train, test = part_folders(Path(folder))
    part = read_listing(list_folder(train), train, "train", size, skip_bad, shape)
    assert isinstance(part.x, np.ndarray)
    if test is None:
        return Parts(part)
    return Parts(part, read_listing(list_folder(test), test, "test", None, skip_bad, part.x.shape[1:]))


def list_folder(folder: Path) -> Listing:
    """The pictures of a folder of class folders, in order of their names.  Raises `DataError` if there are none."""
    listing = Listing()
    for child in sorted(child for child in folder.iterdir() if child.is_dir() and not child.name.startswith(".")):
        found = sorted(path for path in child.iterdir() if path.suffix.lower() in SUFFIXES)
        listing.files += found
        listing.labels += [child.name] * len(found)
        if not found:
            listing.empty.append(child.name)
    if not listing.files:
        raise DataError("the folder holds no images", where=str(folder),
                        expected="a folder per class with .png or .jpg files in it")
    return listing


def list_table(path: Path, label_col: str = "", labelled: bool = True, may_miss: bool = False) -> Listing:
    """The pictures that a table names, in a column such as `path` or `image`, relative to the table's folder.

    labelled=False: answers are not looked for, all labels are "".   may_miss: pictures that are not there are listed with the
    others.   Raises `DataError`."""
    from dlcore.data.table import answers, read_table
    table = read_table(path, known=PATH_COLUMNS)
    column = next((name for name in table.names if name.lower() in PATH_COLUMNS), "")
    if not column:
        raise DataError("the table names no pictures", where=str(path), expected=f"a column {', '.join(PATH_COLUMNS)}",
                        got=", ".join(table.names[:20]))
    labels: Sequence[Any] = [""] * len(table)
    if labelled:
        table, _, labels = answers(table, label_col)
    names = list(table.columns[column])
    missing = [i for i, name in enumerate(names) if name is None or not (path.parent / str(name)).is_file()]
    if missing and not may_miss:
        raise DataError("there is no such picture", where=table.place(missing[0], column), got=str(names[missing[0]]),
                        hint=f"{plural(len(missing), 'is', 'are')} missing; paths are relative to the table's folder; train, "
                        "evaluate and predict leave such out with --skip-bad")
    return Listing([path.parent / str(name) for name in names], [str(label) for label in labels])


def read_listing(listing: Listing, source: Path, part: str, size: tuple[int, int] | None, skip_bad: bool,
                 shape: tuple[int, ...] | None) -> Dataset:
    """The pictures of a listing as a `Dataset`, with notes on what was resized and left out."""
    files, others = listing.files, 0
    bad: dict[Path, str] = {}
    if shape is None:
        chosen = choose_shape(files, size, skip_bad)
        shape, others, bad = chosen.shape, chosen.others, chosen.bad
    kept = [i for i, path in enumerate(files) if path not in bad]
    images, late = read_pictures([files[i] for i in kept], shape, skip_bad)
    bad |= {files[kept[i]]: why for i, why in late.items()}
    labels = np.array([listing.labels[i] for j, i in enumerate(kept) if j not in late])
    if not len(images):
        raise DataError("no picture can be read", where=str(source))
    count = len(set(labels.tolist()))
    places = f"of {plural(count, 'label')} in" if source.is_file() else f"in {plural(count, 'folder')} of"
    places = "from" if not any(listing.labels) else places
    notes = [f"{part}: {plural(len(images), 'image')} of {'x'.join(map(str, shape))} {places} {source}"]
    if others:
        what = plural(others, "image has another size and is", "images have another size and are")
        notes.append(f"{what} resized")
    if bad:
        notes.append(left_out(list(bad)))
    if listing.empty:
        what = plural(len(listing.empty), "folder holds", "folders hold")
        notes.append(f"{what} no images: {', '.join(listing.empty[:5])}")
    return Dataset(images, labels, str(source), tuple(notes))


def left_out(bad: Sequence[Path]) -> str:
    """The note on pictures that cannot be read: how many, and the first ones."""
    few = ", ".join(str(path) for path in bad[:3])
    what = plural(len(bad), "image cannot be read and is", "images cannot be read and are")
    return f"{what} left out: {few}{', ...' if len(bad) > 3 else ''}"


def read_image_files(paths: Sequence[Path], shape: tuple[int, ...], source: Path, skip_bad: bool = False) -> Dataset:
    """Images of any size, brought to `shape`: (H, W) or (H, W, 1) grey, (H, W, 3) colour, u8.

    skip_bad: files that cannot be read are left out and named in a note, even if no other is there.  Raises `DataError`."""
    images, bad = read_pictures(paths, shape, skip_bad)
    notes = [] if list(paths) == [source] else [f"{plural(len(images), 'image')} of {source}"]
    if bad:
        notes.append(left_out([paths[i] for i in bad]))
    return Dataset(images, None, str(source), tuple(notes))
