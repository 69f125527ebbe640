"""Calls and ops as rooms declare them.  No compiled module is imported: the build reads rooms before anything is compiled.

    relu_call = call("relu(x: F[S] -> +out: F[S])", over="S", flops="S")

    @op
    def relu(x):
        out = relu_call(x)
        return out, lambda dout: relu_gradient(dout, out)
"""
from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dlcore.errors import SpecError
from dlcore.graph.spec import Spec

if TYPE_CHECKING:
    from dlcore.graph.tensor import Graph, Tensor

DECLARATIONS: dict[str, Declaration] = {}       # name -> every call that a room declared
OPS: dict[str, Callable[..., Any]] = {}         # name -> every op


@dataclass(frozen=True, slots=True)
class Slot:
    """A scalar that the host sets before a run: lr, step, seed, position, ...

    dtype: "f32" or "i64".  low, high: the values that `run` accepts, both inclusive; None: no limit."""

    name: str
    dtype: str = "f32"
    low: float | None = None
    high: float | None = None

    def __post_init__(self) -> None:
        if self.dtype not in ("f32", "i64"):
            raise SpecError(f"slot {self.name!r} has dtype {self.dtype!r}", expected="f32 or i64")


class Declaration:
    """A call that can be made on the tensors of a graph.  The text is parsed when it is first needed.

    constants: sizes of the CPU level or the GPU, such as PANEL; empty for the abstract calls of a room."""

    def __init__(self, text: str, over: str, flops: str = "", F: tuple[str, ...] = ("f32",), G: tuple[str, ...] = ("f32",),
                 constants: Mapping[str, int] | None = None) -> None:
        self.text, self.over, self.flops, self.F, self.G = text, over, flops, tuple(F), tuple(G)
        self.constants = dict(constants or {})
        self.name = text.partition("(")[0].strip()
        self.solved: dict[Any, Any] = {}        # shapes -> sizes and shapes of outputs: layers of one shape are solved once

    @functools.cached_property
    def spec(self) -> Spec:
        return Spec(self.text, self.over, self.flops, self.F, self.G)

    def __call__(self, *arguments: Any, out: Mapping[str, Tensor] | None = None, graph: Graph | None = None,
                 **sizes: int) -> Any:
        """Puts the call into the graph of its tensors (`graph` where it reads none) and returns its outputs.

        arguments: tensors, None for an absent optional array, numbers or Slots, in the order of `spec.arguments`.
        out: {output's name: tensor to write to}.  sizes: those that no argument shows, by name.
        Raises ShapeError (shapes, dtypes), SpecError (arguments, unknown sizes)."""
        if graph is None:
            graph = next((g for a in arguments if (g := getattr(a, "graph", None)) is not None), None)
            if graph is None:
                raise SpecError(f"{self.name} reads no tensor", hint="pass graph=...")
        return graph.emit(self, arguments, out, sizes)

    def same(self, other: Declaration) -> bool:
        return all(getattr(self, n) == getattr(other, n) for n in ("text", "over", "flops", "F", "G"))

    def __repr__(self) -> str:
        return f"<call {self.text}, over {self.over!r}>"


def call(text: str, over: str, flops: str = "", F: tuple[str, ...] = ("f32",), G: tuple[str, ...] = ("f32",)) -> Declaration:
    """Declares a call: its spec, what threads share, its floating-point operations, the dtypes of F and G.

    A name is declared once; the very same declaration may be repeated (a module that is loaded again)."""
    made = Declaration(text, over, flops, F, G)
    known = DECLARATIONS.setdefault(made.name, made)
    if not known.same(made):
        raise SpecError(f"call {made.name!r} is declared twice", expected=known.text, got=text)
    return known


def declared(name: str) -> Declaration:
    """A call that the graph itself needs (`fill`, `accumulate`): the room that declares it is imported when it is first needed."""
    if name not in DECLARATIONS:
        importlib.import_module("dlcore.ops.shape")
    return DECLARATIONS[name]


def op(function: Callable[..., Any]) -> Callable[..., Any]:
    """Marks a function that makes calls and returns (outputs, backward).

    backward gets one gradient per output (None: nothing depends on it) and returns one per tensor among the arguments, in
    order (lists of tensors count one by one, keyword arguments last); None where there is none to give.  A backward that is
    None has no derivative.  What the closure names lives as long as it is needed."""
    @functools.wraps(function)
    def wrapped(*arguments: Any, **options: Any) -> Any:
        inputs = tensors_in((*arguments, *options.values()))
        graph = inputs[0].graph if inputs else options.get("graph")
        if graph is None:
            raise SpecError(f"{function.__name__} got no tensor", hint="the first arguments of an op are tensors of a graph")
        with graph.inside():
            outputs, backward = function(*arguments, **options)
        graph.record(function.__name__, inputs, outputs if isinstance(outputs, (tuple, list)) else (outputs,), backward)
        return outputs
    OPS[function.__name__] = wrapped
    return wrapped


def tensors_in(values: Any) -> list[Tensor]:
    """The tensors among values, and among the members of lists in it."""
    found: list[Tensor] = []
    for v in values:
        if isinstance(v, (tuple, list)):
            found += tensors_in(v)
        elif hasattr(v, "graph"):
            found.append(v)
    return found
