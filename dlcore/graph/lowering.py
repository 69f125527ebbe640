"""What a call becomes on this device: kernels from the table; what equal calls share; what is prepared once."""
from __future__ import annotations

from dlcore.errors import DeviceError, SpecError
from dlcore.graph.declaration import DECLARATIONS, Declaration, Slot
from dlcore.graph.spec import condition, holds
from dlcore.graph.tensor import Call, Sum

PREPARED = -1e9         # positions of what `prepare` does come first
DEEPEST = 16            # lowerings within lowerings
LATE = ("reduce", "update")

_devices: dict[int, tuple[object, Device]] = {}


class Alternative:
    """One lowering: (Declaration, names read, names written) for each of its calls."""

    def __init__(self, device, raw):
        self.steps = [(device.declaration(inner), reads, writes) for inner, reads, writes in raw["steps"]]
        self.when = condition(raw["when"]) if raw.get("when") else None
        self.product = raw.get("product", "f32")
        self.held = raw.get("held", "")

    def made_for(self, device, wide):
        """Are there kernels for its products at this level?"""
        for inner, _, _ in self.steps:
            spec = inner.spec
            bound = {v: self.product if v == "G" and self.product in spec.lists["G"] else spec.lists[v][0]
                     for v in spec.variables}
            if spec.over and not device.table.has(inner.name, spec.key(bound, wide)):
                return False
        return True


class Device:
    """A kernel table, read once."""

    def __init__(self, table):
        self.table = table
        self.constants = dict(table.constants)
        self.declarations = {}
        self.choices = {}           # name of a call -> its alternatives
        self.chosen = {}            # (name, sizes, numbers, held, product) -> alternative or None
        self.facts = {}             # (id of sizes, dtypes, name) -> (sizes of the kernel, extent, operations, sizes), of every plan

    def declaration(self, name):
        """A call as the table knows it, with the level's constants, else as a room declares it."""
        found = self.declarations.get(name)
        if found is None:
            raw = self.table.calls.get(name)
            if raw is not None:
                found = Declaration(raw["spec"], raw["over"], raw.get("flops", ""), tuple(raw.get("F", ("f32",))),
                                    tuple(raw.get("G", ("f32",))), self.constants)
            elif name in DECLARATIONS:
                known = DECLARATIONS[name]
                found = Declaration(known.text, known.over, known.flops, known.F, known.G, self.constants)
            else:
                raise DeviceError(f"a lowering names {name}, which nobody declares", hint="build the kernels again")
            self.declarations[name] = found
        return found

    def alternatives(self, name):
        found = self.choices.get(name)
        if found is None:
            found = self.choices[name] = [Alternative(self, raw) for raw in self.table.lowerings(name)]
        return found

    def choose(self, call, product, wide, held):
        """The first lowering that serves this call: of the plan's product type, else of f32; None: its own kernel.

        held: names of arrays that the program leaves as they are."""
        name = call.declaration.name
        alternatives = self.alternatives(name)
        if not alternatives:
            return None
        numbers = {n: s for n, s in call.scalars.items() if not isinstance(s, Slot)}
        key = name, product, wide, held, tuple(call.dims.items()), tuple(numbers.items())
        if key not in self.chosen:
            self.chosen[key] = self._first(alternatives, {**self.constants, **call.dims, **numbers}, product, wide, held)
        return self.chosen[key]

    def _first(self, alternatives, names, product, wide, held):
        for wanted in dict.fromkeys((product, "f32")):
            for a in alternatives:
                if a.product == wanted and (not a.held or a.held in held) and (a.when is None or holds(a.when, names)):
                    if wanted == "f32" or a.made_for(self, wide):
                        return a
        return None


def device_of(table):
    """The Device of a table; tables live as long as the process, so do these."""
    known = _devices.get(id(table))
    if known is None:
        known = _devices[id(table)] = table, Device(table)
    return known[1]


