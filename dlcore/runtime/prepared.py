"""Programs that prepare the same of the same weights, on one memory for it.

    first = preparing(program)              # what it prepares, as a program of its own
    shared = borrowing(other, first)        # None where the other prepares anything else
    instance = first.bind({"weights": weights})
    shared.bind({"weights": weights, "prepared": instance.buffers["prepared"]})
"""
from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from dlcore.runtime.buffers import DTYPES
from dlcore.runtime.program import Program, Step

PREPARED = "prepared"
GIVEN = ("weights", "statistics")       # what is prepared is computed from these alone


@dataclass(frozen=True)
class Part:
    """Bytes begin to end of a buffer, which a call of `prepare` has written.   key: equal where the same calls compute the same of
    the same weights"""

    buffer: str
    begin: int
    end: int
    key: Any

    def meets(self, other: Part) -> bool:
        return self.buffer == other.buffer and self.begin < other.end and other.begin < self.end


def part(pointer: Any, key: Any = None) -> Part:
    """The bytes of an array of a step."""
    buffer, begin, shape, dtype = pointer[:4]
    return Part(buffer, begin, begin + math.prod(shape) * DTYPES[dtype].itemsize, key)


def borrowing(program: Program, other: Program) -> Program | None:
    """`program` without its segment `prepare`, reading what `other` has prepared of the same memory by the same calls.

    None where it prepares nothing, or something that `other` does not, or runs elsewhere than on the processor."""
    if any(p.planning.get("device") == "cuda" or "prepare" not in p.segments for p in (program, other)):
        return None
    wanted, there = prepared(program), {p.key: p.begin for p in prepared(other)}
    if any(p.key not in there for p in wanted):
        return None

    def moved(pointer: Any) -> Any:
        """The same pointer where it is, or into the other's memory."""
        if pointer is None or pointer[0] != PREPARED:
            return pointer
        whole = part(pointer)
        shift, = {there[p.key] - p.begin for p in wanted if p.meets(whole)}     # parts that lie together there, too
        return (PREPARED, pointer[1] + shift, *pointer[2:])
    try:
        steps = [Step(s.kernel, s.dtypes, s.spec, s.extent, s.grid, s.dims, tuple(map(moved, s.arrays)), s.scalars, s.add,
                      s.segment, s.group, s.flops, s.label) for s in program.steps if s.segment != "prepare"]
        outputs = {name: moved(pointer) for name, pointer in program.outputs.items()}
    except ValueError:                  # they do not
        return None
    return Program(steps, {**program.sizes, PREPARED: other.sizes[PREPARED]}, outputs, dict(program.leaves), program.wide,
                   program.bound, program.total, dict(program.planning))


def preparing(program: Program) -> Program:
    """The segment `prepare` alone, of a program that has one."""
    steps = [s for s in program.steps if s.segment == "prepare"]
    used = [part(a) for s in steps for a in s.arrays if a]
    sizes = {p.buffer: program.sizes[p.buffer] for p in used}
    if "arena" in sizes:
        sizes["arena"] = max(p.end for p in used if p.buffer == "arena")
    return Program(steps, sizes, {}, {}, program.wide, planning=dict(program.planning))


def prepared(program: Program) -> list[Part]:
    """What a program has in `prepared` when it has prepared."""
    parts: list[Part] = []
    for step in program.steps:
        if step.segment == "prepare":
            key = (step.kernel, step.dtypes, step.dims, step.scalars, *(told(a, parts) for a in step.arrays if a and not a[4]),
                   *(object() for add in step.add if add == 1))         # what is added to is not known: equal to nothing
            new = [part(a, (key, n)) for n, a in enumerate(step.arrays) if a and a[4]]
            parts = [p for p in parts if p.buffer == PREPARED or not any(p.meets(n) for n in new)] + new     # that is written once
    return [p for p in parts if p.buffer == PREPARED]


def told(pointer: Any, parts: list[Part]) -> Any:
    """What tells an array that a step of `prepare` reads: its place among the weights, or all that was computed into it."""
    if pointer[0] in GIVEN:
        return pointer[:4]
    whole = part(pointer)
    inside = sorted(((p.begin - whole.begin, p.key) for p in parts if p.meets(whole)), key=lambda found: found[0])
    return pointer[2:4], tuple(inside) or object()
