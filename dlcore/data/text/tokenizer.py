"""Text to ids and back, as a `tokenizer.json` of Hugging Face describes it; NumPy and the standard library are enough.

    tokenizer = TextTokenizer.from_file("tokenizer.json")          # BPE, WordPiece or whole words
    tokenizer = TextTokenizer.words(texts, 10_000)                 # also characters(texts), bytes(), gpt2(folder)
    tokenizer = TextTokenizer.train("bpe", texts, 8_000)           # learns merges; needs the extra "text"
    ids = tokenizer.encode("some text")
    tokenizer.save("tokenizer.json")

Whatever the kind, it is held as tokenizer.json has it, so any of them can be read by Hugging Face's library and the other way.
"""
from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dlcore.data.text.finish import decoder, post_processor
from dlcore.data.text.normalize import is_space, normalizer
from dlcore.data.text.split import byte_characters, splitter
from dlcore.data.text.vocabulary import Model, model
from dlcore.errors import DataError, ModelFileError, WriteError

PADDING, UNKNOWN = "[PAD]", "[UNK]"
_PADDING_NAMES = (PADDING, "<pad>", "<PAD>")
_LIMIT = 256 << 20                  # bytes of a tokenizer.json
BERT_WORDS = {"type": "BertPreTokenizer"}
ISOLATED_CHARACTERS = {"type": "Split", "pattern": {"Regex": "[\\s\\S]"}, "behavior": "Isolated", "invert": False}


