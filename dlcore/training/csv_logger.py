"""Epochs as rows of a CSV file."""
from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import Any, TextIO

from dlcore.errors import WriteError
from dlcore.training.callbacks import Callback


class CSVLogger(Callback):
    """Writes a row per epoch: `epoch` (from 0), then the logs by name in alphabetical order; as in Keras.

    append  adds to a file that is there, instead of beginning it anew.  A resumed training always continues its file:
            rows that were written after its checkpoint are dropped first, because they will be written again.
    WriteError where the file cannot be written.
    """

    def __init__(self, filename: str | os.PathLike[str], separator: str = ",", append: bool = False):
        self.path, self.separator, self.append = Path(filename), separator, append
        self._file: TextIO | None = None
        self._names: list[str] = []
        self._size = 0              # bytes of the file that belong to finished epochs
        self._resumed = False

    def get_state(self) -> dict[str, Any]:
        return {"names": self._names, "size": self._size}

    def set_state(self, state: dict[str, Any]) -> None:
        self._names, self._size, self._resumed = list(state["names"]), state["size"], True

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        self._names, self._size, self._resumed = [], 0, False

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        values = logs or {}
        try:
            if self._file is None:
                self._file = self._open(sorted(values))
            csv.writer(self._file, delimiter=self.separator).writerow([epoch, *(values.get(n, "NA") for n in self._names)])
            self._file.flush()
            self._size = os.fstat(self._file.fileno()).st_size
        except OSError as fault:
            raise WriteError("the log cannot be written", where=str(self.path), got=fault.strerror or str(fault)) from fault

    def _open(self, names: list[str]) -> TextIO:
        """The file, at its end, with a head."""
        keep = (self._resumed or self.append) and self.path.exists()
        file = open(self.path, "r+" if keep else "w", newline="", encoding="utf-8")
        if keep and self._resumed:
            file.truncate(self._size)
        head = next(csv.reader(file, delimiter=self.separator), None) if keep else None
        if head:                    # the columns that are there stay
            self._names = [name for name in head if name != "epoch"]
        file.seek(0, os.SEEK_END)
        if not head:
            self._names = names
            csv.writer(file, delimiter=self.separator).writerow(["epoch", *names])
        return file

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
