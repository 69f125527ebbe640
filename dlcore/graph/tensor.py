"""Symbolic tensors, calls and the tape.  The graph never names an op: it knows views, sums and calls.

Compiled by Cython in pure-Python mode (`tensor.pxd` declares the types); the source runs uncompiled too.
"""
from __future__ import annotations

from math import prod

from dlcore.errors import ShapeError, SpecError, UsageError
from dlcore.graph import tape
from dlcore.graph.declaration import Slot, tensors_in
from dlcore.graph.parameters import Parameters
from dlcore.graph.spec import DTYPES, PRODUCTS, widened

__all__ = ["Call", "Entry", "Graph", "Parameters", "Sum", "Tensor", "install_operators", "recompute"]

PERSISTENT = frozenset(("weights", "statistics", "state", "cache", "gradients"))     # memory that `~` updates in place
_OPERATORS = {}


def install_operators(**functions):
    """What `t + u`, `2 * t`, `-t`, `t @ u` ... mean; called by `dlcore.ops`.  Names: add, sub, mul, div, neg, pow, matmul.
    Either operand of a function of two may be a number."""
    _OPERATORS.update(functions)


def _operate(name, *operands):
    if name not in _OPERATORS:
        raise UsageError(f"nothing says what the operator {name!r} does", hint="import dlcore.ops")
    return _OPERATORS[name](*operands)


