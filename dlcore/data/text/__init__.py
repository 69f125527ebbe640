"""Text to ids, and ids to arrays: tokenizers, padding, windows, buckets.  NumPy and the standard library are enough."""
from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_PUBLIC = {
    "TextTokenizer": "tokenizer",
    "Tokenizer": "keras",
    "TextVectorization": "keras",
    "text_to_word_sequence": "keras",
    "pad_sequences": "sequences",
    "windows": "sequences",
    "Windows": "sequences",
    "buckets": "sequences",
    "waste": "sequences",
}
__all__ = [*_PUBLIC]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'dlcore.data.text' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"dlcore.data.text.{_PUBLIC[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)


if TYPE_CHECKING:
    from dlcore.data.text.keras import TextVectorization, Tokenizer, text_to_word_sequence
    from dlcore.data.text.sequences import Windows, buckets, pad_sequences, waste, windows
    from dlcore.data.text.tokenizer import TextTokenizer
