"""Data larger than memory: a folder `NAME.cache` with arrays that are mapped, not loaded.

    build_cache("photos/", "photos.cache", size=(64, 64))      # once
    cache = open_cache("photos.cache")
    model.fit(cache.x, cache.y)                                # rows are gathered ahead of the step from the mapped file

    NAME.cache/cache.json   version, rows, dtype and shape of a row, labels, what it was built from, SHA-256 of the arrays
    NAME.cache/x.bin        the rows one after the other, little-endian
    NAME.cache/y.bin        i32 (N,), numbers of labels, or f32 (N,); absent where there are no answers

It is built row by row, appears by one rename, and is never changed afterwards.
"""

from __future__ import annotations

import csv
import hashlib
import io
import itertools
import json
import math
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dlcore.data.dataset import Dataset
from dlcore.data.files import bare, open_data
from dlcore.errors import DataError, WriteError

VERSION = 1
_DTYPES = ("<f4", "|u1", "<i4", "<i8")
_PIECE = 1 << 22
PLACE = ("source", "size", "label")     # what of `built_from` says what a cache is of; the rest, how its source was


@dataclass(frozen=True)
class Cache:
    """An opened cache.  x: mapped (N, ...), read-only; y: numbers of labels or answers (N,), or None; labels: their
    names, sorted."""

    path: Path
    x: np.memmap
    y: np.ndarray | None
    labels: list[str]
    built_from: dict[str, Any]

    def __len__(self) -> int:
        return len(self.x)

    def dataset(self) -> Dataset:
        """As readers give it: answers by name where they are labels."""
        y = self.y if self.y is None or not self.labels else np.array(self.labels)[self.y]
        size = "x".join(map(str, self.x.shape[1:]))
        return Dataset(
            self.x,
            y,
            str(self.path),
            (f"train: {len(self):,} rows of {size}, {self.x.dtype}, mapped from {self.path}",),
        )


