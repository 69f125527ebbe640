"""Looking for faults: poison and guard zones (`DLCORE_DEBUG`), replay step by step, the time of each step."""
from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dlcore.errors import DataError, DlcoreError
from dlcore.runtime.buffers import DTYPES, damage, mend

if TYPE_CHECKING:
    from dlcore.runtime.program import Instance, Plan, Program, Step

POISON = 0xFF               # as f32, f64 and bf16 it is NaN, as a signed integer -1


class MemoryFault(DlcoreError, RuntimeError):
    """A kernel wrote where it has nothing to write (`DLCORE_DEBUG`)."""

    code, exit_code = "DL-K01", 70


@dataclass(frozen=True, slots=True)
class BadStep:
    """The first call that wrote a NaN or an infinity."""
    step: int                       # its number in the program
    label: str                      # the call, as the graph names it
    kernel: str
    segment: str
    array: str                      # the output's name in the call's spec
    shape: tuple[int, ...]
    count: int                      # elements that are not finite
    index: tuple[int, ...]          # the first of them
    value: float

    def __str__(self) -> str:
        return (f"{self.label} ({self.segment}, call {self.step}) wrote {self.count} values that are not finite into "
                f"{self.array}{list(self.shape)}, the first {self.value} at {list(self.index)}")


# ---- one run in debug mode ---------------------------------------------------------------------------------------
def run(instance: Instance, plan: Plan, accumulate: bool, level: int) -> None:
    """Checks inputs, poisons what the run must write, runs, and looks at the guard zones.  On damage the run is
    repeated from a copy of all memory, step by step, to name the culprit; from level 2 on every run is watched so."""
    check_inputs(instance)
    poison(instance, plan.segments, accumulate)
    before = {name: instance.buffers[name].copy() for name in written(instance.program)}
    if level < 2:
        instance.execute(plan)
        damaged = next((f"buffer {n}: {d}" for n, b in instance.buffers.items() if (d := damage(b))), "")
        if not damaged:
            return
        for name, memory in before.items():
            instance.buffers[name][:] = memory
            mend(instance.buffers[name])
        watch_steps(instance, plan.segments)
        raise MemoryFault("memory around a buffer was overwritten", where=damaged,
                          hint="no single call does it alone; look for calls that race")
    watch_steps(instance, plan.segments)


def check_inputs(instance: Instance) -> None:
    """Float inputs must be finite."""
    for name, (buffer, *_, dtype) in instance.program.leaves.items():
        if buffer == "inputs" and dtype in ("f32", "f64"):
            bad = np.argwhere(~np.isfinite(instance[name]))
            if len(bad):
                raise DataError("an input is not finite", where=f"{name}{bad[0].tolist()}",
                                got=str(instance[name][tuple(bad[0])]))


def poison(instance: Instance, segments: tuple[str, ...], accumulate: bool) -> None:
    """Fills what nobody may read before it is written: the arena and the outputs at the start of a step, and the
    gradients that this run overwrites."""
    if segments[:1] == instance.program.default_segments()[:1]:
        for name in ("arena", "outputs"):
            if name in instance.buffers:
                instance.buffers[name][:] = POISON
    if not accumulate:
        for n, step in enumerate(instance.program.steps):
            if step.segment in segments:
                for i, bit in zip(added(step), step.add, strict=True):
                    if bit == 2:
                        instance.array(n, i).view(np.uint8)[...] = POISON


def added(step: Step) -> list[int]:
    """Which arrays of a step are `+` outputs."""
    return [i for i, item in enumerate(step.spec.arrays) if item.kind == "add"]


