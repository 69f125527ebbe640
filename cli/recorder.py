"""What a run leaves while it trains: rows and lines of its epochs, and the model of the best one so far."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from dlcore.cli.console import Console
from dlcore.cli.live import Live
from dlcore.cli.table import EpochTable
from dlcore.training.callbacks import Callback
from dlcore.training.monitor import Monitor
from dlcore.training.writer import Writer

if TYPE_CHECKING:
    from dlcore.cli.run_folder import RunFolder

SAVE_SECONDS = 1.0  # least time between two writings of model.dlc; the last one is written by whoever ends the run
Contents = tuple[dict[str, Any], dict[str, Any], dict[str, Any]]


class Recorder(Callback):
    """`contents()` gives what goes into the model file, as the model stands.  monitor: the metric that the best epoch goes by.
    log_every: steps between two lines of progress; 0: none."""

    def __init__(self, console: Console, folder: RunFolder, contents: Callable[[], Contents], monitor: str, log_every: int = 0):
        self.console, self.folder, self.contents = console, folder, contents
        self.monitor, self.log_every = Monitor(monitor), log_every
        self.started = False
        self.rows: list[dict[str, Any]] = []  # of metrics.jsonl
        self.best: dict[str, float] = {}  # metrics of the epoch whose weights the task keeps:
        self.best_epoch = 0  # that where `monitor` was best, else the last
        self.before = 0.0  # seconds that were trained before this process
        self._begin = self._saved_at = 0.0
        self._writer = Writer()
        self._table: EpochTable | None = None
        self.live = Live(console)

    @property
    def epochs(self) -> int:
        """Finished epochs."""
        return len(self.rows)

    @property
    def seconds(self) -> float:
        """Time spent on training, over all processes."""
        return self.before + (time.perf_counter() - self._begin if self.started else 0.0)

    def get_state(self) -> dict[str, Any]:
        return {"rows": self.rows, "best": self.best, "best_epoch": self.best_epoch, "seconds": self.seconds}

    def set_state(self, state: dict[str, Any]) -> None:
        self.rows, self.best, self.best_epoch = list(state["rows"]), state["best"], state["best_epoch"]
        self.before = state["seconds"]
        self.folder.put_metrics(self.rows)  # those of epochs that will be trained again go

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        self.started, self._begin = True, time.perf_counter()
        self.folder.put_metrics([])
        self.live.start(self.session)
        if self.log_every:
            self.session.every(self.log_every, self.live.line)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        logs = dict(logs or {})
        name = self.monitor.name
        better = not self.best or name not in logs or self.monitor.better(logs[name], self.best[name])
        if better:
            self.best, self.best_epoch = logs, epoch + 1
        row = {"epoch": epoch + 1, "step": self.session.loop.state.step, **logs, **self.live.facts.row()}
        row["seconds"] = round(self.seconds, 3)
        self.rows.append(row)
        if self._table is None:
            self._table = EpochTable(self.console, list(logs))
        self._table.row(row, mark=name in logs and better)
        self.folder.add_metrics(row)
        if better and time.perf_counter() - self._saved_at > SAVE_SECONDS:
            self._keep_model()

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        self.close()

    def close(self) -> None:
        """Ends what runs beside the training."""
        self.live.stop()
        self._writer.wait()

    def _keep_model(self) -> None:
        from dlcore.deploy import model_file

        if not self._writer.writing(self.folder.model):
            config, tensors, extras = self.contents()
            copies = {name: tensor.copy() for name, tensor in tensors.items()}
            self._writer.put(
                self.folder.model, lambda: model_file.write(self.folder.model, config, copies, extras)
            )
            self._saved_at = time.perf_counter()
