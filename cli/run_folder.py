"""The run folder: chosen without touching what is there, and visible only when its first files are complete."""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

from dlcore.cli.console import plain
from dlcore.cli.errors import writing
from dlcore.errors import ModelFileError, UsageError

MODEL, CONFIG, LOCK, METRICS, LOG = "model.dlc", "config.toml", "run.lock", "metrics.jsonl", "log.txt"
RUNS = Path("runs")


def choose(out: str | None, name: str) -> Path:
    """The folder for a new run: `out`, which must not exist or be empty, else runs/NAME, runs/NAME-2, ..."""
    if out is not None:
        path = Path(out)
        if path.exists() and not path.is_dir():
            raise UsageError("the run folder's place is taken by a file", where=out, hint="choose another --out")
        if path.is_dir() and any(path.iterdir()):
            raise UsageError(
                "the run folder exists and is not empty; nothing was written over",
                where=out,
                hint="choose another --out, or remove it first",
            )
        return path
    return next(path for path in _numbered(RUNS / name) if not path.exists())


def _numbered(path: Path) -> Iterator[Path]:
    yield path
    number = 2
    while True:
        yield path.with_name(f"{path.name}-{number}")
        number += 1


class RunFolder:
    """A started run: config.toml and run.lock stand in it from its first moment."""

    def __init__(self, path: Path):
        self.path = path
        self._metrics: TextIO | None = None
        self._log: TextIO | None = None

    @classmethod
    def start(cls, path: Path, config: str, lock: str, numbered: bool = False) -> RunFolder:
        """Write config and lock beside `path` and rename them into place; with `numbered`, take the next free number
        where another run was faster.  Raises WriteError or UsageError and leaves nothing behind."""
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            work = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
            try:
                os.chmod(work, 0o777 & ~_umask())
                for name, text in ((CONFIG, config), (LOCK, lock)):
                    _write_durably(work / name, text)
                _sync_folder(work)
                place = _rename(work, path, numbered)
            except BaseException:
                shutil.rmtree(work, ignore_errors=True)
                raise
            _sync_folder(place.parent)
        return cls(place)

    @property
    def model(self) -> Path:
        return self.path / MODEL

    def replace_config(self, text: str) -> None:
        """Another config.toml in the place of this one, whole or not at all."""
        work = self.path / f".{CONFIG}"
        with writing(self.path / CONFIG):
            _write_durably(work, text)
            os.replace(work, self.path / CONFIG)

    def open_log(self) -> TextIO:
        """log.txt, line by line."""
        with writing(self.path / LOG):
            self._log = open(self.path / LOG, "a", encoding="utf-8")
        return self._log

    def add_metrics(self, row: Mapping[str, Any]) -> None:
        """Append one row to metrics.jsonl."""
        with writing(self.path / METRICS):
            if self._metrics is None:
                self._metrics = open(self.path / METRICS, "a", encoding="utf-8")
            self._metrics.write(json.dumps(plain(row), allow_nan=False) + "\n")
            self._metrics.flush()

    def close(self) -> None:
        for file in (self._metrics, self._log):
            if file is not None:
                file.close()
        self._metrics = self._log = None


def model_path(argument: str) -> Path:
    """The model that an argument of the command line means: a run folder's model.dlc, or the path itself."""
    path = Path(argument)
    if not path.exists():
        raise ModelFileError("no such model file or run folder", where=argument)
    if path.is_dir() and (path / LOCK).exists():
        if not (path / MODEL).exists():
            raise ModelFileError(
                "this run has no model yet", where=argument, hint=f"{MODEL} is written after the first epoch"
            )
        return path / MODEL
    return path


def _rename(work: Path, path: Path, numbered: bool) -> Path:
    for place in _numbered(path) if numbered else (path,):
        try:
            os.rename(work, place)  # replaces an empty folder, never a full one
            return place
        except OSError as fault:
            if fault.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise
    raise UsageError("the run folder exists and is not empty; nothing was written over", where=str(path))


def _write_durably(path: Path, text: str) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
