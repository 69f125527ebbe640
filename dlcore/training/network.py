"""A model as a directed graph of layers: from input symbols to output symbols."""
from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dlcore.errors import ShapeError, UsageError
from dlcore.layers.layer import PROBE, Layer, Node, Symbol, flatten, listed, mapped
from dlcore.layers.trace import Trace, tracing

if TYPE_CHECKING:
    from dlcore.graph import Tensor


class Network:
    """inputs, outputs: symbols.  nodes: uses of layers, in an order in which each comes after what it reads.

    `single_output` is False where the outputs were given as a list or, then with `output_keys`, as a dict.  fewer_steps: batches
    may have fewer steps (the first axis behind the batch) than the symbols' shapes say, so that short sequences are not filled up
    to the longest."""

    fewer_steps = False

    def __init__(self, inputs: list[Symbol], outputs: list[Symbol], single_output: bool, output_keys: Sequence[str] = ()):
        self.inputs, self.outputs, self.single_output, self.output_keys = inputs, outputs, single_output, tuple(output_keys)
        self.nodes = sorted_nodes(inputs, outputs)
        self.layers: list[Layer] = list(dict.fromkeys(node.layer for node in self.nodes))
        self.input_names = _names([s.name or "x" for s in inputs])
        self._id_limits: list[int | None] | None = None

    def output_names(self) -> list[str]:
        """The keys of a dict of outputs, else the names of the layers that make them."""
        return list(self.output_keys) or _names([s.node.layer.name if s.node else s.name or "x" for s in self.outputs])

    def arranged(self, made: Sequence[Any]) -> Any:
        """One value for each output in the form in which the model was given its outputs: one, a list, or a dict."""
        if self.output_keys:
            return dict(zip(self.output_keys, made, strict=True))
        return made[0] if self.single_output else list(made)

    def id_limits(self) -> list[int | None]:
        """For each input of ids how many ids there are, as the layers that look them up say; None where nobody says."""
        if self._id_limits is None:
            from dlcore.graph import Graph
            graph = Graph()
            trace = Trace(graph, False)
            with tracing(trace):
                tensors = [graph.input(f"x{i}", PROBE, *s.shape[1:], dtype=s.dtype) for i, s in enumerate(self.inputs)]
                self.apply(tensors)
            found = [trace.limits.get(id(t)) for t in tensors]
            self._id_limits = [None if f is None else f[1] for f in found]
        return self._id_limits

    def shape_of(self, shape: tuple[int, ...], given: tuple[int, ...]) -> tuple[int, ...]:
        """The shape behind the batch that an array of shape `given` must have, `shape` being the most."""
        if self.fewer_steps and shape and len(given) > 1 and 0 < given[1] < shape[0]:
            return given[1], *shape[1:]
        return shape

    def apply(self, tensors: list[Tensor]) -> list[Tensor]:
        """The outputs for these inputs, tensors of one graph."""
        known = {id(symbol): t for symbol, t in zip(self.inputs, tensors, strict=True)}
        for symbol, t in zip(self.inputs, tensors, strict=True):
            if self.shape_of(symbol.shape[1:], t.shape) != t.shape[1:] or symbol.dtype != t.dtype:
                raise ShapeError("an input has the wrong shape", expected=f"{symbol.dtype} {symbol.shape}",
                                 got=f"{t.dtype} {(None, *t.shape[1:])}")
        for node in self.nodes:
            out = node.layer(*mapped(lambda s: known[id(s)], node.arguments))
            for symbol, t in zip(node.outputs, listed(out), strict=True):
                known[id(symbol)] = t
        return [known[id(s)] for s in self.outputs]


def sorted_nodes(inputs: list[Symbol], outputs: list[Symbol]) -> list[Node]:
    """Every node between inputs and outputs, those first that others read.  UsageError where an input is missing."""
    given, done, order = {id(s) for s in inputs}, set(), []
    stack: list[tuple[Any, bool]] = [(s, False) for s in reversed(outputs)]
    while stack:                                            # depth first without recursion: models may be deep
        symbol, ready = stack.pop()
        node = symbol.node
        if id(symbol) in given or (node is not None and id(node) in done):
            continue
        if node is None:
            raise UsageError("an output depends on an input that the model does not name", got=repr(symbol),
                             hint="list every Input in Model(inputs=...)")
        if ready:
            done.add(id(node))
            order.append(node)
        else:
            stack.append((symbol, True))
            stack += [(s, False) for s in reversed(node.inputs)]
    return order


def symbols(value: Any, what: str) -> tuple[list[Symbol], bool]:
    """(symbols, whether it was one without a list).  UsageError for anything else."""
    found = list(flatten(list(value.values()) if isinstance(value, dict) else value))
    if not found or not all(isinstance(s, Symbol) for s in found):
        raise UsageError(f"a model's {what} are what Input and layers return", got=repr(value))
    return found, not isinstance(value, (list, tuple, dict))


def keys_of(outputs: Any) -> tuple[str, ...]:
    """The keys of outputs given as a dict, ("a", "b"); of others none.  UsageError where they are no names."""
    if not isinstance(outputs, dict):
        return ()
    for key, value in outputs.items():
        if not isinstance(key, str) or not key or not isinstance(value, Symbol):
            raise UsageError("a dict of outputs names each of them", expected='{"name": what a layer returned}',
                             got=f"{key!r}: {type(value).__name__}")
    return tuple(outputs)


def name_layers(layers: list[Layer], prefix: str = "", taken: set[str] | None = None) -> None:
    """Unique names among siblings ("dense", "dense_1"), and paths ("block/dense") that weights are called by."""
    taken = set() if taken is None else taken
    for layer in layers:
        if layer.given_name is not None and layer.named:
            taken.add(layer.name)
    for layer in layers:
        if not layer.named:
            layer.name = _free(layer.given_name or layer.name, taken, layer.given_name is not None)
            layer.path, layer.named = prefix + layer.name, True
        taken.add(layer.name)
        name_layers(layer.sublayers(), layer.path + "/")


def _free(name: str, taken: set[str], given: bool) -> str:
    if name in taken and given:
        raise UsageError(f"two layers are called {name!r}", hint="names are unique in a model")
    free, n = name, 0
    while free in taken:
        n += 1
        free = f"{name}_{n}"
    return free


def _names(names: list[str]) -> list[str]:
    """The same names, numbered where they repeat."""
    seen: dict[str, int] = {}
    out = []
    for name in names:
        n = seen[name] = seen.get(name, -1) + 1
        out.append(f"{name}_{n}" if n else name)
    return out
