"""TensorBoard's event files, written without TensorFlow: scalars of every epoch, or of every N steps.

A file is a sequence of TFRecords (length, its checksum, data, their checksum), the data of each a protocol buffer `Event`
(tensorflow/core/util/event.proto), of which the few fields that scalars need are written here.
"""
from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

from dlcore.errors import UsageError, WriteError
from dlcore.training.callbacks import Callback

_POLYNOMIAL = 0x82F63B78                # CRC-32C (Castagnoli), reversed: RFC 3720, appendix B.4


def _table() -> list[int]:
    rows = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (_POLYNOMIAL if value & 1 else 0)
        rows.append(value)
    return rows


_TABLE = _table()


def crc32c(data: bytes) -> int:
    """The Castagnoli checksum of some bytes."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def masked(crc: int) -> int:
    """A checksum as TFRecords hold it: turned and shifted, so that checksums of checksums stay good."""
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def record(data: bytes) -> bytes:
    """A TFRecord."""
    length = struct.pack("<Q", len(data))
    return length + struct.pack("<I", masked(crc32c(length))) + data + struct.pack("<I", masked(crc32c(data)))


def _varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _bytes_field(number: int, data: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def event(wall_time: float, step: int = 0, scalars: Mapping[str, float] | None = None, version: str = "") -> bytes:
    """An Event: wall_time = 1 (double), step = 2 (int64), file_version = 3 (string), summary = 5, whose values = 1 have a
    tag = 1 (string) and a simple_value = 2 (float)."""
    data = _varint(1 << 3 | 1) + struct.pack("<d", wall_time)
    if step:
        data += _varint(2 << 3) + _varint(step)
    if version:
        data += _bytes_field(3, version.encode())
    values = b"".join(
        _bytes_field(1, _bytes_field(1, tag.encode()) + _varint(2 << 3 | 5) + struct.pack("<f", value))
        for tag, value in (scalars or {}).items())
    return data + (_bytes_field(5, values) if scalars else b"")


class EventWriter:
    """One event file in a folder, which is made where it is missing.  Raises `WriteError`."""

    def __init__(self, folder: str | os.PathLike[str]):
        self.folder = Path(folder)
        now = time.time()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.path = self._free(f"events.out.tfevents.{int(now):010d}.{socket.gethostname()}.{os.getpid()}")
            self._file: BinaryIO = open(self.path, "xb")
        except OSError as fault:
            raise WriteError(f"cannot write event files in {self.folder}", got=fault.strerror or str(fault)) from fault
        self._write(event(now, version="brain.Event:2"))

    def _free(self, name: str) -> Path:
        paths = (self.folder / f"{name}.{number}" for number in range(1 << 20))
        return next(path for path in paths if not path.exists())

    def add(self, step: int, scalars: Mapping[str, float], wall_time: float | None = None) -> None:
        """Append the scalars of a step."""
        self._write(event(time.time() if wall_time is None else wall_time, step, scalars))

    def _write(self, data: bytes) -> None:
        try:
            self._file.write(record(data))
            self._file.flush()
        except OSError as fault:
            raise WriteError(f"cannot write {self.path}", got=fault.strerror or str(fault)) from fault

    def close(self) -> None:
        self._file.close()


class ScalarLog:
    """Event files as Keras lays them out: `train` and `validation` below a folder, tags `epoch_loss`, `epoch_accuracy`."""

    def __init__(self, log_dir: str | os.PathLike[str]):
        self.log_dir = Path(log_dir)
        self._writers: dict[str, EventWriter] = {}

    def add(self, step: int, logs: Mapping[str, float], prefix: str = "epoch_") -> None:
        """One point of every curve; names that begin with val_ go to `validation`."""
        parts: dict[str, dict[str, float]] = {}
        for name, value in logs.items():
            part = "validation" if name.startswith("val_") else "train"
            parts.setdefault(part, {})[prefix + name.removeprefix("val_")] = float(value)
        for part, scalars in parts.items():
            if part not in self._writers:
                self._writers[part] = EventWriter(self.log_dir / part)
            self._writers[part].add(step, scalars)

    def close(self) -> None:
        for writer in self._writers.values():
            writer.close()
        self._writers = {}


class TensorBoard(Callback):
    """Writes losses, metrics and the learning rate for TensorBoard; Keras' callback of this name, for scalars.

    `update_freq`: "epoch", or a number of steps after which the means of the epoch so far are written as `batch_loss`, ...
    too.  Nothing but NumPy is needed to write; `tensorboard --logdir logs` shows the files.
    """

    def __init__(self, log_dir: str | os.PathLike[str] = "logs", update_freq: str | int = "epoch"):
        whole = isinstance(update_freq, int) and not isinstance(update_freq, bool) and update_freq > 0
        if update_freq != "epoch" and not whole:
            raise UsageError("unknown update_freq", expected='"epoch" or a number of steps', got=repr(update_freq))
        self.log_dir, self.update_freq = log_dir, update_freq
        self._log: ScalarLog | None = None
        self._steps = 0

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        self._log, self._steps = ScalarLog(self.log_dir), 0

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        self._steps += 1
        if self._log is not None and self.update_freq != "epoch" and self._steps % int(self.update_freq) == 0:
            self._log.add(self._steps, logs or {}, prefix="batch_")

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        assert self._log is not None
        rate = float(self.model.optimizer.learning_rate)
        self._log.add(epoch, {**(logs or {}), "learning_rate": rate})

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        if self._log is not None:
            self._log.close()
            self._log = None
