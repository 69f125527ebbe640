"""`Tokenizer` and `TextVectorization` with Keras' semantics."""
from __future__ import annotations

import math
import re
import string
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from dlcore.data.text.sequences import pad_sequences
from dlcore.errors import DataError, UsageError

FILTERS = "!\"#$%&()*+,-./:;<=>?@[\\]^_`{|}~\t\n"
MODES = ("binary", "count", "tfidf", "freq")


def text_to_word_sequence(text: str, filters: str = FILTERS, lower: bool = True, split: str = " ") -> list[str]:
    """The words of a text: lower case, the characters of `filters` as separators."""
    text = text.lower() if lower else text
    separators: dict[str, str | int | None] = dict.fromkeys(filters, split)
    return [w for w in text.translate(str.maketrans(separators)).split(split) if w]


class Tokenizer:
    """Words (or characters) by frequency: the most frequent one is 1, 0 is kept for padding.

    num_words    ids below it are used, rarer words are left out, or `oov_token` (which is 1 then)
    word_counts, word_docs, word_index, index_word, document_count    as in Keras
    """

    def __init__(self, num_words: int | None = None, filters: str = FILTERS, lower: bool = True, split: str = " ",
                 char_level: bool = False, oov_token: str | None = None,
                 analyzer: Callable[[str], Sequence[str]] | None = None):
        self.num_words, self.filters, self.lower, self.split = num_words, filters, lower, split
        self.char_level, self.oov_token, self.analyzer = char_level, oov_token, analyzer
        self.word_counts: OrderedDict[str, int] = OrderedDict()
        self.word_docs: Counter[str] = Counter()
        self.word_index: dict[str, int] = {}
        self.index_word: dict[int, str] = {}
        self.document_count = 0

    def _words(self, text: Any) -> Sequence[str]:
        if self.char_level or not isinstance(text, str):
            items = text if isinstance(text, str) else list(text)
            if not self.lower:
                return items
            return items.lower() if isinstance(items, str) else [w.lower() for w in items]
        if self.analyzer is not None:
            return self.analyzer(text)
        return text_to_word_sequence(text, self.filters, self.lower, self.split)

    def fit_on_texts(self, texts: Iterable[Any]) -> None:
        """Counts the words of texts (or of lists of words); may be called again with more."""
        for text in texts:
            self.document_count += 1
            words = self._words(text)
            for w in words:
                self.word_counts[w] = self.word_counts.get(w, 0) + 1
            self.word_docs.update(set(words))
        ordered = sorted(self.word_counts, key=lambda w: -self.word_counts[w])
        known = ([self.oov_token] if self.oov_token is not None else []) + [w for w in ordered if w != self.oov_token]
        self.word_index = {w: i for i, w in enumerate(known, 1)}
        self.index_word = {i: w for w, i in self.word_index.items()}

    def texts_to_sequences(self, texts: Iterable[Any]) -> list[list[int]]:
        """The ids of each text; words that are unknown or too rare are left out where there is no `oov_token`."""
        return [self._ids(text) for text in texts]

    def _ids(self, text: Any) -> list[int]:
        unknown = self.word_index.get(self.oov_token) if self.oov_token is not None else None
        found = []
        for w in self._words(text):
            i = self.word_index.get(w)
            if i is None or (self.num_words and i >= self.num_words):
                i = unknown
            if i is not None:
                found.append(i)
        return found

    def sequences_to_texts(self, sequences: Iterable[Iterable[int]]) -> list[str]:
        """The words of ids, with blanks between them."""
        texts = []
        for ids in sequences:
            words = []
            for i in ids:
                word = self.index_word.get(int(i))
                if word is None or (self.num_words and int(i) >= self.num_words):
                    word = self.oov_token
                if word is not None:
                    words.append(word)
            texts.append(" ".join(words))
        return texts

    def texts_to_matrix(self, texts: Iterable[Any], mode: str = "binary") -> np.ndarray:
        return self.sequences_to_matrix(self.texts_to_sequences(texts), mode)

    def sequences_to_matrix(self, sequences: Sequence[Sequence[int]], mode: str = "binary") -> np.ndarray:
        """f64[N, num_words]: a column per id; mode "binary", "count", "tfidf" or "freq".   UsageError"""
        if mode not in MODES:
            raise UsageError("a matrix of words has no such mode", expected=", ".join(MODES), got=repr(mode))
        width = self.num_words or len(self.word_index) + 1
        if width == 1:
            raise UsageError("the tokenizer has no words yet", hint="fit_on_texts first, or give num_words")
        if mode == "tfidf" and not self.document_count:
            raise UsageError("tfidf needs counts of documents", hint="fit_on_texts first")
        out = np.zeros((len(sequences), width))
        for n, ids in enumerate(sequences):
            for i, count in Counter(j for j in ids if j < width).items():
                if mode == "tfidf":
                    documents = self.word_docs.get(self.index_word.get(i, ""), 0)
                    out[n, i] = (1 + math.log(count)) * math.log(1 + self.document_count / (1 + documents))
                else:
                    out[n, i] = {"binary": 1, "count": count, "freq": count / len(ids)}[mode]
        return out


