"""Tables: named columns of text, numbers and missing values, from csv, tsv and jsonl files or from rows in memory.

Cells keep what the source says: text, a number, a truth value, or None where a value is missing.  What a column means
is decided by `preprocess.py`, on the training rows.
"""
from __future__ import annotations

import codecs
import csv
import io
import json
import math
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np

from dlcore.data import formats
from dlcore.data.files import bare, open_data
from dlcore.errors import DataError, meant

Cell: TypeAlias = str | float | int | bool | None
Column: TypeAlias = list[Cell] | np.ndarray           # an array: float64, NaN where a value is missing
Header: TypeAlias = bool | Literal["known"] | None
MISSING = frozenset(("", "?", "NA", "N/A", "NaN", "nan", "NULL", "null", "#N/A"))
csv.field_size_limit(max(csv.field_size_limit(), 1 << 30))       # a cell may be a whole document
_WITH_COMMA = re.compile(r"[+-]?(\d+,?\d*|,\d+)([eE][+-]?\d+)?")
JSON = (".jsonl", ".ndjson", ".json")
_LOOKED_AT = 1 << 17                                    # characters by which the separator is told
LABEL_COLUMNS = ("label", "category", "class", "target", "intent")


class CellError(DataError, TypeError):
    """A cell is of a type that a table does not hold."""


@dataclass(frozen=True)
class Table:
    """Rows of equal length.  `lines` gives each row's place in its source, for messages; it counts from 1."""

    columns: dict[str, Column]
    lines: Sequence[int]
    source: str = ""
    notes: tuple[str, ...] = field(default=())

    def __len__(self) -> int:
        return len(self.lines)

    @property
    def names(self) -> tuple[str, ...]:
        """The columns' names, in order."""
        return tuple(self.columns)

    def take(self, rows: np.ndarray) -> Table:
        """The rows with these indices, in this order."""
        chosen = rows.tolist()
        columns: dict[str, Column] = {
            name: column[rows] if isinstance(column, np.ndarray) else [column[i] for i in chosen]
            for name, column in self.columns.items()}
        return Table(columns, [self.lines[i] for i in chosen], self.source)

    def without(self, name: str) -> Table:
        """All columns but one."""
        columns = {key: column for key, column in self.columns.items() if key != name}
        return Table(columns, self.lines, self.source, self.notes)

    def place(self, row: int, name: str) -> str:
        """Where a cell stands, for messages."""
        return f"{self.source or 'the data'}, row {self.lines[row]}, column {name!r}"


def read_table(source: str | Path, header: Header = None, known: Collection[str] = ()) -> Table:
    """Read csv, tsv, jsonl, fastText, libsvm or lines of text, plain or packed (gz, xz, zst), or npz, parquet and Arrow
    files; `-` is standard input, where the first line tells which it is.

    `header` says whether the first row names the columns; None decides by the rows, and notes it: a first row with one of the
    names in `known` is taken for a header, and "known" takes no other for one.  Columns without names are called `c1`, `c2`, ...
    Raises `DataError` naming the row if one is too short, too long or malformed, or if there are no rows.
    """
    suffix = Path(bare(str(source))).suffix
    if suffix == ".npz" or suffix in formats.ARROW:
        return formats.from_npz(Path(source)) if suffix == ".npz" else formats.from_arrow_file(Path(source))
    return parse_table(read_text(source), str(source), header, known)


def read_text(source: str | Path) -> str:
    """The whole text of a file, UTF-8, plain or packed.  DataError names the line of bytes that are none."""
    with open_data(source) as file:
        return _decode(file.read(), source)


def parse_table(text: str, source: str, header: Header = None, known: Collection[str] = ()) -> Table:
    """The table in this text, of a file named `source`."""
    if not text.strip():
        raise DataError("the file is empty", where=source, expected="rows of a table")
    kind = table_kind(source, text)
    readers = {"jsonl": _from_jsonl, "fasttext": formats.from_fasttext, "libsvm": formats.from_libsvm, "text": formats.from_lines}
    if kind in readers:
        return readers[kind](text, source)
    table = parse_separated(text, source, kind, header, known)
    return decimal_commas(table) if kind == ";" else table


def decimal_commas(table: Table) -> Table:
    """The table with points for the commas of its numbers: where semicolons stand between cells, 1,5 is a number."""
    columns, found = dict(table.columns), []
    for name, column in table.columns.items():
        cells = [c for c in column if isinstance(c, str)]
        if any("," in c for c in cells) and all(_WITH_COMMA.fullmatch(c) for c in cells):
            columns[name] = [c.replace(",", ".") if isinstance(c, str) else c for c in column]
            found.append(name)
    if not found:
        return table
    note = f"decimal commas in {', '.join(found[:5])}" + (", ..." if len(found) > 5 else "")
    return Table(columns, table.lines, table.source, (*table.notes, note))


