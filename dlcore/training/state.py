"""Where a training stands, so that it can go on at any step as if it had never stopped."""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from dlcore.errors import ShapeError, UsageError

if TYPE_CHECKING:
    from dlcore.training.model import Model


@dataclass
class TrainingState:
    """epoch: how many are finished.  position: steps done of the next one.  step: steps done in all.

    totals, rows: the sums that the running epoch reports, and the samples they are of.  Weights, statistics and the
    optimizer's state lie in the model; `export` and `restore` move all of it.  The order of an epoch is drawn for
    (seed, epoch) and dropout for (seed, step), so nothing else is needed."""

    seed: int = 0
    epoch: int = 0
    position: int = 0
    step: int = 0
    totals: list[float] = field(default_factory=list)
    rows: int = 0

    def start_epoch(self) -> None:
        """Leaves an epoch that was stopped in the middle, and goes to the next."""
        if self.position:
            self.epoch, self.position, self.rows, self.totals = self.epoch + 1, 0, 0, []

    def export(self, model: Model, reuse: Mapping[str, np.ndarray] | None = None
               ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """(arrays by name, numbers): copies, so that training may go on while they are written.

        reuse: arrays of an earlier export that nobody needs any more; copies are made into them where they fit."""
        with model.averages.used(False):
            views = kept(model) | {f"state/{n}": a for n, a in model.store.state(model.optimizer.name).items()}
            arrays = {name: copied(view, (reuse or {}).get(name)) for name, view in views.items()}
        return arrays, {**vars(self), "totals": list(self.totals)}

    @classmethod
    def restore(cls, model: Model, arrays: dict[str, np.ndarray], numbers: dict[str, Any]) -> TrainingState:
        """Puts a state back into a model of the same layers and optimizer.  Nothing is changed if something does not
        fit."""
        store, views = model.ensure_store(), kept(model)
        state = {n.removeprefix("state/"): a for n, a in arrays.items() if n.startswith("state/")}
        if differ := sorted(views.keys() ^ {n for n in arrays if not n.startswith("state/")}):
            raise UsageError("this state is of another model", got=", ".join(differ[:5]))
        for name, view in views.items():
            if arrays[name].shape != view.shape:
                raise ShapeError("this state is of another model", where=name, expected=str(view.shape),
                                 got=str(arrays[name].shape))
        store.take_state(state)
        for name, view in kept(model).items():              # the memory may have moved
            view[...] = arrays[name]
        store.changed()
        model.averages.in_place = False
        return cls(**numbers)


def copied(view: np.ndarray, into: np.ndarray | None) -> np.ndarray:
    """A copy, in the memory of `into` where that fits: new memory costs as much again as copying."""
    if into is None or into.shape != view.shape or into.dtype != view.dtype or not into.flags.writeable:
        return view.copy()
    np.copyto(into, view)
    return into


def kept(model: Model) -> dict[str, np.ndarray]:
    """Views of weights and statistics by name."""
    return {f"{'statistics' if v.statistic else 'weights'}/{v.key}": v.array for v in model.variables}
