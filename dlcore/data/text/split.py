"""How a tokenizer cuts text into words before it cuts words into tokens: the pre-tokenizers of Hugging Face's tokenizer.json.

Each is a function (pieces) -> pieces, made from its JSON by `splitter(config)`; a piece is a text.
"""
from __future__ import annotations

import functools
import re
import sys
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from itertools import groupby
from typing import Any

from dlcore.data.text.normalize import component, is_space
from dlcore.errors import ModelFileError

Splitter = Callable[[list[str]], list[str]]
_ASCII_PUNCTUATION = frozenset("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")


# ---- bytes as characters, and GPT-2's words --------------------------------------------------------------------------
@functools.cache
def byte_characters() -> dict[int, str]:
    """A printable character for each byte (GPT-2): itself where it is one, else one from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [b for b in range(256) if b not in printable]
    return {b: chr(b) for b in printable} | {b: chr(256 + n) for n, b in enumerate(others)}


@functools.cache
def byte_values() -> dict[str, int]:
    return {c: b for b, c in byte_characters().items()}


class _Classes(dict[int, str]):
    """Character -> L for letters, N for numbers, S for white space, O for others; what contractions are made of stays."""

    def __missing__(self, code: int) -> str:
        c = chr(code)
        kind = unicodedata.category(c)[0]
        if c in " 'strevmld":
            found = c
        elif is_space(c):
            found = "S"
        else:
            found = kind if kind in "LN" else "O"
        self[code] = found
        return found


_classes = _Classes()
# GPT-2's expression on classes: 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
_WORDS = re.compile(r"'s|'t|'re|'ve|'m|'ll|'d| ?[Lstrevmld]+| ?N+| ?[O']+|[S ]+(?![^S ])|[S ]+")


def gpt2_words(text: str) -> list[str]:
    """GPT-2's words: letters, numbers and others apart, with the blank before them."""
    return [text[m.start():m.end()] for m in _WORDS.finditer(text.translate(_classes))]


def byte_level(config: Mapping[str, Any]) -> Splitter:
    prefix, use_regex, characters = config.get("add_prefix_space", True), config.get("use_regex", True), byte_characters()

    @functools.lru_cache(1 << 16)
    def as_characters(word: str) -> str:
        return "".join([characters[b] for b in word.encode("utf-8")])

    def split(pieces: list[str]) -> list[str]:
        found = []
        for piece in pieces:
            piece = " " + piece if prefix and not piece.startswith(" ") else piece
            found += [as_characters(w) for w in (gpt2_words(piece) if use_regex else [piece])]
        return found
    return split


# ---- by kinds of characters ------------------------------------------------------------------------------------------
def is_punctuation(c: str) -> bool:
    return c in _ASCII_PUNCTUATION or unicodedata.category(c)[0] == "P"


@functools.lru_cache(1 << 16)
def bert_kind(c: str) -> str:
    return "S" if is_space(c) else "P" if is_punctuation(c) else "W"


def bert_words(text: str) -> list[str]:
    """Words between white space; every punctuation mark by itself."""
    found: list[str] = []
    for kind, run in groupby(text, bert_kind):
        if kind == "P":
            found += run
        elif kind == "W":
            found.append("".join(run))
    return found


@functools.lru_cache(1 << 16)
def word_kind(c: str) -> str:
    """W where a regular expression's \\w is meant: letters, marks, digits, connectors."""
    category = unicodedata.category(c)
    return "S" if is_space(c) else "W" if category[0] in "LM" or category in ("Nd", "Nl", "Pc") or c in "\u200c\u200d" else "O"


def space_kind(c: str) -> str:
    return "S" if is_space(c) else "W"


def kinds_apart(kind: Callable[[str], str], text: str) -> list[str]:
    """Runs of characters of one kind, without white space."""
    return ["".join(run) for k, run in groupby(text, kind) if k != "S"]


def runs(kind: Callable[[str], Any], alone: bool, text: str) -> list[str]:
    """Characters of one kind together; those for which it is true by themselves if `alone`."""
    found: list[str] = []
    for chosen, run in groupby(text, kind):
        together = "".join(run)
        found += together if chosen and alone else [together]
    return found


def each(function: Callable[[str], list[str]]) -> Splitter:
    return lambda pieces: [word for piece in pieces for word in function(piece)]


def punctuation(config: Mapping[str, Any]) -> Splitter:
    behaviour = config.get("behavior", "Isolated")
    return each(lambda text: cut(text, [(i, i + 1) for i, c in enumerate(text) if is_punctuation(c)], behaviour))


def is_number(c: str) -> bool:
    return unicodedata.category(c)[0] == "N"


def digits(config: Mapping[str, Any]) -> Splitter:
    alone = config.get("individual_digits", False)
    return each(lambda text: runs(is_number, alone, text))


# ---- by a pattern ----------------------------------------------------------------------------------------------------
@functools.cache
def category_ranges(name: str) -> str:
    """The characters of a Unicode category (L, Lu, N, ...) as they stand in brackets of an expression."""
    found, start = [], None
    for code in range(sys.maxunicode + 2):
        inside = code <= sys.maxunicode and unicodedata.category(chr(code)).startswith(name)
        if inside and start is None:
            start = code
        elif not inside and start is not None:
            found.append(f"\\U{start:08x}" + (f"-\\U{code - 1:08x}" if code - 1 > start else ""))
            start = None
    return "".join(found)


