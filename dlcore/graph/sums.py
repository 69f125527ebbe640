"""Sums vanish: parts are written where the total lies.  And `~` on an activation shares the old version's memory or not."""
from __future__ import annotations

from dlcore.graph.memory import END
from dlcore.graph.spec import DTYPES
from dlcore.graph.tensor import Call, Sum

BEFORE, AFTER = 0.125, 0.125        # calls stand at whole positions: between them is room for copies


class Sums:
    """Settles every `~` on an activation and every Sum of the order.

    add: (id of a call, output) of the writes that add.  order: afterwards calls only, fills and copies among them."""

    def __init__(self, graph, memory, order, outputs, fill, accumulate):
        self.graph, self.memory, self.order = graph, memory, order
        self.fill, self.accumulate = fill, accumulate
        self.add = set()
        self.inserted = []
        self.starts = []                # (position, segment), ascending: where each segment begins
        for position, c in order:
            if not self.starts or self.starts[-1][1] != c.segment:
                self.starts.append((position, c.segment))
        self.find_uses(outputs)
        for position, c in order:
            if isinstance(c, Call) and c.old:
                self.share_updates(position, c)
        for position, c in order:
            if isinstance(c, Sum):
                self.settle(position, c)
        self.sums = [c for _, c in order if isinstance(c, Sum)]         # kept alive: memory is known by id
        self.order = [(p, c) for p, c in order if isinstance(c, Call)] + self.inserted
        self.order.sort(key=position_of)

    def find_uses(self, outputs):
        memory = self.memory
        for position, c in self.order:
            if isinstance(c, Sum):
                memory.life(c.total)
                for t, _ in c.parts:
                    memory.life(t).pending.append(position)
                continue
            tensors = c.tensors
            for item in c.declaration.spec.arrays:
                t = tensors.get(item.name)
                if t is not None:
                    memory.use(position, c, item, t)
            for old in c.old.values():
                life = memory.life(old)
                life.reads += 1
                life.first, life.last = min(life.first, position), max(life.last, position)
        for t in outputs:
            memory.life(t).kept = True

    # ---- `~` on activations -----------------------------------------------------------------------------------------
    def share_updates(self, position, c):
        """The new version takes the old one's memory if nobody looks at the old one later; else it starts as a copy."""
        memory = self.memory
        for name, old in c.old.items():
            new = c.tensors[name]
            r = memory.memory(old)
            if memory.memory(new) is r:         # weights, state, caches: always in place
                continue
            if self.may_share(position, c, name, old):
                memory.merge(new, r, 0)
                memory.latest[id(r)] = new
            else:
                self.insert(position - BEFORE / 2, self.accumulate, [old], new)
                memory.made[id(new)] = position, c, name

    def may_share(self, position, c, name, old):
        memory = self.memory
        r, at = memory.root(old)
        if r.buffer or id(r) in memory.hoisted or at or r.bytes != old.bytes or isinstance(r.call, Sum):
            return False
        latest = memory.latest.get(id(r))
        if latest is not None and latest is not memory.version(old):
            return False
        if memory.lives[id(r)].end() > position:
            return False
        return all([t is None or n == name or memory.memory(t) is not r for n, t in c.tensors.items()])

    # ---- sums -------------------------------------------------------------------------------------------------------
    def settle(self, position, s):
        """Finds a place for every part of one sum."""
        memory = self.memory
        parts = sorted([(memory.written(t), t, offset) for t, offset in s.parts], key=arrival_of)
        times = {}                      # memory of a part -> how many parts it holds
        for _, t, _ in parts:
            r = id(memory.memory(t))
            times[r] = times.get(r, 0) + 1
        for r in times:
            if r in memory.lives:       # from here on merges and copies look, not s
                memory.lives[r].pending = [p for p in memory.lives[r].pending if p != position]
        first = next((w[0] for w, _, _ in parts if w[0] >= 0), position)
        covered = tiles(parts, s.total)
        if covered == "disjoint":
            latest = self.tile(position, s, parts, times, first)
        elif covered:
            latest = self.grow(position, s, parts, times, first)
        else:
            cleared = max(first - 2 * BEFORE, self.floor(s))
            call = self.insert(cleared, self.fill, [0.0], s.total)
            latest = self.add_parts(position, s, parts, times, cleared, (cleared, call, "out"))
        memory.made[id(s.total)] = latest

    def tile(self, position, s, parts, times, first):
        """Parts that cover the total without overlap: each overwrites its own place."""
        latest = (-END, None, "")
        for written, t, offset in parts:
            if times[id(self.memory.memory(t))] == 1 and self.may_be_place(t, s, END):
                self.take(t, s, offset)
                at = written
            else:
                at = self.copy(written[0] + AFTER if written[0] >= 0 else first - BEFORE, s, t, offset)
            latest = max(latest, at, key=place_of)
        return latest

    def grow(self, position, s, parts, times, first):
        """The first part is the total's place, or is copied there; the others add."""
        (written, t, offset), rest = parts[0], parts[1:]
        copied = max(written[0] + AFTER if written[0] >= 0 else first - BEFORE, self.floor(s))
        adding = [w[0] for w, p, _ in rest if w[0] > copied and times[id(self.memory.memory(p))] == 1
                  and self.may_add(p, s)]
        if times[id(self.memory.memory(t))] == 1 and self.may_be_place(t, s, min(adding, default=position)):
            self.take(t, s, offset)
            begun = written
        else:
            begun = self.copy(copied, s, t, offset)
        return self.add_parts(position, s, rest, times, copied, begun)

    def add_parts(self, position, s, parts, times, begun, latest):
        """Parts that add to a place that holds something since `begun`."""
        busy = set()                    # a call adds to a place once
        for written, t, offset in parts:
            at, call, name = written
            if at > begun and id(call) not in busy and times[id(self.memory.memory(t))] == 1 and self.may_add(t, s):
                self.take(t, s, offset)
                busy.add(id(call))
            else:
                at, call, name = self.copy(position, s, t, offset)
            self.add.add((id(call), name))
            latest = max(latest, (at, call, name), key=place_of)
        return latest

    def whole(self, t, s):
        """Is t all of some memory that is free to lie elsewhere, in its newest version?"""
        memory = self.memory
        r, at = memory.root(t)
        if r.buffer or id(r) in memory.hoisted or at or r.bytes != t.bytes or r is memory.memory(s.total):
            return False
        if s.total.buffer and memory.lives[id(r)].first < self.floor(s):
            return False
        latest = memory.latest.get(id(r))
        return latest is None or latest is memory.version(t)

    def may_be_place(self, t, s, grows):
        """May t be where the total lies?  Others read it only before that place `grows`.  In the gradients buffer, where it
        stands on top of earlier micro-batches, nobody may read it at all, and its writers must be able to add."""
        if not self.whole(t, s):
            return False
        life = self.memory.lives[id(self.memory.memory(t))]
        if s.total.buffer:
            return life.reads == 0 and life.plain == 0 and not life.kept and not life.pending
        return grows == END or life.end() < grows

    def may_add(self, t, s):
        """May t be added where the total lies?  One `+` write and no reader: it is never there alone."""
        if not self.whole(t, s):
            return False
        life = self.memory.lives[id(self.memory.memory(t))]
        return life.writes == 1 and life.plain == 0 and life.reads == 0 and not life.kept and not life.pending

    def take(self, t, s, offset):
        self.memory.merge(self.memory.memory(t), s.total, offset * DTYPES[t.dtype])

    def copy(self, position, s, t, offset):
        """A call that brings t to its place; (position, call, argument)."""
        position = max(position, self.floor(s))
        return position, self.insert(position, self.accumulate, [t], s.total.view((t.size,), offset)), "out"

    def floor(self, s):
        """Where fills and copies of a sum may begin: not in `prepare`, and those to `gradients` in the sum's segment."""
        if id(s.total) in self.memory.hoisted:
            return -END
        for position, segment in self.starts:
            if segment == s.segment if s.total.buffer else segment != "prepare":
                return position - 2 * BEFORE
        return -END

    # ---- fills and copies -------------------------------------------------------------------------------------------
    def insert(self, position, declaration, arguments, out):
        """A call between those of the order, in the segment that is at work there."""
        graph = self.graph
        calls, depth, segment, lowering = graph.calls, graph.depth, graph.segment, graph.lowering
        graph.calls, graph.depth, graph.lowering, graph.segment = [], 1, True, self.segment_at(position)
        try:
            flat = [a.view((a.size,), 0) if not isinstance(a, float) else a for a in arguments]
            declaration(*flat, out={"out": out.view((out.size,), 0)}, graph=graph)
            call = graph.calls[0]
        finally:
            graph.calls, graph.depth, graph.segment, graph.lowering = calls, depth, segment, lowering
        self.inserted.append((position, call))
        for item in call.declaration.spec.arrays:
            self.memory.use(position, call, item, call.tensors[item.name])
        return call

    def segment_at(self, position):
        """The segment in whose part of the order a position lies."""
        found = self.starts[0][1]
        for start, segment in self.starts:
            if start - 3 * BEFORE > position:
                break
            found = segment
        return found


def position_of(pair):
    return pair[0]


def arrival_of(part):
    return part[0][0]


def place_of(written):
    return written[0]


def tiles(parts, total):
    """"disjoint": the parts tile the total;  "whole": the first to be written is all of it;  "": it must be cleared."""
    if parts[0][1].size == total.size:
        return "disjoint" if len(parts) == 1 else "whole"
    at = 0
    for offset, size in sorted([(offset, t.size) for _, t, offset in parts]):
        if offset != at:
            return ""
        at += size
    return "disjoint" if at == total.size else ""
