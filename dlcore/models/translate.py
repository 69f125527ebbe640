"""Sequences to sequences: networks, and the search for a translation step by step.

The encoder runs once for a batch; what the decoder reads of it (keys and values of the attention over the source) is made once too.
A step of the decoder is a program for one id of each sequence, which keeps keys and values, or states, of the steps before.

Beam search (Wu et al., Google's neural machine translation system, 2016, section 7): of the continuations of each sentence the
`beams` likeliest are kept; one that ends counts with its log-probability over ((5 + length) / 6)**penalty, its end included.  The
search for a sentence is over when `beams` of them have ended, or at the greatest length.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dlcore.errors import UsageError
from dlcore.layers.trace import Trace, tracing
from dlcore.models.steps import _Kept

if TYPE_CHECKING:
    from dlcore.training.model import Model

ARCHITECTURES = ("transformer", "lstm")


def translator(arch: str, source_vocabulary: int, target_vocabulary: int, source_length: int, target_length: int, *, layers: int,
               width: int, dropout: float, heads: int = 4, inner: int = 512, seed: int = 0) -> Model:
    """(source i32[B, S], target i32[B, T]) -> logits f32[B, T, target_vocabulary] of what follows each id of the target."""
    from dlcore import layers as L
    from dlcore.training.model import Model
    if arch not in ARCHITECTURES:
        raise UsageError(f"{arch!r} is no architecture of a translator", expected=", ".join(ARCHITECTURES))
    sizes = source_vocabulary, target_vocabulary, source_length, target_length
    layer = (L.TranslationTransformer(*sizes, layers, heads, width, inner, dropout) if arch == "transformer"
             else L.TranslationLSTM(*sizes, layers, width, dropout))
    source, target = L.Input((source_length,), "int32", "source"), L.Input((target_length,), "int32", "target")
    model = Model([source, target], layer(source, target), seed=seed)
    model.network.fewer_steps = True
    return model


def layer_of(model: Model) -> Any:
    """The layer that a translator is; None where it is something else."""
    from dlcore.layers.translation import _Translation
    nodes = model.network.nodes
    return nodes[0].layer if len(nodes) == 1 and isinstance(nodes[0].layer, _Translation) else None


class _Program:
    """A program on a model's weights: `run` after its inputs are written; outputs are views."""

    def __init__(self, model: Model, build: Any):
        from dlcore.graph import Graph, plan
        store = model.ensure_store()
        graph = Graph(store.parameters, precision=model.answers_in)
        trace = Trace(graph, False, False)
        with tracing(trace):
            outputs = build(graph, trace)
        self.program = plan(graph, outputs)
        self.instance, self.prepared = model.programs.prepared.bind(store, self.program, {})

    def __getitem__(self, name: str) -> np.ndarray | None:
        there = name in self.program.leaves or name in self.program.outputs
        return self.instance[name] if there else None

    def put(self, name: str, value: Any) -> None:
        """Writes an input, if the program reads it."""
        if name in self.program.leaves:
            self.instance[name][...] = value


class Decoder:
    """Steps of a translator for `batch` sources of S ids, `beams` sequences of each, up to `length` steps.

    start(source)   i32[batch, S], 0 behind the end;   feed(ids)   i32[batch * beams] -> f32[batch * beams, V]
    reorder(rows)   sequence i goes on from what sequence rows[i] was"""

    def __init__(self, model: Model, batch: int, steps: int, beams: int, length: int):
        layer = layer_of(model)
        if layer is None:
            raise UsageError("the model is no translator", got=repr(model.name))
        self.batch, self.beams, self.length, self.position = batch, beams, length, 0
        shapes: dict[str, Any] = {}

        def encoder(graph: Any, trace: Any) -> dict[str, Any]:
            constants, states = layer.encoded(graph.input("source", batch, steps, dtype="i32"))
            found = {**{f"constant {n}": t for n, t in enumerate(constants)}, **{f"state {n}": t for n, t in enumerate(states)}}
            shapes.update({name: t.shape[1:] for name, t in found.items()})
            return found

        def decoder(graph: Any, trace: Any) -> dict[str, Any]:
            rows = batch * beams
            trace.steps = kept = _Kept(graph, rows, length)
            given = {name: graph.input(name, rows, *shape) for name, shape in shapes.items()}
            constants, states = ([t for name, t in given.items() if name.startswith(kind)] for kind in ("constant", "state"))
            logits, after = layer.advance(graph.input("ids", rows, 1, dtype="i32"), constants, states)
            caches = {f"cache {n}": t for n, t in enumerate(kept.written)}
            return {"logits": logits.reshape(rows, logits.shape[-1]), **{f"after {n}": t for n, t in enumerate(after)}, **caches}
        self.encoder, self.decoder = _Program(model, encoder), _Program(model, decoder)
        self.names = list(shapes)
        self.states = [name for name in shapes if name.startswith("state ")]
        self.caches = [self.decoder.instance[name] for name in self.decoder.program.outputs if name.startswith("cache ")]

    def start(self, source: np.ndarray) -> None:
        self.encoder.put("source", source)
        self.encoder.instance.run("forward")
        for name in self.names:
            made = self.encoder[name]
            assert made is not None
            self.decoder.put(name, np.repeat(made, self.beams, 0))
        self.position = 0

    def feed(self, ids: np.ndarray) -> np.ndarray:
        """The logits after one more id of each sequence; a view."""
        if self.position:
            for n, name in enumerate(self.states):
                self.decoder.put(name, self.decoder[f"after {n}"])
        self.decoder.put("ids", ids[:, None])
        self.decoder.put("position_ids", self.position)
        slots = {"position": self.position} if "position" in self.decoder.program.slots else {}
        self.decoder.instance.run("forward", **slots)
        self.position += 1
        return self.decoder.instance["logits"]

    def reorder(self, rows: np.ndarray) -> None:
        for cache in self.caches:
            cache[:, :, :self.position] = cache[rows, :, :self.position]
        for n in range(len(self.states)):
            after = self.decoder[f"after {n}"]
            assert after is not None
            after[...] = after[rows]


