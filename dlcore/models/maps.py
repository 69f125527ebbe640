"""How much each step of a sequence looks at each other one: the weights of attention, made only when they are asked for.

The kernels of attention never hold these T x S numbers; here a program of its own gives the queries and keys of every
`MultiHeadAttention` of a model, and NumPy the rest:

    map = softmax(q k' / sqrt(D)) over the steps that are seen
"""
from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from dlcore.errors import UsageError
from dlcore.layers.trace import Trace, tracing

if TYPE_CHECKING:
    from dlcore.training.model import Model


def attention_maps(model: Model, x: Any) -> dict[str, np.ndarray]:
    """Path of each layer of attention -> f32[B, heads, T, S], whose rows sum to 1 (to 0 where nothing is seen).

    x: a batch, as of `predict`.   UsageError for a model without such layers"""
    from dlcore.graph import Graph, plan
    from dlcore.training import dataset
    arrays = dataset.inputs(model, x)
    network, store = model.network, model.ensure_store()
    assert network is not None
    graph = Graph(store.parameters, precision=model.answers_in)
    trace = Trace(graph, False, False)
    trace.attended = []
    with tracing(trace):
        given = enumerate(zip(arrays, network.inputs, strict=True))
        network.apply([graph.input(f"x{i}", *a.shape, dtype=s.dtype) for i, (a, s) in given])
    if not trace.attended:
        raise UsageError("the model has no layers of attention", got=repr(model.name), expected="MultiHeadAttention")
    outputs: dict[str, Any] = {}
    for n, (_, compared, mask) in enumerate(trace.attended):
        outputs |= {f"{n} {i}": t for i, t in enumerate(compared)} | ({} if mask is None else {f"{n} mask": mask})
    program = plan(graph, outputs)
    instance = store.bind(program, {})
    for i, array in enumerate(arrays):
        if f"x{i}" in program.leaves:
            instance[f"x{i}"][...] = array
    instance.run("forward")
    found: dict[str, np.ndarray] = {}
    for n, (layer, compared, mask) in enumerate(trace.attended):
        parts = [np.asarray(instance[f"{n} {i}"], np.float32) for i in range(len(compared))]
        seen = None if mask is None else np.asarray(instance[f"{n} mask"])
        path = layer.path if layer.path not in found else f"{layer.path} {n}"
        found[path] = _map(layer, parts, seen)
    return found


def _map(layer: Any, parts: list[np.ndarray], mask: np.ndarray | None) -> np.ndarray:
    """parts: [queries, keys], or what holds both and the values, f32[B, T, heads, D];   mask: f32[B, S]"""
    H, G = layer.num_heads, layer.groups
    q, k = parts if len(parts) == 2 else (parts[0][:, :, :H], parts[0][:, :, H:H + G])
    B, T, _, D = q.shape
    S = k.shape[1]
    scores = np.einsum("btgrd,bsgd->bgrts", q.reshape(B, T, G, H // G, D), k).reshape(B, H, T, S) / math.sqrt(D)
    seen = np.ones((B, 1, T, S), bool)
    back = np.arange(T)[:, None] - np.arange(S)
    if layer.use_causal_mask:
        seen &= back >= 0
    if layer.sliding_window is not None:
        seen &= np.abs(back) < layer.sliding_window
    if mask is not None:
        seen &= mask[:, None, None] != 0
    scores = np.where(seen, scores, -np.inf)
    top = scores.max(-1, keepdims=True)
    weights = np.exp(scores - np.where(np.isfinite(top), top, 0))
    total = weights.sum(-1, keepdims=True)
    return (weights / np.where(total > 0, total, 1)).astype(np.float32)
