"""The run folder: chosen without touching what is there, and visible only when its first files are complete.

    config.toml, run.lock         from its first moment: enough to begin again at step 0
    metrics.jsonl, metrics.csv    a row per finished epoch
    log.txt                       what was said on stderr
    ckpt/last, best, step-N       checkpoints
    model.dlc                     the model of the best epoch so far
    samples/NAME-STEP.png         pictures of the training, for tasks that make images
    folds.json                    what a cross-validation before the training measured
    result.json                   what `train --json` prints; there when the run has ended
"""

from __future__ import annotations

import contextlib
import csv
import errno
import fcntl
import io
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from dlcore.cli.console import plain
from dlcore.cli.errors import writing
from dlcore.errors import ModelFileError, UsageError

MODEL, CONFIG, LOCK, METRICS, LOG = "model.dlc", "config.toml", "run.lock", "metrics.jsonl", "log.txt"
METRICS_CSV, CHECKPOINTS, RESULT, FOLDS, SAMPLES = "metrics.csv", "ckpt", "result.json", "folds.json", "samples"
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
    """A started run."""

    def __init__(self, path: Path):
        self.path = path
        self._log: TextIO | None = None
        self._columns: list[str] = []

    @classmethod
    def start(cls, path: Path, config: str, lock: str, numbered: bool = False) -> RunFolder:
        """Write config and lock beside `path` and rename them into place; with `numbered`, take the next free number
        where another run was faster.  Raises WriteError or UsageError and leaves nothing behind."""
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            remove_leftovers(path)
            work = Path(tempfile.mkdtemp(prefix=f".{path.name}.{os.getpid()}.", dir=path.parent))
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

    @classmethod
    def open(cls, argument: str) -> RunFolder:
        """The folder of a run that was started before.  Raises UsageError for anything else."""
        path = Path(argument)
        if missing := [name for name in (CONFIG, LOCK) if not (path / name).is_file()]:
            raise UsageError(
                "this is no run folder" if path.exists() else "no such run folder",
                where=argument,
                expected=f"a folder with {' and '.join(missing)}",
                hint="dlcore train TASK --data PATH starts a run",
            )
        return cls(path)

    @property
    def model(self) -> Path:
        return self.path / MODEL

    @property
    def checkpoints(self) -> Path:
        return self.path / CHECKPOINTS

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Keeps other processes from training this run; a process that dies lets go.  Raises UsageError."""
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as fault:
                if fault.errno in (errno.EAGAIN, errno.EACCES):
                    raise UsageError("this run is being trained by another process", where=str(self.path)) from None
            yield
        finally:
            os.close(descriptor)

    @property
    def trained(self) -> bool:
        """Whether training has begun."""
        return self.checkpoints.exists()

    def discard(self) -> None:
        """Removes a folder in which no step was trained."""
        self.close()
        shutil.rmtree(self.path, ignore_errors=True)
        if self.path.parent == RUNS:
            with contextlib.suppress(OSError):
                RUNS.rmdir()  # where it is empty now

    def read(self, name: str) -> dict[str, Any] | None:
        """A JSON object that `keep` wrote; None where there is none."""
        try:
            value = json.loads((self.path / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return value if isinstance(value, dict) else None

    def keep(self, name: str, value: Mapping[str, Any]) -> None:
        """Write a JSON object, whole or not at all."""
        self.write(name, json.dumps(plain(value), ensure_ascii=False, allow_nan=False, indent=1) + "\n")

    def write(self, name: str, text: str) -> None:
        """Replace a small file, whole or not at all.  Raises WriteError."""
        from dlcore.deploy.atomic import write_text

        write_text(self.path / name, text)

    def open_log(self) -> TextIO:
        """log.txt, line by line."""
        with writing(self.path / LOG):
            self._log = open(self.path / LOG, "a", encoding="utf-8")
        return self._log

    def put_metrics(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Begin metrics.jsonl and metrics.csv anew with these rows, one per finished epoch."""
        if not rows and not (self.path / METRICS).exists():
            return
        self._columns = list(dict.fromkeys(name for row in rows for name in row))
        self.write(METRICS, "".join(map(_json_line, rows)))
        table = [self._columns, *([row.get(name, "") for name in self._columns] for row in rows)]
        self.write(METRICS_CSV, "".join(map(_csv_line, table if rows else [])))

    def add_metrics(self, row: Mapping[str, Any]) -> None:
        """Append one row to metrics.jsonl and metrics.csv."""
        head = [] if self._columns else [list(row)]
        self._columns = self._columns or list(row)
        lines = [*head, [row.get(name, "") for name in self._columns]]
        for name, text in ((METRICS, _json_line(row)), (METRICS_CSV, "".join(map(_csv_line, lines)))):
            with writing(self.path / name), open(self.path / name, "a", encoding="utf-8") as file:
                file.write(text)

    def close(self) -> None:
        if self._log is not None:
            self._log.close()
        self._log = None


def _json_line(row: Mapping[str, Any]) -> str:
    return json.dumps(plain(row), allow_nan=False) + "\n"


def _csv_line(cells: Sequence[Any]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()


def model_path(argument: str) -> Path:
    """The model that an argument of the command line means: a run folder's model.dlc, or the path itself."""
    path = Path(argument)
    if not path.exists():
        raise ModelFileError(
            "no such model file or run folder",
            where=argument,
            expected="a folder that dlcore train made, or a file model.dlc",
        )
    if path.is_dir() and (path / LOCK).exists():
        if not (path / MODEL).exists():
            raise ModelFileError(
                "this run has no model yet", where=argument, hint=f"{MODEL} is written after the first epoch; dlcore resume goes on"
            )
        return path / MODEL
    return path


def remove_leftovers(path: Path) -> None:
    """Removes folders that processes which were killed had begun to make for this place."""
    for work in path.parent.glob(f".{path.name}.*.*"):
        owner = work.name.removeprefix(f".{path.name}.").partition(".")[0]
        if owner.isdecimal() and work.is_dir() and not Path("/proc", owner).exists():
            shutil.rmtree(work, ignore_errors=True)


def _rename(work: Path, path: Path, numbered: bool) -> Path:
    for place in _numbered(path) if numbered else (path,):
        try:
            os.rename(work, place)  # replaces an empty folder, never a full one
            return place
        except OSError as fault:
            if fault.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise
    raise UsageError(
        "the run folder exists and is not empty; nothing was written over", where=str(path), hint="choose another --out"
    )


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