class TextTokenizer:
    """What one tokenizer.json describes.

    vocabulary       token -> id, added tokens among them
    pad_id           the id of padding, 0 where the file names none
    unknown_id       the id of what is not in the vocabulary, or None
    kind             "WordLevel", "WordPiece" or "BPE"
    longest, side    what the file says of truncation: the most ids of a text (None: no limit), and the side that is cut
    Raises ModelFileError for a description with a part that is not known, or malformed."""

    def __init__(self, config: Mapping[str, Any], where: str = "") -> None:
        if not isinstance(config, Mapping) or not isinstance(config.get("model"), Mapping):
            raise ModelFileError("this is no tokenizer.json", where=where, expected="an object with a model")
        self.config = dict(config)
        try:
            self._read()
        except ModelFileError as error:
            error.where = error.where or where
            raise
        except (AttributeError, KeyError, TypeError, ValueError, IndexError, RecursionError) as error:
            raise ModelFileError("the tokenizer is malformed", where=where, got=f"{type(error).__name__}: {error}"[:120]) from None

    def __reduce__(self) -> Any:
        return type(self), (self.config,)           # what is made of it are functions, which cannot be pickled

    def _read(self) -> None:
        config = self.config
        self.model: Model = model(config["model"])
        self.kind = type(self.model).__name__
        self.normalize, self.split = normalizer(config.get("normalizer")), splitter(config.get("pre_tokenizer"))
        self.finish, self.join = post_processor(config.get("post_processor")), decoder(config.get("decoder"))
        self.added = {t["content"]: dict(t) for t in config.get("added_tokens") or ()}
        self.vocabulary = self.model.vocabulary | {content: int(t["id"]) for content, t in self.added.items()}
        self.tokens = {i: token for token, i in self.vocabulary.items()}
        self.special = {t["id"] for t in self.added.values() if t.get("special")}
        self.raw = _matcher([t for t in self.added.values() if not t.get("normalized", False)], lambda text: text)
        self.normalized = _matcher([t for t in self.added.values() if t.get("normalized", False)], self.normalize)
        padding, truncation = config.get("padding"), config.get("truncation")
        named = next((self.vocabulary[n] for n in _PADDING_NAMES if n in self.vocabulary), 0)
        self.pad_id = int(padding["pad_id"]) if padding else named
        self.unknown_id = self.model.unknown
        self.longest = int(truncation["max_length"]) if truncation else None
        self.side = str(truncation.get("direction", "Right")).lower() if truncation else "right"

    # ---- where tokenizers come from ----------------------------------------------------------------------------------
    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> TextTokenizer:
        """Reads a tokenizer.json (or the one in a folder).   ModelFileError"""
        place = Path(path)
        place = place / "tokenizer.json" if place.is_dir() else place
        try:
            if place.stat().st_size > _LIMIT:
                raise ModelFileError("the tokenizer's file is too large", where=str(place))
            config = json.loads(place.read_bytes())
        except OSError as error:
            raise ModelFileError("the tokenizer cannot be read", where=str(place), got=error.strerror or str(error)) from None
        except (ValueError, RecursionError) as error:
            raise ModelFileError("the tokenizer's file is not JSON", where=str(place), got=str(error)[:120]) from None
        return cls(config, str(place))

    @classmethod
    def gpt2(cls, folder: str | os.PathLike[str]) -> TextTokenizer:
        """GPT-2's byte-level BPE from its published files, `vocab.bpe` and, where it is there, `encoder.json`.   ModelFileError"""
        place = Path(folder)
        try:
            lines = (place / "vocab.bpe").read_text(encoding="utf-8").split("\n")
            merges = [line.split(" ") for line in lines if line and not line.startswith("#version")]
            if (place / "encoder.json").exists():
                vocabulary = json.loads((place / "encoder.json").read_bytes())
            else:                           # ids count bytes, then merges
                tokens = [*byte_characters().values(), *("".join(pair) for pair in merges), "<|endoftext|>"]
                vocabulary = {token: i for i, token in enumerate(tokens)}
        except (OSError, ValueError) as error:
            raise ModelFileError("GPT-2's vocabulary cannot be read", where=str(place), expected="vocab.bpe (and encoder.json)",
                                 got=str(error)[:120]) from None
        end = "<|endoftext|>"
        added = [added_token(end, vocabulary[end])] if end in vocabulary else []
        return cls(description({"type": "BPE", "vocab": vocabulary, "merges": merges}, pre_tokenizer=byte_level(),
                               decoder=byte_level(), added=added), str(place))

    @classmethod
    def words(cls, texts: Iterable[str], size: int = 20_000, lowercase: bool = True, least: int = 1) -> TextTokenizer:
        """Whole words, punctuation marks and single ideographs, the `size` most frequent ones that occur at least `least`
        times; 0 is padding and 1 what is unknown.   DataError where there are no words."""
        clean = {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": False,
                 "lowercase": lowercase}
        return cls._counted(texts, size, least, clean, BERT_WORDS, {"type": "WordPiece", "prefix": "##", "cleanup": True})

    @classmethod
    def characters(cls, texts: Iterable[str], size: int = 20_000, least: int = 1) -> TextTokenizer:
        """Single characters, whatever the script, as `words` otherwise."""
        return cls._counted(texts, size, least, None, ISOLATED_CHARACTERS, {"type": "Fuse"})

    @classmethod
    def bytes(cls) -> TextTokenizer:
        """The 256 bytes of UTF-8, after 0 for padding: nothing is unknown."""
        vocabulary = {PADDING: 0} | {c: b + 1 for b, c in sorted(byte_characters().items())}
        return cls(description({"type": "BPE", "vocab": vocabulary, "merges": []}, pre_tokenizer=byte_level(use_regex=False),
                               decoder=byte_level(), added=[added_token(PADDING, 0)]))

    @classmethod
    def _counted(cls, texts: Iterable[str], size: int, least: int, clean: Any, split: Any, decode: Any) -> TextTokenizer:
        normalize, cut, counts = normalizer(clean), splitter(split), Counter[str]()
        for text in texts:
            counts.update(cut([normalize(text)]))
        words = [w for w, n in sorted(counts.items(), key=lambda item: (-item[1], item[0])) if n >= least]
        if not words:
            raise DataError("there are no words in the texts", got=f"{sum(counts.values())} words",
                            hint=f"words must occur at least {least} times")
        chosen = [w for w in words if w not in (PADDING, UNKNOWN)][:max(1, size - 2)]
        vocabulary = {w: i for i, w in enumerate((PADDING, UNKNOWN, *chosen))}
        return cls(description({"type": "WordLevel", "vocab": vocabulary, "unk_token": UNKNOWN}, clean, split, decode,
                               [added_token(PADDING, 0), added_token(UNKNOWN, 1)]))

    @classmethod
    def train(cls, kind: str, texts: Iterable[str], size: int = 8_000, lowercase: bool = False, least: int = 2,
              special: Sequence[str] = (PADDING, UNKNOWN)) -> TextTokenizer:
        """Learns a vocabulary of `size` tokens: kind "bpe" (byte-level, nothing is unknown) or "wordpiece".

        Hugging Face's `tokenizers` does it: UsageError where the extra "text" is not installed."""
        from dlcore.data.text.learn import learned
        return cls(learned(kind, texts, size, lowercase, least, special))

    # ---- using them --------------------------------------------------------------------------------------------------
    def __len__(self) -> int:
        """The number of ids: one more than the greatest."""
        return max(self.vocabulary.values(), default=-1) + 1

    def __call__(self, texts: Iterable[str], maxlen: int | None = None, padding: str = "post", truncating: str = "post") -> Any:
        """i32[N, maxlen] (the longest text's length if None): see `pad_sequences`."""
        from dlcore.data.text.sequences import pad_sequences
        return pad_sequences(self.encode_batch(texts), maxlen, padding=padding, truncating=truncating, value=self.pad_id)

    def encode(self, text: str, pair: str | None = None, special: bool = True) -> list[int]:
        """The ids of a text (and of a second one), with the special tokens around them unless `special` is False.   A text
        longer than the file allows is cut there.   DataError for something that is no text."""
        first, second = self._ids(text), None if pair is None else self._ids(pair)
        if self.longest is not None and pair is None:
            room = max(0, self.longest - (len(self.finish([], None)) if special else 0))
            first = first[:room] if self.side == "right" else first[max(0, len(first) - room):]
        if special:
            return list(self.finish(first, second))
        return first + (second or [])

    def encode_batch(self, texts: Iterable[str], special: bool = True) -> list[list[int]]:
        return [self.encode(text, special=special) for text in texts]

    def decode(self, ids: Iterable[int], skip_special: bool = True) -> str:
        """The text of ids; DataError for one that is not in the vocabulary."""
        found = []
        for n, i in enumerate(ids):
            token = self.tokens.get(int(i))
            if token is None:
                raise DataError("an id is not in the tokenizer's vocabulary", where=f"position {n}",
                                expected=f"0 to {len(self) - 1}", got=str(i))
            if not (skip_special and int(i) in self.special):
                found.append(token)
        return self.join(found)

    def _ids(self, text: str) -> list[int]:
        if not isinstance(text, str):
            raise DataError("a tokenizer takes texts", expected="str", got=type(text).__name__)
        ids: list[int] = []
        for token, part in self.raw(text):
            if token is not None:
                ids.append(token)
                continue
            for inner, piece in self.normalized(self.normalize(part)):
                if inner is not None:
                    ids.append(inner)
                elif piece:
                    ids += [i for word in self.split([piece]) if word for i in self.model.ids(word)]
        return ids

    # ---- files -------------------------------------------------------------------------------------------------------
    def to_json(self) -> dict[str, Any]:
        """What tokenizer.json holds."""
        return self.config

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes a tokenizer.json that Hugging Face's library reads.   WriteError"""
        try:
            Path(path).write_text(json.dumps(self.config, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
        except OSError as error:
            raise WriteError("the tokenizer cannot be written", where=str(path), got=error.strerror or str(error)) from error

    def __repr__(self) -> str:
        return f"<TextTokenizer {self.kind}, {len(self):,} tokens>"


# ---- parts of a description ------------------------------------------------------------------------------------------
def description(model: Any, normalizer: Any = None, pre_tokenizer: Any = None, decoder: Any = None,
                added: Sequence[Any] = ()) -> dict[str, Any]:
    """A tokenizer.json."""
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": list(added), "normalizer": normalizer,
            "pre_tokenizer": pre_tokenizer, "post_processor": None, "decoder": decoder, "model": complete(model)}


def complete(model: Mapping[str, Any]) -> dict[str, Any]:
    """The model with the keys that Hugging Face's reader wants to see."""
    if model["type"] != "BPE":
        return dict(model)
    rest = {"dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None, "fuse_unk": False,
            "byte_fallback": False, "ignore_merges": False}
    return {"type": "BPE", **rest, **model}


def added_token(content: str, number: int) -> dict[str, Any]:
    """A special token."""
    return {"id": number, "content": content, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
            "special": True}


def byte_level(use_regex: bool = True) -> dict[str, Any]:
    return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": use_regex}


def _matcher(tokens: list[dict[str, Any]], prepared: Any) -> Any:
    """A function that cuts a text at added tokens: (id, "") for one of these, (None, text) for what stands between."""
    if not tokens:
        return lambda text: [(None, text)]
    ids, patterns = {}, []
    for t in sorted(tokens, key=lambda t: -len(t["content"])):
        content = prepared(t["content"])
        if not content or content in ids:
            continue
        ids[content] = t
        patterns.append(re.escape(content))
    found = re.compile("|".join(patterns))

    def cut(text: str) -> list[tuple[int | None, str]]:
        parts: list[tuple[int | None, str]] = []
        at = 0
        for match in found.finditer(text):
            token, (start, end) = ids[match[0]], match.span()
            if token.get("single_word") and not _alone(text, start, end):
                continue
            while token.get("lstrip") and start > at and is_space(text[start - 1]):
                start -= 1
            while token.get("rstrip") and end < len(text) and is_space(text[end]):
                end += 1
            if start < at:
                continue
            if start > at:
                parts.append((None, text[at:start]))
            parts.append((int(token["id"]), ""))
            at = end
        if at < len(text) or not parts:
            parts.append((None, text[at:]))
        return parts
    return cut


def _alone(text: str, start: int, end: int) -> bool:
    """Whether text[start:end] is no part of a longer word."""
    word = re.compile(r"\w")
    return not (start and word.match(text[start - 1])) and not (end < len(text) and word.match(text[end]))
