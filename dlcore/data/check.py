"""Looking through a table before it is trained on: counts, balance, duplicates, leakage, conflicts, encodings, lengths.

    report = check_tables({"train": "train.csv", "val": "val.csv"})

A text column is taken for the input where there is one; without it a row's input are all its cells but the label.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dlcore.data.files import bare, open_data
from dlcore.data.findings import ERROR, NOTE, WARNING, Report, plural
from dlcore.data.formats import ARROW
from dlcore.data.table import LABEL_COLUMNS, Table, decoded, is_number, parse_table, read_table, table_kind
from dlcore.errors import DataError

TEXT_COLUMNS = ("text", "sentence", "utterance", "review", "content", "message", "body", "document", "query")
FEW = 20  # rows of a label below which it is unlikely to be learned
UNBALANCED = 50  # the largest class over the smallest
LEAK = 0.01  # share of the smaller part from which equal rows are an error
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|\w+|[^\w\s]")
_LOOSE = re.compile(r"[\W_]+")


@dataclass
class Part:
    """A part of a data set, ready to be looked at.  keys: a row's input as it is compared; labels: None where there is none."""

    name: str
    source: str
    table: Table
    text: str
    label: str
    keys: list[Any]
    labels: list[Any] | None

    def __len__(self) -> int:
        return len(self.table)

    def lines(self, rows: Sequence[int]) -> list[int]:
        """The places of these rows in their file."""
        return [self.table.lines[i] for i in rows]

    def samples(self, rows: Sequence[int]) -> list[str]:
        """What stands there, shortened; for the first 100."""
        return [self.sample(i) for i in rows[:100]]

    def sample(self, row: int) -> str:
        """One row's input and label."""
        key = self.keys[row]
        shown = key if isinstance(key, str) else ", ".join("" if v is None else str(v) for v in key or ())
        return shown[:100] + (f"  [{self.labels[row]}]" if self.labels is not None else "")


def check_tables(sources: Mapping[str, str], label_col: str = "", text_col: str = "", max_len: int = 0) -> Report:
    """Everything there is to say about these files; the part "train" is what the others are compared with.

    max_len: a length in words from which texts count as overlong; 0: ten times the median.  DataError only where a file cannot
    be read at all, or a column that was named is not there."""
    report = Report()
    parts = [
        part
        for name, source in sources.items()
        if (part := _open(report, name, source, label_col, text_col)) is not None
    ]
    for part in parts:
        _check_part(report, part, max_len)
    for part in parts[1:]:
        _compare(report, parts[0], part)
    for i, part in enumerate(parts[1:], 1):
        for other in parts[i + 1 :]:
            _leaks(report, part, other)
    return report


# ---- reading --------------------------------------------------------------------------------------------------------
def _open(report: Report, name: str, source: str, label_col: str, text_col: str) -> Part | None:
    table = _read(report, name, source)
    if table is None:
        return None
    for wanted in (label_col, text_col):
        if wanted and wanted not in table.columns:
            raise DataError(f"there is no column {wanted!r}", where=source, expected=", ".join(table.names[:30]))
    label = label_col or next((n for n in table.names if n.lower() in LABEL_COLUMNS), "")
    text = text_col or _text_column(table, label)
    columns = {n: _cells(c) for n, c in table.columns.items()}
    keys: list[Any] = columns[text] if text else list(zip(*(c for n, c in columns.items() if n != label), strict=True))
    return Part(name, source, table, text, label, keys, [_label(v) for v in columns[label]] if label else None)


def _label(value: Any) -> Any:
    return (
        str(int(value)) if isinstance(value, float) and value.is_integer() else value if value is None else str(value)
    )


def _cells(column: Any) -> list[Any]:
    return [None if v != v else v for v in column.tolist()] if isinstance(column, np.ndarray) else column


