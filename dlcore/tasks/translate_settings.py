"""What the parameters of a translator mean: defaults by architecture, checks, tokenizers, loss."""
from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dlcore.data.text.ngrams import ideographic
from dlcore.data.text.tokenizer import TextTokenizer
from dlcore.errors import UsageError
from dlcore.optim.schedules import NAMES as SCHEDULES
from dlcore.tasks import recipe

ARCHITECTURES = {"transformer": "encoder and decoder of attention blocks",
                 "lstm": "bidirectional LSTMs, and a decoder with additive attention"}
TOKENIZERS = ("auto", "char", "word", "bpe", "byte")
DEFAULTS: dict[str, dict[str, Any]] = {
    "transformer": {"layers": 3, "width": 128, "dropout": 0.1, "epochs": 20, "lr": 2e-3, "training": {"warmup": 0.1, "clip": 1.0}},
    "lstm": {"layers": 1, "width": 256, "dropout": 0.3, "epochs": 15, "lr": 2e-3, "training": {"warmup": 0.05, "clip": 1.0}},
}
SECTIONS = {"data": ("val_split", "test_split"),
            "model": ("source_tokenizer", "target_tokenizer", "vocabulary", "max_len", "layers", "heads", "width", "inner",
                      "dropout", "beam", "length_penalty"),
            "train": ("epochs", "batch", "optimizer", "lr", "schedule", "weight_decay", "label_smoothing", "patience")}
LONGEST = 128               # tokens of a sentence that are learned unless `max_len` says otherwise


class ByArchitecture:
    """A parameter that is what `DEFAULTS` says of the architecture where none (None) was given."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, instance: Any, owner: type) -> Any:
        if instance is None:
            return self
        given = instance.__dict__.get(self.name)
        return DEFAULTS.get(instance.arch, {}).get(self.name) if given is None else given

    def __set__(self, instance: Any, value: Any) -> None:
        instance.__dict__[self.name] = value


def check(p: Any) -> None:
    """Raises UsageError for parameters that are of no use."""
    def require(holds: Any, name: str, expected: str) -> None:
        if not holds:
            raise UsageError(f"{name} = {getattr(p, name)!r} is of no use", expected=expected)

    def whole(name: str, low: int, high: float = math.inf) -> None:
        value = getattr(p, name)
        require(isinstance(value, (int, np.integer)) and not isinstance(value, bool) and low <= value <= high, name,
                f"a whole number from {low}" + (f" to {high:g}" if high < math.inf else ""))

    def number(name: str, low: float, high: float = math.inf, above: bool = False) -> None:
        value = getattr(p, name)
        right = isinstance(value, (int, float, np.floating)) and not isinstance(value, bool) and math.isfinite(value)
        require(right and (value > low if above else value >= low) and value < high, name,
                f"{low:g} {'<' if above else '<='} {name}" + (f" < {high:g}" if math.isfinite(high) else ""))

    require(p.arch in ARCHITECTURES, "arch", ", ".join(ARCHITECTURES))
    for name in ("source_tokenizer", "target_tokenizer"):
        require(isinstance(getattr(p, name), str) and getattr(p, name), name, ", ".join(TOKENIZERS) + " or a tokenizer.json")
    require(p.optimizer in recipe.OPTIMIZERS, "optimizer", ", ".join(recipe.OPTIMIZERS))
    require(p.schedule in SCHEDULES, "schedule", ", ".join(SCHEDULES))
    for name in ("layers", "heads", "width", "inner", "epochs", "batch_size"):
        whole(name, 1, 1 << 16)
    whole("beam", 1, 64)
    whole("vocabulary", 3, 1 << 24)
    whole("max_len", 0, 1 << 14)
    whole("patience", 0)
    require(p.arch != "transformer" or p.width % p.heads == 0, "width", f"a multiple of the {p.heads} heads")
    require(p.arch != "lstm" or p.width % 2 == 0, "width", "an even number")
    number("lr", 0, above=True)
    for name in ("dropout", "val_split", "test_split", "label_smoothing"):
        number(name, 0, 1)
    for name in ("weight_decay", "length_penalty"):
        number(name, 0)
    require(p.random_state is None or isinstance(p.random_state, (int, np.integer)) and p.random_state >= 0, "random_state",
            "a whole number from 0, or None")
    recipe.check(p)
    if recipe.of(p)["accumulate"] > 1:
        raise UsageError("batches of different lengths are not accumulated", got=f"accumulate = {recipe.of(p)['accumulate']}",
                         hint="a larger batch")


def made_tokenizer(kind: str, texts: Sequence[str], size: int) -> TextTokenizer:
    """The tokenizer that a parameter names, learned from these texts or read from a file.   UsageError, ModelFileError"""
    from dlcore.errors import ModelFileError
    if kind == "auto":
        kind = "char" if ideographic(texts) else "bpe"
    if kind == "char":
        return TextTokenizer.characters(texts, size)
    if kind == "word":
        return TextTokenizer.words(texts, size, lowercase=False)
    if kind == "byte":
        return TextTokenizer.bytes()
    if kind == "bpe":
        return TextTokenizer.train("bpe", texts, size)
    found = TextTokenizer.from_file(kind)
    if found.pad_id != 0:
        raise ModelFileError("this tokenizer does not fit: id 0 must be padding", where=kind, got=f"padding is {found.pad_id}")
    return found


def renamed(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of the command line as parameters; the recipe is one, and what it says counts, defaults of the architecture
    do not."""
    training = {name: value for name, value in options.items() if name in recipe.KEYS and value != recipe.KEYS[name][0]}
    own = {"batch_size" if name == "batch" else name: value for name, value in options.items() if name not in recipe.KEYS}
    return own | ({"training": training} if set(options) & set(recipe.KEYS) else {})
