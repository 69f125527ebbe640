"""What programs prepare of the same weights by the same calls, in memory once for all of them.

    first = share(program, [])                      # a program that prepares, and one that reads
    second = share(other, [first.contents])         # reads what the first has prepared; what else it needs is its own

`dlcore.training.prepared` binds them.  Blocks are the smallest stretches of the buffer `prepared` that no array of the
program reaches out of; two blocks are the same where equal calls on equal memory have written equal stretches of them.
"""
from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dlcore.runtime.buffers import DTYPES
from dlcore.runtime.program import Program, Step

PREPARED = "prepared"
GIVEN = ("weights", "statistics")       # what is prepared is computed from these alone
ALIGN = 64


@dataclass(frozen=True)
class Part:
    """Bytes begin to end of a buffer.   key: of what `prepare` has written there"""

    buffer: str
    begin: int
    end: int
    key: Any = None

    def meets(self, other: Part) -> bool:
        return self.buffer == other.buffer and self.begin < other.end and other.begin < self.end

    def holds(self, other: Part) -> bool:
        """Whether all of the other lies in it."""
        return self.buffer == other.buffer and self.begin <= other.begin and other.end <= self.end


@dataclass(frozen=True)
class Share:
    """program    without `prepare`: reads the buffers prepared/0, prepared/1, ...
    used       numbers of the others whose memory these are, in their order
    own        the program whose buffer `prepared` comes after them; None where the others have everything
    contents   of that buffer: key of a block -> byte offset"""

    program: Program
    used: tuple[int, ...]
    own: Program | None
    contents: Mapping[Any, int]


def share(program: Program, others: Sequence[Mapping[Any, int]]) -> Share:
    """Divides a program that has a segment `prepare`.   others: contents of what was prepared of the same memory before"""
    blocks = blocks_of(program)
    home = {b: next((n for n, known in enumerate(others) if b.key in known), -1) for b in blocks}
    missing = [b for b in blocks if home[b] < 0]
    steps = needed(program, blocks, missing)
    own = stacked(missing)
    used = tuple(sorted({n for b, n in home.items() if b not in own}))
    places = {b: (f"{PREPARED}/{len(used)}", own[b]) if b in own else (f"{PREPARED}/{used.index(home[b])}", others[home[b]][b.key])
              for b in blocks}
    reader = reading(program, blocks, places)
    if not own:
        return Share(reader, used, None, {})
    preparing = [moved(s, blocks, {b: (PREPARED, at) for b, at in own.items()}) for s in steps]
    return Share(reader, used, alone(program, preparing), {b.key: at for b, at in own.items()})


# ---- what is written where ---------------------------------------------------------------------------------------------
def part(pointer: Any, key: Any = None) -> Part:
    """The bytes of an array."""
    buffer, begin, shape, dtype = pointer[:4]
    return Part(buffer, begin, begin + math.prod(shape) * DTYPES[dtype].itemsize, key)


def written(step: Step) -> Iterator[Any]:
    return (a for a in step.arrays if a and a[4])


def read(step: Step) -> Iterator[Any]:
    return (a for a in step.arrays if a and not a[4])


def blocks_of(program: Program) -> list[Part]:
    """The blocks of a program, in order."""
    pointers = [*(a for s in program.steps for a in s.arrays if a), *program.outputs.values()]
    stretches = sorted({(p.begin, p.end) for p in map(part, pointers) if p.buffer == PREPARED})
    joined: list[tuple[int, int]] = []
    for begin, end in stretches:
        if joined and begin < joined[-1][1]:
            joined[-1] = joined[-1][0], max(end, joined[-1][1])
        else:
            joined.append((begin, end))
    parts = prepared(program)
    return [Part(PREPARED, begin, end, contents(Part(PREPARED, begin, end), parts)) for begin, end in joined]


def prepared(program: Program) -> list[Part]:
    """What stands in memory when a program has prepared, each part with a key."""
    parts: list[Part] = []
    for step in program.steps:
        if step.segment == "prepare":
            key = (step.kernel, step.dtypes, step.dims, step.scalars, *(told(a, parts) for a in read(step)),
                   *(object() for add in step.add if add == 1))         # what is added to is not known: equal to nothing
            new = [part(a, (key, n)) for n, a in enumerate(written(step))]
            parts = [p for p in parts if not any(p.meets(n) for n in new)] + new
    return parts


