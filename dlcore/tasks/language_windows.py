"""What a language model is trained and measured on: windows anywhere in a text, or lines that are samples of their own."""
from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from dlcore.data.text.tokenizer import TextTokenizer
from dlcore.layers.initializers import generator
from dlcore.tasks.batches import ORDER, Batches

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

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        """i64[batch]: where windows begin."""
        return rng.integers(0, len(self.ids) - self.context, self.batch)

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        rng, places = generator(self.seed or 0, PLACES, self.epoch), np.arange(self.context)
        for _ in range(self.steps):
            at = self.draw(rng)[:, None] + places
            yield self.ids.take(at, mode="wrap"), self.ids.take(at + 1, mode="wrap")


class Lines(Windows):
    """Windows that begin where a line begins, or the next piece of a line that is longer than the context.

    A window runs on into other lines, in an order drawn for each epoch: networks learn faster from full windows than where
    targets behind the line's end are left out, though a line is measured alone.

    lines: i32[n] each, from a line feed to the line feed that begins the next line"""

    def __init__(self, lines: Sequence[np.ndarray], batch: int, context: int, steps: int, seed: int):
        self.lines = [ids[:-1] for ids in lines]
        super().__init__(np.concatenate(self.lines), batch, context, steps, seed)

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        return self.begins[rng.integers(0, len(self.begins), self.batch)]

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        order = generator(self.seed or 0, ORDER, self.epoch).permutation(len(self.lines))
        self.ids = np.concatenate([self.lines[i] for i in order])
        counts = np.array([len(self.lines[i]) for i in order])
        line, offset = pieces(counts, self.context)
        self.begins = (np.cumsum(counts) - counts)[line] + offset
        yield from super().__iter__()


def pieces(counts: np.ndarray, context: int) -> tuple[np.ndarray, np.ndarray]:
    """Texts of so many positions cut side by side into pieces of `context`: (text i64[P], position in it i64[P]) of each piece."""
    cut = -(-counts // context)
    text = np.repeat(np.arange(len(counts)), cut)
    return text, (np.arange(len(text)) - (np.cumsum(cut) - cut)[text]) * context


def whole(texts: Sequence[np.ndarray], context: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Every position of texts' ids once, in windows side by side, the first one at each text's beginning: (ids, the ids that
    follow, -1 behind the end of a text, weights).

    The weights make the mean of the windows' mean losses that of all positions, though not all windows are full."""
    lengths = np.array([len(ids) for ids in texts])
    counts = np.maximum(lengths - 1, 0)
    text, offset = pieces(counts, context)
    ids, places = np.concatenate(texts), np.arange(context)
    there = places < (counts[text] - offset)[:, None]
    at = np.where(there, ((np.cumsum(lengths) - lengths)[text] + offset)[:, None] + places, 0)
    x, y = np.where(there, ids[at], 0), np.where(there, ids[at + there], -1)
    return x.astype(np.int32), y.astype(np.int32), np.full(len(x), x.size / max(1, counts.sum()), np.float32)


def lines_of(text: str) -> list[str]:
    """The lines that are not blank, each with the line feed before it and the one that ends it."""
    return [f"\n{line}\n" for line in text.split("\n") if line.strip()]


def ids_of(tokenizer: TextTokenizer, texts: Sequence[str]) -> list[np.ndarray]:
    """i32[n] for each text."""
    return [np.array(tokenizer.encode(text, special=False), np.int32) for text in texts]
