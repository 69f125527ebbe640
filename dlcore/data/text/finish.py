"""What stands around the ids of a text, and the way back to text: post-processors and decoders of tokenizer.json."""
from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from dlcore.data.text.normalize import component
from dlcore.data.text.split import byte_values

# ids of a text, of a second one or None -> all ids
PostProcessor = Callable[[list[int], "list[int] | None"], list[int]]
Decoder = Callable[[list[str]], list[str]]


# ---- post-processors -------------------------------------------------------------------------------------------------
def joined(ids: list[int], pair: list[int] | None) -> list[int]:
    return ids if pair is None else ids + pair


def template(config: Mapping[str, Any]) -> PostProcessor:
    special = {name: list(value["ids"]) for name, value in config["special_tokens"].items()}

    def pieces(parts: Any) -> list[Any]:
        return [special[p["SpecialToken"]["id"]] if "SpecialToken" in p else p["Sequence"]["id"] for p in parts]
    single, pair = pieces(config["single"]), pieces(config["pair"])

    def process(ids: list[int], second: list[int] | None) -> list[int]:
        texts = {"A": ids, "B": second or []}
        return [i for p in (single if second is None else pair) for i in (texts[p] if isinstance(p, str) else p)]
    return process


def bert(config: Mapping[str, Any]) -> PostProcessor:
    cls, sep = config["cls"][1], config["sep"][1]
    return lambda ids, pair: [cls, *ids, sep, *([] if pair is None else [*pair, sep])]


def roberta(config: Mapping[str, Any]) -> PostProcessor:
    cls, sep = config["cls"][1], config["sep"][1]
    return lambda ids, pair: [cls, *ids, sep, *([] if pair is None else [sep, *pair, sep])]


def chained(config: Mapping[str, Any]) -> PostProcessor:
    parts = [post_processor(c) for c in config["processors"]]

    def process(ids: list[int], pair: list[int] | None) -> list[int]:
        for part in parts:
            ids = part(ids, pair)
        return ids
    return process


POST_PROCESSORS: dict[str, Callable[[Mapping[str, Any]], PostProcessor]] = {
    "TemplateProcessing": template, "BertProcessing": bert, "RobertaProcessing": roberta, "ByteLevel": lambda config: joined,
    "Sequence": chained}


def post_processor(config: Mapping[str, Any] | None) -> PostProcessor:
    """What puts special tokens around ids; ModelFileError for one that is not known."""
    return joined if config is None else component("post-processor", config, POST_PROCESSORS)


# ---- decoders --------------------------------------------------------------------------------------------------------
def byte_level(config: Mapping[str, Any]) -> Decoder:
    values = byte_values()

    def decode(tokens: list[str]) -> list[str]:
        data = b"".join(bytes(values[c] for c in t) if all(c in values for c in t) else t.encode("utf-8") for t in tokens)
        return [data.decode("utf-8", "replace")]
    return decode


_TIDY = [(" .", "."), (" ?", "?"), (" !", "!"), (" ,", ","), (" ' ", "'"), (" n't", "n't"), (" 'm", "'m"), (" do not", " don't"),
         (" 's", "'s"), (" 've", "'ve"), (" 're", "'re")]


def word_piece(config: Mapping[str, Any]) -> Decoder:
    prefix, tidy = config.get("prefix", "##"), config.get("cleanup", True)

    def decode(tokens: list[str]) -> list[str]:
        found = []
        for n, token in enumerate(tokens):
            if n:
                token = token[len(prefix):] if token.startswith(prefix) else " " + token
            for old, new in _TIDY if tidy else []:
                token = token.replace(old, new)
            found.append(token)
        return found
    return decode


def bpe(config: Mapping[str, Any]) -> Decoder:
    suffix = config.get("suffix", "</w>")
    return lambda tokens: [t.replace(suffix, " " if n + 1 < len(tokens) else "") for n, t in enumerate(tokens)]


def metaspace(config: Mapping[str, Any]) -> Decoder:
    mark, scheme = config.get("replacement", "▁"), config.get("prepend_scheme", "always")

    def decode(tokens: list[str]) -> list[str]:
        found = [t.replace(mark, " ") for t in tokens]
        if found and scheme != "never" and found[0].startswith(" "):
            found[0] = found[0][1:]
        return found
    return decode


def byte_fallback(config: Mapping[str, Any]) -> Decoder:
    named = re.compile("<0x([0-9A-Fa-f]{2})>")

    def decode(tokens: list[str]) -> list[str]:
        found: list[str] = []
        held = b""

        def flush() -> None:
            if held:
                try:
                    found.append(held.decode("utf-8"))
                except UnicodeDecodeError:
                    found.extend("\ufffd" * len(held))
        for token in tokens:
            match = named.fullmatch(token)
            if match:
                held += bytes([int(match[1], 16)])
            else:
                flush()
                held = b""
                found.append(token)
        flush()
        return found
    return decode


def replacing(config: Mapping[str, Any]) -> Decoder:
    from dlcore.data.text.normalize import replacing
    replace = replacing(config)
    return lambda tokens: [replace(t) for t in tokens]


def stripping(config: Mapping[str, Any]) -> Decoder:
    content, start, stop = config["content"], config["start"], config["stop"]

    def strip(token: str) -> str:
        first, last = 0, len(token)
        while first < min(start, len(token)) and token[first] == content:
            first += 1
        while last > first and len(token) - last < stop and token[last - 1] == content:
            last -= 1
        return token[first:last]
    return lambda tokens: [strip(t) for t in tokens]


def sequence(config: Mapping[str, Any]) -> Decoder:
    parts = [component("decoder", c, DECODERS) for c in config["decoders"]]

    def decode(tokens: list[str]) -> list[str]:
        for part in parts:
            tokens = part(tokens)
        return tokens
    return decode


DECODERS: dict[str, Callable[[Mapping[str, Any]], Decoder]] = {
    "ByteLevel": byte_level, "WordPiece": word_piece, "BPEDecoder": bpe, "Metaspace": metaspace, "ByteFallback": byte_fallback,
    "Fuse": lambda config: lambda tokens: ["".join(tokens)], "Replace": replacing, "Strip": stripping, "Sequence": sequence}


def decoder(config: Mapping[str, Any] | None) -> Callable[[list[str]], str]:
    """tokens -> text; without a decoder tokens stand side by side with blanks.  ModelFileError for one that is not known."""
    if config is None:
        return " ".join
    decode = component("decoder", config, DECODERS)
    return lambda tokens: "".join(decode(tokens))
