"""Where the batches of an epoch come from: arrays in memory, in an order drawn for (seed, epoch), or an iterable of
batches.

A feed yields runners that hold the next batch.  It can start anywhere in an epoch, so that training resumes at any
step.
"""
from __future__ import annotations

from collections.abc import Iterable, Iterator, Sized
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from dlcore.errors import DataError, UsageError
from dlcore.layers.initializers import philox_key
from dlcore.training import dataset
from dlcore.training.dataset import DataSet
from dlcore.training.programs import Runner, signature

if TYPE_CHECKING:
    from dlcore.training.model import Model

SHUFFLE = 0x5F          # tells the generator of the order from those of initial weights


def order(rows: int, seed: int, epoch: int, shuffle: bool) -> np.ndarray:
    """The rows in the order in which an epoch takes them, int32."""
    if not shuffle:
        return np.arange(rows, dtype=np.int32)
    from dlcore.runtime.permutation import permutation
    return permutation(rows, philox_key(seed, SHUFFLE, epoch))


class ArrayFeed:
    """A data set in memory: bound once, gathered inside the program; the last, smaller batch is a program of its
    own."""

    def __init__(self, model: Model, data: DataSet, batch_size: int, shuffle: bool, seed: int):
        if data.rows >= 1 << 31:
            raise DataError("too many rows", expected="fewer than 2^31", got=str(data.rows))
        batch = batch_size * model.programs.micro_batches
        self.rows, self.batch, self.shuffle, self.seed = data.rows, min(batch, data.rows), shuffle, seed
        self.steps_per_epoch = -(-data.rows // self.batch)
        self.model, self.data = model, data
        self.generation = -1
        self.runners: dict[int, Runner] = {}

    @property
    def sizes(self) -> set[int]:
        """Of the batches of an epoch."""
        return {self.batch, self.rows % self.batch or self.batch}

    def bind(self) -> dict[int, Runner]:
        """Runners by batch, whole batches and the rest, on the memory that the weights have now."""
        store = self.model.store
        if self.generation == store.generation:
            return self.runners
        weighted = self.data.weight is not None
        signatures = {n: signature(self.model, "train", n, self.data.x, self.data.y, weighted, self.rows)
                      for n in self.sizes}
        for s in signatures.values():       # all planned before one is bound
            self.model.programs.plan(s)
        names = [f.name for f in (*signatures[self.batch].x, *signatures[self.batch].y)] + ["sample_weight"] * weighted
        data = {f"data/{n}": a for n, a in zip(names, self.data.arrays(), strict=True)}
        for n, s in signatures.items():
            self.runners[n] = self.model.programs.trainer(s, data, self.seed)
        self.generation = store.generation
        return self.runners

    def order(self, epoch: int) -> np.ndarray:
        """The rows in the order in which an epoch takes them, int32."""
        return order(self.rows, self.seed, epoch, self.shuffle)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Runner]:
        """The runners of an epoch's steps, from step `start` on."""
        rows, batch, runners = self.order(epoch), self.batch, self.bind()
        taken = memoryview(rows)        # type: ignore[arg-type]
        for at in range(start * batch, self.rows, batch):
            ids = taken[at:at + batch]
            runner = runners[len(ids)]
            runner.rows[:] = ids
            yield runner


class IterableFeed:
    """Batches that the user makes: (x, y) or (x, y, sample_weight), each of any size."""

    def __init__(self, model: Model, batches: Iterable[Any], steps_per_epoch: int | None, class_weight: Any, seed: int):
        self.model, self.batches, self.seed, self.class_weight = model, batches, seed, class_weight
        self.steps_per_epoch = steps_per_epoch
        known = len(batches) if isinstance(batches, Sized) else 0          # what callbacks are told
        self.planned = steps_per_epoch or -(-known // model.programs.micro_batches) or None
        self.endless: Iterator[Any] | None = iter(batches) if steps_per_epoch else None

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Runner]:
        """The runners of an epoch's steps; batches before step `start` are drawn and left out."""
        source, count = (self.endless or iter(self.batches)), 0
        while self.steps_per_epoch is None or count < self.steps_per_epoch:
            items = list(islice(source, self.model.programs.micro_batches))
            if not items:
                break
            if count >= start:
                yield self.runner(items)
            count += 1
        if count == 0 or (self.steps_per_epoch or 0) > count:
            raise DataError("the iterable of batches ran out", where=f"epoch {epoch}, step {count}",
                            hint="pass something that can be iterated once per epoch (a list, a Sequence), not a "
                                 "generator, or one that goes on, with steps_per_epoch")

    def runner(self, items: list[Any]) -> Runner:
        """The runner of one step's batches, one or those that are accumulated, which it has taken in."""
        batch = joined([batch_of(self.model, item, self.class_weight) for item in items])
        s = signature(self.model, "train", batch.rows, batch.x, batch.y, batch.weight is not None)
        runner = self.model.programs.runner(s, self.seed)
        runner.put(batch.arrays())
        return runner


def joined(batches: list[DataSet]) -> DataSet:
    """Batches one after another."""
    if len(batches) == 1:
        return batches[0]
    if len({b.weight is None for b in batches}) > 1:
        raise UsageError("some of the batches of a step have sample weights and some have none")
    weight = None if batches[0].weight is None else np.concatenate([b.weight for b in batches if b.weight is not None])
    return DataSet(tuple(np.concatenate(parts) for parts in zip(*(b.x for b in batches), strict=True)),
                   tuple(np.concatenate(parts) for parts in zip(*(b.y for b in batches), strict=True)), weight)


def batch_of(model: Model, item: Any, class_weight: Any = None) -> DataSet:
    """(x, y) or (x, y, sample_weight), checked."""
    if not isinstance(item, (tuple, list)) or len(item) not in (2, 3):
        raise UsageError("a batch is a tuple (x, y) or (x, y, sample_weight)", got=type(item).__name__)
    return dataset.make(model, item[0], item[1], item[2] if len(item) == 3 else None, class_weight)
