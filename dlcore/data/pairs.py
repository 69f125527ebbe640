"""Files of sentences and their translations: csv, tsv, jsonl; and their division so that no sentence is in two parts."""
from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dlcore.data.dataset import Dataset
from dlcore.data.files import bare
from dlcore.data.table import Table, parse_separated, read_text
from dlcore.data.texts import from_json_lines, text_array
from dlcore.errors import DataError, UsageError

USUAL = (("source", "target"), ("src", "tgt"), ("src", "trg"), ("source", "translation"))
TEST_SEED = 0               # of the division into training and test part: fixed, whatever the seed of the training
# what a column without a name is called where its letters, or its commonest words, tell the language
SCRIPTS = {"japanese": ("\u3041", "\u30ff"), "korean": ("\uac00", "\ud7a3"), "chinese": ("\u3400", "\u9fff"),
           "russian": ("\u0410", "\u044f"), "greek": ("\u0391", "\u03c9"), "arabic": ("\u0621", "\u064a"),
           "hebrew": ("\u05d0", "\u05ea"), "hindi": ("\u0905", "\u0939"),
           "thai": ("\u0e01", "\u0e4e")}
WORDS = {"english": "the to is i you of and that it he she they was not".split(),
         "french": "le la de et est je ne pas les il que un".split(),
         "german": "der die das und ist nicht ich sie zu ein wir".split(),
         "spanish": "el que no los un por con es en se lo".split(),
         "italian": "il di che non un per sono mi si con".split()}
CODES = {"en": "english", "eng": "english", "zh": "chinese", "zho": "chinese", "cmn": "chinese", "ja": "japanese",
         "jpn": "japanese",
         "ko": "korean", "kor": "korean", "fr": "french", "fra": "french", "de": "german", "deu": "german", "es": "spanish",
         "spa": "spanish", "it": "italian", "ita": "italian", "ru": "russian", "rus": "russian"}
_NAMES = {*SCRIPTS, *WORDS, *CODES, *(name for pair in USUAL for name in pair)}
_LOOKED_AT = 2000           # rows by which a language is told


def read_pairs(source: str | Path, source_col: str = "", target_col: str = "", labelled: bool = True) -> Dataset:
    """x: sentences, y: their translations (None unless `labelled`), arrays of str;  label: "english,chinese", the columns.

    Columns are those named (a language or its code will do where the file names none), else those called `source` and `target`,
    else the first two.  Raises DataError: bytes that are no UTF-8 (with their line), a short row, an empty sentence (with its
    row), columns that are not there (listing those that are)."""
    text = read_text(source)
    if not text.strip():
        raise DataError("the file is empty", where=str(source), expected="rows with a sentence and its translation")
    table = as_table(text, str(source), (source_col, target_col))
    columns = {name: ["" if c is None else str(c) for c in column] for name, column in table.columns.items()}
    first, second = chosen(columns, source_col, target_col, str(source), labelled)
    sides = [first] if second is None else [first, second]
    for name in sides:
        empty = next((n for n, cell in enumerate(columns[name]) if not cell.strip()), None)
        if empty is not None:
            raise DataError("a sentence is empty", where=table.place(empty, name), hint="remove such rows")
    notes = (*table.notes, f"from column {first!r}" + (f" to column {second!r}" if second else ""))
    return Dataset(text_array(columns[first]), None if second is None else text_array(columns[second]), str(source), notes,
                   f"{first},{second or target_col}")


