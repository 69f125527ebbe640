"""Tables written as csv, tsv, jsonl, fastText, libsvm, lines of text or npz, gzipped where the name says so; atomically."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from dlcore.data.files import bare
from dlcore.data.formats import LABEL
from dlcore.data.formats import SUFFIXES as KINDS
from dlcore.data.table import LABEL_COLUMNS, Table, is_number
from dlcore.errors import DataError, UsageError, WriteError

FORMATS = {".csv": "csv", ".tsv": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".npz": "npz", **KINDS}


def format_of(path: str) -> str:
    """csv, tsv, jsonl, fasttext, libsvm, text or npz, by the name.  `UsageError` for another."""
    suffix = Path(bare(path)).suffix
    if suffix not in FORMATS or path.lower().endswith((".xz", ".zst")):
        raise UsageError(
            "the name says no format that can be written", expected=" ".join(FORMATS) + ", also with .gz", got=path
        )
    return FORMATS[suffix]


def write_table(table: Table, path: str, label_col: str = "", text_col: str = "") -> None:
    """The table at `path`, in the format of its name.  Nothing is overwritten: `WriteError`.

    fastText and text need a column of texts, libsvm columns of numbers: `DataError` where they are missing."""
    kind = format_of(path)
    place = Path(path)
    if place.exists():
        raise WriteError("the file is there already, and is not overwritten", where=path, hint="choose another name")
    columns = {name: _cells(column) for name, column in table.columns.items()}
    label = label_col or next((n for n in columns if n.lower() in LABEL_COLUMNS), "")
    if kind == "npz":
        data = _npz(columns, label, table.source)
    else:
        text = "".join(_lines(kind, columns, label, text_col, table.source))
        data = text.encode()
        if path.lower().endswith(".gz"):
            data = gzip.compress(data, mtime=0)
    write_bytes(place, data)


def write_bytes(path: Path, data: bytes) -> None:
    """A file that is there whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise WriteError("the file cannot be written", where=str(path), got=error.strerror or str(error)) from error


def _cells(column: Any) -> list[Any]:
    if not isinstance(column, np.ndarray):
        return column
    return [None if v != v else int(v) if v == int(v) else v for v in column.tolist()]


def _lines(kind: str, columns: dict[str, list[Any]], label: str, text: str, source: str) -> Iterator[str]:
    rows = zip(*columns.values(), strict=True)
    if kind in ("csv", "tsv"):
        out = io.StringIO(newline="")
        if kind == "tsv":
            _no_tabs(columns, source)
            writer = csv.writer(out, delimiter="\t", quoting=csv.QUOTE_NONE, quotechar=None, lineterminator="\n")
        else:
            writer = csv.writer(out, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(["" if cell is None else cell for cell in row] for row in rows)
        yield out.getvalue()
    elif kind == "jsonl":
        for row in rows:
            yield json.dumps(dict(zip(columns, row, strict=True)), ensure_ascii=False) + "\n"
    elif kind == "libsvm":
        yield from _libsvm(columns, label, source)
    else:
        yield from _texts(kind, columns, label, text, source)


def _no_tabs(columns: dict[str, list[Any]], source: str) -> None:
    for name, column in columns.items():
        for i, cell in enumerate(column, 1):
            if isinstance(cell, str) and any(c in cell for c in "\t\n\r"):
                raise DataError(
                    "a cell holds a tab or a new line, which tsv cannot",
                    where=f"{source}, row {i}, column {name!r}",
                    hint="write csv or jsonl",
                )


def _texts(kind: str, columns: dict[str, list[Any]], label: str, text: str, source: str) -> Iterator[str]:
    if not text:
        others = [name for name in columns if name != label]
        if "text" not in columns and len(others) != 1:
            raise DataError(
                "no column is clearly the text", where=source, expected="--text-col", got=", ".join(columns)
            )
        text = "text" if "text" in columns else others[0]
    for name in (text, label if kind == "fasttext" else text):
        if name not in columns:
            raise DataError(
                f"there is no column {name!r}" if name else "no column holds the labels",
                where=source,
                got=", ".join(columns),
                hint="--label-col",
            )
    for i, value in enumerate(columns[text]):
        flat = " ".join(str("" if value is None else value).split())
        if kind == "fasttext":
            yield (
                " ".join(LABEL + word for word in str(columns[label][i]).split()) + (f" {flat}" if flat else "") + "\n"
            )
        else:
            yield flat + "\n"


def _libsvm(columns: dict[str, list[Any]], label: str, source: str) -> Iterator[str]:
    if label not in columns:
        raise DataError("no column holds the labels", where=source, got=", ".join(columns), hint="--label-col")
    features = [(i, columns[name]) for i, name in enumerate((n for n in columns if n != label), 1)]
    for row, answer in enumerate(columns[label]):
        words = []
        for i, column in features:
            value = column[row]
            if isinstance(value, str) and not is_number(value):
                raise DataError("libsvm holds numbers only", where=f"{source}, row {row + 1}", got=value[:60])
            if value is not None and float(value) != 0:
                words.append(f"{i}:{float(value):.17g}")
        yield " ".join([str(answer).replace(" ", "_"), *words]) + "\n"


def _npz(columns: dict[str, list[Any]], label: str, source: str) -> bytes:
    features = [name for name in columns if name != label]
    numeric = all(v is None or not isinstance(v, str) or is_number(v) for name in features for v in columns[name])
    arrays: dict[str, np.ndarray]
    if numeric and features:
        arrays = {
            "x": np.array(
                [[np.nan if v is None else float(v) for v in columns[name]] for name in features], np.float64
            ).T
        }
        if label:
            arrays["y"] = _array(columns[label])
    else:
        arrays = {name: _array(column) for name, column in columns.items()}
    out = io.BytesIO()
    np.savez_compressed(out, **arrays)  # type: ignore[arg-type]
    return out.getvalue()


def _array(column: list[Any]) -> np.ndarray:
    if all(v is None or (not isinstance(v, str) or is_number(v)) for v in column):
        values = np.array([np.nan if v is None else float(v) for v in column])
        return values.astype(np.int64) if np.isfinite(values).all() and (values == np.rint(values)).all() else values
    return np.array(["" if v is None else str(v) for v in column])
