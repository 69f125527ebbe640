"""Models, or their weights, as files along the way."""
from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dlcore.errors import DivergedError, UsageError
from dlcore.training import saving, weight_files
from dlcore.training.callbacks import Callback
from dlcore.training.monitor import Monitor
from dlcore.training.writer import Writer


class ModelCheckpoint(Callback):
    """Saves the model after epochs or steps; names and meanings are Keras'.  For resuming see `BackupAndRestore`.

    filepath           may name the epoch, from 1, and logs: "model-{epoch:02d}-{val_loss:.2f}.dlc"
    monitor, mode      the quantity that `save_best_only` goes by, and whether less or more of it is better
    save_best_only     writes only what is better than before
    save_weights_only  `model.save_weights` instead of `model.save`
    save_freq          "epoch", or a number of steps; the logs of a step are the means of the epoch so far
    initial_value_threshold   `monitor` must be better than this to be saved

    The model is copied between two steps, and a thread writes the copy while training goes on; the next file waits for it, and
    `fit` returns when all are written.  WriteError, at the next file or at the end, where one cannot be written: what stood there
    before is unchanged.
    """

    def __init__(self, filepath: str | os.PathLike[str], monitor: str = "val_loss", verbose: int = 0,
                 save_best_only: bool = False, save_weights_only: bool = False, mode: str = "auto",
                 save_freq: str | int = "epoch", initial_value_threshold: float | None = None):
        if save_freq != "epoch" and not (isinstance(save_freq, int) and save_freq > 0):
            raise UsageError("save_freq is 'epoch' or a number of steps", got=repr(save_freq))
        self.filepath, self.verbose, self.save_freq = os.fspath(filepath), verbose, save_freq
        self.save_best_only, self.save_weights_only = save_best_only, save_weights_only
        self.monitor, self.threshold = Monitor(monitor, mode), initial_value_threshold
        self.writer = Writer()
        self._reset()

    def _reset(self) -> None:
        self.best = self.monitor.worst if self.threshold is None else self.threshold
        self.epoch = 0

    def get_state(self) -> dict[str, Any]:
        return {"best": self.best, "epoch": self.epoch}

    def set_state(self, state: dict[str, Any]) -> None:
        self.best, self.epoch = state["best"], state["epoch"]

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        if self.save_best_only and self.save_freq == "epoch":
            self.monitor.check(self.params)
        self._reset()
        if isinstance(self.save_freq, int):
            self.session.every(self.save_freq, lambda: self._save(self.session.loop.logs()))

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.epoch = epoch

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        if self.save_freq == "epoch":
            self._save(dict(logs or {}))

    def on_train_stop(self) -> None:
        self.writer.wait()

    def on_divergence(self, failure: DivergedError) -> bool:
        self.writer.wait()
        return False

    def _save(self, logs: dict[str, float]) -> None:
        path = self._path(logs)
        if self.save_best_only:
            value = self.monitor.value(logs)
            if not self.monitor.better(value, self.best):
                return
            self.best = value
        self.writer.wait()
        write, told = self._copied(path), f"epoch {self.epoch + 1}: saved {path}"

        def job() -> None:
            write()
            if self.verbose:
                print(told, file=sys.stderr)
        self.writer.put(Path(path), job)

    def _copied(self, path: str) -> Callable[[], None]:
        """What writes the model, or its weights, as they are now."""
        if self.save_weights_only:
            arrays = weight_files.copies(self.model)
            return lambda: weight_files.write(path, arrays)
        from dlcore.deploy import model_file
        config, tensors = saving.writing(self.model)
        return lambda: model_file.write(path, config, tensors, {})

    def _path(self, logs: dict[str, float]) -> str:
        try:
            return self.filepath.format(epoch=self.epoch + 1, **logs)
        except (KeyError, IndexError, ValueError) as fault:
            raise UsageError("the path names something that the logs do not have", where=self.filepath,
                             expected=", ".join(["epoch", *logs]), got=str(fault)) from None
