"""Sequences out of a language model: sampling and beam search over the logits of the next id.

Temperature divides the logits; then candidates are cut:  top_k  the k likeliest;  top_p  the fewest whose probabilities reach p
(Holtzman et al., The curious case of neural text degeneration, 2020);  min_p  those at least min_p times as likely as the
likeliest (Nguyen et al., 2024).  repetition_penalty r divides positive logits of ids that occurred, and multiplies negative
ones (Keskar et al., CTRL, 2019).
"""
from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dlcore.errors import UsageError
from dlcore.layers.initializers import generator
from dlcore.models.steps import Steps, steppable

Scored = tuple[float, list[int]]                # a continuation behind its log-probability
SORTED = 512                # probabilities that are sorted at first, to find those that reach a share
DRAWS = 0x6E                # tells the generator of samples from those of initial weights


@dataclass(frozen=True)
class Sampling:
    """How an id is chosen.  temperature 0: the likeliest.  banned: ids that never come.   UsageError for numbers of no use."""

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    seed: int = 0
    banned: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for holds, name, expected in (
                (self.temperature >= 0, "temperature", "a number from 0"), (self.top_k >= 0, "top_k", "a whole number from 0"),
                (0 < self.top_p <= 1, "top_p", "0 < top_p <= 1"), (0 <= self.min_p <= 1, "min_p", "0 <= min_p <= 1"),
                (self.repetition_penalty > 0, "repetition_penalty", "a positive number"), (self.seed >= 0, "seed", "from 0")):
            if not holds:
                raise UsageError(f"{name} = {getattr(self, name)!r} is of no use", expected=expected)

    def adjusted(self, logits: np.ndarray, seen: Sequence[int]) -> np.ndarray:
        """The logits, f64[V], after penalty and bans."""
        out = logits.astype(np.float64)
        if self.repetition_penalty != 1 and len(seen):
            ids = np.unique(np.asarray(seen))
            out[ids] = np.where(out[ids] > 0, out[ids] / self.repetition_penalty, out[ids] * self.repetition_penalty)
        out[list(self.banned)] = -np.inf
        return out

    def probabilities(self, logits: np.ndarray, seen: Sequence[int] = ()) -> np.ndarray:
        """What the next id is drawn from, f64[V]."""
        out = self.adjusted(logits, seen)
        if self.temperature == 0:
            return (np.arange(len(out)) == out.argmax()).astype(np.float64)
        p = np.exp((out - out.max()) / self.temperature)
        p /= p.sum()
        if (self.top_k and self.top_k < len(p)) or self.top_p < 1:
            order = likeliest(p, min(self.top_k or len(p), len(p)), self.top_p)
            kept = np.zeros(len(p))
            kept[order] = p[order]
            p = kept
        if self.min_p:
            p[p < self.min_p * p.max()] = 0
        return p / p.sum()

    def draws(self) -> Iterator[float]:
        """Numbers in [0, 1), one for each id."""
        rng = generator(self.seed, DRAWS)
        while True:
            yield from rng.random(256)

    def choose(self, logits: np.ndarray, seen: Sequence[int], draw: float) -> int:
        """The id whose share of the probabilities holds the draw."""
        if self.temperature == 0:
            return int(self.adjusted(logits, seen).argmax())
        sums = np.cumsum(self.probabilities(logits, seen))
        found = int(np.searchsorted(sums, draw * sums[-1], side="right"))
        return found if found < len(sums) else int(np.flatnonzero(np.diff(sums, prepend=0)).max())


def likeliest(p: np.ndarray, count: int, share: float) -> np.ndarray:
    """Places of the `count` largest of p, or of so many of them as reach the share, falling; equal ones in their order.

    Only as many as are likely to be needed are sorted: thousands of words that hardly ever come would take longer than a step."""
    size = min(count, SORTED) if share < 1 else count
    while True:
        if size < len(p):
            least = np.partition(p, len(p) - size)[len(p) - size]
            above, equal = np.flatnonzero(p > least), np.flatnonzero(p == least)
            places = np.sort(np.concatenate([above, equal[:size - len(above)]]))
        else:
            places = np.arange(len(p))
        order = places[np.argsort(-p[places], kind="stable")]
        sums = np.cumsum(p[order])
        if share < 1 and sums[-1] >= share:
            return order[:int(np.searchsorted(sums, share)) + 1]
        if size >= count:
            return order
        size = min(count, 8 * size)


