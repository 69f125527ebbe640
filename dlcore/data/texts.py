"""Files of texts and labels: csv, tsv, jsonl, fastText's `__label__` lines, and plain lines."""
from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dlcore.data.answers import parse_answers
from dlcore.data.dataset import Dataset
from dlcore.data.files import bare
from dlcore.data.table import JSON, LABEL_COLUMNS, Table, json_rows, lines_of, parse_separated, read_text
from dlcore.data.table import separator_of as cells_between
from dlcore.errors import DataError

TEXT_COLUMNS = ("text", "sentence", "review", "comment", "content", "message", "tweet", "utterance", "question", "document", "body",
                "title")
LABELS = (*LABEL_COLUMNS, "labels", "sentiment", "emotion", "emotions", "topic")
MARK = "__label__"
_SEPARATORS = (",", "|", ";")
_LOOKED_AT = 1000                   # rows by which columns and separators are judged


def read_texts(source: str | Path, text_col: str = "", label_col: str = "", labelled: bool = True,
               multi_label: bool | None = None, header: bool | None = None, lines: bool = True) -> Dataset:
    """x: texts, an array of str;  y: labels, or tuples of labels where rows have several;  label: "text,label", the columns.

    Columns are those named, else those that are called as usual, else the one with the longest texts and, of the others, the one
    with the fewest different values.  multi_label: whether rows may have several labels; None: decided by the labels.
    header: whether the first row of csv and tsv names the columns; None: it does where it has a usual name of one.
    lines: whether a file read without labels that does not look like a table has a text in each line.
    Raises DataError: no UTF-8 (with its line), an empty text (with its row), columns that are not there."""
    text = read_text(source)
    first = next((line for line in lines_of(text) if line.strip()), "")
    if not first:
        raise DataError("the file is empty", where=str(source))
    if first.lstrip().startswith(MARK):
        return marked(text, str(source), multi_label)
    if not labelled and lines and plain(text, first, str(source), text_col):
        rows = [(n, line.strip()) for n, line in enumerate(lines_of(text), 1)]
        while rows and not rows[-1][1]:
            rows.pop()
        return made([t for _, t in rows], None, [n for n, _ in rows], str(source), (f"{len(rows):,} lines, each a text",), "")
    table = as_rows(text, first, str(source), (text_col, label_col), header)
    return from_table(table, text_col, label_col, labelled, multi_label)


def plain(text: str, first: str, source: str, text_col: str) -> bool:
    """Whether the lines are texts and no rows of a table."""
    name = bare(source)
    if name.endswith(".txt"):
        return True
    if name.endswith((".csv", ".tsv", ".tab", *JSON)) or first.lstrip().startswith("{"):
        return False
    columns = [c.strip().strip('"').lower() for c in first.replace("\t", ",").split(",")]
    return not (text_col.lower() in columns if text_col else columns[0] in TEXT_COLUMNS or set(columns) & set(LABELS))


def as_rows(text: str, first: str, source: str, known: Sequence[str], header: bool | None = None) -> Table:
    """The table, whatever separates its cells; every cell is text."""
    name = bare(source)
    if name.endswith(JSON) or (first.lstrip().startswith(("{", "[{")) and not name.endswith(".csv")):
        return from_json_lines(text, source)
    separator = cells_between(text, name)
    names = [n for n in known if n]
    lowered = [c.strip().lower() for c in first.split(separator)]
    if header is None:
        header = True if set(lowered) & {*TEXT_COLUMNS, *LABELS} else False if any(" " in c for c in lowered) else None
    return parse_separated(text, source, separator, header, names, missing=())


def from_json_lines(text: str, source: str) -> Table:
    """One JSON object a line, or a list of them; a cell that is a list is joined by commas."""
    records, lines = [], []
    for number, record in json_rows(text, source):
        records.append({str(k): cell(v) for k, v in record.items()})
        lines.append(number)
    names = dict.fromkeys(name for record in records for name in record)
    return Table({n: [r.get(n, "") for r in records] for n in names}, lines, source, (f"{len(records):,} rows of JSON",))


def cell(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(str, value))
    return "" if value is None else str(value)