class Lowering:
    """Turns calls into kernels, in order: fills `order` with (position, Call or Sum)."""

    def __init__(self, graph, device, memory, work):
        self.graph, self.device, self.memory = graph, device, memory
        self.order = []
        self.dropped = []               # kept alive: others know them by id
        self.known = {}                 # key of a lowered call -> what it wrote
        self.products = set()           # product types of the lowerings that were chosen
        self.rewritten = self.updated_buffers(work)
        training = any([isinstance(c, Sum) and c.total.buffer for c in work])
        fixed = () if training else ("weights", "statistics")
        self.constant = {id(t) for t in graph.leaves.values() if t.buffer in fixed and t.buffer not in self.rewritten}
        calls, product = graph.calls, graph.product
        segment, path, depth, again = graph.segment, graph.path, graph.depth, graph.again
        try:
            graph.depth, graph.lowering = 1, True       # nothing of this stands on the tape
            for c in work:
                if isinstance(c, Sum):
                    self.place_sum(c)
                else:
                    self.lower(c, c.declaration.name, 0)
        finally:
            graph.calls, graph.product, graph.lowering = calls, product, False
            graph.segment, graph.path, graph.depth, graph.again = segment, path, depth, again

    def updated_buffers(self, work):
        """Buffers that calls update in place: what is read from them may differ from call to call."""
        found = set()
        for c in work:
            if isinstance(c, Call):
                for t in c.old.values():
                    found.add(self.memory.memory(t).buffer)
        return found - {""}

    # ---- one call ---------------------------------------------------------------------------------------------------
    def lower(self, c, label, deep):
        alternative = self.device.choose(c, self.graph.product, self.graph.wide, self.held(c))
        if alternative is None:
            self.place_call(c, label, deep > 0)
            return
        if deep > DEEPEST:
            raise DeviceError(f"the lowering of {label} never ends", where=c.declaration.name)
        self.products.add(alternative.product)
        self.dropped.append(c)
        graph, product = self.graph, self.graph.product
        for made in self.expand(c, alternative):
            graph.product = product
            self.lower(made, label, deep + 1)
        graph.product = product

    def held(self, c):
        """Names of arrays that the call reads from weights and statistics which this program leaves alone."""
        if not self.constant or c.segment in LATE:
            return ()
        return tuple([n for n, t in c.tensors.items() if t is not None and id(self.memory.memory(t)) in self.constant])

    def expand(self, c, alternative):
        """The calls that this one is made of; scratch by names that it does not have."""
        graph = self.graph
        graph.segment, graph.path, graph.again, graph.product = c.segment, c.scope, c.again, alternative.product
        names = {**c.dims, **c.scalars, **c.tensors, **c.old}
        absent = {i.name for i in c.declaration.spec.arrays}
        made = []
        for inner, reads, writes in alternative.steps:
            graph.calls = []
            out = {i.name: c.tensors[w] for i, w in zip(inner.spec.outputs, writes) if w in c.tensors and w not in c.old}
            out.update({i.name: c.tensors[w] for i, w in zip(inner.spec.outputs, writes) if w in c.old})
            arguments = [names[r] if r in names else self.missing(c, inner, r, absent) for r in reads]
            results = inner(*arguments, out=out, graph=graph, **self.sizes(c, inner, arguments, out))
            names.update(zip(writes, results if isinstance(results, tuple) else (results,)))
            made += graph.calls
        return made

    def sizes(self, c, inner, arguments, out):
        """What no array at hand shows: the sizes of those names that the call has."""
        spec = inner.spec
        read = [i for i, a in zip(spec.arguments, arguments) if a is not None]
        shown = {s for i in [*read, *(i for i in spec.outputs if i.name in out)] for s in i.sizes}
        return {s: c.dims[s] for s in spec.sizes if s not in shown and s in c.dims and s not in self.device.constants}

    def missing(self, c, inner, name, absent):
        """An absent optional array, or a number."""
        if name in absent:
            return None
        try:
            return float(name)
        except ValueError:
            raise SpecError(f"the lowering of {c.declaration.name} reads {name} before anything writes it",
                            where=inner.text) from None

    # ---- kernels in their order -------------------------------------------------------------------------------------
    def place_call(self, c, label, lowered):
        spec = c.declaration.spec
        reads = [t for i in spec.arrays if i.kind == "read" and (t := c.tensors.get(i.name)) is not None]
        if lowered and not c.old and not spec.added:
            key = self.key(c, reads)
            if key is not None:
                if key in self.known:
                    for i, old in zip(spec.outputs, self.known[key]):
                        new = c.tensors[i.name]
                        self.memory.alias[id(new)] = old, 0
                        self.memory.same[id(new)] = old
                    self.dropped.append(c)
                    return
                self.known[key] = [c.tensors[i.name] for i in spec.outputs]
        position = float(len(self.order) + 1)
        if self.fixed(c, reads):
            c = self.hoist(c)
            position += PREPARED
        if c.label != label:
            c = c if lowered else copied(c)
            c.label = label
        self.order.append((position, c))

    def key(self, c, reads):
        """What makes two calls equal: kernel, memory, offset and version of what they read; None: it is not shared."""
        memory, parts = self.memory, [c.declaration.name]
        late = c.segment in LATE
        for t in reads:
            r, at = memory.root(t)
            if late and r.buffer in self.rewritten:
                return None
            if c.again and not r.buffer:        # shared, what is recomputed would have been kept
                return None
            parts.append((id(r), at, id(memory.version(t)), t.shape))
        return (*parts, late, *c.scalars.items(), *c.bound.items(), *c.dims.items())

    def fixed(self, c, reads):
        """Does the call read nothing but weights and statistics that this program leaves alone?"""
        if not reads or not self.constant or c.old or c.segment in LATE:
            return False
        if any([isinstance(s, Slot) for s in c.scalars.values()]):
            return False
        for t in reads:
            if id(self.memory.memory(t)) not in self.constant:
                return False
        return True

    def hoist(self, c):
        c = copied(c)
        c.segment = "prepare"
        for i in c.declaration.spec.arrays:
            if i.kind != "read" and i.name in c.tensors:
                self.constant.add(id(c.tensors[i.name]))
                self.memory.hoisted.add(id(c.tensors[i.name]))
        return c

    def place_sum(self, s):
        position = float(len(self.order) + 1)
        if self.constant and not s.total.buffer and all([id(self.memory.memory(t)) in self.constant for t, _ in s.parts]):
            s = Sum(s.total, s.parts, "prepare", s.scope)
            self.constant.add(id(s.total))
            self.memory.hoisted.add(id(s.total))
            position += PREPARED
        self.order.append((position, s))


def copied(c):
    """The same call, free to change: planning leaves the graph's own calls alone."""
    out = Call(c.declaration, c.tensors, c.old, c.scalars, c.dims, c.bound, c.segment, c.scope, c.again)
    out.label = c.label
    return out