class CacheWriter:
    """Writes a cache row by row; `with` makes it appear at the end, and leaves nothing if anything fails.

    Raises `WriteError` where it is there already or cannot be written."""

    def __init__(self, path: str | Path, dtype: Any, shape: Sequence[int], built_from: dict[str, Any] | None = None):
        self.path, self.dtype, self.shape = Path(path), np.dtype(dtype).newbyteorder("<"), tuple(map(int, shape))
        self.built_from = built_from or {}
        if self.dtype.str not in _DTYPES:
            raise DataError("a cache holds float32, uint8, int32 or int64", got=str(dtype))
        if self.path.exists():
            raise WriteError(
                "the cache is there already, and is not overwritten",
                where=str(path),
                hint="move it away to build it anew",
            )
        self.folder = self.path.with_name(f".{self.path.name}.{os.getpid()}.tmp")
        self.rows = 0
        self.labels: dict[str, int] = {}
        self._answers: list[np.ndarray] = []
        self._named = False

    def __enter__(self) -> CacheWriter:
        try:
            self.folder.mkdir(parents=True)
            self.file = open(self.folder / "x.bin", "w+b")
        except OSError as error:
            raise WriteError(
                "the cache cannot be written", where=str(self.path), got=error.strerror or str(error)
            ) from error
        return self

    def add(self, x: np.ndarray, y: Iterable[Any] | None = None) -> None:
        """Some more rows; y: labels as text, or numbers."""
        rows = np.ascontiguousarray(x, self.dtype)
        if rows.shape[1:] != self.shape:
            raise DataError(
                "a row has another shape than the first",
                where=f"row {self.rows + 1}",
                expected=str(self.shape),
                got=str(rows.shape[1:]),
            )
        try:
            self.file.write(rows.data)
        except OSError as error:
            raise WriteError(
                "the cache cannot be written", where=str(self.path), got=error.strerror or str(error)
            ) from error
        self.rows += len(rows)
        self._add_answers(y, len(rows))

    def extend(self, rows: int, y: Iterable[Any] | None = None) -> np.memmap:
        """Room for so many rows, mapped for writing."""
        at = self.rows * self.dtype.itemsize * math.prod(self.shape)
        self.file.truncate(at + rows * self.dtype.itemsize * math.prod(self.shape))
        self.rows += rows
        self._add_answers(y, rows)
        self.file.seek(0, os.SEEK_END)
        return np.memmap(self.folder / "x.bin", self.dtype, "r+", at, (rows, *self.shape))

    def _add_answers(self, y: Iterable[Any] | None, rows: int) -> None:
        if y is None:
            return
        values = list(y)
        if len(values) != rows:
            raise DataError(
                "rows and answers do not fit together", expected=f"{rows:,} answers", got=f"{len(values):,}"
            )
        if any(isinstance(v, str) for v in values) or self._named:
            self._named = True
            self._answers.append(np.array([self.labels.setdefault(str(v), len(self.labels)) for v in values], np.int32))
        else:
            self._answers.append(np.asarray(values))

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: Any) -> None:
        self.file.close()
        if kind is not None:
            shutil.rmtree(self.folder, ignore_errors=True)
            return
        try:
            self._finish()
        except BaseException as fault:
            shutil.rmtree(self.folder, ignore_errors=True)
            if isinstance(fault, OSError) and not isinstance(fault, WriteError):
                raise WriteError(
                    "the cache cannot be written", where=str(self.path), got=fault.strerror or str(fault)
                ) from fault
            raise

    def _finish(self) -> None:
        if not self.rows:
            raise DataError("there are no rows to keep", where=str(self.path))
        names = sorted(self.labels)
        y = np.concatenate(self._answers) if self._answers else None
        if y is not None:
            if self._named:  # numbers in order of the names, whatever came first
                renumbered = np.empty(len(names), np.int32)
                renumbered[[self.labels[name] for name in names]] = np.arange(len(names))
                y = renumbered[y]
            y = y.astype("<i4" if y.dtype.kind in "biu" else "<f4")
            y.tofile(self.folder / "y.bin")
        head = {
            "version": VERSION,
            "rows": self.rows,
            "dtype": self.dtype.str,
            "shape": list(self.shape),
            "labels": names,
            "answers": None if y is None else y.dtype.str,
            "built_from": self.built_from,
            "sha256": {
                name: file_digest(self.folder / name) for name in ("x.bin", "y.bin") if (self.folder / name).exists()
            },
        }
        (self.folder / "cache.json").write_text(json.dumps(head, indent=1), encoding="utf-8")
        for name in os.listdir(self.folder):
            with open(self.folder / name, "rb") as file:
                os.fsync(file.fileno())
        os.rename(self.folder, self.path)


