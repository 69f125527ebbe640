"""What run folders say about themselves: configuration, lock, epochs and result, for verbs that look back."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dlcore.cli.console import plain
from dlcore.cli.errors import writing
from dlcore.cli.run_folder import CONFIG, LOCK, METRICS, RESULT
from dlcore.deploy.atomic import TEMPORARY
from dlcore.errors import DataError
from dlcore.training.monitor import Monitor

REPORT = "report.html"


@dataclass(frozen=True)
class Record:
    """A run folder as read.  rows: one per epoch, in order; result: what `train --json` printed, {} where the run did not
    come to its end."""

    path: Path
    config: Mapping[str, Any]
    lock: Mapping[str, Any]
    rows: list[dict[str, Any]]
    result: dict[str, Any]

    @property
    def best(self) -> dict[str, Any]:
        """The epoch whose weights are the model: where `train.monitor` was best, else the last; {} without epochs."""
        from dlcore.tasks.recipe import MACRO_F1, VAL_LOSS

        monitor = self.config.get("train", {}).get("monitor", "auto")
        if monitor == "auto":
            monitor = MACRO_F1 if any(MACRO_F1 in row for row in self.rows) else VAL_LOSS  # measured where it is gone by
        watched = Monitor(monitor)
        best: dict[str, Any] = {}
        for row in self.rows:
            value = row.get(watched.name)
            if isinstance(value, (int, float)) and (not best or watched.better(value, best[watched.name])):
                best = row
        return best or (self.rows or [{}])[-1]

    @property
    def metrics(self) -> dict[str, float]:
        """What the run reached: those of its result, or of the best epoch so far."""
        found = self.result.get("metrics") or self.best
        return {name: value for name, value in found.items() if isinstance(value, (int, float)) and name not in ABOUT}


ABOUT = ("epoch", "seconds", "step", "lr", "time", "rows_per_second", "gradient_norm")  # columns of an epoch that are no metrics


def is_run(path: Path) -> bool:
    """Whether a folder is a run's."""
    return (path / CONFIG).is_file() and (path / LOCK).is_file()


def read(path: str | os.PathLike[str]) -> Record:
    """The record of a run folder.  Raises DataError where it is none, or where a file of it is damaged."""
    path = Path(path)
    if not is_run(path):
        raise DataError("this is no run folder", where=str(path), expected=f"{CONFIG} and {LOCK} in it")
    return Record(path, _toml(path / CONFIG), _toml(path / LOCK), _rows(path / METRICS), _result(path / RESULT))


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as fault:
        raise DataError("a file of the run cannot be read", where=str(path), got=str(fault)) from None


def _rows(path: Path) -> list[dict[str, Any]]:
    """One row per epoch: of an epoch that was trained again after a resume, the later row."""
    if not path.exists():
        return []
    rows: dict[Any, dict[str, Any]] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            row = json.loads(line)
        except ValueError:
            continue  # the line that was being written when the run was killed
        if isinstance(row, dict) and isinstance(row.get("epoch"), int):
            rows[row["epoch"]] = row
        elif not isinstance(row, dict):
            raise DataError("a row is no JSON object", where=f"{path}, line {number}", got=line[:60])
    return list(rows.values())


def _result(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def write_result(folder: Path, report: Mapping[str, Any]) -> None:
    """Write result.json: the end of a run."""
    write_whole(folder / RESULT, json.dumps(plain(report), indent=1, ensure_ascii=False) + "\n")


def write_whole(path: Path, text: str) -> None:
    """Write a file so that a reader sees the old one or the new one, never a part.  Raises WriteError."""
    work = path.with_name(f".{path.name}.{os.getpid()}{TEMPORARY}")  # as `remove_leftovers` knows it
    with writing(path):
        try:
            work.write_text(text, encoding="utf-8")
            os.replace(work, path)
        finally:
            work.unlink(missing_ok=True)
