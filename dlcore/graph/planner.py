"""Graph -> Program: what is needed, lowered, prepared once, summed in place, grouped, laid out.

Compiled by Cython in pure-Python mode; the source runs uncompiled too.  The steps stand in files of their own, in this order:
`lowering.py` (kernels of this device), `sums.py` (memory that is found to be part of other memory), `schedule.py` (groups),
`layout.py` (the arena).  `memory.py` knows which memory is behind a tensor.
"""
from __future__ import annotations

import gc
import time
from array import array

from dlcore.errors import DeviceError, UsageError
from dlcore.graph import layout, schedule
from dlcore.graph.declaration import Slot, declared
from dlcore.graph.lowering import Lowering, device_of
from dlcore.graph.memory import Memory
from dlcore.graph.parameters import ALIGN
from dlcore.graph.spec import DTYPES, PRODUCTS, TRAINING
from dlcore.graph.sums import Sums
from dlcore.graph.tensor import Call, Sum, Tensor
from dlcore.runtime import Program, Step, device_table

SEGMENTS = ("prepare", "forward", "backward", "reduce", "update")
LATE = ("reduce", "update")
KEPT = ("weights", "statistics", "state", "cache")      # places of their own in Parameters
FLAT = ("weights", "gradients")                         # one call may touch many tensors of these


def plan(graph, outputs, gradients=None, seeds=None, updates=None, table=None, lookups=None):
    """A Program of everything that `outputs`, gradients and updates need.  The graph is left as it was.

    outputs    {name: tensor}; a tensor that lies in a buffer (a weight, a cache) stays there
    gradients  {loss: [tensors]}: d(sum(loss * seed)) / d(tensor).  Those of weights land in the buffer `gradients`, at the
               weight's offset; the others are outputs "d <name>".  What several losses give one tensor is added.
    seeds      {loss: tensor of its shape}; by default slot `loss_scale` for every element
    updates    a function without arguments that emits the optimizer's calls; they must update exactly the weights that have
               a gradient here.  It may return {name: tensor}: further outputs, such as the norm of all gradients
    lookups    {table: (looked up, function)}: the gradients of these weights are not formed.  function(gradient of what was looked
               up) -> (ids, rows, count) is what `updates` finds in `graph.rows`, by the table's name
    table      kernels; by default those of the device that `set_device` chose
    Raises NotDifferentiableError, UsageError (updates; a precision without gradients), ShapeError, DeviceError (no kernel)."""
    collecting = gc.isenabled()         # tens of thousands of objects are made, nearly all of them live until the end:
    gc.disable()                        # looking through them, and all others of the process, takes as long as planning
    try:
        return _plan(graph, outputs, gradients, seeds, updates, table, lookups)
    finally:
        if collecting:
            gc.enable()


def _plan(graph, outputs, gradients, seeds, updates, table, lookups):
    if (gradients or updates is not None) and graph.precision not in TRAINING:
        raise UsageError(f"{graph.precision} is for answers: it has no gradients", where="plan",
                         expected=f"{', '.join(TRAINING)} for a program that trains", got=f"precision {graph.precision!r}")
    clock = [time.perf_counter()]
    device = device_of(table if table is not None else device_table(graph.wide))
    kept = _state(graph)
    graph.parameters.freeze()
    outputs = dict(outputs)
    try:
        graph.segment = "backward"
        pinned = _gradients(graph, outputs, gradients or {}, seeds or {}, lookups or {})
        graph.segment, first = "update", len(graph.calls)
        if updates is not None:
            more = updates()
            if isinstance(more, dict):
                outputs.update(more)
            graph.parameters.freeze()
        clock.append(time.perf_counter())
        work = _needed(graph.calls, first, pinned, outputs, updates is not None)
        if updates is not None:
            _check_updates(graph, work, pinned)
        return Planner(graph, device, outputs, work, clock).program
    finally:
        _restore(graph, kept)
        graph.rows = {}


def _state(graph):
    return (len(graph.calls), len(graph.tape), {k: list(v) for k, v in graph.updates.items()}, dict(graph.newest),
            dict(graph.leaves), graph.versions, graph.nodes, graph.segment, graph.path)


def _restore(graph, kept):
    calls, tape, graph.updates, graph.newest, graph.leaves, graph.versions, graph.nodes, graph.segment, graph.path = kept
    del graph.calls[calls:], graph.tape[tape:]


