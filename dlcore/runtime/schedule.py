"""Who does what: how the groups of a program are shared by a number of threads, and how many are worth waking.

Nothing here changes a result: cuts fall on a step's grid, which its shape fixes, and a kernel computes the same bits
wherever it is cut.  So the choice may follow an estimate of costs and be wrong by some per cent.
"""
from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dlcore.runtime.program import Step

# Measured on two cores of an AVX-512 server processor (2 MB second-level cache each) with the kernels of W1, a small
# perceptron: matrix tiles 90 to 95 GFLOP/s, AdamW 28 bytes per ns, copies 30 to 50, two members' barrier 0.2 to 0.3 us,
# a run's start and end 1.1 to 1.5 us.  They need to be right within a factor of two.
CALL_NS = 100.0             # a call that does nothing: the jump, the slicing, the first cache lines
BARRIER_NS = 400.0          # two members meet, and fetch what the other has written
MEMBER_NS = 100.0           # one more member at a barrier
START_NS = 1500.0           # a run begins and ends with more than one member
SHARE_NS = 500.0            # a share smaller than this is not worth cutting off
MATRIX = 1 << 15            # elements of a matrix of which each member updates a share of its own
UNEVEN = 1.1                # times an even share: the most that cuts may make of one
GAIN = 0.85                 # more members are woken only if the run is expected to take at most this part of the time
FLOPS_PER_NS = {"v2": 25.0, "v3": 60.0, "v4": 110.0, "v4_bf16": 110.0, "aarch64": 25.0}
NEAR_BYTES, NEAR_BYTES_PER_NS = 2 << 20, 40.0       # what stays in a core's own caches
FAR_BYTES_PER_NS = 25.0


def cost(step: Step, level: str) -> float:
    """Expected nanoseconds of a call on one thread: the greater of its arithmetic and its memory traffic."""
    size = step.bytes
    memory = size / (NEAR_BYTES_PER_NS if size <= NEAR_BYTES else FAR_BYTES_PER_NS)
    return CALL_NS + max(step.flops / FLOPS_PER_NS[level], memory)


