"""Tables in other forms than csv and jsonl: fastText, libsvm, lines of text, npz archives, parquet and Arrow files."""

from __future__ import annotations

import re
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dlcore.errors import DataError

if TYPE_CHECKING:
    from dlcore.data.table import Table

LABEL = "__label__"
SUFFIXES = {
    ".ft": "fasttext",
    ".fasttext": "fasttext",
    ".libsvm": "libsvm",
    ".svm": "libsvm",
    ".svmlight": "libsvm",
    ".txt": "text",
    ".text": "text",
}
ARROW = (".parquet", ".arrow", ".feather")
_PAIRS = re.compile(r"[^\s,:]+(,[^\s,:]+)*(\s+(qid|\d+):\S+)+\s*(#.*)?")
_XY = ("x", "y", "x_train", "y_train")
_MOST_CELLS = 1 << 28


def told_by_content(first: str) -> str:
    """ "fasttext" or "libsvm" where the first line can be nothing else, else ""."""
    if first.startswith(LABEL):
        return "fasttext"
    return "libsvm" if _PAIRS.fullmatch(first.strip()) else ""


def from_fasttext(text: str, source: str) -> Table:
    """Columns `label` and `text`; several labels of a row are joined by spaces.  DataError for a row without one."""
    from dlcore.data.table import Table, lines_of

    labels: list[Any] = []
    texts: list[Any] = []
    lines: list[int] = []
    several = 0
    for line, content in enumerate(lines_of(text), 1):
        if not content.strip():
            continue
        words = content.split()
        count = next((i for i, word in enumerate(words) if not word.startswith(LABEL)), len(words))
        if count == 0:
            raise DataError(
                f"a row has no label that begins with {LABEL}", where=f"{source}, row {line}", got=content[:60]
            )
        several += count > 1
        labels.append(" ".join(word.removeprefix(LABEL) for word in words[:count]))
        texts.append(" ".join(words[count:]) or None)
        lines.append(line)
    _some(lines, source)
    note = f"{len(lines):,} rows of fastText" + (f", {several:,} with several labels" if several else "")
    return Table({"label": labels, "text": texts}, lines, source, (note,))


def from_lines(text: str, source: str) -> Table:
    """One column `text`; empty lines are no rows."""
    from dlcore.data.table import Table, lines_of

    found = [(i, line.strip()) for i, line in enumerate(lines_of(text), 1) if line.strip()]
    _some(found, source)
    return Table(
        {"text": [line for _, line in found]}, [i for i, _ in found], source, (f"{len(found):,} lines of text",)
    )


def from_libsvm(text: str, source: str) -> Table:
    """Columns `label` and one per feature number, 0 where a row does not name it; `qid` where it is given.

    Numbers must rise within a row.  DataError naming the row for what is malformed, or for a table too large when dense."""
    from dlcore.data.table import Table, lines_of

    labels: list[Any] = []
    rows: list[int] = []
    columns: list[int] = []
    values: list[float] = []
    queries: list[Any] = []
    lines: list[int] = []
    for line, content in enumerate(lines_of(text), 1):
        label, *pairs = content.partition("#")[0].split() or [""]
        if not label:
            continue
        where, last = f"{source}, row {line}", -1
        query = None
        for pair in pairs:
            name, colon, value = pair.partition(":")
            if name == "qid" and colon:
                query = value
                continue
            number, amount = _pair(name, value, pair, where)
            if number <= last:
                raise DataError("feature numbers must rise within a row", where=where, got=f"{number} after {last}")
            last = number
            rows.append(len(labels))
            columns.append(number)
            values.append(amount)
        labels.append(label)
        queries.append(query)
        lines.append(line)
    _some(labels, source)
    width = max(columns, default=0) + 1
    if width * len(labels) > _MOST_CELLS:
        raise DataError(
            "the table is too large when every feature has a column",
            where=source,
            got=f"{len(labels):,} rows x {width:,} features",
            expected=f"at most {_MOST_CELLS:,} cells",
        )
    dense = np.zeros((width, len(labels)))
    dense[columns, rows] = values
    first = 0 if 0 in columns else 1
    table: dict[str, Any] = {"label": labels, **({"qid": queries} if any(queries) else {})}
    table |= {str(i): dense[i] for i in range(first, width)}
    note = (
        f"{len(labels):,} rows of libsvm, {width - first:,} features, {len(values) / dense[first:].size:.1%} of them given"
        if width > first
        else f"{len(labels):,} rows of libsvm without features"
    )
    return Table(table, lines, source, (note,))


