"""What a language model is trained and measured on: windows anywhere in a text, or lines that are samples of their own."""
from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from dlcore.data.text.tokenizer import TextTokenizer
from dlcore.layers.initializers import generator
from dlcore.tasks.batches import Batches

PLACES = 0x77               # tells the generator of training windows from those of initial weights


class Windows(Batches):
    """`steps` batches of windows at places of a text's ids that are drawn for (seed, epoch): (ids i32[batch, context], the ids
    that follow).   positions: of a pass over the text"""

    def __init__(self, ids: np.ndarray, batch: int, context: int, steps: int, seed: int):
        super().__init__(seed)
        self.ids, self.batch, self.context, self.steps, self.shape = ids, batch, context, steps, (context,)
        self.positions = len(ids)

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[tuple[np.ndarray, ...]]:
        rng, places = generator(self.seed or 0, PLACES, self.epoch), np.arange(self.context)
        for _ in range(self.steps):
            at = rng.integers(0, len(self.ids) - self.context, self.batch)[:, None] + places
            yield self.ids[at], self.ids[at + 1]


class Pieces:
    """Texts cut into windows side by side, the first one at each text's beginning.

    A text of n ids has n - 1 positions, each an id and the one that follows; every one is in one window.

    texts: i32[n] each   `pieces[rows]`: (ids i32[rows, context], the ids that follow, -1 behind the end of a text)"""

    def __init__(self, texts: Sequence[np.ndarray], context: int):
        self.ids = np.concatenate(texts) if len(texts) else np.zeros(0, np.int32)
        lengths = np.array([len(t) for t in texts], np.int64)
        counts = np.maximum(lengths - 1, 0)
        cut = -(-counts // context)
        order = np.arange(cut.sum()) - np.repeat(np.cumsum(cut) - cut, cut)       # of a window in its text
        self.begin = np.repeat(np.cumsum(lengths) - lengths, cut) + order * context
        self.count = np.minimum(context, np.repeat(counts, cut) - order * context)
        self.places = np.arange(context)

    def __len__(self) -> int:
        return len(self.begin)

    def __getitem__(self, rows: np.ndarray | slice) -> tuple[np.ndarray, np.ndarray]:
        there = self.places < self.count[rows][:, None]
        at = np.where(there, self.begin[rows][:, None] + self.places, 0)
        return np.where(there, self.ids[at], 0).astype(np.int32), np.where(there, self.ids[at + there], -1).astype(np.int32)


class Lines(Batches):
    """`steps` batches of `Pieces` drawn for (seed, epoch): (ids, the ids that follow, weights).

    The weights make the mean of the windows' mean losses that of all positions there are."""

    def __init__(self, pieces: Pieces, batch: int, steps: int, seed: int):
        super().__init__(seed)
        self.pieces, self.batch, self.steps, self.shape = pieces, batch, steps, pieces.places.shape
        self.positions = len(pieces) * len(pieces.places)

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[tuple[np.ndarray, ...]]:
        rng = generator(self.seed or 0, PLACES, self.epoch)
        for _ in range(self.steps):
            yield weighed(*self.pieces[rng.integers(0, len(self.pieces), self.batch)])


def weighed(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(x, y, weights f32[rows]) such that the mean of the rows' mean losses is that of all positions with an id that follows."""
    return x, y, np.full(len(x), y.size / max(1, int((y >= 0).sum())), np.float32)


def whole(texts: Sequence[np.ndarray], context: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Every position of the texts' ids once: (ids, the ids that follow, -1 behind an end, weights)."""
    return weighed(*Pieces(texts, context)[:])


def lines_of(text: str) -> list[str]:
    """The lines that are not blank, each with the line feed before it and the one that ends it."""
    return [f"\n{line}\n" for line in text.split("\n") if line.strip()]


def ids_of(tokenizer: TextTokenizer, texts: Sequence[str]) -> list[np.ndarray]:
    """i32[n] for each text."""
    return [np.array(tokenizer.encode(text, special=False), np.int32) for text in texts]