def share(extent: int, grid: int, part: int, parts: int) -> tuple[int, int]:
    """Items `begin, end` of one part: cuts are multiples of the grid."""
    blocks = -(-extent // grid)
    return min(extent, part * blocks // parts * grid), min(extent, (part + 1) * blocks // parts * grid)


def update_cuts(steps: Sequence[Step]) -> dict[int, list[int]]:
    """Number of a step -> cuts 0, ..., extent between which each stretch is shared by all.

    One pass updates many weights: each large matrix is shared by itself, so that a member updates the same rows that it has
    read in the products.  A line that both read has to be called back from the other's caches, which costs more than the
    update."""
    flat = [(n, array) for n, step in enumerate(steps) if step.segment == "update" and step.extent > MATRIX
            for array, item in zip(step.arrays, step.spec.arrays, strict=True)
            if item.kind == "update" and array is not None and array[2] == (step.extent,) and array[3] == "f32"]
    ends = matrix_ends(steps, {array[0] for _, array in flat})
    inside: dict[int, set[int]] = {n: set() for n, _ in flat}
    for n, array in flat:                                   # the weights and their moments, which lie in other buffers
        inside[n] |= {end - array[1] // 4 for buffer, end in ends if buffer == array[0]}
    return {n: _apart(found, steps[n]) for n, found in inside.items()}


def part_cuts(steps: Sequence[Step]) -> dict[int, list[int]]:
    """The same for sums in parts over all gradients: each part is summed by the member that wrote most of it."""
    flat = [(n, array) for n, step in enumerate(steps) if step.segment == "update" and step.spec.chunked
            for array, item in zip(step.arrays, step.spec.arrays, strict=True)
            if item.kind == "read" and array is not None and len(array[2]) == 1 and array[2][0] > MATRIX and array[3] == "f32"]
    ends = matrix_ends(steps, {array[0] for _, array in flat})
    found = {}
    for n, (buffer, offset, (size,), *_) in flat:
        extent = steps[n].extent
        inside = {-(-(end - offset // 4) * extent // size) for where, end in ends if where == buffer}
        kept = [0]
        for cut in sorted(inside):
            if min(cut - kept[-1], extent - cut) >= 2:
                kept.append(cut)
        found[n] = [*kept, extent]
    return found


def matrix_ends(steps: Sequence[Step], buffers: set[str]) -> set[tuple[str, int]]:
    """(buffer, element) where large float32 matrices in these buffers begin and end."""
    return {(array[0], end) for step in steps if buffers for array in step.arrays
            if array is not None and array[0] in buffers and len(array[2]) > 1 and math.prod(array[2]) >= MATRIX
            for end in (array[1] // 4, array[1] // 4 + math.prod(array[2]))}


def _apart(ends: set[int], step: Step) -> list[int]:
    """Those on the grid that leave at least MATRIX elements on either side, between 0 and the extent."""
    kept = [0]
    for cut in sorted(end // step.grid * step.grid for end in ends):
        if min(cut - kept[-1], step.extent - cut) >= MATRIX:
            kept.append(cut)
    return [*kept, step.extent]


@dataclass(frozen=True, slots=True)
class Arrangement:
    """How `members` share a program: each member's items (call, begin, end), a call of -1 being a barrier."""
    members: int
    groups: list[tuple[int, int, float]]            # first and last call, expected ns on one thread
    ranges: dict[str, tuple[int, int]]              # segment -> its groups
    items: list[list[tuple[int, int, int]]]         # by member
    starts: list[list[int]]                         # by member: where each group begins in its items, and the end
    parts: list[int]                                # by step: over how many members it is split
    barriers: dict[str, int]                        # by segment
    serial_ns: dict[str, float]                     # by segment: one thread
    expected_ns: dict[str, float]                   # by segment: these members


def group_steps(steps: Sequence[Step], single: bool = False) -> list[tuple[str, int, int]]:
    """(segment, first, last) of each run of steps that need nothing of each other; `single`: each step by itself."""
    groups: list[tuple[str, int, int]] = []
    before = None
    for n, step in enumerate(steps):
        key = (step.segment, step.group)
        if single or key != before:
            groups.append((step.segment, n, n + 1))
        else:
            groups[-1] = (step.segment, groups[-1][1], n + 1)
        before = key
    return groups


def arrange(steps: Sequence[Step], costs: Sequence[float], members: int, forced: bool = False,
            single: bool = False) -> Arrangement:
    """Shares the steps among members.

    `forced` splits whatever can be split; `single` puts a barrier for all before every step (to take its time).
    Otherwise each group runs either on member 0 alone or on all; neighbouring groups of member 0 need no barrier.
    """
    groups = group_steps(steps, single)
    parts = [_parts(step, ns, members, forced or single) for step, ns in zip(steps, costs, strict=True)]
    placed = [_place(range(first, last), costs, parts, members) for _, first, last in groups]
    alone = [sum(costs[first:last]) for _, first, last in groups]
    shared = [max(loads) for _, loads in placed]
    barrier = BARRIER_NS + MEMBER_NS * (members - 2)
    if forced or single:
        wide = [True] * len(groups)
    else:
        wide = _choose([s for s, _, _ in groups], alone, shared, barrier)
    return _emit(steps, groups, placed, wide, alone, shared, parts, members, barrier, single)


def _parts(step: Step, ns: float, members: int, forced: bool) -> int:
    blocks = -(-step.extent // step.grid)
    worth = blocks if forced else int(ns / SHARE_NS)
    return max(1, min(members, blocks, worth))


def _place(calls: range, costs: Sequence[float], parts: Sequence[int],
           members: int) -> tuple[list[tuple[int, int, int]], list[float]]:
    """(member, call, part) of everything in a group, and the members' loads: calls split over all come first, member m
    with part m, so that it meets its own rows again; then the rest, dearest first, where there is least to do."""
    loads, placed = [0.0] * members, []
    for call in sorted(calls, key=lambda c: (parts[c] < members, -costs[c])):
        if parts[call] == members:
            chosen: Sequence[int] = range(members)
        else:
            chosen = sorted(sorted(range(members), key=lambda m: loads[m])[:parts[call]])
        for part, member in enumerate(chosen):
            loads[member] += CALL_NS + (costs[call] - CALL_NS) / parts[call]
            placed.append((member, call, part))
    return placed, loads


def _choose(segments: Sequence[str], alone: Sequence[float], shared: Sequence[float], barrier: float) -> list[bool]:
    """For each group: all members (True) or member 0 alone.  A shared group has a barrier on both sides, a lone one
    costs none beside another; the cheapest sequence is found by going through the groups once."""
    lone, wide, back = 0.0, 0.0, []
    for n in range(len(alone)):
        first = n == 0 or segments[n] != segments[n - 1]
        step = 0.0 if first else barrier
        from_lone = (lone, False) if lone <= wide + step else (wide + step, True)
        from_wide = (lone + step, False) if lone < wide else (wide + step, True)
        back.append((from_lone[1], from_wide[1]))
        lone, wide = from_lone[0] + alone[n], from_wide[0] + shared[n]
    at, chosen = wide < lone, []
    for n in reversed(range(len(alone))):
        chosen.append(at)
        at = back[n][at]
    return chosen[::-1]


def _emit(steps, groups, placed, wide, alone, shared, parts, members, barrier, single) -> Arrangement:
    items: list[list[tuple[int, int, int]]] = [[] for _ in range(members)]
    starts: list[list[int]] = [[] for _ in range(members)]
    ranges: dict[str, tuple[int, int]] = {}
    names, cuts = {segment for segment, _, _ in groups}, {**update_cuts(steps), **part_cuts(steps)}
    barriers = dict.fromkeys(names, 0)
    serial, expected = dict.fromkeys(names, 0.0), dict.fromkeys(names, 0.0)
    for n, (segment, first, last) in enumerate(groups):
        fresh = segment not in ranges
        ranges[segment] = (ranges[segment][0], n + 1) if not fresh else (n, n + 1)
        waits = not fresh and (single or wide[n] or wide[n - 1])
        for member in range(members):
            starts[member].append(len(items[member]))
            if waits or single:
                items[member].append((-1, 0, 0))
        if wide[n]:
            for member, call, part in placed[n][0]:
                items[member] += _items(call, steps[call], cuts.get(call), part, parts[call])
        else:
            items[0] += [(call, 0, steps[call].extent) for call in range(first, last) if steps[call].extent]
            for call in range(first, last):
                parts[call] = 1
        barriers[segment] += waits
        serial[segment] += alone[n]
        expected[segment] += (shared[n] if wide[n] else alone[n]) + waits * barrier
    for member in range(members):
        starts[member].append(len(items[member]))
    return Arrangement(members, [(first, last, ns) for (_, first, last), ns in zip(groups, alone, strict=True)], ranges,
                       items, starts, list(parts), barriers, serial, expected)


def _items(call: int, step: Step, cuts: list[int] | None, part: int, parts: int) -> list[tuple[int, int, int]]:
    """(call, begin, end) of one part, in each of the stretches between the cuts, unless these make shares too uneven."""
    found, stretches = [], list(itertools.pairwise(cuts or (0, step.extent)))
    if sum(math.ceil((last - first) / parts) for first, last in stretches) > UNEVEN * math.ceil(step.extent / parts):
        stretches = [(0, step.extent)]
    for first, last in stretches:
        begin, end = share(last - first, step.grid, part, parts)
        if begin < end:
            found.append((call, first + begin, first + end))
    return found


def candidates(most: int) -> list[int]:
    """Numbers of members that are considered: up to 4 each, then powers of two and their halves between, and `most`."""
    return sorted({n for n in (2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256) if n < most} | {most} - {1})
