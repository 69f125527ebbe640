"""Calls that need nothing of each other stand side by side in groups: threads wait once for all of them.

Done before the layout, for memory that is used again would forbid it.  Memory is counted in cells, the smallest ranges that
any two calls touch differently, so every step costs as many cells as it touches.
"""
from __future__ import annotations

from array import array

from dlcore.graph import loops
from dlcore.graph.loops import FAR

NEAR = 1            # groups that a call may move forward: more makes memory live longer, and undoes recomputation


class Accesses:
    """What each call touches, as flat arrays: call n has the entries first[n] to first[n + 1].

    key: number of the memory; low, high: its cells; write: 1 if written."""

    def __init__(self):
        self.first = array("q", [0])
        self.key = array("q")
        self.start = array("q")
        self.stop = array("q")
        self.write = array("b")
        self.low = array("q")
        self.high = array("q")
        self.cells = 0

    def add(self, key, start, stop, write):
        self.key.append(key)
        self.start.append(start)
        self.stop.append(stop)
        self.write.append(write)

    def next(self):
        self.first.append(len(self.key))

    def cut(self, keys):
        """Numbers the cells of every memory.  Most are touched as a whole only: one cell."""
        key, start, stop = self.key, self.start, self.stop
        lowest, highest = array("q", [-1]) * keys, array("q", [-1]) * keys
        cell, parts = array("q", [-1]) * keys, array("b", [0]) * keys
        self.cells = loops.wholes(key, start, stop, lowest, highest, cell, parts)
        bounds = {}                     # memory that calls touch in parts -> where the parts begin and end
        for n in range(len(key)):
            if parts[key[n]]:
                known = bounds.setdefault(key[n], set())
                known.add(start[n])
                known.add(stop[n])
        for k, known in bounds.items():
            bounds[k] = {at: self.cells + n for n, at in enumerate(sorted(known))}
            self.cells += len(known)
        self.low, self.high = array("q", [0]) * len(key), array("q", [0]) * len(key)
        loops.number(key, cell, self.low, self.high)
        if bounds:
            for n in range(len(key)):
                if parts[key[n]]:
                    places = bounds[key[n]]
                    self.low[n], self.high[n] = places[start[n]], places[stop[n]]


def levels(accesses, begin, end, near):
    """For the calls begin to end of one segment: the group of each, counted from 0.

    A call joins the earliest group that its dependencies allow, but at most `near` before the latest opened so far; one that
    depends on nothing in the segment stands just before the first that needs it, or its output would be alive from the start."""
    first, low, high, write = accesses.first, accesses.low, accesses.high, accesses.write
    level, bound = array("q", [0]) * (end - begin), array("b", [0]) * (end - begin)
    wrote, read = array("q", [-1]) * accesses.cells, array("q", [-1]) * accesses.cells
    loops.forwards(first, low, high, write, begin, end, near, level, bound, wrote, read)
    wrote, read = array("q", [FAR]) * accesses.cells, array("q", [FAR]) * accesses.cells
    loops.backwards(first, low, high, write, begin, end, level, bound, wrote, read)
    return level


def lives(accesses, groups, keys):
    """(first group, last group) in which each memory is touched; (FAR, -1) for one that never is."""
    start, end = array("q", [FAR]) * keys, array("q", [-1]) * keys
    loops.lives(accesses.first, accesses.key, groups, start, end)
    return start, end