def decoded(data: bytes) -> str:
    """The text of UTF-8, or of UTF-16 that begins with a byte-order mark, as spreadsheets write it.  UnicodeDecodeError."""
    return data.decode("utf-16" if data[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-8-sig")


def _decode(data: bytes, source: str | Path) -> str:
    try:
        return decoded(data)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError("the file is not UTF-8 text", where=f"{source}, row {line}",
                        got=data[error.start:error.start + 4].hex(" "),
                        hint="convert it, for example with iconv -f latin1 -t utf-8") from None


def lines_of(text: str) -> list[str]:
    """The lines of a text, as editors count them.  `str.splitlines` also cuts at characters that may stand inside a text
    or a JSON string, such as U+2028."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return lines if lines[-1] else lines[:-1]


def separator_of(text: str, name: str) -> str:
    """What stands between the cells: tabs where each of the first lines has as many of them, else the commonest mark of the
    first line.  A text with tabs may have more commas."""
    lines = [line for line in lines_of(text[:_LOOKED_AT]) if line.strip()]
    whole = lines if len(text) <= _LOOKED_AT else lines[:-1] or lines       # the last may be cut
    tabs = {line.count("\t") for line in whole}
    if name.endswith((".tsv", ".tab")) or (len(tabs) == 1 and tabs != {0} and not name.endswith(".csv")):
        return "\t"
    return max(",;\t", key=lines[0].count)


def table_kind(source: str, text: str) -> str:
    """"jsonl", "fasttext", "libsvm", "text", or the character between cells."""
    name = bare(source)
    first = text.lstrip().partition("\n")[0]
    by_name = formats.SUFFIXES.get(Path(name).suffix, "")
    by_content = "" if name.endswith((".csv", ".tsv")) else formats.told_by_content(first)
    if by_name or by_content:
        return by_content if by_content and by_name in ("", "text") else by_name
    if not name.endswith((".csv", ".tsv", ".tab")) and (name.endswith(JSON) or first.startswith(("{", "[{"))):
        return "jsonl"
    return separator_of(text, name)


def parse_separated(text: str, source: str, separator: str, header: Header, known: Collection[str],
                    missing: Collection[str] = MISSING) -> Table:
    """The table in a text; cells that are among `missing` become None."""
    rows, lines = _rows(text, source, separator)
    width = len(rows[0])
    named = not set(known).isdisjoint(rows[0])
    has_header = header if isinstance(header, bool) else named or (header is None and _looks_like_header(rows))
    names = rows[0] if has_header else [f"c{i + 1}" for i in range(width)]
    _check_names(names, source, lines[0])
    for row, line in zip(rows, lines, strict=True):
        if len(row) != width:
            raise DataError(f"a row is too {'short' if len(row) < width else 'long'}", where=f"{source}, row {line}",
                            expected=f"{width} cells", got=str(len(row)))
    if has_header:
        rows, lines = rows[1:], lines[1:]
    if not rows:
        raise DataError("the file has a header and no rows", where=source, expected="at least one row below the header",
                        hint="--no-header (header=False) takes the first row for data")
    columns: dict[str, Column] = {name: [None if row[i] in missing else row[i] for row in rows]
                                  for i, name in enumerate(names)}
    between = {",": "commas", ";": "semicolons", "\t": "tabs"}[separator]
    notes = (f"{len(rows):,} rows, {width} columns between {between}; "
             + ("the first row names the columns" if has_header else "no header: columns are called c1, c2, ..."),)
    return Table(columns, lines, source, notes)


def _rows(text: str, source: str, separator: str) -> tuple[list[list[str]], list[int]]:
    """The cells of every row that is not blank, stripped of spaces, and the line where each row begins."""
    # a tab-separated file has no quoting: a quotation mark there is text
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True, strict=True,
                        quoting=csv.QUOTE_NONE if separator == "\t" else csv.QUOTE_MINIMAL)
    rows, lines, line = [], [], 1
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                rows.append([cell.strip() for cell in row])
                lines.append(line)
            line = reader.line_num + 1
    except csv.Error as error:
        raise DataError("a row is malformed", where=f"{source}, row {line}", got=str(error),
                        hint="a cell with separators or quotes in it must be quoted, and its quotes doubled") from None
    if not rows:
        raise DataError("the file has no rows", where=source)
    return rows, lines


def _looks_like_header(rows: list[list[str]]) -> bool:
    first, others = rows[0], rows[1:1001]
    if len(set(first)) < len(first) or any(cell in MISSING or is_number(cell) for cell in first):
        return False
    if any(cell.lower() in LABEL_COLUMNS for cell in first):
        return True
    columns = [[row[i] for row in others if i < len(row)] for i in range(len(first))]
    if any(column and all(is_number(cell) or cell in MISSING for cell in column) for column in columns):
        return True
    # only text everywhere: a header is unlike the cells below it
    return not any(cell in column for cell, column in zip(first, columns, strict=True))


def _check_names(names: Iterable[str], source: str, line: int) -> None:
    seen: set[str] = set()
    for name in names:
        if not name or name in seen:
            raise DataError("two columns have the same name" if name else "a column has no name",
                            where=f"{source}, row {line}", got=name,
                            hint="name each column once; --no-header (header=False) reads a file without header")
        seen.add(name)


def _from_jsonl(text: str, source: str) -> Table:
    records, lines = [], []
    for line, value in json_rows(text, source):
        where = f"{source}, row {line}"
        records.append({name: cell(v, f"{where}, column {name!r}") for name, v in value.items()})
        lines.append(line)
    table = Table(_columns(records), lines, source, (f"{len(records):,} rows of JSON",))
    if not table.columns:
        raise DataError("the rows have no columns", where=source)
    return table


def json_rows(text: str, source: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """(row, object) of a JSON object on each line, or of one list of objects, whose rows are counted.  DataError."""
    if text.lstrip().startswith("["):
        yield from enumerate(_json_list(text, source), 1)
        return
    for line, content in enumerate(lines_of(text), 1):
        if not content.strip():
            continue
        try:
            record = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise DataError("a row is not valid JSON", where=f"{source}, row {line}", got=str(error),
                            expected='an object on one line, such as {"a": 1}') from None
        if not isinstance(record, dict):
            raise DataError("a row is no JSON object", where=f"{source}, row {line}", expected='an object such as {"a": 1}',
                            got=content[:60])
        yield line, record


def _json_list(text: str, source: str) -> list[dict[str, Any]]:
    try:
        records = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError("the file is not valid JSON", where=source, got=str(error),
                        expected="a list of objects, or an object on each line") from None
    for i, record in enumerate(records, 1):
        if not isinstance(record, dict):
            raise DataError("a row is no JSON object", where=f"{source}, row {i}", expected='an object such as {"a": 1}',
                            got=json.dumps(record)[:60])
    return records


def cell(value: Any, where: str) -> Cell:
    """One value from a program or a JSON file as a cell; raises `DataError` for lists, objects and the like."""
    if isinstance(value, str):
        value = value.strip()
        return None if value in MISSING else value
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, np.generic):
        return cell(value.item(), where)
    if isinstance(value, float):
        return None if math.isnan(value) else value
    if hasattr(value, "isoformat"):
        return str(value)
    if type(value).__name__ in ("NAType", "NaTType"):
        return None
    raise CellError("a cell is neither text nor a number", where=where, got=type(value).__name__,
                    expected="each argument must be a string or a number, or None where it is missing")


def _columns(records: Sequence[Mapping[str, Cell]]) -> dict[str, Column]:
    names = dict.fromkeys(name for record in records for name in record)
    return {name: [record.get(name) for record in records] for name in names}


def as_table(x: Any, names: Sequence[str] | None = None) -> Table:
    """Rows in memory as a table: a Table, a data frame, an array (N, columns), dicts, or lists of cells; anything with
    `__array__`, `__dlpack__` or the Arrow C stream.

    A dict is a row, or, where its values are lists or one-dimensional arrays, columns by name.

    `names` are those that columns without names take, `c1`, `c2`, ... by default.  Raises `DataError`.
    """
    if isinstance(x, Table):
        return x
    if hasattr(x, "nnz") and hasattr(x, "toarray"):
        raise DataError("sparse matrices are not taken", got=type(x).__name__, hint="x.toarray() makes it dense")
    if isinstance(x, Mapping):
        if x and all(isinstance(v, (list, tuple)) or getattr(v, "ndim", 0) == 1 for v in x.values()):
            return _from_columns({str(name): values for name, values in x.items()})
        x = [x]
    # pandas has it too, and then asks for pyarrow
    if hasattr(x, "__arrow_c_stream__") and not type(x).__module__.startswith("pandas"):
        from dlcore.data.arrow import from_stream
        return from_stream(x)
    if hasattr(x, "columns") and hasattr(x, "__len__"):                 # pandas, polars
        return _from_series({str(name): x[name] for name in x.columns}, len(x))
    if hasattr(x, "__array__"):
        return _from_array(np.asarray(x), names)
    if hasattr(x, "__dlpack__"):
        return _from_array(np.from_dlpack(x), names)
    records = list(x)
    if records and isinstance(records[0], Mapping):
        checked = [{str(name): cell(value, f"row {i}, column {name!r}") for name, value in record.items()}
                   for i, record in enumerate(records, 1)]
        return Table(_columns(checked), range(1, len(records) + 1))
    return _from_lists(records, names)


def _from_columns(columns: Mapping[str, Any]) -> Table:
    counts = {name: len(values) for name, values in columns.items()}
    if len(set(counts.values())) > 1:
        raise DataError("the columns have different numbers of rows", got=", ".join(f"{n}: {k}" for n, k in counts.items()))
    return _from_series(columns, next(iter(counts.values())))


def _from_series(series: Mapping[str, Iterable[Any]], count: int) -> Table:
    columns: dict[str, Column] = {name: [cell(value, f"column {name!r}") for value in values]
                                  for name, values in series.items()}
    return Table(columns, range(1, count + 1))


def _from_array(array: np.ndarray, names: Sequence[str] | None) -> Table:
    if array.dtype.names:
        return _from_series({name: array[name].tolist() for name in array.dtype.names}, len(array))
    if array.ndim != 2:
        raise DataError("a table has rows and columns", expected="2 dimensions", got=f"shape {array.shape}",
                        hint="Reshape your data: x.reshape(1, -1) is one row of x, x.reshape(-1, 1) one column")
    if array.dtype.kind == "c":
        raise DataError("Complex data not supported", got=str(array.dtype))
    if array.shape[1] == 0:
        raise DataError("the rows have no columns",
                        got=f"0 feature(s) (shape={array.shape}) while a minimum of 1 is required.")
    names = _names(names, array.shape[1])
    if array.dtype.kind in "biuf":
        transposed = np.ascontiguousarray(array.T, np.float64)
        return Table(dict(zip(names, transposed, strict=True)), range(1, len(array) + 1))
    return _from_series(dict(zip(names, array.T.tolist(), strict=True)), len(array))


def _from_lists(records: list[Any], names: Sequence[str] | None) -> Table:
    if not records:
        return Table({name: [] for name in names or ()}, ())
    if isinstance(records[0], (str, bytes)) or not isinstance(records[0], Sequence | np.ndarray):
        raise DataError("a table has rows of cells", got=type(records[0]).__name__)
    width = len(records[0])
    names = _names(names, width)
    for i, record in enumerate(records, 1):
        if len(record) != width:
            raise DataError(f"a row is too {'short' if len(record) < width else 'long'}", where=f"row {i}",
                            expected=f"{width} cells", got=str(len(record)))
    return Table({name: [cell(record[c], f"row {i}, column {name!r}") for i, record in enumerate(records, 1)]
                  for c, name in enumerate(names)}, range(1, len(records) + 1))


def _names(names: Sequence[str] | None, width: int) -> Sequence[str]:
    if names is None:
        return unnamed(width)
    if len(names) != width:
        raise DataError(f"X has {width} features, but TablePreprocessor is expecting {len(names)} features as input",
                        hint="give the columns that the model was trained on, in their order")
    return names


def unnamed(width: int) -> list[str]:
    """What columns without names are called: c1, c2, ..."""
    return [f"c{i + 1}" for i in range(width)]


def is_number(text: str) -> bool:
    """Whether text is a number as files write it: `nan`, `inf` and Python's `1_000` are none."""
    try:
        float(text)
    except ValueError:
        return False
    return text[-1:].isdigit() or text[-1:] == "."


def answers(table: Table, label: str = "") -> tuple[Table, str, list[Cell]]:
    """The table without its column of answers, the column's name and its cells.

    Without a name it is the one of `label, category, class, target, intent` that is there.  Raises `DataError`, listing
    the columns, if the column is not there or an answer is missing.
    """
    label = label or _usual_label(table)
    if label not in table.columns:
        raise DataError(f"there is no column {label!r}", where=table.source, expected=_listed(table.names), got=label,
                        hint="the first row was not taken for names of columns: name the column by its number, as c1"
                        if unnamed(len(table.names)) == list(table.names) else meant(label, table.names))
    column = table.columns[label]
    cells = [None if np.isnan(value) else value for value in column] if isinstance(column, np.ndarray) else column
    if None in cells:
        raise DataError("an answer is missing", where=table.place(cells.index(None), label),
                        hint="fill it in, or leave the row out")
    rest = table.without(label)
    if not rest.columns:
        raise DataError("there is no column but the answers", where=table.source, expected="columns to learn from")
    return rest, label, cells


def _usual_label(table: Table) -> str:
    found = [name for name in table.names if name.lower() in LABEL_COLUMNS]
    if len(found) != 1:
        raise DataError("two columns could be the answers" if found else "no column is called as answers usually are",
                        where=table.source, expected=f"one of {', '.join(LABEL_COLUMNS)}", got=_listed(table.names),
                        hint="name the column of answers: --label-col on the command line")
    return found[0]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:30]) + (f", ... ({len(names)} in all)" if len(names) > 30 else "")
