"""Which memory is behind a tensor while a plan is made, and who touches it when."""
from __future__ import annotations

from dlcore.graph.spec import DTYPES

END = 1e300         # after the last call


class Life:
    """A piece of memory, summed up: who touches it, from when until when.

    first, last   positions of its first and last access by calls
    reads, writes how many;  plain: writes by outputs that cannot add
    kept          it is an output, read after the end
    pending       positions of sums that read it and are not settled yet, ascending
    """

    def __init__(self, tensor):
        self.tensor = tensor
        self.first = END
        self.last = -END
        self.reads = 0
        self.writes = 0
        self.plain = 0
        self.kept = False
        self.pending = []

    def end(self):
        """When it is read for the last time."""
        if self.kept:
            return END
        return max(self.last, self.pending[-1]) if self.pending else self.last

    def join(self, other):
        """This memory holds the other too."""
        self.first = min(self.first, other.first)
        self.last = max(self.last, other.last)
        self.reads += other.reads
        self.writes += other.writes
        self.plain += other.plain
        self.kept = self.kept or other.kept
        if other.pending:
            self.pending = sorted(self.pending + other.pending) if self.pending else other.pending


class Memory:
    """Aliases found by the planner, and the lives of what is behind them."""

    def __init__(self):
        self.alias = {}         # id of a tensor -> (tensor, byte in it): memory found to be part of other memory
        self.same = {}          # id of a version -> the version that an equal call wrote
        self.made = {}          # id of a version -> (position, call, argument) of the call that completed it
        self.latest = {}        # id of memory -> its newest version, where a `~` on an activation shares it
        self.lives = {}         # id of memory -> Life
        self.hoisted = set()    # ids of memory that `prepare` writes

    def root(self, t):
        """(tensor that has the memory, byte in it where t starts)."""
        at = 0
        if t.base is not None:
            at = t.offset * DTYPES[t.dtype]
            t = t.base
        found = self.alias.get(id(t))
        if found is None:
            return t, at
        begin, past, path = t, 0, []
        while found is not None:                # to the end of the chain, then every link points there
            path.append((t, past))
            t, more = found
            past += more
            if t.base is not None:
                past += t.offset * DTYPES[t.dtype]
                t = t.base
            found = self.alias.get(id(t))
        for link, start in path:
            self.alias[id(link)] = t, past - start
        return t, at + self.alias[id(begin)][1]

    def memory(self, t):
        """The tensor that has the memory."""
        return self.root(t)[0]

    def version(self, t):
        """The version that a tensor shows, as it is computed in this plan."""
        source = t.source
        while id(source) in self.same:
            source = self.same[id(source)].source
        return source

    def written(self, t):
        """(position, call, argument) of what completes a tensor; position -1 for leaves and what `prepare` makes."""
        found = self.made.get(id(self.version(t)))
        return found if found is not None and found[0] >= 0 else (-1.0, None, "")

    def life(self, t):
        """The life of the memory behind t, begun if need be."""
        r = self.memory(t)
        found = self.lives.get(id(r))
        if found is None:
            found = self.lives[id(r)] = Life(r)
        return found

    def use(self, position, call, item, t):
        """A call's access to t under the name of an item."""
        life = self.life(t)
        if position < life.first:
            life.first = position
        if position > life.last:
            life.last = position
        kind = item.kind
        if kind == "read" or kind == "update":
            life.reads += 1
        if kind != "read":
            life.writes += 1
            life.plain += kind != "add"
            self.made[id(t.source)] = position, call, item.name

    def merge(self, r, into, at):
        """The memory r is found to be part of `into`, `at` bytes from its start."""
        life = self.lives.pop(id(r), None)
        if life is not None:
            self.life(into).join(life)
        self.alias[id(r)] = into, at
