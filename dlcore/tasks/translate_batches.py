"""Batches of sentence pairs: pairs of similar length stand together, so that little is padding.

A batch is ([source i32[B, S], target i32[B, T]], what follows i32[B, T], -1 behind the end, weights f32[B]), filled up behind.
"""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from dlcore.data.text.sequences import buckets, pad_sequences
from dlcore.layers.initializers import generator
from dlcore.tasks.batches import Batches

ORDER = 0x2E                # tells the generator of the order of batches from those of initial weights
GRAIN = 2                   # lengths are rounded up to multiples of it
TARGETS, SOURCES, LEAST = 6, 3, 4       # groups by lengths, at most;  batches of a group, about, at least
Batch = tuple[list[np.ndarray], np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Group:
    """Pairs that are padded to S and T steps."""

    rows: np.ndarray
    S: int
    T: int


def rounded(longest: int, most: int) -> int:
    return min(most, -(-max(1, longest) // GRAIN) * GRAIN)


class Pairs:
    """sources, targets: lists of ids;  lengths: (S, T), the most that the network takes.  begin, end: ids around a target;
    size: pairs of a batch.  Groups are made by the length of the target, then by that of the source, of at least some
    batches each."""

    def __init__(self, sources: Sequence[Sequence[int]], targets: Sequence[Sequence[int]], lengths: tuple[int, int],
                 begin: int, end: int, size: int):
        self.sources, self.targets, self.begin, self.end = sources, targets, begin, end
        self.tokens = sum(len(t) + 1 for t in targets)
        sizes = np.array([(len(s), len(t) + 1) for s, t in zip(sources, targets, strict=True)]).reshape(-1, 2)
        by_target = buckets(sizes[:, 1], max(1, min(TARGETS, len(sizes) // (SOURCES * LEAST * size))), grain=1)
        rows = [b.rows[c.rows] for b in by_target
                for c in buckets(sizes[b.rows, 0], max(1, min(SOURCES, len(b.rows) // (LEAST * size))), grain=1)]
        self.groups = [Group(r, rounded(int(sizes[r, 0].max()), lengths[0]), rounded(int(sizes[r, 1].max()), lengths[1]))
                       for r in rows]
        whole = sum(len(g.rows) * (g.S + g.T) for g in self.groups)
        self.waste = 1 - int(sizes.sum()) / whole if whole else 0.0

    def __len__(self) -> int:
        return len(self.sources)

    def batch(self, group: Group, rows: np.ndarray, whole: float = 0.0) -> Batch:
        """The pairs of these rows.  The weights make the mean of the rows' mean losses that of all ids of the batch; with
        `whole`, ids a row in all batches together, that of all batches."""
        source = pad_sequences([self.sources[n] for n in rows], group.S, padding="post")
        target = pad_sequences([[self.begin, *self.targets[n]] for n in rows], group.T, padding="post")
        follows = pad_sequences([[*self.targets[n], self.end] for n in rows], group.T, padding="post", value=-1)
        weight = group.T / (whole or int((follows >= 0).sum()) / len(rows))
        return [source, target], follows, np.full(len(rows), weight, np.float32)

    def in_order(self, size: int) -> list[Batch]:
        """Every pair once; the means of these batches together are those of all ids."""
        return [self.batch(g, g.rows[a:a + size], self.tokens / len(self))
                for g in self.groups for a in range(0, len(g.rows), size)]


class PairBatches(Batches):
    """The batches of an epoch, drawn for (seed, epoch): pairs in new company, batches in a new order."""

    def __init__(self, pairs: Pairs, size: int, seed: int):
        super().__init__(seed)
        self.pairs, self.size = pairs, size

    def __len__(self) -> int:
        return sum(-(-len(g.rows) // self.size) for g in self.pairs.groups)

    def drawn(self) -> list[tuple[Group, np.ndarray]]:
        """The pairs of each batch of the epoch."""
        rng = generator(self.seed or 0, ORDER, self.epoch)
        cut = []
        for g in self.pairs.groups:
            rows = g.rows[np.argsort(rng.random(len(g.rows)), kind="stable")]
            cut += [(g, rows[a:a + self.size]) for a in range(0, len(rows), self.size)]
        return [cut[n] for n in np.argsort(rng.random(len(cut)), kind="stable")]

    def __iter__(self) -> Iterator[Batch]:
        for group, rows in self.drawn():
            yield self.pairs.batch(group, rows)
