"""Checkpoints of a training, from which it resumes to the same bits."""
from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dlcore.deploy.atomic import remove_leftovers
from dlcore.errors import DivergedError, ModelFileError, UsageError, WriteError
from dlcore.training import checkpoint
from dlcore.training.callbacks import Callback
from dlcore.training.checkpoint import Snapshot
from dlcore.training.monitor import Monitor
from dlcore.training.writer import Writer

LAST, BEST, STEP = "last", "best", "step-"


class BackupAndRestore(Callback):
    """Keeps checkpoints in a folder, and resumes from them: run the same program again, and `fit` goes on where it was
    interrupted, at the step and not only at the epoch, to the same bits as without interruption.  Names are Keras'.

    backup_dir         the folder: `last`, and, where asked for, `best` and `step-N`
    save_freq          "epoch", or a number of steps
    double_checkpoint  keeps the checkpoint before the last, too; the same as keep=2
    delete_checkpoint  removes them when training has ended
    keep               so many of the latest: `last`, and those before it as `step-N`
    best               a quantity ("val_loss"): the state after the epoch where it was best is kept as `best`
    seconds            least time between two checkpoints of epochs; the state at the end is always kept

    The state is copied between two steps, and a thread writes the copy while training goes on; a checkpoint that falls due
    while the one before is being written is left out.  So memory for one more copy of weights and optimizer state is
    needed, two with `best`.

    UsageError where the checkpoint is of another model, other data or other callbacks; ModelFileError where it is damaged
    and there is no earlier one; WriteError, at the next step that keeps one, where one could not be written: the one
    before it is whole.
    """

    last = True

    def __init__(self, backup_dir: str | os.PathLike[str], save_freq: str | int = "epoch",
                 double_checkpoint: bool = False, delete_checkpoint: bool = True, *, keep: int = 1, best: str | None = None,
                 seconds: float = 0.0):
        if save_freq != "epoch" and not (isinstance(save_freq, int) and save_freq > 0):
            raise UsageError("save_freq is 'epoch' or a number of steps", got=repr(save_freq))
        if keep < 1:
            raise UsageError("keep is at least 1", got=str(keep))
        self.folder, self.save_freq, self.delete_checkpoint = Path(backup_dir), save_freq, delete_checkpoint
        self.keep, self.seconds = max(keep, 2 if double_checkpoint else 1), seconds
        self.monitor = None if best is None else Monitor(best)
        self.resumed_step: int | None = None        # the step that training went on from, None where it began
        self.notes: list[str] = []                  # about damaged checkpoints that were passed over
        self.writer = Writer()
        self._spare: dict[str, Snapshot] = {}       # by file, what was written and may be used again

    def get_state(self) -> dict[str, Any]:
        return {"best": self._best} if self.monitor else {}

    def set_state(self, state: dict[str, Any]) -> None:
        self._best = state["best"]

    # ---- hooks -------------------------------------------------------------------------------------------------------
    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        self._best = self.monitor.worst if self.monitor else 0.0
        self._best_snapshot: Snapshot | None = None             # not written yet
        self._step, self._at = -1, time.perf_counter()          # of the newest checkpoint
        self.resumed_step, self.notes = None, []
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            remove_leftovers(self.folder)
        except OSError as fault:
            raise WriteError("the folder for checkpoints cannot be made", where=str(self.folder),
                             got=fault.strerror or str(fault)) from fault
        snapshot = self.newest()
        if snapshot is not None:
            self.resumed_step = self._step = int(snapshot.numbers["state"]["step"])
            self.session.resume(snapshot)
        if isinstance(self.save_freq, int):
            self.session.every(self.save_freq, self.save)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        value = (logs or {}).get(self.monitor.name) if self.monitor else None
        if self.monitor and value is not None and self.monitor.better(value, self._best):
            self._best = value
            self._best_snapshot = self.session.snapshot(self._best_snapshot or self._spare.pop(BEST, None))
        if time.perf_counter() - self._at >= self.seconds:
            if self.save_freq == "epoch":
                self.save()
            self._save_best()

    def on_train_stop(self) -> None:
        self.writer.wait()
        if self.session.loop.state.step != self._step or self.session.finished:
            self.save()
        self._save_best()
        self.writer.wait()

    def on_divergence(self, failure: DivergedError) -> bool:
        self.on_train_stop()
        return False

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        if self.delete_checkpoint and self.session.finished:
            for path in (self.folder / LAST, self.folder / BEST, *self.earlier()):
                path.unlink(missing_ok=True)

    # ---- writing -----------------------------------------------------------------------------------------------------
    def save(self) -> None:
        """Keeps the state of now as `last`, if the one before is written."""
        before = self._step
        if not self.writer.writing(self.folder / LAST):
            snapshot = self.session.snapshot(self._spare.pop(LAST, None))
            self._put(LAST, snapshot, lambda: self._make_room(before))
            self._step, self._at = int(snapshot.numbers["state"]["step"]), time.perf_counter()

    def _save_best(self) -> None:
        if self._best_snapshot is not None and not self.writer.writing(self.folder / BEST):
            self._put(BEST, self._best_snapshot)
            self._best_snapshot = None

    def _put(self, name: str, snapshot: Snapshot, before: Callable[[], None] = lambda: None) -> None:
        def job() -> None:
            before()
            checkpoint.write(self.folder / name, snapshot)
            self._spare[name] = snapshot
        self.writer.put(self.folder / name, job)

    def _make_room(self, step: int) -> None:
        """Gives `last`, which is of this step, its second name, and removes those that are too old."""
        if self.keep > 1 and (self.folder / LAST).exists() and step >= 0:
            name = self.folder / f"{STEP}{step}"
            if not name.exists():
                os.link(self.folder / LAST, name)
        for path in self.earlier()[self.keep - 1:]:
            path.unlink(missing_ok=True)

    # ---- reading -----------------------------------------------------------------------------------------------------
    def earlier(self) -> list[Path]:
        """The checkpoints before the last, newest first."""
        found = [p for p in self.folder.glob(f"{STEP}*") if p.name.removeprefix(STEP).isdecimal()]
        return sorted(found, key=lambda path: -int(path.name.removeprefix(STEP)))

    def newest(self) -> Snapshot | None:
        """The newest checkpoint that is whole; None where there is none.  ModelFileError where all are damaged."""
        first: ModelFileError | None = None
        for path in (self.folder / LAST, *self.earlier()):
            if not path.exists():
                continue
            try:
                return checkpoint.read(path)
            except ModelFileError as fault:
                first = first or fault
                self.notes.append(f"{path}: {fault.message}; an earlier one is used")
        if first is not None:
            first.hint = "remove it to begin again from the first step"
            raise first
        return None