def file_digest(path: Path) -> str:
    """The SHA-256 of a file, hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def open_cache(path: str | Path, verify: bool = False) -> Cache:
    """Maps a cache; `verify` reads it through and compares the digests.  `DataError` where it is damaged or none."""
    path = Path(path)
    try:
        head = json.loads((path / "cache.json").read_text(encoding="utf-8"))
        rows, dtype, shape, labels = head["rows"], head["dtype"], tuple(head["shape"]), head["labels"]
        sound = (
            head["version"] == VERSION
            and type(rows) is int
            and rows > 0
            and dtype in _DTYPES
            and len(shape) <= 8
            and all(type(n) is int and n > 0 for n in shape)
            and all(type(label) is str for label in labels)
            and head["answers"] in (None, "<i4", "<f4")
        )
    except FileNotFoundError:
        raise DataError(
            "there is no such cache", where=str(path), hint="dlcore data convert SOURCE NAME.cache builds one"
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError("the cache is damaged", where=str(path / "cache.json"), got=str(error)[:120]) from error
    if not sound:
        raise DataError(
            "the cache is damaged, or of another version", where=str(path / "cache.json"), expected=f"version {VERSION}"
        )
    sizes = {
        "x.bin": rows * np.dtype(dtype).itemsize * math.prod(shape),
        **({"y.bin": rows * 4} if head["answers"] else {}),
    }
    for name, size in sizes.items():
        found = (path / name).stat().st_size if (path / name).exists() else -1
        if found != size:
            raise DataError(
                "the cache is cut short or damaged",
                where=str(path / name),
                expected=f"{size:,} bytes",
                got=f"{found:,}",
            )
        if verify and file_digest(path / name) != head["sha256"].get(name):
            raise DataError("the cache is damaged: its digest differs", where=str(path / name), hint="build it anew")
    y = np.fromfile(path / "y.bin", head["answers"]) if head["answers"] else None
    if y is not None and labels and not (y.dtype.kind == "i" and 0 <= y.min() and y.max() < len(labels)):
        raise DataError(
            "the cache is damaged: a label is out of range",
            where=str(path / "y.bin"),
            expected=f"0 to {len(labels) - 1}",
        )
    return Cache(path, np.memmap(path / "x.bin", dtype, "r", 0, (rows, *shape)), y, labels, head["built_from"])


def fingerprint(source: str | Path) -> dict[str, Any]:
    """What a source is: the digest of a file, or names, sizes and times of a folder's files."""
    path = Path(source)
    if path.is_file():
        return {"source": str(source), "sha256": file_digest(path)}
    digest = hashlib.sha256()
    for file in sorted(p for p in path.rglob("*") if p.is_file()):
        stat = file.stat()
        digest.update(f"{file.relative_to(path)}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
    return {"source": str(source), "sha256": digest.hexdigest()}


def build_cache(
    source: str | Path,
    path: str | Path,
    *,
    size: tuple[int, int] | None = None,
    label_col: str = "",
    skip_bad: bool = False,
) -> Cache:
    """The cache of a source.  One that is there is opened; where its source has changed since, it is built anew and takes the old
    one's place when it is whole; where it was built from something else, `WriteError`.

    Pictures (a folder per class, a table of paths) are decoded and resized to `size` a few at a time; tables of numbers (csv, tsv,
    jsonl) are read row by row; idx and npz archives are copied.  Only a few megabytes are held in memory for the first two."""
    path = Path(path)
    about = {**fingerprint(source), "size": list(size) if size else None, "label": label_col}
    if path.exists():
        cache = open_cache(path)
        if cache.built_from == about:
            return cache
        if {key: cache.built_from.get(key) for key in PLACE} == {key: about[key] for key in PLACE}:
            del cache
            return _rebuilt(source, path, size, label_col, skip_bad)
        raise WriteError(
            "the cache was built from something else, and is not overwritten",
            where=str(path),
            expected=str(source),
            got=str(cache.built_from.get("source")),
            hint="move it away to build it anew",
        )
    from dlcore.data.inspect import kind_of

    kind = kind_of(str(source))
    if kind in ("pictures", "paths"):
        _from_pictures(Path(source), path, about, kind, size, label_col, skip_bad)
    elif kind == "table":
        _from_table(source, path, about, label_col)
    else:
        from dlcore.data.images import read_images

        part = read_images(source, size).train
        assert isinstance(part.x, np.ndarray)
        x = part.x if part.x.dtype == np.uint8 else part.x.astype(np.float32)
        with CacheWriter(path, x.dtype, x.shape[1:], about) as writer:
            writer.add(x, None if part.y is None else part.y.tolist())
    return open_cache(path)


def _rebuilt(source: str | Path, path: Path, size: tuple[int, int] | None, label_col: str, skip_bad: bool) -> Cache:
    """A cache of the source as it is now in the place of an older one, which programs that have mapped it keep."""
    fresh, old = (path.with_name(f".{path.name}.{os.getpid()}.{word}") for word in ("new", "old"))
    build_cache(source, fresh, size=size, label_col=label_col, skip_bad=skip_bad)
    try:
        os.rename(path, old)
        os.rename(fresh, path)
    except OSError as fault:
        raise WriteError("the cache cannot be renewed", where=str(path), got=fault.strerror or str(fault)) from fault
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
    return open_cache(path)


def _from_pictures(
    source: Path,
    path: Path,
    about: dict[str, Any],
    kind: str,
    size: tuple[int, int] | None,
    label_col: str,
    skip_bad: bool,
) -> None:
    from dlcore.data.image_folder import list_folder, list_table, part_folders
    from dlcore.data.pictures import choose_shape, read_pictures

    listing = list_table(source, label_col, may_miss=skip_bad) if kind == "paths" else list_folder(part_folders(source)[0])
    chosen = choose_shape(listing.files, size, skip_bad)
    with CacheWriter(path, np.uint8, chosen.shape, about) as writer:
        for begin in range(0, len(listing.files), 256):
            files, labels = listing.files[begin : begin + 256], listing.labels[begin : begin + 256]
            images, bad = read_pictures(files, chosen.shape, skip_bad)
            writer.add(images, [label for i, label in enumerate(labels) if i not in bad])


def _from_table(source: str | Path, path: Path, about: dict[str, Any], label_col: str) -> None:
    """Rows of numbers, one at a time.  `DataError` naming row and column of a cell that is none."""
    from dlcore.data.table import LABEL_COLUMNS

    rows = _records(source)
    _, names, first = next(rows)
    label = label_col or next((n for n in names if n.lower() in LABEL_COLUMNS), "")
    if label and label not in names:
        raise DataError(f"there is no column {label!r}", where=str(source), expected=", ".join(names[:30]))
    columns = [i for i, name in enumerate(names) if name != label]
    answer = names.index(label) if label else -1
    with CacheWriter(path, np.float32, (len(columns),), about) as writer:
        buffer: list[list[float]] = []
        answers: list[str] = []

        def flush() -> None:
            if buffer:
                writer.add(np.array(buffer, np.float32), answers if label else None)
                buffer.clear()
                answers.clear()

        for line, _, cells in itertools.chain([(1, names, first)] if first else [], rows):
            if len(cells) != len(names):
                raise DataError(
                    f"a row is too {'short' if len(cells) < len(names) else 'long'}",
                    where=f"{source}, row {line}",
                    expected=f"{len(names)} cells",
                    got=str(len(cells)),
                )
            _take(cells, columns, names, f"{source}, row {line}", buffer)
            answers += [cells[answer]] if label else []
            if len(buffer) * len(columns) * 8 >= _PIECE:
                flush()
        flush()


def _take(cells: list[str], columns: list[int], names: list[str], where: str, buffer: list[list[float]]) -> None:
    try:
        buffer.append([float(cells[i]) for i in columns])
    except ValueError:
        wrong = next(i for i in columns if not _float(cells[i]))
        raise DataError(
            "a cell is no number",
            where=f"{where}, column {names[wrong]!r}",
            got=str(cells[wrong])[:60],
            hint="a cache of a table holds numbers; turn text into numbers first, or train on the file itself",
        ) from None


def _float(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _records(source: str | Path) -> Iterator[tuple[int, list[str], list[str]]]:
    """(line, names, cells) of a csv, tsv or jsonl file; the first only tells the names, with its cells where it is a row itself."""
    name = bare(str(source))
    with open_data(source) as file:
        lines = io.TextIOWrapper(file, "utf-8-sig", newline="")
        try:
            if name.endswith((".jsonl", ".ndjson")):
                yield from _json_records(lines, str(source))
                return
            reader = csv.reader(
                lines, delimiter="\t" if name.endswith((".tsv", ".tab")) else ",", skipinitialspace=True
            )
            first = next(reader, None)
            if not first:
                raise DataError("the file is empty", where=str(source), expected="rows of a table")
            cells = [cell.strip() for cell in first]
            headed = not all(map(_float, cells))
            yield 1, cells if headed else [f"c{i + 1}" for i in range(len(cells))], [] if headed else cells
            for row in reader:
                if row:
                    yield reader.line_num, [], [cell.strip() for cell in row]
        except UnicodeDecodeError as error:
            raise DataError(
                "the file is not UTF-8 text",
                where=str(source),
                got=error.object[error.start : error.start + 4].hex(" "),
                hint="dlcore data check names the lines",
            ) from None
        except csv.Error as error:
            raise DataError("a row is malformed", where=str(source), got=str(error)) from None


def _json_records(lines: Iterable[str], source: str) -> Iterator[tuple[int, list[str], list[str]]]:
    names: list[str] = []
    for line, content in enumerate(lines, 1):
        if not content.strip():
            continue
        try:
            record = json.loads(content)
            if not names:
                names = list(record)
                yield line, names, []
            yield line, [], [str(record[name]) for name in names]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(
                "a row is no object with the names of the first", where=f"{source}, row {line}", got=str(error)[:80]
            ) from None
