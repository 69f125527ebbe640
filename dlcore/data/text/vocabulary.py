"""From words to ids: the models of Hugging Face's tokenizer.json.

    WordLevel   a word is a token, or unknown
    WordPiece   the longest token that a word begins with, then the longest that its rest begins with (Wu et al., 2016)
    BPE         characters, the pair of the lowest rank merged until there is none (Sennrich, Haddow and Birch, 2016)
"""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dlcore.data.text.normalize import component
from dlcore.errors import ModelFileError

_KEPT_WORDS = 1 << 16               # words whose ids are remembered


class Model:
    """vocabulary: token -> id.   unknown: the id of what is not there, or None."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        vocabulary = config["vocab"]
        if not isinstance(vocabulary, Mapping) or not all(type(i) is int and i >= 0 for i in vocabulary.values()):
            raise ModelFileError("the tokenizer's vocabulary is malformed", expected="{token: id}")
        self.vocabulary: dict[str, int] = dict(vocabulary)
        self.unknown = self.vocabulary.get(config.get("unk_token") or "")
        self.known: dict[str, list[int]] = {}

    def ids(self, word: str) -> list[int]:
        """The ids of one word."""
        found = self.known.get(word)
        if found is None:
            found = self.cut(word)
            if len(self.known) < _KEPT_WORDS:
                self.known[word] = found
        return found

    def cut(self, word: str) -> list[int]:
        raise NotImplementedError

    def unknown_ids(self, word: str) -> list[int]:
        if self.unknown is None:
            return []
        return [self.unknown]


class WordLevel(Model):
    def cut(self, word: str) -> list[int]:
        found = self.vocabulary.get(word)
        return self.unknown_ids(word) if found is None else [found]


class WordPiece(Model):
    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__(config)
        self.prefix = config.get("continuing_subword_prefix", "##")
        self.most = config.get("max_input_chars_per_word", 100)

    def cut(self, word: str) -> list[int]:
        if len(word) > self.most:
            return self.unknown_ids(word)
        ids, start = [], 0
        while start < len(word):
            for end in range(len(word), start, -1):
                found = self.vocabulary.get((self.prefix if start else "") + word[start:end])
                if found is not None:
                    ids.append(found)
                    start = end
                    break
            else:
                return self.unknown_ids(word)
        return ids


class BPE(Model):
    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__(config)
        pairs = [tuple(m.split(" ", 1)) if isinstance(m, str) else tuple(m) for m in config["merges"]]
        if any(len(p) != 2 for p in pairs):
            raise ModelFileError("the tokenizer's merges are malformed", expected="pairs of tokens")
        if config.get("dropout"):
            raise ModelFileError("the tokenizer drops merges by chance, which is for training only",
                                 got=f"dropout {config['dropout']}")
        self.ranks = {pair: rank for rank, pair in enumerate(pairs)}
        self.prefix = config.get("continuing_subword_prefix") or ""
        self.suffix = config.get("end_of_word_suffix") or ""
        self.fuse, self.fallback = config.get("fuse_unk", False), config.get("byte_fallback", False)
        self.whole = config.get("ignore_merges", False)

    def cut(self, word: str) -> list[int]:
        if self.whole and word in self.vocabulary:
            return [self.vocabulary[word]]
        symbols = list(word)
        if self.prefix:
            symbols = [symbols[0], *(self.prefix + s for s in symbols[1:])]
        if self.suffix:
            symbols[-1] += self.suffix
        return self.looked_up(self.merged(symbols))

    def merged(self, symbols: list[str]) -> list[str]:
        """The pair of the lowest rank is merged wherever it stands, until none is left."""
        ranks, cut = self.ranks, len(self.prefix)
        while len(symbols) > 1:
            ranked = [ranks.get(pair, len(ranks)) for pair in zip(symbols, symbols[1:])]     # noqa: B905, RUF007
            lowest = min(ranked)
            if lowest == len(ranks):
                break
            at = ranked.index(lowest)
            left, right = symbols[at], symbols[at + 1]
            joined, out, i = left + right[cut:], symbols[:at], at
            while i < len(symbols):
                if symbols[i] == left and i + 1 < len(symbols) and symbols[i + 1] == right:
                    out.append(joined)
                    i += 2
                else:
                    out.append(symbols[i])
                    i += 1
            symbols = out
        return symbols

    def looked_up(self, symbols: list[str]) -> list[int]:
        """Ids; what is not there becomes its bytes, or unknown, several in a row as one if they are fused."""
        ids: list[int] = []
        unknown_before = False
        for s in symbols:
            found = self.vocabulary.get(s)
            made = [found] if found is not None else self.as_bytes(s)
            if made:
                ids += made
            elif self.unknown is not None and not (self.fuse and unknown_before):
                ids.append(self.unknown)
            unknown_before = not made
        return ids

    def as_bytes(self, symbol: str) -> list[int]:
        if not self.fallback:
            return []
        found = [self.vocabulary.get(f"<0x{b:02X}>") for b in symbol.encode("utf-8")]
        return [] if None in found else [i for i in found if i is not None]


MODELS = {"WordLevel": WordLevel, "WordPiece": WordPiece, "BPE": BPE}


def model(config: Any) -> Model:
    """The model that a tokenizer.json describes; an old file may leave out the type of a BPE.   ModelFileError"""
    if isinstance(config, Mapping) and "type" not in config and "merges" in config:
        config = {"type": "BPE", **config}
    return component("model", config, MODELS)