def read_sentences(source: str | Path, source_col: str) -> Dataset:
    """Sentences to be translated: lines of text, or the column `source_col` of a table.   DataError"""
    text = read_text(source)
    name, first = bare(str(source)), text.lstrip().partition("\n")[0]
    table = name.endswith((".csv", ".tsv", ".tab", ".jsonl", ".ndjson", ".json")) or first.startswith("{") or "\t" in first
    if table:
        return read_pairs_of(text, str(source), source_col)
    lines = [line.strip() for line in text.split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    if not lines:
        raise DataError("there is nothing to translate", where=str(source), expected="a sentence on each line")
    empty = next((n for n, line in enumerate(lines, 1) if not line), None)
    if empty is not None:
        raise DataError("a sentence is empty", where=f"{source}, line {empty}", hint="remove such lines")
    return Dataset(text_array(lines), None, str(source), (f"{len(lines):,} lines, each a sentence",))


def read_pairs_of(text: str, source: str, source_col: str) -> Dataset:
    table = as_table(text, source, (source_col,))
    columns = {name: ["" if c is None else str(c) for c in column] for name, column in table.columns.items()}
    if len(columns) == 1 and CODES.get(source_col.lower(), source_col) not in columns:
        source_col = next(iter(columns))
    name, _ = chosen(columns, source_col, "", source, False)
    empty = next((n for n, cell in enumerate(columns[name]) if not cell.strip()), None)
    if empty is not None:
        raise DataError("a sentence is empty", where=table.place(empty, name), hint="remove such rows")
    return Dataset(text_array(columns[name]), None, source, (*table.notes, f"the sentences are column {name!r}"))


# ---- columns ---------------------------------------------------------------------------------------------------------
def as_table(text: str, source: str, known: Sequence[str]) -> Table:
    """The table; columns without names are called by their language where it can be told, else c1, c2, ..."""
    name, first = bare(source), text.lstrip().partition("\n")[0]
    if name.endswith((".jsonl", ".ndjson", ".json")) or (first.startswith("{") and not name.endswith((".csv", ".tsv"))):
        return from_json_lines(text, source)
    separator = "\t" if "\t" in first or name.endswith((".tsv", ".tab")) else ";" if ";" in first and "," not in first else ","
    cells = [c.strip().strip('"') for c in first.split(separator)]
    named = bool({c.lower() for c in cells} & _NAMES) or bool({k for k in known if k} & set(cells))
    sentence = any(" " in c or re.search(r"[.!?\u3002\uff01\uff1f\u3400-\u9fff]", c) for c in cells)
    table = parse_separated(text, source, separator, True if named else False if sentence else None, [k for k in known if k],
                            missing=())
    if not {f"c{i + 1}" for i in range(len(table.columns))} == set(table.columns):
        return table
    columns: Any = renamed(table.columns)
    told = [f"{new} is column {n}" for n, (new, old) in enumerate(zip(columns, table.columns, strict=True), 1) if new != old]
    by_text = f"{', '.join(told)}: told by the text" if told else ""
    return Table(columns, table.lines, source, (*table.notes, *([by_text] if by_text else [])))


def renamed(columns: Any) -> dict[str, list[str]]:
    """The same columns; each language names the first that is written in it."""
    out: dict[str, list[str]] = {}
    for name, column in columns.items():
        language = language_of(column)
        out[language if language and language not in out else name] = column
    return out


def language_of(texts: Sequence[str]) -> str:
    """The language of sentences, "" where it cannot be told."""
    sample = [str(t) for t in texts[:_LOOKED_AT]]
    letters = Counter(c for t in sample for c in t if c.isalpha())
    count = sum(letters.values())
    if not count:
        return ""
    for name, (low, high) in SCRIPTS.items():
        if sum(n for c, n in letters.items() if low <= c <= high) > count * (0.1 if name == "japanese" else 0.5):
            return name
    words = Counter(w for t in sample for w in re.findall(r"[^\W\d_]+", t.lower()))
    shares = {name: sum(words[w] for w in common) / max(1, sum(words.values())) for name, common in WORDS.items()}
    best = max(shares, key=lambda name: shares[name])
    return best if shares[best] > 0.08 else ""


def chosen(columns: dict[str, list[str]], source_col: str, target_col: str, where: str, labelled: bool) -> tuple[str, str | None]:
    """The names of the two columns; the second is None unless `labelled`."""
    def find(wanted: str, what: str) -> str:
        by_case = {name.lower(): name for name in columns}
        lowered = wanted.lower()
        for name in (wanted, by_case.get(lowered), by_case.get(CODES.get(lowered, "")),
                     by_case.get(next((c for c, n in CODES.items() if n == lowered and c in by_case), ""))):
            if name in columns:
                return str(name)
        raise DataError(f"there is no column or language {wanted!r}", where=where, expected=", ".join(columns), got=wanted,
                        hint=f"name a column: --set data.{what}={next(iter(columns))}")
    usual = next((pair for pair in USUAL if set(pair) <= set(columns)), None)
    if source_col or not labelled:
        first = find(source_col, "source") if source_col else usual[0] if usual else next(iter(columns))
    else:
        first = usual[0] if usual else next((n for n in columns if not target_col or n != find(target_col, "target")), "")
    if not labelled:
        return first, None
    others = [n for n in columns if n != first]
    if not others:
        raise DataError("there is no column of translations", where=where, expected="two columns", got=", ".join(columns))
    second = find(target_col, "target") if target_col else usual[1] if usual and usual[1] != first else others[0]
    if second == first:
        raise DataError("source and target are the same column", where=where, expected=", ".join(columns), got=first)
    return first, second


# ---- division --------------------------------------------------------------------------------------------------------
def plain_form(text: str) -> str:
    """What is compared to find a sentence again: letters and digits alone, whatever their case and width."""
    form = "".join(c for c in unicodedata.normalize("NFKC", text).casefold() if c.isalnum())
    return form or text.strip()


def families(sources: Sequence[str], targets: Sequence[str]) -> tuple[np.ndarray, list[str]]:
    """(i64[N], the number of each pair's family; a key of each family).  Pairs with an equal sentence on either side (see
    `plain_form`) are of one family, and so are those that others join."""
    parent = list(range(len(sources)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i
    seen: dict[tuple[int, str], int] = {}
    forms = [plain_form(s) for s in sources], [plain_form(t) for t in targets]
    for side, texts in enumerate(forms):
        for i, form in enumerate(texts):
            known = seen.setdefault((side, form), i)
            if known != i:
                parent[root(i)] = root(known)
    keys: dict[int, str] = {}
    for i, pair in enumerate(zip(*forms, strict=True)):         # of both sides: the division is the same in both directions
        r = root(i)
        keys[r] = min(keys.get(r, pair[0]), *pair)
    number = {r: n for n, r in enumerate(keys)}
    return np.array([number[root(i)] for i in range(len(parent))]), list(keys.values())


def divide(sources: Any, targets: Any, share: float, seed: int = TEST_SEED) -> tuple[np.ndarray, np.ndarray]:
    """(rows to keep, rows to hold back), sorted: families, in an order that hashes of (seed, sentence) give, are held back until
    these are `share` of the rows.  The order of the rows in the file does not matter.   DataError where a part would be empty."""
    if not 0 < share < 1:
        raise UsageError("the share that is held back lies between 0 and 1", got=str(share))
    family, keys = families(sources, targets)
    digests = [hashlib.blake2b(f"{seed}\t{key}".encode(), digest_size=16).digest() for key in keys]
    order = sorted(range(len(keys)), key=lambda n: digests[n])
    sizes = np.bincount(family, minlength=len(keys))
    wanted, taken = max(1, round(share * len(sources))), 0
    held = np.zeros(len(keys), bool)
    for n in order:
        if taken >= wanted:
            break
        held[n] = True
        taken += int(sizes[n])
    rows = held[family]
    if rows.all():
        raise DataError("the pairs cannot be divided: all have sentences in common", got=f"{len(sources):,} pairs",
                        hint="give more pairs, or 0 for the share")
    return np.flatnonzero(~rows), np.flatnonzero(rows)


def digest(data: Dataset) -> str:
    """Tells whether pairs are the same, in whatever order and direction."""
    assert isinstance(data.x, np.ndarray) and data.y is not None
    rows = sorted("\t".join(sorted(pair)) for pair in zip(data.x, data.y, strict=True))
    return hashlib.blake2b("\n".join(rows).encode(), digest_size=16).hexdigest()
