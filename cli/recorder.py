"""What happens to a run while it trains: its folder appears, rows are written and shown, the model of each epoch is kept."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from dlcore.cli.console import Console, EpochTable
from dlcore.cli.run_folder import RunFolder
from dlcore.training.callbacks import Callback

SAVE_SECONDS = 1.0  # an epoch that ends sooner after the last save is kept in memory, and written when it is needed


class Recorder(Callback):
    """Starts the folder when training starts, so that data and settings that are refused leave none.

    `start()` makes the folder; `save(path)` writes the model as it stands.
    """

    def __init__(self, console: Console, start: Callable[[], RunFolder], save: Callable[[str], None]):
        self.console, self.start, self.save = console, start, save
        self.folder: RunFolder | None = None
        self.epochs = 0  # finished
        self.best: dict[str, float] = {}  # metrics of the epoch whose weights the task keeps:
        self.best_epoch = 0  # that with the least validation loss, else the last
        self._table: EpochTable | None = None
        self._begin = self._saved_at = self._shown_at = 0.0
        self._saved_epoch = 0
        self._kept: list[Any] = []  # weights of the last finished epoch, where they are not on disk

    def begin(self) -> RunFolder:
        """The folder, started where it is not."""
        if self.folder is None:
            self.folder = self.start()
            self.console.open_log(self.folder.open_log())
        return self.folder

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        self.begin()
        self._begin = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        now = time.perf_counter()
        if now - self._shown_at > 0.2:
            self._shown_at = now
            loss = (logs or {}).get("loss")
            self.console.live(
                f"epoch {self.epochs + 1}  step {batch + 1}" + (f"  loss {loss:.4f}" if loss is not None else "")
            )

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        assert self.folder is not None
        logs = dict(logs or {})
        if self._table is None:
            self._table = self.console.table(list(logs))
        if not self.best or "val_loss" not in logs or logs["val_loss"] < self.best["val_loss"]:
            self.best, self.best_epoch = logs, epoch + 1
        seconds = time.perf_counter() - self._begin
        self._table.row(epoch + 1, logs, seconds, mark="val_loss" in logs and self.best_epoch == epoch + 1)
        rate = float(self.model.optimizer.learning_rate)
        self.folder.add_metrics({"epoch": epoch + 1, **logs, "lr": rate, "seconds": round(seconds, 3)})
        self.epochs = epoch + 1
        if self._saved_epoch == 0 or time.perf_counter() - self._saved_at > SAVE_SECONDS:
            self._write()
        else:
            self._kept = [weight.copy() for weight in self.model.get_weights()]

    def keep_last_epoch(self) -> None:
        """After a stop in the middle of an epoch: see that model.dlc is that of the last finished one."""
        if self.epochs > self._saved_epoch:
            self.model.set_weights(self._kept)
            self._write()

    def _write(self) -> None:
        assert self.folder is not None
        self.save(str(self.folder.model))
        self._saved_epoch, self._saved_at, self._kept = self.epochs, time.perf_counter(), []
