"""Where a model is being turned into a graph: which graph, for training or not, which outputs came from which logits,
and which steps of a sequence are there.

A layer's weights are `Variable`s.  While a trace is open, reading a layer's attribute gives the graph's tensor of that
weight; otherwise it gives the Variable.  So `call` is written with ops on `self.kernel`, and `build` with shapes and
initial values.
"""
from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dlcore.graph import Graph, Tensor

_open = threading.local()


class Deferred:
    """Logits behind an activation that a kernel applies itself: made by `make` when they are first asked for, in the scope of
    the layer that this object was made in."""

    def __init__(self, graph: Graph, make: Callable[[], Tensor]):
        self.graph, self.path, self.make = graph, graph.path, make
        self.tensor: Tensor | None = None

    def made(self) -> Tensor:
        """The logits."""
        if self.tensor is None:
            with self.graph.scope(self.path):
                self.tensor = self.make()
        return self.tensor


class Trace:
    """graph: what calls go into.  training: whether dropout draws.  differentiable: whether a gradient may be asked
    for. origins: id(tensor) -> (tensor, activation, its input).  masks: id(tensor) -> (tensor, its mask).
    limits: id(tensor of ids) -> (tensor, how many ids there are).  penalties: f32[N] each, of activations."""

    def __init__(self, graph: Graph, training: bool, differentiable: bool = True):
        self.graph, self.training, self.differentiable = graph, training, differentiable
        self.origins: dict[int, tuple[Tensor, str, Any]] = {}
        self.offers: dict[int, tuple[Tensor, Any]] = {}     # see fusion.py
        self.masks: dict[int, tuple[Tensor, Tensor]] = {}
        self.limits: dict[int, tuple[Tensor, int]] = {}
        self.penalties: list[Tensor] = []
        self.lookups: dict[int, tuple[Tensor, Tensor, Tensor]] = {}     # id(table) -> (table, ids, what was looked up)
        self.moves = True               # whether training moves running statistics (of a network that another learns from: no)
        self.replaced: dict[int, Tensor] = {}               # id(Variable) -> what layers read in its place
        self.steps: Any = None          # where a sequence is made one id after another: see models/steps.py
        self.tables: dict[tuple[Any, ...], Any] = {}
        self.attended: list[Any] | None = None      # what attention layers compare, where maps are asked for: see models/maps.py

    def tensor(self, variable: Any) -> Tensor:
        """The graph's leaf for a weight, or what stands in its place."""
        if id(variable) in self.replaced:
            return self.replaced[id(variable)]
        if variable.statistic:
            return self.graph.statistic(variable.key, *variable.shape)
        return self.graph.weight(variable.key, *variable.shape, group=variable.group)

    @contextmanager
    def replacing(self, variable: Any, tensor: Tensor) -> Iterator[None]:
        """While it is open, layers read this tensor in the place of a weight."""
        self.replaced[id(variable)] = tensor
        try:
            yield
        finally:
            del self.replaced[id(variable)]

    @contextmanager
    def holding(self, moves: bool) -> Iterator[None]:
        """While it is open, running statistics move, or stay as they are."""
        before, self.moves = self.moves, moves
        try:
            yield
        finally:
            self.moves = before

    def angles(self, T: int, pairs: int, base: float) -> Any:
        """(cos, sin) of rotary positions, made once for all layers."""
        key = T, pairs, base
        if key not in self.tables:
            from dlcore import ops
            first = 0 if self.steps is None else self.steps.position
            self.tables[key] = ops.rotary_angles(T, pairs, base, first, graph=self.graph)
        return self.tables[key]

    def note(self, out: Tensor, activation: str, logits: Any) -> Tensor:
        """Remembers that `out` is activation(logits), so that a loss can be computed on the logits.  Returns `out`."""
        self.origins[id(out)] = out, activation, logits
        return out

    def lookup(self, table: Any, ids: Any) -> Any:
        """The rows of a table whose gradient may be held as rows."""
        from dlcore import ops
        out = ops.embedding(table, ids)
        self.lookups[id(table)] = table, ids, out
        return out

    def sparse(self) -> dict[Tensor, tuple[Tensor, Any]]:
        """`lookups` for the planner: of tables that nothing else of the model reads."""
        from dlcore import ops
        found = {}
        for table, ids, out in self.lookups.values():
            readers = [e for e in self.graph.tape if any(t is table for t in e.inputs)]
            if len(readers) == 1 and any(t is out for t in readers[0].outputs):
                flat, (V, D) = ids.reshape(ids.size), table.shape
                found[table] = out, lambda dout, flat=flat, V=V, D=D: ops.row_gradient(dout.reshape(flat.size, D), flat, V)
        return found

    def limit(self, ids: Tensor, count: int) -> None:
        """Remembers that `ids` must lie in 0 .. count - 1."""
        known = self.limits.get(id(ids))
        self.limits[id(ids)] = ids, count if known is None else min(count, known[1])


def current() -> Trace | None:
    return getattr(_open, "trace", None)


@contextmanager
def tracing(trace: Trace | None) -> Iterator[None]:
    """Opens a trace in this thread; None closes the one that is open for a while (`build` runs outside)."""
    before, _open.trace = current(), trace
    try:
        yield
    finally:
        _open.trace = before


def origin(tensor: Tensor) -> tuple[str, Any]:
    """("softmax", logits) where `tensor` is a softmax made by a layer, ("linear", itself) for a layer without
    activation, ("tied", (rows, table)) for logits that are their product."""
    trace = current()
    found = trace.origins.get(id(tensor)) if trace else None
    if found is None:
        return "", tensor
    return found[1], found[2].made() if isinstance(found[2], Deferred) else found[2]


def note(out: Tensor, activation: str, logits: Any) -> Tensor:
    trace = current()
    return trace.note(out, activation, logits) if trace else out


def mask_of(tensor: Any) -> Tensor | None:
    """f32 [B, T], 1 where a step of `tensor` [B, T, ...] is there and 0 where it is padding; None where all are."""
    trace = current()
    found = trace.masks.get(id(tensor)) if trace else None
    return found[1] if found else None


def set_mask(tensor: Tensor, mask: Tensor | None) -> None:
    """Says which steps of a layer's output are there, for the layers that follow."""
    trace = current()
    if trace and mask is not None:
        trace.masks[id(tensor)] = tensor, mask