@dataclass(frozen=True)
class Search:
    """begin, end: ids;  banned: ids that never come;  penalty: of length, 0 prefers short translations."""

    begin: int
    end: int
    banned: tuple[int, ...] = ()
    penalty: float = 1.0

    def worth(self, score: Any, length: int) -> Any:
        return score / ((5 + length) / 6) ** self.penalty

    def logs(self, logits: np.ndarray) -> np.ndarray:
        """Log-probabilities, f64 of the same shape; those of banned ids are -inf, the others do not change."""
        z = logits.astype(np.float64)
        z -= z.max(-1, keepdims=True)
        z -= np.log(np.exp(z).sum(-1, keepdims=True))
        z[..., list(self.banned)] = -np.inf
        return z


def greedy(decoder: Decoder, source: np.ndarray, search: Search) -> list[list[int]]:
    """The likeliest id at each step, until the end; without the end."""
    decoder.start(source)
    made: list[list[int]] = [[] for _ in range(len(source))]
    going, ids = np.ones(len(source), bool), np.full(len(source), search.begin, np.int32)
    for _ in range(decoder.length):
        ids = search.logs(decoder.feed(ids)).argmax(-1).astype(np.int32)
        going &= ids != search.end
        if not going.any():
            break
        for n in np.flatnonzero(going):
            made[n].append(int(ids[n]))
    return made


def beam_search(decoder: Decoder, source: np.ndarray, search: Search) -> list[list[int]]:
    """The best translation that was found of each source, without its end."""
    N, K = len(source), decoder.beams
    decoder.start(source)
    scores = np.full((N, K), -np.inf)
    scores[:, 0] = 0                                        # all beams begin alike: one of them counts
    made = np.zeros((N, K, 0), np.int32)
    ended: list[list[tuple[float, list[int]]]] = [[] for _ in range(N)]
    done = np.zeros(N, bool)
    ids = np.full(N * K, search.begin, np.int32)
    for step in range(1, decoder.length + 1):
        logs = search.logs(decoder.feed(ids)).reshape(N, K, -1)
        total = scores[:, :, None] + logs
        V = total.shape[-1]
        best = _largest(total.reshape(N, K * V), 2 * K)     # so many that K remain even if K of them end
        rows, tokens, scores = np.zeros((N, K), np.int64), np.full((N, K), search.end, np.int32), np.full((N, K), -np.inf)
        for n in np.flatnonzero(~done):
            place = 0
            for rank, cell in enumerate(best[n]):
                row, token = divmod(int(cell), V)
                score = float(total[n, row, token])
                if not np.isfinite(score) or place == K:
                    break
                if token == search.end:
                    if rank < K:
                        ended[n].append((search.worth(score, step), made[n, row].tolist()))
                else:
                    rows[n, place], tokens[n, place], scores[n, place] = row, token, score
                    place += 1
            done[n] = place == 0 or len(ended[n]) >= K
        made = np.concatenate([np.take_along_axis(made, rows[:, :, None], 1), tokens[:, :, None]], 2)
        if done.all() or step == decoder.length:
            break
        decoder.reorder((np.arange(N)[:, None] * K + rows).reshape(-1))
        ids = tokens.reshape(-1)
    return [max(e, key=lambda item: item[0])[1] if e else made[n, int(scores[n].argmax())].tolist()
            for n, e in enumerate(ended)]


def _largest(values: np.ndarray, count: int) -> np.ndarray:
    """The columns of the `count` largest numbers of each row, largest first, of equal ones the first."""
    count = min(count, values.shape[1])
    threshold = np.partition(values, values.shape[1] - count, 1)[:, values.shape[1] - count]
    out = np.empty((len(values), count), np.int64)
    for n, row in enumerate(values):
        places = np.flatnonzero(row >= threshold[n])
        out[n] = places[np.argsort(-row[places], kind="stable")[:count]]
    return out


def attention(model: Model, source: Sequence[int], target: Sequence[int]) -> np.ndarray:
    """f32[layers, heads, T, S]: how much each step of a target looks at each id of the source; made when asked for."""
    layer = layer_of(model)
    if layer is None:
        raise UsageError("the model is no translator", got=repr(model.name))

    def build(graph: Any, trace: Any) -> dict[str, Any]:
        s, t = (graph.input(name, 1, len(ids), dtype="i32") for name, ids in (("source", source), ("target", target)))
        return {f"{name} {n}": x for n, pair in enumerate(layer.alignments(s, t)) for name, x in zip("qk", pair, strict=True)}
    made = _Program(model, build)
    made.put("source", np.asarray(source)[None])
    made.put("target", np.asarray(target)[None])
    made.instance.run("forward")
    mask = (np.asarray(source)[None] != 0).astype(np.float32)
    count = len(made.program.outputs) // 2
    pairs = [(made.instance[f"q {n}"], made.instance[f"k {n}"]) for n in range(count)]
    return np.stack([layer.attention_weights(pair, mask)[0] for pair in pairs])
