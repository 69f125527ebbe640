"""Texts as sets of n-grams, of words and of characters, weighted by how few texts have them (tf-idf)."""
from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dlcore.data.saved import fields
from dlcore.data.text.normalize import normalizer
from dlcore.data.text.sequences import pad_sequences
from dlcore.data.text.split import bert_words
from dlcore.errors import DataError, ModelFileError

_clean = normalizer({"type": "BertNormalizer", "strip_accents": False})
MOST_FEATURES, MOST_LONGEST = 1 << 24, 1 << 16


def grams(text: str, words: int, characters: Sequence[int]) -> set[str]:
    """Runs of up to `words` words (joined by blanks), and runs of characters[0] to characters[1] characters within words, a
    blank standing for a word's edge; a single ideograph is a word."""
    found, cut = set(), bert_words(_clean(text))
    for n in range(1, words + 1):
        found |= {" ".join(cut[i:i + n]) for i in range(len(cut) - n + 1)}
    low, high = characters
    for word in cut:
        if len(word) > 1:
            edged = f"\t{word}\t"
            for n in range(low, min(high, len(edged)) + 1):
                found |= {edged[i:i + n] for i in range(len(edged) - n + 1)}
    return found


@dataclass(frozen=True)
class NGrams:
    """features: n-gram -> id from 1 on, the most frequent first;  importance: f32, ln((1 + N) / (1 + texts with it)) + 1 by id;
    longest: ids of a text, at most;  words, characters: see `grams`."""

    features: dict[str, int]
    importance: np.ndarray
    longest: int
    words: int
    characters: tuple[int, int]

    @staticmethod
    def fit(texts: Iterable[str], words: int, characters: tuple[int, int], most: int, least: int, longest: int) -> NGrams:
        """The `most` n-grams that stand in at least `least` texts.   DataError where there are none."""
        low, high = characters
        counts, sizes, n = Counter[str](), [], 0
        for text in texts:
            found = grams(text, words, characters)
            counts.update(found)
            sizes.append(len(found))
            n += 1
        chosen = [g for g, k in sorted(counts.items(), key=lambda item: (-item[1], item[0])) if k >= least][:most]
        if not chosen:
            raise DataError("the texts have no n-gram in common", got=f"{n} texts", hint="lower features' least count")
        idf = np.log((1 + n) / (1 + np.array([counts[g] for g in chosen], np.float64))) + 1
        return NGrams({g: i for i, g in enumerate(chosen, 1)}, np.r_[0, idf].astype(np.float32), min(longest, max(1, *sizes)),
                      words, (low, high))

    def __len__(self) -> int:
        """Ids, that of padding among them."""
        return len(self.features) + 1

    def __call__(self, texts: Iterable[str]) -> np.ndarray:
        """i32[N, longest]: the ids of each text, the rarest n-grams first where they are too many, 0 behind them."""
        rows = []
        for text in texts:
            known = [i for g in grams(text, self.words, self.characters) if (i := self.features.get(g))]
            rows.append(sorted(known, reverse=True))
        return pad_sequences(rows, self.longest, padding="post", truncating="post")

    def to_json(self) -> dict[str, Any]:
        return {"features": list(self.features), "longest": self.longest, "words": self.words, "characters": list(self.characters)}

    @staticmethod
    def from_json(value: Any, where: str) -> NGrams:
        """Raises ModelFileError if malformed.   The importance is among the network's weights."""
        features, longest, words, characters = fields(value, where, features=list, longest=int, words=int, characters=list)
        if not (all(isinstance(g, str) for g in features) and len(set(features)) == len(features) <= MOST_FEATURES
                and 1 <= longest <= MOST_LONGEST and 0 <= words <= 16 and len(characters) == 2
                and all(type(n) is int and 0 <= n <= 16 for n in characters)):
            raise ModelFileError("the n-grams of a text model are malformed", where=where)
        return NGrams({g: i for i, g in enumerate(features, 1)}, np.zeros(len(features) + 1, np.float32), longest, words,
                      (characters[0], characters[1]))


def ideographic(texts: Sequence[str]) -> bool:
    """Whether most letters of these texts are Chinese or Japanese: then a character is a word."""
    sample = "".join(texts[:200])
    letters = sum(c.isalpha() for c in sample)
    return letters > 0 and sum("\u3040" <= c <= "\u9fff" for c in sample) > letters / 2


def mapping(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ModelFileError("the preprocessing of a text model is malformed", where=where)
    return value
