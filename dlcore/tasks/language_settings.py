"""What the parameters of a language model mean: checks, tokenizer, network, optimizer, presets."""
from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from dlcore.data.text.tokenizer import TextTokenizer
from dlcore.errors import UsageError

ARCHS, TOKENIZERS = ("gpt", "llama", "lstm", "gru", "rnn"), ("char", "byte", "word", "bpe")
OPTIMIZERS, SCHEDULES = ("adamw", "adam", "sgd"), ("constant", "linear", "cosine")
SECTIONS = {"data": ("val_split", "begin"),
            "model": ("tokenizer", "vocabulary", "context", "layers", "heads", "width", "dropout", "tied", "bias",
                      "position", "kv_heads"),
            "train": ("steps", "epochs", "eval_every", "batch", "optimizer", "lr", "schedule", "warmup", "min_lr", "weight_decay",
                      "beta_2", "clip", "patience")}
# nano-cpu: the recipe for a CPU in nanoGPT's README, but for the learning rate, 1e-3 there;  names: for one short name a line
PRESETS: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "nano-cpu": {"model": {"context": 64, "layers": 4, "heads": 4, "width": 128, "dropout": 0.0, "bias": False},
                 "train": {"steps": 2000, "batch": 12, "lr": 2e-3, "min-lr": 1e-4, "warmup": 100, "beta-2": 0.99,
                           "weight-decay": 0.1, "clip": 1.0, "schedule": "cosine", "optimizer": "adamw"}},
    "names": {"data": {"begin": "line", "val-split": 0.05},
              "model": {"context": 16, "layers": 4, "heads": 4, "width": 64, "position": "rotary", "dropout": 0.1},
              "train": {"steps": 12000, "batch": 32, "lr": 6e-3, "warmup": 200, "weight-decay": 0.1, "eval-every": 500}},
    "small": {"model": {"context": 256, "layers": 6, "heads": 6, "width": 384, "dropout": 0.2},
              "train": {"steps": 5000, "batch": 64, "lr": 1e-3, "min-lr": 1e-4, "warmup": 100, "weight-decay": 0.1}},
}


def sections(params: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The parameters as a configuration groups them."""
    values = {**params, "batch": params["batch_size"]}
    return {section: {name.replace("_", "-"): values[name] for name in names} for section, names in SECTIONS.items()}


def seed_of(random_state: int | None) -> int:
    return int.from_bytes(os.urandom(4)) if random_state is None else int(random_state)


def check(p: Any) -> None:
    """Raises UsageError for parameters that are of no use."""
    def require(holds: Any, name: str, expected: str) -> None:
        if not holds:
            raise UsageError(f"{name} = {getattr(p, name)!r} is of no use", expected=expected)

    def whole(name: str, low: int) -> None:
        value = getattr(p, name)
        require(isinstance(value, (int, np.integer)) and not isinstance(value, bool) and value >= low, name,
                f"a whole number from {low}")

    def number(name: str, low: float, high: float = math.inf, above: bool = False) -> None:
        value = getattr(p, name)
        right = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        require(right and (value > low if above else value >= low) and value < high, name,
                f"{low} {'<' if above else '<='} {name}" + (f" < {high:g}" if math.isfinite(high) else ""))

    for name, known in (("arch", ARCHS), ("tokenizer", ("", *TOKENIZERS)), ("optimizer", OPTIMIZERS), ("schedule", SCHEDULES),
                        ("position", ("learned", "sinusoidal", "rotary")), ("begin", ("anywhere", "line"))):
        require(getattr(p, name) in known, name, ", ".join(filter(None, known)))
    for name in ("context", "layers", "heads", "width", "epochs", "eval_every", "batch_size"):
        whole(name, 1)
    for name in ("steps", "patience", "kv_heads"):
        whole(name, 0)
    whole("vocabulary", 3)
    require(p.begin == "anywhere" or p.units != "word", "begin", "anywhere, or tokens that keep line feeds: char, byte or bpe")
    require(p.arch not in ("gpt", "llama") or p.width % p.heads == 0, "width", f"a multiple of the {p.heads} heads")
    require(p.arch != "llama" or p.width // p.heads % 2 == 0, "width", f"an even number of columns for each of the {p.heads} heads")
    require(not p.kv_heads or p.heads % p.kv_heads == 0, "kv_heads", f"0, or a divisor of the {p.heads} heads")
    for name in ("min_lr", "weight_decay", "clip", "warmup"):
        number(name, 0)
    number("lr", 0, above=True)
    for name in ("dropout", "val_split", "beta_2"):
        number(name, 0, 1)
    require(p.weight_decay == 0 or p.optimizer == "adamw", "weight_decay", "0, or the optimizer adamw")


def make_tokenizer(p: Any, text: str) -> TextTokenizer:
    """The tokenizer that `p.units` names, made for a text."""
    if p.units == "char":
        return TextTokenizer.characters([text] if p.begin == "anywhere" else [text, "\n"])
    if p.units == "byte":
        return TextTokenizer.bytes()
    if p.units == "word":
        return TextTokenizer.words([text], p.vocabulary, lowercase=False)
    return TextTokenizer.train("bpe", text.splitlines(keepends=True), p.vocabulary)


def network(p: Any, vocabulary: int) -> Any:
    """ids i32[B, context] -> logits f32[B, context, vocabulary]."""
    from dlcore import layers as L
    from dlcore.training.model import Model
    ids = L.Input((p.context,), "int32")
    if p.arch == "gpt":
        x = L.CausalLM(vocabulary, p.context, p.layers, p.heads, p.width, p.dropout, p.bias, tied=p.tied,
                       position=p.position)(ids)
    elif p.arch == "llama":
        x = L.CausalLM(vocabulary, p.context, p.layers, p.heads, p.width, p.dropout, False, "silu", p.tied, "rotary", "rms",
                       p.kv_heads or p.heads, gated_width(p.width), gated=True, epsilon=1e-5)(ids)
    else:
        kind = {"lstm": L.LSTM, "gru": L.GRU, "rnn": L.SimpleRNN}[p.arch]
        x = L.Embedding(vocabulary, p.width)(ids)
        for _ in range(p.layers):
            x = kind(p.width, return_sequences=True)(x)
            if p.dropout:
                x = L.Dropout(p.dropout)(x)
        x = L.Dense(vocabulary)(x)
    return Model(ids, x, seed=p.seed_)


def gated_width(width: int) -> int:
    """Columns of a gated dense network with about as many weights as one of 4 width columns: 8/3 width, a multiple of 8."""
    return -(-8 * width // 3 // 8) * 8


def compile(model: Any, p: Any, steps: int) -> None:
    """Loss and optimizer."""
    from dlcore import optim
    from dlcore.optim.schedules import named
    from dlcore.training.losses import SparseCategoricalCrossentropy
    rate = named(p.schedule, p.lr, steps, warmup=min(p.warmup, steps / 2), end=min(1.0, p.min_lr / p.lr))
    options: dict[str, Any] = {"learning_rate": rate, "global_clipnorm": p.clip or None}
    if p.optimizer == "sgd":
        optimizer: Any = optim.SGD(**options, momentum=0.9, nesterov=True)
    elif p.optimizer == "adam":
        optimizer = optim.Adam(**options, beta_2=p.beta_2)
    else:
        optimizer = optim.AdamW(**options, beta_2=p.beta_2, weight_decay=p.weight_decay)
    model.compile(optimizer, SparseCategoricalCrossentropy(from_logits=True))