OUTPUTS = ("int", "multi_hot", "count", "tf_idf")
STANDARDIZE = ("lower_and_strip_punctuation", "lower", "strip_punctuation", None)
SPLITS = ("whitespace", "character", None)
_PUNCTUATION = re.compile(f"[{re.escape(string.punctuation)}]")


class TextVectorization:
    """Texts to arrays, with Keras' semantics: `adapt` learns the vocabulary, calling it encodes.

    max_tokens   size of the vocabulary, padding and unknown among them;   standardize, split: names, or functions
    ngrams       n: all runs of up to n words;  a tuple: runs of these lengths
    output_mode  "int": i32[N, T], 0 is padding and 1 unknown;  "multi_hot", "count", "tf_idf": f32[N, V], column 0 unknown
    output_sequence_length, pad_to_max_tokens, vocabulary, idf_weights: as in Keras
    """

    def __init__(self, max_tokens: int | None = None, standardize: Any = "lower_and_strip_punctuation", split: Any = "whitespace",
                 ngrams: int | tuple[int, ...] | None = None, output_mode: str = "int", output_sequence_length: int | None = None,
                 pad_to_max_tokens: bool = False, vocabulary: Sequence[str] | None = None,
                 idf_weights: Sequence[float] | None = None):
        for name, value, known in (("standardize", standardize, STANDARDIZE), ("split", split, SPLITS),
                                   ("output_mode", output_mode, OUTPUTS)):
            if value not in known and not callable(value):
                raise UsageError(f"TextVectorization has no {name} {value!r}", expected=", ".join(map(str, known)))
        self.max_tokens, self.standardize, self.split, self.output_mode = max_tokens, standardize, split, output_mode
        self.ngrams = tuple(range(1, ngrams + 1)) if isinstance(ngrams, int) else ngrams
        self.output_sequence_length, self.pad_to_max_tokens = output_sequence_length, pad_to_max_tokens
        self._words: list[str] = []
        self._index: dict[str, int] = {}
        self._idf = np.zeros(0, np.float32)
        if vocabulary is not None:
            self.set_vocabulary(vocabulary, idf_weights)

    def tokens(self, text: str) -> list[str]:
        """The words of a text, or their runs."""
        if not isinstance(text, str):
            raise DataError("TextVectorization takes texts", expected="str", got=type(text).__name__)
        words = self._cut(self._standard(text))
        if self.ngrams is None:
            return words
        return [" ".join(words[i:i + n]) for n in self.ngrams for i in range(len(words) - n + 1)]

    def _standard(self, text: str) -> str:
        if callable(self.standardize):
            return self.standardize(text)
        if self.standardize is None:
            return text
        text = text.lower() if "lower" in self.standardize else text
        return _PUNCTUATION.sub("", text) if "punctuation" in self.standardize else text

    def _cut(self, text: str) -> list[str]:
        if callable(self.split):
            return list(self.split(text))
        return text.split() if self.split == "whitespace" else list(text) if self.split == "character" else [text]

    def adapt(self, texts: Iterable[str]) -> None:
        """Learns the vocabulary: words by frequency, equally frequent ones in reverse alphabetical order, as in Keras."""
        counts, documents, n = Counter[str](), Counter[str](), 0
        for text in texts:
            words = self.tokens(text)
            counts.update(words)
            documents.update(set(words))
            n += 1
        words = sorted(sorted((w for w in counts if w), reverse=True), key=lambda w: -counts[w])
        reserved = 2 if self.output_mode == "int" else 1
        words = words[:max(0, self.max_tokens - reserved)] if self.max_tokens else words
        self._keep(words, np.log1p(n / (1 + np.array([documents[w] for w in words], np.float64))))

    def _keep(self, words: Sequence[str], idf: np.ndarray) -> None:
        self._words = list(words)
        first = 2 if self.output_mode == "int" else 1
        self._index = {w: first + i for i, w in enumerate(self._words)}
        if len(idf) == len(words):
            self._idf = np.r_[idf.mean() if len(idf) else 0.0, idf].astype(np.float32)     # unknown words weigh the mean

    def set_vocabulary(self, vocabulary: Sequence[str], idf_weights: Sequence[float] | None = None) -> None:
        """Words in order, without padding and unknown (or with: "" and "[UNK]" at the head are dropped)."""
        words = list(vocabulary)
        for special in ("", "[UNK]"):
            if words and words[0] == special:
                words.pop(0)
                idf_weights = idf_weights if idf_weights is None or special == "" else list(idf_weights)[1:]
        if len(set(words)) < len(words):
            twice = Counter(words).most_common(1)[0][0]
            raise UsageError("the vocabulary has a word twice", got=repr(twice))
        if self.output_mode == "tf_idf" and (idf_weights is None or len(idf_weights) != len(words)):
            raise UsageError("tf_idf needs a weight for each word", expected=str(len(words)),
                             got="none" if idf_weights is None else str(len(idf_weights)))
        self._keep(words, np.asarray(idf_weights if idf_weights is not None else [], np.float64))

    def get_vocabulary(self, include_special_tokens: bool = True) -> list[str]:
        special = (["", "[UNK]"] if self.output_mode == "int" else ["[UNK]"]) if include_special_tokens else []
        return special + self._words

    def vocabulary_size(self) -> int:
        return len(self.get_vocabulary())

    def __call__(self, texts: Any) -> np.ndarray:
        """Encodes texts, or one text (without the first axis)."""
        if not self._index:
            raise UsageError("TextVectorization has no vocabulary yet", hint="call adapt, or pass vocabulary=")
        rows = [self.tokens(t) for t in ([texts] if isinstance(texts, str) else texts)]
        unknown = 1 if self.output_mode == "int" else 0
        ids = [[self._index.get(w, unknown) for w in row] for row in rows]
        out = self._matrix(ids) if self.output_mode != "int" else \
            pad_sequences(ids, self.output_sequence_length, padding="post", truncating="post")
        return out[0] if isinstance(texts, str) else out

    def _matrix(self, ids: list[list[int]]) -> np.ndarray:
        width = self.max_tokens if self.pad_to_max_tokens and self.max_tokens else len(self._words) + 1
        out = np.zeros((len(ids), width), np.float32)
        for n, row in enumerate(ids):
            np.add.at(out[n], row, 1)
        if self.output_mode == "multi_hot":
            return np.minimum(out, 1)
        if self.output_mode == "tf_idf":
            out[:, :len(self._idf)] *= self._idf
        return out
