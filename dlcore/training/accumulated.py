"""Gradient accumulation: a step whose batch goes through the programs in micro-batches, before one update.

Gradients are summed over all rows of the step, and the update takes them times 1 / rows.  So the step is that of the whole
batch, also where the last micro-batch is smaller; dropout draws for the rows of the whole batch.
"""
from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from dlcore.training.programs import Programs, Runner, Signature

LATE = ("reduce", "update")


def micro_signatures(s: Signature, parts: int) -> list[tuple[int, Signature]]:
    """(first row, signature) of each micro-batch: `parts` of nearly equal size, the last not larger than the others."""
    size = -(-s.batch // parts)
    return [(at, replace(s, batch=min(size, s.batch - at))) for at in range(0, s.batch, size)]


class Accumulated:
    """What a `Runner` is to a step in one piece; the same attributes and methods.

    rows     where the programs gather: the numbers of the rows of the whole batch
    inputs   else: memory for the whole batch, None for what the programs do not read"""

    def __init__(self, programs: Programs, s: Signature, parts: int, data: dict[str, np.ndarray], seed: int):
        micro = micro_signatures(s, parts)
        for _, small in micro:                              # all planned before one is bound
            programs.program(small)
        made: dict[int, Runner] = {}
        for _, small in micro:
            if small.batch not in made:
                made[small.batch] = programs.bind(programs.program(small), small, data, seed)
        self.parts = [(at, made[small.batch]) for at, small in micro]
        self.batch, first = s.batch, self.parts[0][1]
        self.instance, self.status = self.parts[-1][1].instance, first.status
        self.version, self.generation = first.version, first.generation
        self.norm = self.parts[-1][1].norm
        self.scalars: dict[str, Any] = {"lr": 0.0, "step": 0}
        self.sums: list[float] = [0.0] * len(first.sums)
        self.rows = memoryview(np.zeros(s.batch, np.int32)) if s.rows else None     # type: ignore[arg-type]
        self.inputs = () if s.rows else tuple(
            None if v is None else np.zeros((s.batch, *v.shape[1:]), v.dtype) for v in first.inputs)

    def put(self, arrays: Sequence[np.ndarray]) -> None:
        """Copies a batch in (None in `inputs`: one that the programs do not read), converting dtypes."""
        for memory, array in zip(self.inputs, arrays, strict=True):
            if memory is not None:
                memory[...] = array

    def send(self) -> None:
        """Micro-batches are copied one by one when they run."""

    def read(self, arrays: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
        """The arrays that the programs read."""
        return tuple(a for a, memory in zip(arrays, self.inputs, strict=True) if memory is not None)

    def call(self, arrays: tuple[Any, ...]) -> tuple[np.ndarray, ...]:
        """The step on a batch, whose arrays are in the order of the inputs; returns the sums."""
        for memory, array in zip([m for m in self.inputs if m is not None], arrays, strict=True):
            memory[...] = array
        self.run()
        return np.array(self.sums, np.float32),

    def run(self) -> None:
        """Runs the micro-batches, and the update with the last.  Where one is not finite the update is left out, and
        `status` and `instance` are those of that micro-batch."""
        self.sums[:] = [0.0] * len(self.sums)
        last = len(self.parts) - 1
        for i, (at, runner) in enumerate(self.parts):
            if self.rows is not None:
                runner.rows[:] = self.rows[at:at + runner.batch]
            for memory, view in zip(self.inputs, runner.inputs, strict=False):
                if memory is not None and view is not None:
                    view[...] = memory[at:at + runner.batch]
            self.instance = runner.instance
            self.run_part(runner, at, i > 0, i == last)
            for n, value in enumerate(runner.sums):
                self.sums[n] += value
            if not math.isfinite(runner.sums[0]):
                runner.status[0] = 1
            if runner.status[0]:
                return

    def run_part(self, runner: Runner, at: int, accumulate: bool, update: bool) -> None:
        """One micro-batch whose first row is row `at` of the batch."""
        program = runner.instance.program
        given = {**self.scalars, "gradient_scale": 1.0 / self.batch, "first_sample": at}
        slots = runner.constants | {n: v for n, v in given.items() if n in program.slots}
        runner.constants = {}
        segments = [n for n in program.segments if n != "prepare" and (update or n not in LATE)]
        runner.instance.run(*segments, accumulate=accumulate, **slots)