def _read(report: Report, name: str, source: str) -> Table | None:
    """The table, after findings about bytes and rows that do not belong there, which are left out."""
    suffix = Path(bare(source)).suffix
    if suffix == ".npz" or suffix in ARROW:
        return read_table(source)
    with open_data(source) as file:
        data = file.read()
    text, wrong = _decoded(data)
    if wrong:
        report.add(
            "DL-D02",
            ERROR,
            f"{plural(len(wrong), 'line has', 'lines have')} bytes that are not UTF-8",
            source,
            wrong,
            [repr(data.split(b"\n")[line - 1][:60])[2:-1] for line in wrong[:100]],
        )
    if not text.strip():
        raise DataError("the file is empty", where=source, expected="rows of a table")
    text, bad = _without_misfits(text, source)
    if bad:
        rows, samples = [line for line, _ in bad], [content[:100] for _, content in bad]
        report.add(
            "DL-D03",
            ERROR,
            f"{plural(len(bad), 'row has', 'rows have')} another number of cells than the first",
            source,
            rows,
            samples,
        )
    try:
        return parse_table(text, source)
    except DataError as error:
        report.add(
            "DL-D03",
            ERROR,
            f"the file cannot be read: {error.message}",
            source,
            [error.where.rpartition("row ")[2]] if "row " in error.where else [],
            [error.got],
        )
        return None


