"""One arena: where memory that lives for a while lies, so that what lives at the same time does not overlap."""
from __future__ import annotations

from array import array
from bisect import bisect_left, insort
from random import Random

from dlcore.graph import loops

GOOD = 1.05         # times the largest sum alive at any moment: good enough to stop looking
TRIES, FEW = 64, 200    # orders that are tried, for at most so many tensors
MANY = 2000         # above, memory is given out in the order of time first: first fit looks at all pairs


def alive(start, end, size):
    """The largest sum of sizes alive at any moment: no arena can be smaller."""
    if not len(size):
        return 0
    change = array("q", [0]) * (max(end) + 2)
    return loops.alive(start, end, size, change)


def arrange(start, end, size, bound):
    """(offsets, height) of the arena; lives [start, end] count both ends.

    Biggest first is nearly always within 1 per cent of the bound; where it is not, other orders are tried, the same on every
    run."""
    count = len(size)
    if count > MANY:
        at, height = in_time(start, end, size)
        if height <= GOOD * bound:
            return at, height
    best, lowest = None, 1 << 62
    for order in orders(start, end, size):
        at = first_fit(start, end, size, order)
        height = max([a + s for a, s in zip(at, size)], default=0)
        if height < lowest:
            best, lowest = at, height
        if lowest <= GOOD * bound or count > FEW:
            break
    if count > MANY:
        at, height = in_time(start, end, size)
        if height < lowest:
            best, lowest = at, height
    return best, lowest


def orders(start, end, size):
    """Orders worth trying: biggest first, biggest and longest first, then by chance."""
    count = len(size)
    yield array("q", sorted(range(count), key=lambda n: (-size[n], start[n])))
    yield array("q", sorted(range(count), key=lambda n: -size[n] * (end[n] - start[n] + 1)))
    chance, order = Random(0), list(range(count))
    for _ in range(TRIES):
        chance.shuffle(order)
        yield array("q", order)


def first_fit(start, end, size, order):
    """Each in turn at the lowest place that is free through its life."""
    at, placed = array("q", [0]) * len(size), array("q", [0]) * len(size)
    loops.first_fit(start, end, size, order, at, placed)
    return at


def in_time(start, end, size):
    """(offsets, height): each takes, when its life begins, the smallest hole that fits.  Hardly more than linear."""
    at, ending = array("q", [0]) * len(size), {}
    holes, starts, stops = [], {}, {}           # (size, offset) ascending; offset -> size; end -> offset
    height, due = 0, sorted(set(end))
    passed = 0
    for n in sorted(range(len(size)), key=lambda n: (start[n], -size[n])):
        while passed < len(due) and due[passed] < start[n]:
            for other in ending.pop(due[passed], ()):
                _free(holes, starts, stops, at[other], size[other])
            passed += 1
        ending.setdefault(end[n], []).append(n)
        k = bisect_left(holes, (size[n], -1))
        if k < len(holes):
            hole, offset = holes.pop(k)
        else:                                   # what is free at the top grows
            hole, offset = 0, height
            if height in stops:
                offset = stops[height]
                hole = starts[offset]
                del holes[bisect_left(holes, (hole, offset))]
            height = max(height, offset + size[n])
        if hole:
            del starts[offset], stops[offset + hole]
        at[n] = offset
        if hole > size[n]:
            _free(holes, starts, stops, offset + size[n], hole - size[n])
    return at, height


def _free(holes, starts, stops, offset, size):
    """Gives memory back, joined with the holes beside it."""
    below = stops.pop(offset, None)
    if below is not None:
        before = starts.pop(below)
        del holes[bisect_left(holes, (before, below))]
        offset, size = below, size + before
    after = starts.pop(offset + size, None)
    if after is not None:
        del holes[bisect_left(holes, (after, offset + size))]
        del stops[offset + size + after]
        size += after
    starts[offset], stops[offset + size] = size, offset
    insort(holes, (size, offset))
