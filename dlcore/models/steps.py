"""A language model one id at a time: a program that keeps keys and values, so that a step costs one row, whatever came before.

    steps = Steps(model, batch=1, length=64)
    logits = steps.feed([17])           # f32[1, V]: of what follows id 17 at position 0
    logits = steps.feed([4])            # at position 1
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from dlcore.errors import UsageError
from dlcore.layers.trace import Trace, tracing

if TYPE_CHECKING:
    from dlcore.graph import Graph, Tensor
    from dlcore.training.model import Model


class _Kept:
    """What layers see of it while they are traced.  position: a Slot; ids: i32[1], the same number as a tensor."""

    def __init__(self, graph: Graph, batch: int, length: int):
        from dlcore.graph import Slot
        self.graph, self.batch, self.length = graph, batch, length
        self.position = Slot("position", "i64", 0, length - 1)
        self.ids = graph.input("position_ids", 1, dtype="i32")
        self.caches: list[str] = []
        self.written: list[Tensor] = []

    def attend(self, path: str, qkv: Tensor, groups: int, window: int | None) -> Tensor:
        """Attention of the new step, f32[B, 1, H, D], over those kept for the layer of this path."""
        from dlcore import ops
        B, _, A, D = qkv.shape
        names = [f"{path}/{what}/{self.batch}x{self.length}" for what in ("keys", "values")]
        keys, values = (self.graph.cache(name, B, groups, self.length, D) for name in names)
        out, keys, values = ops.cached_attention(qkv.reshape(B, A, D), keys, values, self.position, groups, window)
        self.caches += names
        self.written += [keys, values]
        return out.reshape(B, 1, A - 2 * groups, D)


class Steps:
    """`batch` sequences of a model whose input is ids and whose output is logits, made step by step, up to `length` of them.

    Raises UsageError where the model cannot be stepped."""

    def __init__(self, model: Model, batch: int, length: int):
        from dlcore.graph import Graph, plan
        if not steppable(model):
            raise UsageError("the model has layers that need whole sequences", expected="a CausalLM", got=repr(model.name))
        store = model.ensure_store()
        graph = Graph(store.parameters, precision=model.precision)
        trace = Trace(graph, False, False)
        self.batch, self.length, self.position = batch, length, 0
        with tracing(trace):
            trace.steps = kept = _Kept(graph, batch, length)
            logits = model.network.nodes[0].layer(graph.input("ids", batch, 1, dtype="i32"))
        caches = {f"cache {n}": t for n, t in enumerate(kept.written)}
        self.program = plan(graph, {"logits": logits.reshape(batch, logits.shape[-1]), **caches})
        self.instance = store.bind(self.program, {})
        self.ids, self.at = self.instance["ids"], self.instance["position_ids"] if "position_ids" in self.program.leaves else None
        self.caches = [name for name in self.program.outputs if name.startswith("cache ")]
        if "prepare" in self.program.segments:
            self.instance.run("prepare")

    def feed(self, ids: Sequence[int] | np.ndarray) -> np.ndarray:
        """The logits, f32[batch, V], after one more id of each sequence.  A view: the next step overwrites it."""
        if self.position >= self.length:
            raise UsageError("the sequence is as long as it can be", got=str(self.length), hint="reset, and feed what is to stay")
        self.ids[:, 0] = ids
        if self.at is not None:
            self.at[0] = self.position
        self.instance.run("forward", position=self.position)
        self.position += 1
        return self.instance["logits"]

    def reset(self) -> None:
        """Starts anew; what is kept is overwritten."""
        self.position = 0

    def reorder(self, rows: np.ndarray) -> None:
        """Sequence i goes on from what sequence rows[i] was."""
        for name in self.caches:
            cache = self.instance[name]
            cache[:, :, :self.position] = cache[rows, :, :self.position]


def steppable(model: Any) -> bool:
    """Whether every layer knows how to make a sequence step by step."""
    from dlcore.layers import CausalLM
    nodes = model.network.nodes
    return len(nodes) == 1 and isinstance(nodes[0].layer, CausalLM)