# ---- what is to be done ------------------------------------------------------------------------------------------------
def _gradients(graph, outputs, gradients, seeds, lookups):
    """Makes the gradients; returns the sums that bring those of weights into their buffer."""
    found, tables = {}, {id(looked_up): (t, function) for t, (looked_up, function) in lookups.items()}
    for loss, tensors in gradients.items():
        tensors = [lookups[t][0] if t in lookups else t for t in dict.fromkeys(tensors)]
        seed = seeds.get(loss)
        if seed is None:
            seed = declared("fill")(Slot("loss_scale"), S=loss.size, graph=graph).reshape(*loss.shape)
        for t, d in zip(tensors, graph.gradients(loss, tensors, seed)):
            found.setdefault(id(t), (t, []))[1].append(d)
    pinned = []
    for t, parts in found.values():
        if id(t) in tables:
            table, function = tables[id(t)]
            graph.rows[table.name] = function(graph.sum(parts))
            continue
        if t.buffer == "weights" and t.base is None:
            offset = graph.parameters.places[t.name].offset // DTYPES[t.dtype]
            total = Tensor(graph, t.shape, t.dtype, None, "gradients", t.name, None, offset)
            pinned.append(Sum(total, [(d, 0) for d in parts], "backward"))
            continue
        name = "d " + t.name
        if not t.name or name in outputs:
            raise UsageError(f"the gradient by {t!r} cannot be called {name!r}",
                             hint="differentiate by tensors that have names of their own")
        outputs[name] = graph.sum(parts)
    return pinned


def _reads(c):
    if isinstance(c, Sum):
        return [p for p, _ in c.parts]
    found = [t for i in c.declaration.spec.arrays if i.kind == "read" and (t := c.tensors.get(i.name)) is not None]
    found.extend(c.old.values())
    return found


def _writes(c):
    if isinstance(c, Sum):
        return [c.total]
    return [t for i in c.declaration.spec.outputs if (t := c.tensors.get(i.name)) is not None]


def _needed(calls, first, pinned, outputs, updating):
    """The calls that the outputs and the updates need, in order of segments.

    What a layer does in the segment `update` (running statistics) is planned with the updates where everything that it reads
    is computed anyway."""
    wanted = {id(t.source) for t in outputs.values()}
    body = [c for c in calls[:first] if c.segment not in LATE] + pinned
    kept = []
    for c in [*reversed(calls[first:]), *reversed(body)]:
        if c.segment in LATE or isinstance(c, Sum) and c.total.buffer or any([id(t) in wanted for t in _writes(c)]):
            kept.append(c)
            wanted.update([id(t.source) for t in _reads(c)])
    kept.reverse()
    if updating:
        done = {id(t) for c in kept for t in _writes(c)}
        for c in calls[:first]:
            if c.segment in LATE and all([t.call is None or id(t.source) in done for t in _reads(c)]):
                kept.append(c)
                done.update([id(t) for t in _writes(c)])
    kept.sort(key=lambda c: SEGMENTS.index(c.segment))
    return kept


def _check_updates(graph, work, pinned):
    """The updates cover exactly the weights that have a gradient here."""
    touched = []
    for c in work:
        if isinstance(c, Call) and c.segment in LATE:
            for t in c.old.values():
                r = t if t.base is None else t.base
                if r.buffer == "weights":
                    start = _offset(graph, r) + (t.offset * DTYPES[t.dtype] if t.base is not None else 0)
                    touched.append((start, start + t.bytes))
    touched.sort()
    having, stray, at = {s.total.name for s in pinned} | set(graph.rows), [], 0
    places = sorted([(p.offset, n) for n, p in graph.parameters.places.items() if p.buffer == "weights"])
    for offset, name in places:
        place = graph.parameters.places[name]
        stop = offset + place.size * DTYPES[place.dtype]
        while at < len(touched) and touched[at][1] <= offset:
            at += 1
        updated = at < len(touched) and touched[at][0] < stop
        if updated != (name in having):
            stray.append((name, updated))
    if stray:
        name, updated = stray[0]
        raise UsageError(f"weight {name!r} is updated but has no gradient in this plan" if updated else
                         f"weight {name!r} has a gradient in this plan but is not updated",
                         expected="an update of exactly the weights that have a gradient",
                         got=", ".join([n for n, u in stray if u == updated]),
                         hint="give the updates and `gradients` the same weights")


def _offset(graph, root):
    """The byte in its buffer where a leaf begins: as Parameters say, or for a range of a flat buffer its own."""
    if root.name and root.buffer in KEPT:
        name = root.name + str(list(root.shape)) if root.buffer == "cache" else root.name
        return graph.parameters.places[name].offset
    return root.offset * DTYPES[root.dtype]