class Tensor:
    """Memory of a known shape and dtype, without address or values.

    graph, shape, dtype, size (elements), bytes, name
    call      who writes it: a Call or a Sum; None for a leaf
    buffer    of a leaf: weights, gradients, state, inputs, ...; "" otherwise
    base      the tensor whose memory this is a part of, `offset` elements from its start; None: it has its own
    source    the version it shows: itself, or for a view the tensor that was viewed
    version   grows with every update in place of the memory
    born      the length of the tape when it was made: no earlier line depends on it
    """

    __array_ufunc__ = None      # so that numpy leaves `array * tensor` to us

    def __init__(self, graph, shape, dtype, call=None, buffer="", name="", base=None, offset=0, source=None):
        self.graph = graph
        self.shape = shape
        self.dtype = dtype
        self.call = call
        self.buffer = buffer
        self.name = name
        self.base = base
        self.offset = offset
        self.source = self if source is None else source
        self.size = prod(shape)
        self.bytes = self.size * DTYPES[dtype]
        self.version = 0 if source is None else source.version
        self.born = len(graph.tape)

    @property
    def ndim(self):
        return len(self.shape)

    def __repr__(self):
        return f"<Tensor {self.name + ' ' if self.name else ''}{self.dtype}{list(self.shape)}>"

    def reshape(self, *shape):
        """The same elements in another shape, without a copy; one size may be -1."""
        if len(shape) == 1 and isinstance(shape[0], (tuple, list)):
            shape = shape[0]
        shape = tuple([int(n) for n in shape])
        if -1 in shape:
            known = -prod(shape)
            shape = tuple([self.size // max(1, known) if n == -1 else n for n in shape])
        if prod(shape) != self.size or min(shape, default=1) < 0:
            raise ShapeError("a reshape keeps the number of elements", where=self.graph.where(),
                             expected=f"{self.size} elements, as in {list(self.shape)}", got=str(list(shape)))
        return self if shape == self.shape else self.view(shape, 0)

    def __getitem__(self, rows):
        """Leading rows, without a copy: x[2:5]; x[3] is one row, without its axis."""
        if not self.shape:
            raise ShapeError("a tensor without axes has no rows", where=self.graph.where())
        row = self.size // max(1, self.shape[0])
        if isinstance(rows, int):
            start = rows + self.shape[0] if rows < 0 else rows
            if not 0 <= start < self.shape[0]:
                raise IndexError(f"row {rows} of {self.shape[0]}")
            return self.view(self.shape[1:], start * row)
        if not isinstance(rows, slice):
            raise UsageError("only leading rows can be taken without a copy", hint="slice_axis of dlcore.ops copies others")
        start, stop, step = rows.indices(self.shape[0])
        if step != 1 or stop <= start:
            raise ShapeError("a slice takes adjoining rows, at least one", where=self.graph.where(),
                             expected=f"rows of {list(self.shape)}", got=str(rows))
        return self if stop - start == self.shape[0] else self.view((stop - start, *self.shape[1:]), start * row)

    def view(self, shape, offset):
        """A part of this memory in another shape, `offset` elements from its start."""
        graph, whole = self.graph, self.shape
        base = self if self.base is None else self.base
        start = offset if self.base is None else self.offset + offset
        out = Tensor(graph, tuple(shape), self.dtype, self.call, "", self.name, base, start, self.source)
        graph.record("view", [self], [out], lambda dout: graph.place(dout, whole, offset))
        return out

    def __add__(self, other):
        return _operate("add", self, other)

    def __radd__(self, other):
        return _operate("add", other, self)

    def __sub__(self, other):
        return _operate("sub", self, other)

    def __rsub__(self, other):
        return _operate("sub", other, self)

    def __mul__(self, other):
        return _operate("mul", self, other)

    def __rmul__(self, other):
        return _operate("mul", other, self)

    def __truediv__(self, other):
        return _operate("div", self, other)

    def __rtruediv__(self, other):
        return _operate("div", other, self)

    def __matmul__(self, other):
        return _operate("matmul", self, other)

    def __neg__(self):
        return _operate("neg", self)

    def __pow__(self, other):
        return _operate("pow", self, other)

    def __array__(self, *options, **more):
        raise UsageError("a tensor of the graph has no numbers yet; NumPy cannot compute with it", got=repr(self),
                         hint="use dlcore.ops: ops.mean(ops.square(y_pred - y_true), axis=-1)")


class Call:
    """One call on tensors.  tensors: name -> tensor read or written (of `~`: the new version); old: name -> the version
    that a `~` reads; scalars: numbers or Slots; dims: every size; bound: {"F": dtype}."""

    def __init__(self, declaration, tensors, old, scalars, dims, bound, segment, scope, again):
        self.declaration = declaration
        self.tensors = tensors
        self.old = old
        self.scalars = scalars
        self.dims = dims
        self.bound = bound
        self.segment = segment
        self.scope = scope
        self.again = again          # made by a recomputation
        self.label = declaration.name

    def __repr__(self):
        return f"<Call {self.scope + '/' if self.scope else ''}{self.declaration.name}>"


class Sum:
    """total = zeros; for (part, offset): total[offset:] += part.  The planner makes it vanish where it can."""

    def __init__(self, total, parts, segment, scope=""):
        self.total = total
        self.parts = parts
        self.segment = segment
        self.scope = scope


class Entry:
    """One line of the tape: how gradients of `outputs` become gradients of `inputs`."""

    def __init__(self, name, inputs, outputs, backward, scope):
        self.name = name
        self.inputs = inputs
        self.outputs = outputs
        self.backward = backward
        self.scope = scope


class _Inside:
    """While an op runs, what it calls does not stand on the tape."""

    def __init__(self, graph):
        self.graph = graph

    def __enter__(self):
        self.graph.depth += 1

    def __exit__(self, *error):
        self.graph.depth -= 1


class _Setting:
    """An attribute of the graph that holds another value inside a `with`."""

    def __init__(self, graph, name, value):
        self.graph, self.name, self.value = graph, name, value
        self.before = None

    def __enter__(self):
        self.before = getattr(self.graph, self.name)
        setattr(self.graph, self.name, self.value)
        return self.graph

    def __exit__(self, *error):
        setattr(self.graph, self.name, self.before)


class Graph:
    """Tensors, calls in the order in which they were made, and the tape.

    parameters: shared by all graphs of a model.  wide: f32 means f64 (finite differences on the kernels that ship).
    precision: "float32"; "bf16": what products are packed as (activations stay float32); "tf32x3": float32's products on a GPU's
    tensor cores, in parts (on CPU they are float32); "int8": for programs that train nothing: the weights of products are rounded
    to 8 bits once, by a scale for each column of the result, their other factors by a scale for each row, and summed exactly.
    What a device has no kernels for stays float32."""

    def __init__(self, parameters=None, wide=False, precision="float32"):
        self.parameters = Parameters() if parameters is None else parameters
        self.wide = bool(wide)
        if self.parameters.wide is not None and self.parameters.wide != self.wide:
            raise UsageError("wide and ordinary graphs cannot share their parameters")
        if precision not in PRODUCTS or (self.wide and precision != "float32"):
            raise UsageError(f"precision {precision!r}", expected=f"{', '.join(PRODUCTS)} (a wide graph: float32)")
        self.parameters.wide = self.wide
        self.precision = precision
        self.product = PRODUCTS[precision]      # what a G that no read binds becomes; lowerings say which product they are for
        self.calls = []
        self.tape = []
        self.leaves = {}
        self.segment = "forward"
        self.depth = 0              # inside an op: only the op stands on the tape
        self.nodes = 0
        self.path = ""              # names of the layers that are being called
        self.again = False          # a recomputation is running
        self.updates = {}           # id of memory -> [(start, stop, version)] in elements: updates in place
        self.newest = {}            # id of a leaf -> its newest version
        self.rows = {}              # name of a table -> its gradient as (ids, rows, count), while `plan` makes updates
        self.versions = 0
        self.lowering = False       # the planner is at work: versions were checked before

    # ---- leaves -----------------------------------------------------------------------------------------------------
    def dtype(self, name):
        return widened(name) if self.wide else name

    def leaf(self, buffer, name, shape, dtype="f32", group=""):
        shape, dtype = tuple([int(n) for n in shape]), self.dtype(dtype)
        key = name
        if buffer in self.parameters.sizes:
            if buffer == "cache":           # programs for several batch sizes may keep caches side by side
                key = name + str(list(shape))
            self.parameters.add(key, shape, buffer, group, dtype)
        known = self.leaves.get(name)
        if known is None:
            known = self.leaves[name] = Tensor(self, shape, dtype, None, buffer, name)
        elif (known.shape, known.dtype, known.buffer) != (shape, dtype, buffer):
            raise ShapeError(f"{name!r} is known otherwise", where=self.where(),
                             expected=f"{known.dtype}{list(known.shape)} in {known.buffer}",
                             got=f"{dtype}{list(shape)} in {buffer}")
        return self.newest.get(id(known), known)

    def input(self, name, *shape, dtype="f32"):
        """What the host writes before a run."""
        return self.leaf("inputs", name, shape, dtype)

    def data(self, name, *shape, dtype="f32"):
        """A data set in memory: its own buffer "data/<name>", bound to the user's array without a copy."""
        return self.leaf("data/" + name, name, shape, dtype)

    def weight(self, name, *shape, group=""):
        """Trained: has a gradient and optimizer state at the same offset.  Weights of a group lie side by side."""
        return self.leaf("weights", name, shape, "f32", group)

    def statistic(self, name, *shape):
        """Saved with the model, not trained: running means."""
        return self.leaf("statistics", name, shape)

    def state(self, name, *shape, dtype="f32"):
        """Of the optimizer: one for all instances.  Returns its newest version."""
        return self.leaf("state", name, shape, dtype)

    def cache(self, name, *shape):
        """Keys and values: one for each instance.  Returns its newest version."""
        return self.leaf("cache", name, shape)

    @property
    def status(self):
        """i64[1], newest version: not zero once a step met a value that is not finite."""
        return self.leaf("state", "status", (1,), "i64")

    def flat(self, buffer, weights):
        """These weights ("weights") or their gradients ("gradients") as one tensor: one optimizer call updates all.
        UsageError if they do not lie side by side."""
        start, stop = self.parameters.range([w.name for w in weights])
        return Tensor(self, (stop - start,), self.dtype("f32"), None, buffer, "", None, start)

    def node(self):
        """A number for an op that draws: the same in forward, backward, recomputation and every run."""
        self.nodes += 1
        return self.nodes

    # ---- where calls are made ---------------------------------------------------------------------------------------
    def scope(self, name):
        """`with graph.scope("dense_1"):` names the layer in errors and in the program's table."""
        return _Setting(self, "path", f"{self.path}/{name}" if self.path else name)

    def in_segment(self, name):
        """Calls made inside belong to another segment: running statistics to `update`, so a bad step leaves them alone."""
        return _Setting(self, "segment", name)

    def inside(self):
        """What is called inside does not stand on the tape."""
        return _Inside(self)

    def where(self, what=""):
        """The place for an error message: layer, then call."""
        return ", ".join(([f"layer {self.path}"] if self.path else []) + ([what] if what else []))

    def record(self, name, inputs, outputs, backward):
        if self.depth == 0:
            self.tape.append(Entry(name, list(inputs), list(outputs), backward, self.path))

    # ---- calls ------------------------------------------------------------------------------------------------------
    def emit(self, declaration, arguments, out, sizes):
        """Makes a call; see `Declaration.__call__`."""
        spec = declaration.spec
        if len(arguments) != len(spec.arguments):
            raise SpecError(f"{declaration.name} got {len(arguments)} arguments", where=self.where(declaration.text),
                            expected=", ".join([i.name for i in spec.arguments]))
        given, scalars = dict(out) if out else {}, {}
        read = {}
        for item, value in zip(spec.arguments, arguments):
            if item.scalar:
                scalars[item.name] = self.scalar(declaration, item, value)
            elif value is not None:
                read[item.name] = self.readable(declaration, item, value)
            elif not item.optional:
                raise SpecError(f"{declaration.name}: {item.name} is missing", where=self.where(declaration.text))
        dims, made, bound = self.resolve(declaration, spec, read, given, sizes)
        call = Call(declaration, read, {}, scalars, dims, bound, self.segment, self.path, self.again)
        silent = self.again and self.segment == "update"        # what a recomputation would update was updated before
        for item in spec.arrays:
            name = item.name
            if item.kind == "update":
                if name in read:
                    call.old[name] = read[name]
                    call.tensors[name] = given[name] if name in given else self.next_version(call, read[name], silent)
            elif item.kind != "read":
                t = given.get(name)
                if t is None:
                    shape, dtype = made[name]
                    t = Tensor(self, shape, dtype, call)
                call.tensors[name] = t
        outputs = [call.tensors.get(i.name) for i in spec.outputs]
        if not silent:
            self.calls.append(call)
        if self.depth == 0:
            self.record(declaration.name, read.values(), [t for t in outputs if t is not None], None)
        return outputs[0] if len(outputs) == 1 else tuple(outputs)

    def scalar(self, declaration, item, value):
        """A number of the right kind, or a Slot of the right dtype."""
        whole = item.dtype in ("i32", "i64")
        if isinstance(value, Slot):
            if (value.dtype == "i64") != whole:
                raise SpecError(f"{declaration.name}: slot {value.name} is {value.dtype}",
                                where=self.where(f"argument {item.name}"), expected=item.text)
            return value
        try:
            number = int(value) if whole else float(value)
        except (TypeError, ValueError):
            number = None
        if number is None or (whole and number != value):
            raise SpecError(f"{declaration.name}: {item.name} takes a number or a Slot",
                            where=self.where(declaration.text), expected=item.text, got=repr(value))
        return number

    def readable(self, declaration, item, value):
        """A tensor of this graph, in its newest version."""
        if not isinstance(value, Tensor) or value.graph is not self:
            raise SpecError(f"{declaration.name}: {item.name} takes a tensor of this graph", where=self.where(declaration.text),
                            expected=item.text, got=repr(value))
        root = value if value.base is None else value.base
        updates = self.updates.get(id(root))
        if updates and not self.lowering and not (self.again and self.segment == "update"):
            start = 0 if value.base is None else value.offset
            for a, b, version in updates:
                if version > value.version and a < start + value.size and start < b:
                    raise UsageError(f"{declaration.name}: {item.name} was updated in place before",
                                     where=self.where(f"argument {item.name}"), got=repr(value),
                                     hint="read what the updating call returned")
        return value

    def bind(self, declaration, spec, read, given):
        """The dtypes of F and G: bound by what is read, then by what is given to write to, else the plan's."""
        bound = {}
        for tensors in ((read, given) if given else (read,)):
            for item in spec.arrays:
                t = tensors.get(item.name)
                if t is None:
                    continue
                if item.dtype in spec.lists:
                    if item.dtype not in bound:
                        if t.dtype not in [self.dtype(d) for d in spec.lists[item.dtype]]:
                            self.wrong_dtype(declaration, item, t, " or ".join(spec.lists[item.dtype]))
                        bound[item.dtype] = t.dtype
                    if t.dtype != bound[item.dtype]:
                        self.wrong_dtype(declaration, item, t, bound[item.dtype])
                elif t.dtype != self.dtype(item.dtype):
                    self.wrong_dtype(declaration, item, t, self.dtype(item.dtype))
        for variable in spec.variables:
            if variable not in bound:
                wanted = self.product if variable == "G" else "f32"
                bound[variable] = self.dtype(wanted if wanted in spec.lists[variable] else spec.lists[variable][0])
        return bound

    def wrong_dtype(self, declaration, item, tensor, wanted):
        raise ShapeError(f"{declaration.name}: {item.name} has dtype {tensor.dtype}",
                         where=self.where(f"argument {item.name} of {declaration.text}"), expected=wanted, got=repr(tensor))

    def resolve(self, declaration, spec, read, given, sizes):
        """(every size, {what is written: (shape, dtype)}, dtypes of F and G); remembered by what led to them."""
        key = [self.wide, self.product]
        for item in spec.arrays:
            t = read.get(item.name)
            if t is None and given:
                t = given.get(item.name)
            if t is None:
                key.append(None)
            else:
                key.append(t.shape)
                key.append(t.dtype)
        if sizes:
            key.extend(sorted(sizes.items()))
        key = tuple(key)
        known = declaration.solved.get(key)
        if known is None:
            if len(declaration.solved) > 4096:
                declaration.solved.clear()
            known = declaration.solved[key] = self.solve(declaration, spec, read, given, sizes)
        return known

    def solve(self, declaration, spec, read, given, sizes):
        """What `resolve` remembers; SpecError and ShapeError name the layer."""
        seen, bound = {**given, **read}, self.bind(declaration, spec, read, given)
        try:
            dims = spec.solve({n: t.shape for n, t in seen.items()}, sizes, declaration.constants)
            made = {i.name: (spec.shape(i, dims), spec.dtype(i, bound, self.wide)) for i in spec.arrays
                    if i.kind in ("out", "add", "work") and i.name not in seen}
        except (ShapeError, SpecError) as error:
            if self.path:
                error.where = self.where(error.where)
            raise
        return dims, made, bound

    def next_version(self, call, old, silent):
        """What `~` returns: the same memory where it persists, else memory of its own that the planner may share.

        Weights and statistics change in the segments of updates only: elsewhere, to a gradient call that overwrites logits, they
        are like any activation."""
        root = old if old.base is None else old.base
        late = self.segment in ("reduce", "update")
        if root.buffer not in PERSISTENT or not late and root.buffer in ("weights", "statistics", "gradients"):
            return Tensor(self, old.shape, old.dtype, call, "", old.name)
        start = 0 if old.base is None else old.offset
        new = Tensor(self, old.shape, old.dtype, call, "", old.name, root, start)
        if not silent:
            self.versions += 1
            new.version = self.versions
            self.updates.setdefault(id(root), []).append((start, start + old.size, new.version))
            if old.size == root.size:
                self.newest[id(root)] = new
        return new

    # ---- sums -------------------------------------------------------------------------------------------------------
    def sum(self, parts):
        """The sum of tensors of one shape; planned without a pass of its own where that is possible."""
        if len(parts) == 1:
            return parts[0]
        for p in parts:
            if p.shape != parts[0].shape or p.dtype != parts[0].dtype:
                raise ShapeError("a sum adds tensors of one shape and dtype", where=self.where(), expected=repr(parts[0]),
                                 got=repr(p))
        flat = []
        for p in parts:
            placed = p.base is None and isinstance(p.call, Sum) and len(p.call.parts) == 1
            flat += p.call.parts if placed else [(p, 0)]
        return self.add_sum(flat, parts[0].shape, parts, lambda dout: [dout] * len(parts))

    def concat(self, parts):
        """Tensors behind one another along the leading axis; each is computed at its place where that is possible."""
        first = parts[0]
        for p in parts:
            if p.shape[1:] != first.shape[1:] or p.dtype != first.dtype:
                raise ShapeError("concatenated tensors agree but for the leading axis", where=self.where(),
                                 expected=repr(first), got=repr(p))
        starts, rows = [], 0
        for p in parts:
            starts.append(rows)
            rows += p.shape[0]
        row = first.size // max(1, first.shape[0])
        return self.add_sum([(p, a * row) for p, a in zip(parts, starts)], (rows, *first.shape[1:]), list(parts),
                            lambda dout: [dout[a:a + p.shape[0]] for p, a in zip(parts, starts)])

    def place(self, part, shape, offset):
        """`part` at its place in a tensor of this shape, zeros elsewhere: the gradient of a view."""
        if part.size == prod(shape):
            return part.reshape(*shape)
        return self.add_sum([(part, offset)], shape, [part], lambda dout: dout.view(part.shape, offset))

    def add_sum(self, parts, shape, inputs, backward):
        """A Sum of (part, offset in elements); `backward` as that of an op with these inputs."""
        total = Tensor(self, tuple(shape), parts[0][0].dtype)
        total.call = Sum(total, list(parts), self.segment, self.path)
        self.calls.append(total.call)
        self.record("sum", inputs, [total], backward)
        return total

    # ---- gradients --------------------------------------------------------------------------------------------------
    def gradients(self, loss, tensors, seed):
        """d(sum(loss * seed)) / d(tensors), as tensors of this graph: read and differentiated like any other.

        loss, seed: tensors of one shape.  NotDifferentiableError names the layer and the call without derivative."""
        return tape.gradients(self, loss, list(tensors), seed)

    def sample_norms(self, loss, weights):
        """f32[N]: the squared norm of each sample's gradient by all the weights, without materialising any.

        loss: f32[N], one value per sample.  The backward of every op that reads a weight must set `sample_norms`; a weight
        that is used twice is refused (NotDifferentiableError), for its norm is not a sum."""
        return tape.sample_norms(self, loss, list(weights))


def recompute(function, *inputs):
    """function(*inputs), whose inner tensors are not kept for backward but computed again.

    Tensors that the function names itself (weights of its layers) get their gradients too.  Draws and running statistics
    are those of the first time."""
    return tape.recompute(tensors_in(inputs)[0].graph, function, inputs)