def told(pointer: Any, parts: list[Part]) -> Any:
    """What tells an array that a step of `prepare` reads: its place among the weights, or what was computed into it."""
    return pointer[:4] if pointer[0] in GIVEN else (pointer[2:4], contents(part(pointer), parts))


def contents(whole: Part, parts: list[Part]) -> Any:
    """The keys of the parts of a stretch, each with its place there; of one that nothing was written to what equals nothing."""
    inside = sorted(((p.begin - whole.begin, p.end - whole.begin, p.key) for p in parts if p.meets(whole)), key=lambda p: p[:2])
    return tuple(inside) or object()


def stacked(blocks: Sequence[Part]) -> dict[Part, int]:
    """A byte offset for each block, one behind the other."""
    found, size = {}, 0
    for block in blocks:
        found[block] = size
        size += -(-(block.end - block.begin) // ALIGN) * ALIGN
    return found


# ---- programs of some of the calls -------------------------------------------------------------------------------------
def needed(program: Program, blocks: list[Part], missing: list[Part]) -> list[Step]:
    """The steps of `prepare` that these blocks take.   Other blocks on the way to them become missing, too."""
    wanted, kept = list(missing), []
    for step in reversed([s for s in program.steps if s.segment == "prepare"]):
        writes = [part(a) for a in written(step)]
        if any(p.meets(w) for p in writes for w in wanted):
            kept.append(step)
            if not any(add == 1 for add in step.add):       # what stood there before is not asked for
                wanted = [w for w in wanted if not any(p.holds(w) for p in writes)]
            reads = [part(a) for a in read(step) if a[0] not in GIVEN]
            reached = [b for p in (*reads, *writes) for b in blocks if b.meets(p) and b not in missing]
            missing += dict.fromkeys(reached)
            wanted += [*reads, *reached]
    return kept[::-1]


def led(pointer: Any, blocks: Sequence[Part], places: Mapping[Part, tuple[str, int]]) -> Any:
    """The same array where its block is now."""
    if pointer is None or pointer[0] != PREPARED:
        return pointer
    whole = part(pointer)
    block = next(b for b in blocks if b.meets(whole))
    buffer, at = places[block]
    return (buffer, at + pointer[1] - block.begin, *pointer[2:])


def moved(step: Step, blocks: Sequence[Part], places: Mapping[Part, tuple[str, int]]) -> Step:
    """The same step on arrays that lie elsewhere."""
    arrays = tuple(led(a, blocks, places) for a in step.arrays)
    return Step(step.kernel, step.dtypes, step.spec, step.extent, step.grid, step.dims, arrays, step.scalars, step.add,
                step.segment, step.group, step.flops, step.label)


def reading(program: Program, blocks: Sequence[Part], places: Mapping[Part, tuple[str, int]]) -> Program:
    """The program without `prepare`, its blocks in the places of other buffers."""
    steps = [moved(s, blocks, places) for s in program.steps if s.segment != "prepare"]
    sizes = {name: n for name, n in program.sizes.items() if name != PREPARED}
    for block, (buffer, at) in places.items():
        sizes[buffer] = max(sizes.get(buffer, 0), at + block.end - block.begin)
    outputs = {name: led(pointer, blocks, places) for name, pointer in program.outputs.items()}
    return Program(steps, sizes, outputs, dict(program.leaves), program.wide, program.bound, program.total, dict(program.planning))


def alone(program: Program, steps: list[Step]) -> Program:
    """A program of these steps, with no more memory than they touch."""
    used = [part(a) for s in steps for a in s.arrays if a]
    sizes = {p.buffer: program.sizes[p.buffer] for p in used}
    for name in {"arena", PREPARED} & sizes.keys():
        sizes[name] = max(p.end for p in used if p.buffer == name)
    return Program(steps, sizes, {}, {}, program.wide, planning=dict(program.planning))
