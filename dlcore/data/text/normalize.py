"""How a tokenizer cleans text before it cuts it: the normalizers of Hugging Face's tokenizer.json.

Each is a function text -> text made from its JSON by `normalizer(config)`.  Characters are judged by Python's Unicode tables.
"""
from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from typing import Any, Literal

from dlcore.errors import ModelFileError

Normalizer = Callable[[str], str]
Form = Literal["NFC", "NFD", "NFKC", "NFKD"]
FORMS: tuple[Form, ...] = ("NFC", "NFD", "NFKC", "NFKD")
# the blocks that BERT's tokenizer calls Chinese: ideographs, not kana or hangul
_IDEOGRAPHS = re.compile("[\u4e00-\u9fff\u3400-\u4dbf\U00020000-\U0002a6df\U0002a700-\U0002b73f\U0002b740-\U0002b81f"
                         "\U0002b920-\U0002ceaf\uf900-\ufaff\U0002f800-\U0002fa1f]")


def is_space(c: str) -> bool:
    """Unicode's White_Space; Python counts four control characters besides."""
    return c.isspace() and c not in "\x1c\x1d\x1e\x1f"


def lowered(text: str) -> str:
    """Lower case, character by character: no final sigma."""
    return "".join([c.lower() for c in text]) if "Σ" in text else text.lower()


def without_accents(text: str) -> str:
    return "".join([c for c in text if unicodedata.category(c) != "Mn"])


def cleaned(text: str) -> str:
    """Without control characters; every white space is a blank."""
    kept = []
    for c in text:
        if c in "\t\n\r" or is_space(c):
            kept.append(" ")
        elif c != "\ufffd" and unicodedata.category(c)[0] != "C":
            kept.append(c)
    return "".join(kept)


def bert(config: Mapping[str, Any]) -> Normalizer:
    """BERT's: clean, blanks around ideographs, accents off, lower case."""
    clean, ideographs = config.get("clean_text", True), config.get("handle_chinese_chars", True)
    lower = config.get("lowercase", True)
    accents = config.get("strip_accents")
    strip = lower if accents is None else accents

    def normalize(text: str) -> str:
        if text.isascii() and text.isprintable():       # nothing but the case can change
            return text.lower() if lower else text
        text = cleaned(text) if clean else text
        text = _IDEOGRAPHS.sub(r" \g<0> ", text) if ideographs else text
        text = without_accents(unicodedata.normalize("NFD", text)) if strip else text
        return lowered(text) if lower else text
    return normalize


def replacing(config: Mapping[str, Any]) -> Normalizer:
    pattern, content = config["pattern"], config["content"]
    if "String" in pattern:
        return lambda text: text.replace(pattern["String"], content)
    from dlcore.data.text.split import compiled
    found = compiled(pattern["Regex"])
    return lambda text: found.sub(lambda match: content, text)


def stripping(config: Mapping[str, Any]) -> Normalizer:
    left, right = config.get("strip_left", True), config.get("strip_right", True)

    def strip(text: str) -> str:
        text = text.lstrip() if left else text
        return text.rstrip() if right else text
    return strip


def sequence(config: Mapping[str, Any]) -> Normalizer:
    parts = [normalizer(c) for c in config["normalizers"]]

    def normalize(text: str) -> str:
        for part in parts:
            text = part(text)
        return text
    return normalize


def unicode_form(form: Form) -> Callable[[Mapping[str, Any]], Normalizer]:
    return lambda config: lambda text: text if text.isascii() else unicodedata.normalize(form, text)


NORMALIZERS: dict[str, Callable[[Mapping[str, Any]], Normalizer]] = {
    **{form: unicode_form(form) for form in FORMS},
    "BertNormalizer": bert,
    "Lowercase": lambda config: lowered,
    "StripAccents": lambda config: without_accents,
    "Strip": stripping,
    "Replace": replacing,
    "Prepend": lambda config: lambda text: config["prepend"] + text if text else text,
    "Sequence": sequence,
}


def normalizer(config: Mapping[str, Any] | None) -> Normalizer:
    """The normalizer that a tokenizer.json describes; ModelFileError for one that is not known."""
    if config is None:
        return lambda text: text
    return component("normalizer", config, NORMALIZERS)


def component(kind: str, config: Any, known: Mapping[str, Callable[[Mapping[str, Any]], Any]]) -> Any:
    """One part of a tokenizer.json, by its `type`."""
    name = config.get("type") if isinstance(config, Mapping) else None
    if not isinstance(name, str) or name not in known:
        raise ModelFileError(f"the tokenizer has a {kind} that dlcore does not know", expected=", ".join(known),
                             got=repr(name)[:60])
    try:
        return known[name](config)
    except (KeyError, TypeError, AttributeError, ValueError, IndexError) as error:
        if isinstance(error, ModelFileError):
            raise
        raise ModelFileError(f"the tokenizer's {kind} {name} is malformed", got=f"{type(error).__name__}: {error}"[:120]) from None