def from_table(table: Table, text_col: str, label_col: str, labelled: bool, multi_label: bool | None) -> Dataset:
    columns: dict[str, list[str]] = {name: ["" if c is None else str(c) for c in column] for name, column in table.columns.items()}
    for wanted in (text_col, *([label_col] if labelled else [])):
        if wanted and wanted not in columns:
            raise DataError(f"there is no column {wanted!r}", where=table.source, expected=", ".join(columns), got=wanted)
    text = text_col or text_column(columns, label_col)
    if not labelled:
        return made(columns[text], None, table.lines, table.source, (*table.notes, f"the texts are column {text!r}"), f"{text},")
    rest = {n: c for n, c in columns.items() if n != text}
    if not rest:
        raise DataError("there is no column but the texts", where=table.source, got=text,
                        hint="labels stand in a column of their own")
    label = label_col or label_column(rest, table.source)
    cells = columns[label]
    empty = next((n for n, c in enumerate(cells) if not c.strip()), None)
    if empty is not None and not multi_label:
        raise DataError("a label is missing", where=f"{table.source}, row {table.lines[empty]}, column {label!r}")
    separator = separator_of(cells) if multi_label is None else ("," if multi_label else "")
    notes = (*table.notes, f"the texts are column {text!r}, the labels column {label!r}"
             + (f", several in a row between {separator!r}" if separator else ""))
    y = label_sets([[p.strip() for p in c.split(separator) if p.strip()] for c in cells]) if separator else parse_answers(cells)
    return made(columns[text], y, table.lines, table.source, notes, f"{text},{label}")


def text_column(columns: dict[str, list[str]], label_col: str) -> str:
    """The column called as texts are, else the one with the longest cells."""
    others = {n: c for n, c in columns.items() if n != label_col} or columns
    for name in TEXT_COLUMNS:
        for n in others:
            if n.lower() == name:
                return n
    return max(others, key=lambda n: sum(map(len, others[n][:_LOOKED_AT])))


def label_column(columns: dict[str, list[str]], source: str) -> str:
    """The column called as labels are, else the one with the fewest different values, if these repeat."""
    named = [n for n in columns if n.lower() in LABELS]
    if len(named) == 1:
        return named[0]
    fewest = min(named or columns, key=lambda n: len(set(columns[n])))
    if len(named) > 1 or len(set(columns[fewest])) > max(2, len(columns[fewest]) // 2):
        raise DataError("two columns could be the labels" if named else "no column looks like labels", where=source,
                        expected=f"one of {', '.join(LABELS)}", got=", ".join(columns),
                        hint="name the column of labels: --label-col on the command line")
    return fewest


def separator_of(cells: Sequence[str]) -> str:
    """What stands between several labels of a row, or "": there must be labels that also stand alone."""
    for separator in _SEPARATORS:
        several = [c for c in cells if separator in c]
        parts = {p.strip() for c in several for p in c.split(separator)}
        alone = {c.strip() for c in cells if separator not in c}
        if several and len(parts & alone) > len(parts) / 2 and not any(" " in p for p in parts):
            return separator
    return ""


def label_sets(rows: Sequence[Sequence[Any]]) -> np.ndarray:
    """An array of tuples."""
    out = np.empty(len(rows), object)
    for n, row in enumerate(rows):
        out[n] = tuple(dict.fromkeys(str(v) for v in row))
    return out


def marked(text: str, source: str, multi_label: bool | None) -> Dataset:
    """fastText's lines: `__label__a __label__b the text`."""
    texts, labels, lines = [], [], []
    for number, line in enumerate(lines_of(text), 1):
        words = line.split()
        if not words:
            continue
        n = next((k for k, w in enumerate(words) if not w.startswith(MARK)), len(words))
        if n == 0:
            raise DataError("a line has no label", where=f"{source}, row {number}", expected=f"{MARK}NAME at its head",
                            got=line[:60])
        texts.append(" ".join(words[n:]))
        labels.append([w.removeprefix(MARK) for w in words[:n]])
        lines.append(number)
    several = any(len(row) > 1 for row in labels) if multi_label is None else multi_label
    y = label_sets(labels) if several else parse_answers([row[0] for row in labels])
    return made(texts, y, lines, source, (f"{len(texts):,} lines with {MARK}",), "")


def made(texts: Sequence[str], y: Any, lines: Sequence[int], source: str, notes: tuple[str, ...], label: str) -> Dataset:
    empty = next((n for n, t in enumerate(texts) if not t.strip()), None)
    if empty is not None:
        raise DataError("a text is empty", where=f"{source}, row {lines[empty]}", hint="remove such rows")
    return Dataset(text_array(texts), y, source, notes, label)


def text_array(texts: Any) -> np.ndarray:
    """Texts as an array of str objects.   DataError with the row for something else."""
    if isinstance(texts, str):
        raise DataError("texts come as a list", got="one text", hint="[text]")
    rows = list(texts)
    out = np.empty(len(rows), object)
    for n, t in enumerate(rows):
        if not isinstance(t, str):
            raise DataError("this is no text", where=f"row {n + 1}", expected="str", got=type(t).__name__)
        if not t.strip():
            raise DataError("a text is empty", where=f"row {n + 1}", hint="remove such rows")
        out[n] = str(t)
    return out