# ---- how it is done ----------------------------------------------------------------------------------------------------
class Planner:
    """One plan: each method does one step and leaves what the next one needs."""

    def __init__(self, graph, device, outputs, work, clock):
        self.graph, self.device, self.outputs, self.clock = graph, device, outputs, clock
        self.memory = Memory()
        self.lowering = Lowering(graph, device, self.memory, work)
        self.order = self.lowering.order
        self.order.sort(key=position_of)
        self.absent = set()             # (id of a call, output) that nobody reads and that may be absent
        self.drop_unread()
        self.tick()
        self.sums = Sums(graph, self.memory, self.order, outputs.values(), declared("fill"), declared("accumulate"))
        self.add, self.order = self.sums.add, [c for _, c in self.sums.order]
        self.tick()
        self.groups = []                # of each call, once they are ordered
        self.roots, self.numbers = [], {}       # memory by number; its number by id
        self.accesses, self.lifetimes = None, None      # what calls touch; first and last group of each memory
        self.group()
        self.tick()
        self.pointers = {}              # id of a tensor -> (buffer, byte, shape, dtype)
        self.places = {}                # id of memory -> (buffer, byte)
        self.sizes, self.bound, self.total = {}, 0, 0
        self.lay_out()
        self.tick()
        self.program = self.emit()

    def tick(self):
        self.clock.append(time.perf_counter())

    def drop_unread(self):
        """A lowering may write what nobody asked for, and an optional output that nobody reads is left out."""
        memory = self.memory
        wanted = {id(memory.version(t)) for t in self.outputs.values()}
        kept = []
        for position, c in reversed(self.order):
            if isinstance(c, Call):
                unread = [i for i in c.declaration.spec.outputs if (t := c.tensors.get(i.name)) is not None
                          and id(memory.version(t)) not in wanted and not memory.memory(t).buffer]
                if unread and len(unread) == len([i for i in c.declaration.spec.outputs if i.name in c.tensors]):
                    self.lowering.dropped.append(c)
                    continue
                for item in unread:
                    if item.optional and item.kind != "update":
                        self.absent.add((id(c), item.name))
            elif id(c.total) not in wanted and not c.total.buffer:
                self.lowering.dropped.append(c)
                continue
            kept.append((position, c))
            wanted.update([id(memory.version(t)) for t in _reads(c)])
        kept.reverse()
        self.order[:] = kept

    # ---- groups -----------------------------------------------------------------------------------------------------
    def number(self, root):
        n = self.numbers.get(id(root))
        if n is None:
            n = self.numbers[id(root)] = len(self.roots)
            self.roots.append(root)
        return n

    def group(self):
        """Sorts the calls into groups; barriers stand between groups."""
        self.accesses = self.touch(self.order)
        ranks, starts = [SEGMENTS.index(c.segment) for c in self.order], []
        for n, rank in enumerate(ranks):
            if n == 0 or rank != ranks[n - 1]:
                starts.append(n)
        placed, groups = [], 0
        for begin, end in zip(starts, [*starts[1:], len(ranks)]):
            level = schedule.levels(self.accesses, begin, end, schedule.NEAR)
            used = {deep: groups + n for n, deep in enumerate(sorted(set(level)))}
            placed += [(used[deep], begin + n) for n, deep in enumerate(level)]
            groups += len(used)
        self.lifetimes = schedule.lives(self.accesses, array("q", [g for g, _ in placed]), len(self.roots))
        placed.sort()
        self.order = [self.order[n] for _, n in placed]
        self.groups = array("q", [g for g, _ in placed])

    def touch(self, order):
        """Every access of every call, by number of memory; of flat buffers all ranges are one memory."""
        accesses, memory, absent = schedule.Accesses(), self.memory, self.absent
        flat = {}
        for c in order:
            tensors = c.tensors
            for item in c.declaration.spec.arrays:
                t = tensors.get(item.name)
                if t is None or absent and (id(c), item.name) in absent:
                    continue
                r, at = memory.root(t)
                n = self.number(r)
                if r.buffer in FLAT:
                    n = flat.setdefault(r.buffer, n)
                    at += _offset(self.graph, r)
                accesses.add(n, at, at + t.bytes, item.kind != "read")
            accesses.next()
        accesses.cut(len(self.roots))
        return accesses

    # ---- the layout -------------------------------------------------------------------------------------------------
    def lay_out(self):
        """A place for every memory: in the buffers, in `prepared`, in `outputs`, in the arena."""
        leaves = self.graph.leaves.values()
        first, last = self.lifetimes
        kept = {id(self.memory.memory(t)) for t in self.outputs.values()}
        for t in self.outputs.values():
            self.number(self.memory.memory(t))
        self.place_leaves(leaves)
        prepared = len([c for c in self.order if c.segment == "prepare"])
        until = self.groups[prepared - 1] if prepared else -1       # the last group of `prepare`
        arena, start, end, size = [], array("q"), array("q"), array("q")
        for n, r in enumerate(self.roots):
            if r.buffer:
                continue
            if n >= len(last):
                raise AssertionError(f"output {r!r} is computed by no call")
            if id(r) in self.memory.hoisted and (id(r) in kept or last[n] > until):
                self.append(r, "prepared")
            elif id(r) in kept:
                self.append(r, "outputs")       # the arena may be another program's before they are read
            elif last[n] >= 0:
                arena.append(r)
                start.append(first[n])
                end.append(last[n])
                size.append(-(-r.bytes // ALIGN) * ALIGN)
        self.bound, self.total = layout.alive(start, end, size), sum(size)
        at, height = layout.arrange(start, end, size, self.bound)
        for r, a in zip(arena, at):
            self.places[id(r)] = "arena", a
        if arena:
            self.sizes["arena"] = height

    def place_leaves(self, leaves):
        """Leaves of buffers that this program uses; inputs are placed in the order in which the graph made them."""
        used = {r.buffer for r in self.roots if r.buffer}
        for leaf in leaves:
            if leaf.buffer in ("inputs",) or leaf.buffer in used and leaf.buffer not in KEPT:
                self.append(leaf, leaf.buffer)
        sizes = self.graph.parameters.sizes
        self.sizes.update({buffer: sizes[buffer] for buffer in KEPT if buffer in used})
        if "gradients" in used:
            self.sizes["gradients"] = sizes["weights"]
        for leaf in [*leaves, *[r for r in self.roots if r.buffer]]:
            if id(leaf) not in self.places and (leaf.buffer in self.sizes):
                self.places[id(leaf)] = leaf.buffer, _offset(self.graph, leaf)

    def append(self, t, buffer):
        at = self.sizes.get(buffer, 0)
        self.places[id(t)] = buffer, at
        # the user's own arrays are not padded
        self.sizes[buffer] = t.bytes if buffer.startswith("data/") else at + -(-t.bytes // ALIGN) * ALIGN

    # ---- steps ------------------------------------------------------------------------------------------------------
    def emit(self):
        facts = self.device.facts
        if len(facts) > 4096:
            facts.clear()
        steps = [self.step(c, group, facts) for c, group in zip(self.order, self.groups)]
        outputs = {name: self.pointer(t) for name, t in self.outputs.items()}
        leaves = {name: self.pointer(t) for name, t in self.graph.leaves.items() if id(t) in self.places}
        self.tick()
        names = ("gradients", "lower", "sums", "groups", "layout", "steps")
        planning = {n: b - a for n, a, b in zip(names, self.clock, self.clock[1:])}
        products = self.lowering.products - {"f32"}
        planning["precision"] = next((p for p, product in PRODUCTS.items() if product in products), "float32")
        planning["device"] = "cuda" if getattr(self.device.table, "level", "") == "cuda" else "cpu"
        return Program(steps, self.sizes, outputs, leaves, self.graph.wide, self.bound, self.total, planning)

    def step(self, c, group, facts):
        declaration = c.declaration
        spec = declaration.spec
        dtypes = spec.key(c.bound, self.graph.wide)
        key = id(c.dims), dtypes, declaration.name
        known = facts.get(key)
        dims = c.dims
        if known is None or known[3] is not dims:       # calls of equal shapes share their sizes
            if not self.device.table.has(declaration.name, dtypes):
                raise DeviceError(f"there is no kernel for the call {declaration.name}",
                                  where=f"layer {c.scope}" if c.scope else c.label, expected=declaration.text, got=dtypes,
                                  hint="build the kernels: python -m dlcore.compiler")
            known = facts[key] = (tuple([dims.get(s, 0) for s in spec.symbols(self.device.constants)]),
                                  spec.value(spec.extent, dims), spec.value(spec.flops, dims), dims)
        arrays, add, unread = [], [], self.absent
        for item in spec.arrays:
            t = c.tensors.get(item.name)
            absent = t is None or unread and (id(c), item.name) in unread
            p = None if absent else self.pointer(t)
            arrays.append(p if absent else (*p, item.kind != "read"))
            if item.kind == "add":
                lies = not absent and p[0] == "gradients" and c.segment not in LATE
                add.append(1 if (id(c), item.name) in self.add else 2 if lies else 0)
        scalars = tuple([c.scalars[i.name] for i in spec.scalars]) if c.scalars else ()
        label = f"{c.scope}/{c.label}" if c.scope else c.label
        dims, extent, flops, _ = known
        return Step(declaration.name, dtypes, spec, extent, spec.grid, dims, tuple(arrays), scalars, tuple(add), c.segment, group,
                    flops, label)

    def pointer(self, t):
        known = self.pointers.get(id(t))
        if known is None:
            r, at = self.memory.root(t)
            buffer, offset = self.places[id(r)]
            known = self.pointers[id(t)] = buffer, offset + at, t.shape, t.dtype
        return known


def position_of(pair):
    return pair[0]
