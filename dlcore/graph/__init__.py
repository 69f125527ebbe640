"""Symbolic tensors, the tape, and the planner that makes a Program of them.  Names are imported when first used."""
from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_PUBLIC = {
    "Declaration": "declaration",
    "DECLARATIONS": "declaration",
    "OPS": "declaration",
    "Slot": "declaration",
    "call": "declaration",
    "op": "declaration",
    "Spec": "spec",
    "Graph": "tensor",
    "Parameters": "tensor",
    "Tensor": "tensor",
    "recompute": "tensor",
    "plan": "planner",
    "ProgramCache": "cache",
}
__all__ = ["DECLARATIONS", "OPS", "Declaration", "Graph", "Parameters", "ProgramCache", "Slot", "Spec", "Tensor", "call", "op",
           "plan", "recompute"]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'dlcore.graph' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"dlcore.graph.{_PUBLIC[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)


if TYPE_CHECKING:
    from dlcore.graph.cache import ProgramCache
    from dlcore.graph.declaration import DECLARATIONS, OPS, Declaration, Slot, call, op
    from dlcore.graph.planner import plan
    from dlcore.graph.spec import Spec
    from dlcore.graph.tensor import Graph, Parameters, Tensor, recompute
