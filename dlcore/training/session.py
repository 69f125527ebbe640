"""A `fit` while it runs: the loop with its callbacks and history, and all that a checkpoint keeps of them.

What is random follows from (seed, epoch, step), so the numbers of the state are the whole random state: the order of an
epoch is drawn for (seed, epoch), the masks of dropout for (seed, step).  A session that takes back a snapshot goes on to
the same bits as the one that gave it, from any step, on any number of threads.
"""
from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from dlcore.errors import DivergedError, DlcoreError, ModelFileError, UsageError
from dlcore.training import fitting
from dlcore.training.callbacks import Callback, CallbackList
from dlcore.training.checkpoint import Snapshot
from dlcore.training.history import History
from dlcore.training.loop import EpochReport, Loop
from dlcore.training.state import TrainingState

if TYPE_CHECKING:
    from dlcore.training.model import Model

SAMPLE_ROWS = 64            # of each array, that the fingerprint of the data is taken of


class Session:
    """model, loop, history, callbacks of one `fit`.   first: the number of the epoch that callbacks see as 0."""

    def __init__(self, model: Model, loop: Loop, callbacks: Iterable[Callback], params: dict[str, Any]):
        self.model, self.loop, self.params = model, loop, params
        self.history, self.first = History(params), loop.state.epoch
        self.callbacks = CallbackList(callbacks, model, params)
        self.interrupted = False
        self.report: EpochReport | None = None          # of the last epoch
        self._pending: Snapshot | None = None
        for callback in self.callbacks.callbacks:
            callback.session = self
        fitting.connect_hooks(model, loop, self.callbacks, self)

    def run(self) -> History:
        """Trains to the end, or until `model.stop_training`."""
        model, loop, hooks = self.model, self.loop, self.callbacks
        model.stop_training = False
        hooks.call("on_train_begin", {})
        if self._pending is not None:
            self._take(self._pending)
        loop.stop = model.stop_training
        try:
            for report in loop:
                self.report = report
                number = report.epoch - self.first
                if report.complete:
                    self.history.append(number, report.logs)
                    hooks.call("on_epoch_end", number, report.logs)
                    if self.params["verbose"]:
                        print(fitting.line(report, number + 1, self.params["epochs"]), file=sys.stderr)
                loop.stop = model.stop_training
        except DivergedError as failure:
            if not any(hooks.call("on_divergence", failure)):
                raise
        model.averages.use(True)
        hooks.call("on_train_stop")
        hooks.call("on_train_end", self.report.logs if self.report else {})
        return self.history

    @property
    def finished(self) -> bool:
        """Whether no step is left to do: the last epoch is over, or a callback ended the training after one."""
        ended = self.model.stop_training and not self.interrupted and self.loop.state.position == 0
        return ended or self.loop.state.epoch >= self.loop.epochs

    def interrupt(self) -> None:
        """Stops after the step that runs, as something to be resumed; a signal handler may call it."""
        self.interrupted = self.loop.stop = self.model.stop_training = True

    def every(self, steps: int, function: Callable[[], None]) -> None:
        """Calls `function` after each step whose number, counted over all epochs, is a multiple of `steps`."""
        self.loop.every(steps, function)

    # ---- snapshots ---------------------------------------------------------------------------------------------------
    def snapshot(self, reuse: Snapshot | None = None) -> Snapshot:
        """Where the training stands now: copies, so that it may go on while they are written.

        reuse: an earlier snapshot of this session that nobody needs any more; its memory is used again."""
        old = reuse.arrays if reuse is not None else {}
        arrays, state = self.loop.state.export(self.model, old)
        callbacks: dict[str, dict[str, Any]] = {}
        for name, values in self.callbacks.states().items():
            callbacks[name] = {}
            for key, value in values.items():
                if isinstance(value, np.ndarray):
                    arrays[f"callbacks/{name}/{key}"] = value
                else:
                    callbacks[name][key] = copy.deepcopy(value)     # lists go on growing while this is written
        optimizer = self.model.optimizer                    # what a schedule gives is found from the step
        rate = optimizer.learning_rate if getattr(optimizer, "schedule", None) is None else None
        numbers = {"state": state, "first": self.first, "epochs": self.loop.epochs, "finished": self.finished,
                   "learning_rate": rate, "data": fingerprint(self.loop.feed),
                   "history": {name: list(values) for name, values in self.history.history.items()},
                   "epoch": list(self.history.epoch), "callbacks": callbacks}
        return Snapshot(arrays, numbers)

    def resume(self, snapshot: Snapshot) -> None:
        """To be called in `on_train_begin`: once every callback has begun, the training goes on from this snapshot."""
        self._pending = snapshot

    def _take(self, snapshot: Snapshot) -> None:
        """Puts a snapshot back.  UsageError where it is of another model, other data or other callbacks."""
        arrays, numbers = snapshot
        try:
            self._check_data(numbers["data"])
            own = {n: a for n, a in arrays.items() if not n.startswith("callbacks/")}
            state = TrainingState.restore(self.model, own, numbers["state"])
            vars(self.loop.state).update(vars(state))
            self.first = numbers["first"]
            if numbers["learning_rate"] is not None:
                self.model.optimizer.learning_rate = numbers["learning_rate"]
            self.history.history = {name: list(values) for name, values in numbers["history"].items()}
            self.history.epoch = list(numbers["epoch"])
            self._take_callbacks(numbers["callbacks"], arrays)
            if self.loop.epochs > numbers["epochs"]:        # more was asked for than the training that ended here
                self.model.stop_training = False
        except DlcoreError:
            raise
        except (AttributeError, KeyError, TypeError, ValueError) as fault:
            raise ModelFileError("the checkpoint's state is malformed", got=f"{type(fault).__name__}: {fault}"[:200]) from fault

    def _check_data(self, data: dict[str, Any] | None) -> None:
        now = fingerprint(self.loop.feed)
        if data is None or now is None or data == now:
            return
        name = next(n for n in (*data, *now) if data.get(n) != now.get(n))
        raise UsageError("the checkpoint is of a training on other data", where=name, expected=str(data.get(name)),
                         got=str(now.get(name)), hint="give the data and batch size that the training began with, or "
                         "another folder for its checkpoints")

    def _take_callbacks(self, states: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        known = self.callbacks.named()
        if missing := [name for name in states if name not in known]:
            raise UsageError("the checkpoint is of a training with other callbacks", expected=", ".join(states),
                             got=", ".join(known) or "none", hint=f"add {missing[0]}")
        for name, values in states.items():
            prefix = f"callbacks/{name}/"
            found = {n.removeprefix(prefix): a.copy() for n, a in arrays.items() if n.startswith(prefix)}
            known[name].set_state({**values, **found})


def fingerprint(feed: Any) -> dict[str, Any] | None:
    """Rows, batch, order and a digest of some rows of a data set in memory; None for batches that the user makes."""
    data = getattr(feed, "data", None)
    if data is None:
        return None
    import hashlib
    digest = hashlib.sha256()
    for array in data.arrays():
        rows = np.unique(np.linspace(0, len(array) - 1, SAMPLE_ROWS).astype(np.int64))
        digest.update(f"{array.dtype}{array.shape}".encode() + array[rows].tobytes())
    return {"rows": data.rows, "batch size": feed.batch, "shuffle": feed.shuffle, "rows' digest": digest.hexdigest()}
