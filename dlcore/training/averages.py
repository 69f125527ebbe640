"""Averages of weights (`use_ema`): kept beside the weights by the optimizer, and put in their place where a model is used.

Between epochs and after training a model holds the averages, and the optimizer's memory the weights as trained; each step
begins with the weights in their place again.  Nothing is lost on the way, so training goes on as if it had never evaluated.
"""
from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from dlcore.runtime import look

if TYPE_CHECKING:
    from dlcore.training.model import Model
    from dlcore.training.store import WeightStore


class Averages:
    """in_place: whether the model holds the averages now."""

    def __init__(self, model: Model):
        self.model, self.in_place = model, False

    @property
    def kept(self) -> bool:
        """Whether there are any: the optimizer keeps them, and has made a step."""
        optimizer = self.model.optimizer
        return optimizer is not None and optimizer.use_ema and self.model.state.step > 0

    def use(self, wanted: bool) -> None:
        """Puts the averages (True) or the weights as trained (False) into the model."""
        if self.in_place != wanted and self.kept:
            self.in_place = wanted
            for weights, averages in self._pairs():
                held = weights.copy()
                weights[...] = averages
                averages[...] = held
            self.model.store.changed()

    @contextmanager
    def used(self, wanted: bool) -> Iterator[None]:
        """The same for a while."""
        before = self.in_place
        self.use(wanted)
        try:
            yield
        finally:
            self.use(before)

    def restart(self) -> None:
        """The weights were set by hand: the averages begin with them."""
        if self.kept:
            for weights, averages in self._pairs():
                averages[...] = weights

    def _pairs(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """(weights, averages): the same stretch of each, f32."""
        store = self.model.ensure_store()
        for name, averages in store.state(self.model.optimizer.name).items():
            kind, _, run = name.removeprefix(f"{self.model.optimizer.name}/").partition("/")
            if kind == "ema":
                yield stretch(store, run, averages.size), averages


def stretch(store: WeightStore, run: str, size: int) -> np.ndarray:
    """The weights from "first:last" on, f32[size]; names may have colons of their own."""
    places = store.parameters.places
    cuts = [i for i, c in enumerate(run) if c == ":" and run[:i] in places and run[i + 1:] in places]
    offset = places[run[:cuts[0]]].offset
    return look(store.buffers["weights"])[offset:offset + size * 4].view(np.float32)