@functools.cache
def compiled(pattern: str) -> re.Pattern[str]:
    """An expression as tokenizer.json writes it, with \\p{...}, in Python's; ModelFileError where that cannot be."""
    found, inside, i = [], False, 0
    while i < len(pattern):
        category = re.compile(r"\\([pP])\{(\w+)\}").match(pattern, i)
        if category:
            ranges = category_ranges(category[2])
            if inside and category[1] == "P":
                raise ModelFileError("the tokenizer's pattern cannot be read", got=pattern[:80])
            found.append(ranges if inside else f"[{'^' if category[1] == 'P' else ''}{ranges}]")
            i = category.end()
            continue
        if pattern[i] == "\\":
            found.append(pattern[i:i + 2])
            i += 2
            continue
        inside = pattern[i] == "[" or (inside and pattern[i] != "]")
        found.append(pattern[i])
        i += 1
    try:
        return re.compile("".join(found))
    except re.error as error:
        raise ModelFileError("the tokenizer's pattern cannot be read", got=f"{pattern[:80]}: {error}") from None


def cut(text: str, spans: list[tuple[int, int]], behaviour: str) -> list[str]:
    """The text cut at these matches, which are removed, isolated or joined to a neighbour."""
    parts: list[tuple[bool, str]] = []
    at = 0
    for start, end in spans:
        if start > at:
            parts.append((False, text[at:start]))
        if end > start:
            parts.append((True, text[start:end]))
        at = end
    if at < len(text):
        parts.append((False, text[at:]))
    if behaviour == "Removed":
        return [p for matched, p in parts if not matched]
    if behaviour == "Isolated":
        return [p for _, p in parts]
    if behaviour == "Contiguous":
        runs_of = [list(run) for _, run in groupby(parts, lambda part: part[0])]
        return ["".join(p for _, p in run) for run in runs_of]
    return list(_joined(parts, behaviour))


def _joined(parts: list[tuple[bool, str]], behaviour: str) -> Iterator[str]:
    """Matches joined to what stands before them, or behind them."""
    before, held = behaviour == "MergedWithPrevious", ""
    for matched, part in parts:
        if before:
            held += part
            if matched:
                yield held
                held = ""
        else:
            if matched:
                if held:
                    yield held
                held = part
            else:
                yield held + part
                held = ""
    if held:
        yield held


def by_pattern(config: Mapping[str, Any]) -> Splitter:
    pattern, behaviour, inverted = config["pattern"], config["behavior"], config.get("invert", False)
    known = ("Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous")
    if behaviour not in known:
        raise ModelFileError("the tokenizer splits in a way that dlcore does not know", expected=", ".join(known),
                             got=repr(behaviour))
    found = re.compile(re.escape(pattern["String"])) if "String" in pattern else compiled(pattern["Regex"])

    def split(text: str) -> list[str]:
        spans = [m.span() for m in found.finditer(text)]
        if inverted:
            ends = [0, *[x for span in spans for x in span], len(text)]
            spans = [(a, b) for a, b in zip(ends[::2], ends[1::2], strict=True) if b > a]
        return cut(text, spans, behaviour)
    return each(split)


def metaspace(config: Mapping[str, Any]) -> Splitter:
    mark, scheme = config.get("replacement", "▁"), config.get("prepend_scheme", "always")
    if "add_prefix_space" in config and "prepend_scheme" not in config:
        scheme = "always" if config["add_prefix_space"] else "never"

    def split(pieces: list[str]) -> list[str]:
        found: list[str] = []
        for n, piece in enumerate(pieces):
            piece = piece.replace(" ", mark)
            if (scheme == "always" or scheme == "first" and n == 0) and not piece.startswith(mark):
                piece = mark + piece
            found += re.findall(f"{re.escape(mark)}?[^{re.escape(mark)}]+|{re.escape(mark)}", piece) \
                if config.get("split", True) else [piece]
        return found
    return split


def sequence(config: Mapping[str, Any]) -> Splitter:
    parts = [splitter(c) for c in config["pretokenizers"]]

    def split(pieces: list[str]) -> list[str]:
        for part in parts:
            pieces = part(pieces)
        return pieces
    return split


SPLITTERS: dict[str, Callable[[Mapping[str, Any]], Splitter]] = {
    "ByteLevel": byte_level,
    "BertPreTokenizer": lambda config: each(bert_words),
    "Whitespace": lambda config: each(functools.partial(kinds_apart, word_kind)),
    "WhitespaceSplit": lambda config: each(functools.partial(kinds_apart, space_kind)),
    "CharDelimiterSplit": lambda config: each(lambda text: [p for p in text.split(config["delimiter"]) if p]),
    "Punctuation": punctuation,
    "Digits": digits,
    "Split": by_pattern,
    "Metaspace": metaspace,
    "Sequence": sequence,
}


def splitter(config: Mapping[str, Any] | None) -> Splitter:
    """The pre-tokenizer that a tokenizer.json describes; ModelFileError for one that is not known."""
    if config is None:
        return lambda pieces: pieces
    return component("pre-tokenizer", config, SPLITTERS)
