"""The feed of a `Source`: batches made ahead by a background thread, in the inputs of several instances of the step's program.

While one instance runs, the thread writes the next batches into the inputs of the others; all share weights, arena and outputs,
so that only the inputs are there several times and no batch is copied.
"""
from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from dlcore.data.loader import Ahead, LoaderTimes, Source
from dlcore.errors import DataError, ShapeError, UsageError
from dlcore.training import arrays, dataset
from dlcore.training.programs import Runner, signature

if TYPE_CHECKING:
    from dlcore.training.model import Model

AHEAD = 3               # instances: one runs, one is ready, one is being filled
SHARED = ("arena", "outputs")


class LoadedFeed:
    """rows, batch, steps_per_epoch: as in `ArrayFeed`.  times: how long steps waited, over all epochs."""

    def __init__(self, model: Model, source: Source, batch_size: int, shuffle: bool, seed: int):
        self.model, self.source, self.shuffle, self.seed = model, source, shuffle, seed
        self.rows, self.batch = source.rows, min(batch_size * model.programs.micro_batches, source.rows)
        if not 0 < self.rows < 1 << 31:
            raise DataError("the data is empty" if not self.rows else "too many rows", expected="1 to 2^31 - 1 rows",
                            got=str(self.rows))
        self.steps_per_epoch = -(-self.rows // self.batch)
        self.targets = self._checked()
        self.times = LoaderTimes()
        self.generation = -1
        self.runners: dict[int, list[Runner]] = {}

    def _checked(self) -> np.ndarray:
        """Targets as the loss takes them; builds a model that has no input shape."""
        model, source = self.model, self.source
        if not model.built:
            model.build((None, *source.shape))
        if len(model.network.inputs) != 1 or len(model.objective.target_names) != 1:
            raise UsageError("a source is for models with one input and one output", got=", ".join(model.network.input_names))
        want = model.network.inputs[0].shape[1:]
        if np.prod(want) != np.prod(source.shape):
            raise ShapeError("x has the wrong shape", expected=str((None, *want)), got=str((None, *source.shape)))
        if source.y is None:
            raise UsageError("targets are missing", expected="y")
        y = arrays.as_array(source.y, "y")
        objective = model.objective
        found = dataset.target(y, objective.kind(0, y), objective.symbols[0], "y")
        if source.weight is not None:
            arrays.float_weights(source.weight, source.rows, "sample_weight")
        source.y = found
        return found

    def bind(self) -> None:
        """Instances for the whole batches and for the rest, on the memory that the weights have now."""
        store = self.model.store
        if self.generation == store.generation:
            return
        want = self.model.network.inputs[0]
        x = np.broadcast_to(np.zeros((), np.int32 if want.dtype == "i32" else np.float32), (1, *want.shape[1:]))
        weighted, sizes = self.source.weight is not None, {self.batch, self.rows % self.batch or self.batch}
        signatures = {n: signature(self.model, "train", n, [x], [self.targets[:1]], weighted) for n in sizes}
        for s in signatures.values():                       # all planned before one is bound
            self.model.programs.plan(s)
        for n, s in signatures.items():
            if self.model.programs.micro_batches > 1:       # each has memory for its batch, and all share what they run on
                self.runners[n] = [self.model.programs.trainer(s, {}, self.seed) for _ in range(AHEAD)]
                continue
            program = self.model.programs.program(s)
            first = self.model.programs.bind(program, s, {}, self.seed)
            shared = {name: first.instance.buffers[name] for name in SHARED if name in program.sizes}
            others = [self.model.programs.bind(program, s, shared, self.seed) for _ in range(AHEAD - 1)]
            self.runners[n] = [first, *others]
        self.generation = store.generation

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Runner]:
        """The runners of an epoch's steps, from step `start` on, each with its batch in its inputs."""
        from dlcore.training.feed import order
        self.bind()
        rows, source, batch = order(self.rows, self.seed, epoch, self.shuffle), self.source, self.batch

        def make(i: int, place: int) -> Runner:
            position = start + i
            ids = rows[position * batch:(position + 1) * batch]
            runner = self.runners[len(ids)][place]
            x, y, *weight = runner.inputs
            assert x is not None and y is not None
            source.fill(x, y, ids, self.seed, epoch, position)
            if source.weight is not None and weight[0] is not None:
                weight[0][...] = source.weight[ids]
            runner.send()
            return runner
        yield from Ahead(make, self.steps_per_epoch - start, AHEAD, self.times)


def measure(model: Model, source: Source, batch_size: int, steps: int) -> dict[str, float]:
    """Trains so many steps and says how they met their batches, all in seconds and means over the steps, because a wait
    now and then is what matters: step, waited (part of it), made (by the thread), share = waited / step.  The weights change."""
    from dlcore.training.loop import Loop
    model.ensure_store()
    model.state.start_epoch()
    feed = LoadedFeed(model, source, batch_size, True, model.state.seed)
    taken = 0

    def count(position: int) -> None:
        nonlocal taken
        taken += 1
        loop.stop = taken == steps
    loop = Loop(model, feed, model.state, 1 << 30, on_step=count)
    seconds = sum(report.seconds for report in loop)
    times = feed.times
    return {"steps": taken, "step": seconds / taken, "waited": times.waited / taken, "made": times.made / taken,
            "share": times.waited / seconds}