def watch_steps(instance: Instance, segments: tuple[str, ...]) -> None:
    """Runs step by step and raises MemoryFault naming the first that changed a byte outside the arrays it may write.
    Data sets are not looked at: they are large, and mostly mapped read-only."""
    for n, step in steps_of(instance.program, segments):
        before = {name: b.copy() for name, b in instance.buffers.items() if not name.startswith("data/")}
        instance.run_step(n)
        for name, memory in before.items():
            buffer = instance.buffers[name]
            if around := damage(buffer):
                raise fault(step, n, f"buffer {name}: {around}")
            changed = buffer != memory
            for array in step.arrays:
                if array is not None and array[0] == name and array[4]:
                    changed[array[1]:array[1] + nbytes(array)] = False
            at = np.flatnonzero(changed)
            if len(at):
                raise fault(step, n, f"buffer {name}: {len(at)} bytes, the first at {at[0]}")


def fault(step: Step, n: int, where: str) -> MemoryFault:
    arrays = zip(step.spec.arrays, step.arrays, strict=True)
    writes = [f"{i.name} = {a[0]}[{a[1]}:{a[1] + nbytes(a)}]" for i, a in arrays if a is not None and a[4]]
    return MemoryFault(f"{step.label} wrote outside its outputs", where=where, expected=", ".join(writes),
                       got=f"kernel {step.kernel}[{step.dtypes}], call {n} ({step.segment})")


def nbytes(array: tuple) -> int:
    return DTYPES[array[3]].itemsize * int(np.prod(array[2], dtype=np.int64))


def written(program: Program) -> set[str]:
    """The buffers that a program writes."""
    return {a[0] for step in program.steps for a in step.arrays if a is not None and a[4]}


def steps_of(program: Program, segments: tuple[str, ...]) -> Iterator[tuple[int, Step]]:
    """(number, step) in the order in which the segments are given."""
    for segment in segments:
        yield from ((n, step) for n, step in enumerate(program.steps) if step.segment == segment)


# ---- replay ------------------------------------------------------------------------------------------------------
@contextmanager
def kept(instance: Instance) -> Iterator[None]:
    """Puts back whatever the program writes, but for the arena."""
    before = {name: instance.buffers[name].copy() for name in written(instance.program) - {"arena"}}
    try:
        yield
    finally:
        for name, memory in before.items():
            instance.buffers[name][:] = memory


def first_bad_step(instance: Instance) -> BadStep | None:
    """The first call of forward and backward whose float output has a NaN or infinity; see `Instance`."""
    with kept(instance):
        for n, step in steps_of(instance.program, tuple(s for s in instance.program.segments
                                                        if s in ("forward", "backward"))):
            instance.run_step(n)
            for i, item in enumerate(step.spec.arrays):
                if item.kind in ("out", "add", "update") and (bad := not_finite(instance, n, i)):
                    return bad
    return None


def not_finite(instance: Instance, n: int, i: int) -> BadStep | None:
    step = instance.program.steps[n]
    array = instance.array(n, i)
    if array is None:
        return None
    if step.arrays[i][3] == "bf16":
        array = (array.astype(np.uint32) << 16).view(np.float32)
    if array.dtype.kind != "f" or np.isfinite(array).all():
        return None
    bad = np.argwhere(~np.isfinite(array))
    index = tuple(int(x) for x in bad[0])
    return BadStep(n, step.label, step.kernel, step.segment, step.spec.arrays[i].name, array.shape, len(bad), index,
                   float(array[index]))


# ---- time --------------------------------------------------------------------------------------------------------
def time_steps(instance: Instance, repeats: int, threads: int) -> list[float]:
    """Seconds of each step of the default segments (others: 0), the median of `repeats` runs."""
    segments = instance.program.default_segments()
    plan = instance.program.timed_plan(segments, threads)
    order = [n for n, _ in steps_of(instance.program, segments)]
    samples: list[list[int]] = [[] for _ in instance.program.steps]
    with kept(instance):
        for _ in range(max(1, repeats)):
            stamps = instance.stamp(plan)
            for n, begin, end in zip(order, stamps, stamps[1:], strict=False):
                samples[n].append(end - begin)
    return [float(np.median(s)) * 1e-9 if s else 0.0 for s in samples]