def _pair(name: str, value: str, pair: str, where: str) -> tuple[int, float]:
    try:
        number, amount = int(name), float(value)
        if number >= 0 and np.isfinite(amount):
            return number, amount
    except ValueError:
        pass
    raise DataError("a feature is malformed", where=where, expected="NUMBER:VALUE", got=pair[:60])


def _some(rows: Any, source: str) -> None:
    if not rows:
        raise DataError("the file has no rows", where=source)


def from_npz(path: Path) -> Table:
    """`x` (rows, columns) as c1, c2, ... with `y` as `label`; or one-dimensional arrays of one length, by their names.

    DataError for a damaged archive, for Python objects and for arrays that are no columns."""
    from dlcore.data.table import Table, as_table

    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except FileNotFoundError:
        raise DataError("there is no such file", where=str(path)) from None
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error, AttributeError) as error:
        raise DataError("the archive is damaged or holds Python objects", where=str(path), got=str(error),
                        hint="save texts as NumPy's strings: y.astype(str)") from error
    if any(name in arrays and arrays[name].ndim == 2 for name in ("X", "X_train")):
        arrays = {name.lower() if name.lower() in _XY else name: array for name, array in arrays.items()}
    note = f"{path.name}: arrays {', '.join(f'{n} {a.shape}' for n, a in arrays.items())}"
    for x_name, y_name in (("x", "y"), ("x_train", "y_train"), ("data", "target")):
        x = arrays.get(x_name)
        if x is not None and x.ndim == 2:
            table = as_table(x)
            columns = dict(table.columns)
            if y_name in arrays:
                columns["label"] = _column(arrays[y_name].reshape(-1), y_name, path)
                if len(columns["label"]) != len(table):
                    raise DataError(
                        "inputs and answers do not fit together",
                        where=f"{path}, {y_name}",
                        expected=f"{len(table):,} answers",
                        got=str(arrays[y_name].shape),
                    )
            return Table(columns, table.lines, str(path), (note,))
    if not arrays or {a.ndim for a in arrays.values()} != {1} or len({len(a) for a in arrays.values()}) != 1:
        raise DataError(
            "the archive holds no table",
            where=str(path),
            got=note,
            expected="x (rows, columns) with y, or one-dimensional arrays of one length",
        )
    columns = {name: _column(a, name, path) for name, a in arrays.items()}
    return Table(columns, range(1, len(next(iter(arrays.values()))) + 1), str(path), (note,))


def _column(array: np.ndarray, name: str, path: Path) -> Any:
    from dlcore.data.table import cell

    if array.dtype.kind == "f":
        return array.astype(np.float64)
    return [cell(value, f"{path}, {name}") for value in array.tolist()]


def from_arrow_file(path: Path) -> Table:
    """A parquet, Arrow IPC or feather file, through pyarrow.  DataError where pyarrow is missing or cannot read it."""
    from dlcore.data.arrow import from_stream

    try:
        if path.suffix == ".parquet":
            from pyarrow import parquet as reader
        else:
            from pyarrow import feather as reader
    except ImportError:
        raise DataError(
            "reading parquet and Arrow files needs pyarrow", where=str(path), hint="pip install 'dlcore[arrow]'"
        ) from None
    if not path.is_file():
        raise DataError("there is no such file", where=str(path))
    try:
        found = reader.read_table(str(path))
    except Exception as error:  # pyarrow's own kinds, which are not imported here
        raise DataError("the file cannot be read", where=str(path), got=str(error)[:200]) from error
    return from_stream(found, str(path))
