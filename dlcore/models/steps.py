"""A language model one id at a time: a program that keeps keys and values, so that a step costs one row, whatever came before.

    steps = Steps(model, batch=1, length=64)
    logits = steps.feed([17])           # f32[1, V]: of what follows id 17 at position 0
    logits = steps.feed([4])            # at position 1

    steps.reset()
    steps.read([17, 4, 9])              # what comes first, all at once
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


FEW = 4                 # ids that are not worth a program of their own
LEAST = 32              # steps of the smallest such program


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


class _Start:
    """The same, where the first steps of a sequence are read at once: keys and values are taken out of the program."""

    def __init__(self, graph: Graph, length: int):
        self.position = 0
        self.ids = graph.input("position_ids", length, dtype="i32")
        self.made: list[Tensor] = []

    def attend(self, path: str, qkv: Tensor, groups: int, window: int | None) -> Tensor:
        from dlcore import ops
        self.made.append(qkv)
        return ops.packed_attention(qkv, groups, None, causal=True, window=window)


class Steps:
    """`batch` sequences of a model whose input is ids and whose output is logits, made step by step, up to `length` of them.

    Raises UsageError where the model cannot be stepped."""

    def __init__(self, model: Model, batch: int, length: int):
        from dlcore.graph import Graph, plan
        if not steppable(model):
            raise UsageError("the model has layers that need whole sequences", expected="a CausalLM", got=repr(model.name))
        store = model.ensure_store()
        self.model, self.batch, self.length, self.position = model, batch, length, 0
        self.precision = model.answers_in           # of both programs
        self.start: tuple[int, Any] = 0, None       # steps that a program reads at once, and its instance
        graph = Graph(store.parameters, precision=self.precision)
        trace = Trace(graph, False, False)
        with tracing(trace):
            trace.steps = kept = _Kept(graph, batch, length)
            logits = model.network.nodes[0].layer(graph.input("ids", batch, 1, dtype="i32"))
        caches = {f"cache {n}": t for n, t in enumerate(kept.written)}
        self.program = plan(graph, {"logits": logits.reshape(batch, logits.shape[-1]), **caches})
        self.instance, self.stepping = model.programs.prepared.bind(store, self.program, {})
        self.ids, self.at = self.instance["ids"], self.instance["position_ids"] if "position_ids" in self.program.leaves else None
        self.caches = [name for name in self.program.outputs if name.startswith("cache ")]

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

    def read(self, ids: Sequence[int] | np.ndarray) -> None:
        """The first steps of every sequence, i32[n] or i32[batch, n], n below `length`: as fed one after another, but with the
        weights read once.  The logits behind them are not made, so the last id of a prompt is left to `feed`."""
        columns = np.broadcast_to(np.asarray(ids, np.int32), (self.batch, np.shape(ids)[-1]))
        n = columns.shape[1]
        if self.position or n >= self.length:
            raise UsageError("what comes first is read at the start, and leaves room for what follows",
                             expected=f"position 0 and fewer than {self.length} ids", got=f"position {self.position}, {n} ids")
        if n < FEW:
            for column in columns.T:
                self.feed(column)
            return
        instance = self.starting(n)
        given = instance["ids"]
        given[...] = 0                              # behind the ids: what they give is overwritten before it is read
        given[:, :n] = columns
        if "position_ids" in instance.program.leaves:
            instance["position_ids"][...] = np.arange(given.shape[1])
        instance.run("forward")
        for i, (keys, values) in enumerate(zip(self.caches[::2], self.caches[1::2], strict=True)):
            qkv, groups = instance[f"made {i}"][:, :n].transpose(0, 2, 1, 3), self.instance[keys].shape[1]
            self.instance[keys][:, :, :n] = qkv[:, -2 * groups:-groups]
            self.instance[values][:, :, :n] = qkv[:, -groups:]
        self.position = n

    def starting(self, n: int) -> Any:
        """The instance of a program for at least n steps at once, up to the next power of two; the last one is kept."""
        from dlcore.graph import Graph, plan
        size = min(self.length, max(LEAST, 1 << (n - 1).bit_length()))
        if self.start[0] != size:
            store = self.model.ensure_store()
            graph = Graph(store.parameters, precision=self.precision)
            trace = Trace(graph, False, False)
            with tracing(trace):
                trace.steps = start = _Start(graph, size)
                self.model.network.nodes[0].layer(graph.input("ids", self.batch, size, dtype="i32"))
            program = plan(graph, {f"made {i}": qkv for i, qkv in enumerate(start.made)})
            instance, self.reading = self.model.programs.prepared.bind(store, program, {})
            self.start = size, instance
        return self.start[1]

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