class Window:
    """Logits of models that cannot be stepped: the last ids are run again for each new one."""

    def __init__(self, model: Any, batch: int, length: int):
        self.model, self.length, self.batch = model, length, batch
        self.reset()

    def reset(self) -> None:
        self.ids = np.zeros((self.batch, self.length), np.int32)
        self.position = 0

    def feed(self, ids: Any) -> np.ndarray:
        self.ids[:, self.position] = ids
        self.position += 1
        return self.model.predict(self.ids)[:, self.position - 1]

    def read(self, ids: Any) -> None:
        """The first ids of every sequence."""
        self.position = np.shape(ids)[-1]
        self.ids[:, :self.position] = ids

    def reorder(self, rows: np.ndarray) -> None:
        self.ids = self.ids[rows]


class Decoder:
    """Logits along growing sequences.  A sequence longer than the context goes on from its last half."""

    def __init__(self, model: Any, context: int, batch: int = 1):
        self.steps: Any = Steps(model, batch, context) if steppable(model) else Window(model, batch, context)
        self.context = context
        self.history: list[list[int]] = [[] for _ in range(batch)]

    def feed(self, ids: Sequence[int]) -> np.ndarray:
        """f32[batch, V]: the logits after one more id of each sequence."""
        for row, i in zip(self.history, ids, strict=True):
            row.append(int(i))
        if self.steps.position == self.context:
            self.steps.reset()
            self.steps.read(np.array(self.history)[:, -max(1, self.context // 2):-1])
        return self.steps.feed(ids)

    def start(self, prompt: Sequence[int]) -> np.ndarray:
        """The logits after a prompt, of which the last `context` ids are read."""
        self.steps.reset()
        self.history = [list(map(int, prompt[:-1])) for _ in self.history]
        self.steps.read(np.array(prompt[-self.context:-1], np.int32))
        return self.feed([prompt[-1]] * len(self.history))

    def reorder(self, rows: np.ndarray) -> None:
        self.steps.reorder(rows)
        self.history = [list(self.history[i]) for i in rows]


def sample(model: Any, prompt: Sequence[int], count: int, context: int, sampling: Sampling,
           fresh: int | None = None) -> Iterator[int]:
    """`count` ids that follow the prompt, as they are made.   fresh: an id that begins anew: what is before it is forgotten.
    UsageError for an empty prompt."""
    if not len(prompt):
        raise UsageError("a prompt has at least one id")
    decoder, draws = Decoder(model, context), sampling.draws()
    logits = decoder.start(prompt)
    for n in range(count):
        chosen = sampling.choose(logits[0], decoder.history[0], next(draws))
        yield chosen
        if n + 1 < count:
            logits = decoder.start([chosen]) if chosen == fresh else decoder.feed([chosen])


def beam_search(model: Any, prompt: Sequence[int], count: int, context: int, beams: int, sampling: Sampling,
                done: Callable[[list[int]], bool] = lambda ids: False, length_penalty: float = 1.0) -> list[int]:
    """The likeliest continuation that `beams` parallel ones find: its log-probability over its length to length_penalty is the
    greatest.  done(ids): whether a continuation is complete; one that is goes before those that are not.   UsageError"""
    if beams < 1 or not len(prompt):
        raise UsageError("beam search needs at least one beam and a prompt", got=f"{beams} beams, {len(prompt)} ids")
    decoder = Decoder(model, context, beams)
    logits = decoder.start(prompt)
    scores = np.array([0.0] + [-np.inf] * (beams - 1))
    made: list[list[int]] = [[] for _ in range(beams)]
    finished: list[Scored] = []
    for _ in range(count):
        adjusted = np.array([sampling.adjusted(row, seen) for row, seen in zip(logits, decoder.history, strict=True)])
        top = adjusted.max(1, keepdims=True)
        total = scores[:, None] + adjusted - top - np.log(np.exp(adjusted - top).sum(1, keepdims=True))
        best = np.argsort(-total, axis=None, kind="stable")[:2 * beams]
        rows: list[int] = []
        ids: list[int] = []
        kept: list[Scored] = []
        for row, i in zip(*np.unravel_index(best, total.shape), strict=True):
            continuation = [*made[row], int(i)]
            if done(continuation):
                finished.append((total[row, i] / len(continuation) ** length_penalty, continuation))
            elif len(rows) < beams and np.isfinite(total[row, i]):
                rows.append(row)
                ids.append(int(i))
                kept.append((total[row, i], continuation))
        if not kept or len(finished) >= beams:
            break
        while len(rows) < beams:                                # too few ids are allowed: copies that never win
            rows.append(rows[0])
            ids.append(ids[0])
            kept.append((-np.inf, kept[0][1]))
        scores, made = np.array([score for score, _ in kept]), [continuation for _, continuation in kept]
        decoder.reorder(np.array(rows))
        logits = decoder.feed(ids)
    if not finished:
        finished = [(score / max(1, len(c)) ** length_penalty, c) for score, c in zip(scores, made, strict=True)]
    return max(finished, key=lambda item: item[0])[1]