def _decoded(data: bytes) -> tuple[str, list[int]]:
    """The text, and the lines with bytes that are no UTF-8."""
    try:
        return decoded(data), []
    except UnicodeDecodeError:
        wrong = []
        for i, line in enumerate(data.split(b"\n"), 1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                wrong.append(i)
        return data.decode("utf-8-sig", "replace"), wrong


def _without_misfits(text: str, source: str) -> tuple[str, list[tuple[int, str]]]:
    """The text with blank lines in place of separated rows of another width than the first, and these rows."""
    separator = table_kind(source, text)
    if separator not in (",", ";", "\t"):
        return text, []
    reader = csv.reader(
        io.StringIO(text, newline=""),
        delimiter=separator,
        skipinitialspace=True,
        strict=True,
        quoting=csv.QUOTE_NONE if separator == "\t" else csv.QUOTE_MINIMAL,
    )
    bad: list[tuple[int, int, str]] = []
    width, line = 0, 1
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                width = width or len(row)
                if len(row) != width:
                    bad.append((line, reader.line_num, separator.join(row)))
            line = reader.line_num + 1
    except csv.Error:
        return text, []  # the parser says where
    if not bad:
        return text, []
    lines = text.split("\n")
    for first, last, _ in bad:
        lines[first - 1 : last] = [""] * (last - first + 1)
    return "\n".join(lines), [(first, content) for first, _, content in bad]


def _text_column(table: Table, label: str) -> str:
    """The usual name, or the only column of texts of more than two words."""
    for name in table.names:
        if name.lower() in TEXT_COLUMNS and name != label:
            return name
    wordy = [
        name for name, column in table.columns.items() if name != label and isinstance(column, list) and _wordy(column)
    ]
    return wordy[0] if len(wordy) == 1 else ""


def _wordy(column: list[Any]) -> bool:
    some = [v for v in column[:1000] if isinstance(v, str)]
    return bool(some) and sum(len(_WORD.findall(v)) for v in some) > 2.5 * len(some) and len(set(some)) > len(some) / 4


# ---- one part -------------------------------------------------------------------------------------------------------
def _check_part(report: Report, part: Part, max_len: int) -> None:
    facts: dict[str, Any] = {
        "source": part.source,
        "rows": len(part),
        "columns": list(part.table.names),
        "label": part.label,
        "text": part.text,
    }
    report.summary[part.name] = facts
    _empties(report, part)
    if part.labels is not None:
        facts["classes"] = _labels(report, part)
    _duplicates(report, part)
    if part.text:
        facts["length"] = _lengths(report, part, max_len)
    else:
        _columns(report, part)
    report.lines.append(_line(part, facts))


def _line(part: Part, facts: Mapping[str, Any]) -> str:
    text = f"{part.name}: {plural(len(part), 'row')} of {part.source}"
    if part.text:
        text += f" · text ← {part.text!r}"
    if "classes" in facts:
        counts = facts["classes"].values()
        spread = f"{min(counts, default=0):,}-{max(counts, default=0):,}"
        text += f" · label ← {part.label!r} ({len(counts)} classes, {spread} rows each)"
    if "length" in facts:
        length = facts["length"]
        text += f" · length p50/p95/max {length['p50']:,}/{length['p95']:,}/{length['max']:,} words"
    return text


def _empties(report: Report, part: Part) -> None:
    empty = [
        i for i, key in enumerate(part.keys) if key is None or (isinstance(key, tuple) and all(v is None for v in key))
    ]
    if empty:
        what = "has no text" if len(empty) == 1 else "have no text"
        report.add(
            "DL-D04",
            WARNING,
            f"{plural(len(empty), 'row')} {what if part.text else 'without any value'}",
            part.source,
            part.lines(empty),
        )


def _labels(report: Report, part: Part) -> dict[str, int]:
    assert part.labels is not None
    missing = [i for i, label in enumerate(part.labels) if label is None]
    if missing:
        report.add(
            "DL-D05",
            ERROR,
            f"{plural(len(missing), 'row has', 'rows have')} no label",
            part.source,
            part.lines(missing),
            part.samples(missing),
        )
    counts = Counter(label for label in part.labels if label is not None)
    numbers = len(counts) > 20 and all(is_number(label) for label in counts)
    if numbers and len(counts) > len(part) / 10:
        return {}  # a quantity, not classes
    if len(counts) == 1 and part.name == "train":
        report.add(
            "DL-D08",
            ERROR,
            f"all rows have the label {next(iter(counts))!r}: there is nothing to tell apart",
            part.source,
        )
    if part.name == "train":
        for label, count in sorted(counts.items(), key=lambda item: item[1]):
            if count < FEW:
                rows = [i for i, v in enumerate(part.labels) if v == label]
                report.add(
                    "DL-D07",
                    WARNING,
                    f"label {label!r} has {plural(count, 'row')}; fewer than {FEW} is unlikely to be learned",
                    part.source,
                    part.lines(rows),
                    part.samples(rows),
                )
        if counts and max(counts.values()) > UNBALANCED * min(counts.values()):
            (most, high), *_, (least, low) = counts.most_common()
            report.add(
                "DL-D08",
                WARNING,
                f"label {most!r} has {high / low:,.0f} times the rows of {least!r}: accuracy will mislead",
                part.source,
            )
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _groups(keys: Sequence[Any]) -> dict[Any, list[int]]:
    """Rows by equal key; those without one are left out."""
    found: dict[Any, list[int]] = defaultdict(list)
    for i, key in enumerate(keys):
        if key is not None:
            found[key].append(i)
    return found


def _duplicates(report: Report, part: Part) -> None:
    groups = [rows for rows in _groups(part.keys).values() if len(rows) > 1]
    what = "text" if part.text else "row"
    if part.labels is not None:
        labels = part.labels
        conflicts = [i for rows in groups if len({labels[i] for i in rows} - {None}) > 1 for i in rows]
        if conflicts:
            report.add(
                "DL-D13",
                WARNING,
                f"{plural(len(conflicts), what)} {'occurs' if len(conflicts) == 1 else 'occur'} with different labels",
                part.source,
                part.lines(conflicts),
                part.samples(conflicts),
            )
    again = sorted(i for rows in groups for i in rows[1:])
    if again:
        report.add(
            "DL-D06",
            WARNING,
            f"{plural(len(again), what)} {'occurs' if len(again) == 1 else 'occur'} earlier in the file",
            part.source,
            part.lines(again),
            part.samples(again),
        )
    if part.text:
        exact = set(again)
        near = sorted(
            i for rows in _groups([_loose(k) for k in part.keys]).values() for i in rows[1:] if i not in exact
        )
        if near:
            report.add(
                "DL-D10",
                WARNING,
                f"{plural(len(near), 'text is', 'texts are')} equal to an earlier one but for case, spaces and "
                "punctuation",
                part.source,
                part.lines(near),
                part.samples(near),
            )


def _loose(key: Any) -> str | None:
    if not isinstance(key, str):
        return None
    return _LOOSE.sub(" ", key).strip().casefold() or None


def _lengths(report: Report, part: Part, max_len: int) -> dict[str, Any]:
    lengths = np.array([len(_WORD.findall(k)) if isinstance(k, str) else 0 for k in part.keys])
    p50, p95 = (int(v) for v in np.percentile(lengths, [50, 95], method="higher"))
    limit = max_len or max(10 * p50, 2 * p95)
    long = np.flatnonzero(lengths > limit).tolist()
    if long:
        report.add(
            "DL-D09",
            WARNING if max_len else NOTE,
            f"{plural(len(long), 'text is', 'texts are')} longer than {limit:,} words",
            part.source,
            part.lines(long),
            [f"{lengths[i]:,} words: {part.sample(i)[:60]}" for i in long[:100]],
        )
    return {"p50": p50, "p95": p95, "max": int(lengths.max()), "limit": limit, "beyond": len(long)}


def _columns(report: Report, part: Part) -> None:
    for name, column in part.table.columns.items():
        if name == part.label:
            continue
        values = [v for v in _cells(column) if v is not None]
        if len(set(values)) < 2 and len(part) > 1:
            report.add(
                "DL-D15",
                WARNING,
                f"column {name!r} " + ("is empty" if not values else f"has one value only: {str(values[0])[:40]}"),
                part.source,
            )
        elif isinstance(column, list):
            numbers = sum(not isinstance(v, str) or is_number(v) for v in values)
            if 0.5 * len(values) < numbers < len(values):
                rows = [i for i, v in enumerate(column) if isinstance(v, str) and not is_number(v)]
                report.add(
                    "DL-D16",
                    WARNING,
                    f"column {name!r} holds numbers, and text in {plural(len(rows), 'row')}",
                    part.source,
                    part.lines(rows),
                    [str(column[i])[:60] for i in rows[:100]],
                )


# ---- two parts ------------------------------------------------------------------------------------------------------
def _compare(report: Report, train: Part, other: Part) -> None:
    lost = [name for name in train.table.names if name not in other.table.columns and name != train.label]
    if lost:
        report.add(
            "DL-D18",
            ERROR,
            f"{other.name} has no {plural(len(lost), 'column')} {', '.join(map(repr, lost[:8]))}",
            other.source,
        )
    if train.labels is not None and other.labels is not None:
        known = set(train.labels)
        new = [i for i, label in enumerate(other.labels) if label is not None and label not in known]
        if new and report.summary["train"].get("classes"):
            names = sorted({str(other.labels[i]) for i in new})
            report.add(
                "DL-D14",
                ERROR,
                f"{plural(len(names), 'label')} of {other.name} ({', '.join(names[:5])}) "
                f"{'is' if len(names) == 1 else 'are'} not in train",
                other.source,
                other.lines(new),
                other.samples(new),
            )
    _leaks(report, train, other)
    if train.text and other.text:
        _unseen(report, train, other)


def _leaks(report: Report, train: Part, other: Part) -> None:
    groups = _groups(train.keys)
    shared = [i for i, key in enumerate(other.keys) if key is not None and key in groups]
    what = "text" if other.text else "row"
    conflicts = []
    if train.labels is not None and other.labels is not None:
        conflicts = [i for i in shared if other.labels[i] not in {train.labels[j] for j in groups[other.keys[i]]}]
    if conflicts:
        report.add(
            "DL-D11",
            ERROR,
            f"{plural(len(conflicts), what)} {'appears' if len(conflicts) == 1 else 'appear'} in {train.name} and "
            f"{other.name} with different labels",
            other.source,
            other.lines(conflicts),
            other.samples(conflicts),
        )
    if shared:
        share = len(shared) / len(other)
        report.add(
            "DL-D12",
            ERROR if share >= LEAK else WARNING,
            f"{plural(len(shared), what)} of {other.name} ({share:.1%}) "
            f"{'is' if len(shared) == 1 else 'are'} in {train.name} too: scores will be too good",
            other.source,
            other.lines(shared),
            other.samples(shared),
        )


def _unseen(report: Report, train: Part, other: Part) -> None:
    known = {word for key in train.keys if isinstance(key, str) for word in _WORD.findall(key.casefold())}
    counts = Counter(word for key in other.keys if isinstance(key, str) for word in _WORD.findall(key.casefold()))
    total = sum(counts.values())
    new = {word: n for word, n in counts.items() if word not in known}
    share = sum(new.values()) / total if total else 0.0
    report.summary[other.name]["unseen_words"] = share
    if share > 0.1:
        common = sorted(new, key=lambda word: (-new[word], word))[:5]
        report.add(
            "DL-D17",
            WARNING,
            f"{share:.1%} of the words of {other.name} are not in train ({', '.join(common)}, ...)",
            other.source,
        )
