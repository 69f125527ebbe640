"""Run folders side by side: found, summed up, compared, drawn, and removed."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dlcore.cli import records
from dlcore.cli.console import number
from dlcore.cli.errors import writing
from dlcore.cli.records import Record
from dlcore.cli.run_folder import LOCK
from dlcore.errors import DataError, UsageError

RECENT = 3600  # seconds since its last change in which a run may still be training
SHOWN = 4  # metrics of a run in a list
SMALLER_IS_BETTER = ("loss", "error", "rmse", "mae", "mse", "brier")


def name(path: Path) -> str:
    """A run's name for people: its folder."""
    return path.name or path.resolve().name


def find(folder: Path) -> list[Record]:
    """The runs in a folder, the newest first.  Raises DataError where there is no such folder."""
    if not folder.is_dir():
        raise DataError("there is no such folder", where=str(folder), expected="a folder of runs, or a run folder")
    paths = [folder] if records.is_run(folder) else [p for p in folder.iterdir() if records.is_run(p)]
    return sorted(map(records.read, paths), key=started, reverse=True)


def started(record: Record) -> float:
    """When the run began: run.lock is written once."""
    return (record.path / LOCK).stat().st_mtime


def summary(record: Record) -> dict[str, Any]:
    """One run on one line."""
    return {
        "name": name(record.path),
        "path": str(record.path),
        "task": record.config.get("task", ""),
        "arch": record.config.get("model", {}).get("arch", ""),
        "started": time.strftime("%Y-%m-%d %H:%M", time.localtime(started(record))),
        "finished": bool(record.result),
        "epochs": len(record.rows),
        "seconds": record.result.get("seconds", record.rows[-1].get("seconds", 0) if record.rows else 0),
        "metrics": record.metrics,
    }


def sorted_by(rows: list[dict[str, Any]], metric: str) -> list[dict[str, Any]]:
    """Best first; runs without the metric last.  Raises UsageError where no run has it."""
    if not any(metric in row["metrics"] for row in rows):
        known = dict.fromkeys(key for row in rows for key in row["metrics"])
        raise UsageError(f"no run has a metric {metric!r}", where="--sort", expected=", ".join(known))
    sign = 1 if any(word in metric for word in SMALLER_IS_BETTER) else -1
    return sorted(rows, key=lambda row: (metric not in row["metrics"], sign * row["metrics"].get(metric, 0)))


def table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The list for people: of each run the metrics that matter most."""
    columns: dict[str, None] = {}
    for row in rows:
        columns |= dict.fromkeys(_main(row["metrics"]))
    heads = ["run", "task", "started", "epochs", "time", *list(columns)[:6]]
    lines = [heads]
    for row in rows:
        task = row["task"] + (f"/{row['arch']}" if row["arch"] else "")
        cells = [number(row["metrics"][c]) if c in row["metrics"] else "" for c in list(columns)[:6]]
        state = "" if row["finished"] else " unfinished"
        lines.append([row["name"], task, row["started"], f"{row['epochs']}{state}", f"{row['seconds']:.1f}s", *cells])
    return aligned(lines)


def _main(metrics: Mapping[str, Any]) -> list[str]:
    """Test metrics before those of validation before those of training."""
    order = sorted(metrics, key=lambda key: 0 if key.startswith("test_") else 1 if key.startswith("val_") else 2)
    return order[:SHOWN]


def aligned(lines: Sequence[Sequence[str]]) -> list[str]:
    """Rows as text; columns of numbers to the right."""
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    numeric = [all(line[i][:1] in "-0123456789" for line in lines[1:]) for i in range(len(widths))]
    return [
        "  ".join(
            f"{cell:>{w}}" if right else f"{cell:<{w}}" for cell, w, right in zip(line, widths, numeric, strict=True)
        ).rstrip()
        for line in lines
    ]


# ---- compare -----------------------------------------------------------------------------------------------------


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A configuration as {"train.lr": 0.001, ...}."""
    found: dict[str, Any] = {}
    for key, value in config.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return found


def comparison(runs: Sequence[Record]) -> dict[str, Any]:
    """Settings in which runs differ, and their metrics; one list entry per run."""
    configs = [flat(record.config) for record in runs]
    keys = dict.fromkeys(key for config in configs for key in config)
    settings = {key: [config.get(key) for config in configs] for key in keys}
    differing = {key: values for key, values in settings.items() if any(v != values[0] for v in values)}
    names = dict.fromkeys(key for record in runs for key in record.metrics)
    metrics = {key: [record.metrics.get(key) for record in runs] for key in names}
    return {"runs": [str(record.path) for record in runs], "settings": differing, "metrics": metrics}


def comparison_lines(found: Mapping[str, Any]) -> list[str]:
    """The comparison for people."""
    heads = ["", *(name(Path(path)) for path in found["runs"])]
    settings = [[key, *("" if v is None else str(v) for v in values)] for key, values in found["settings"].items()]
    metrics = [[key, *("" if v is None else number(v) for v in values)] for key, values in found["metrics"].items()]
    gap = ["" for _ in heads]
    return aligned([heads, *(settings or [["all settings are the same", *heads[1:]]]), gap, *metrics])


# ---- curves ------------------------------------------------------------------------------------------------------


def curves(runs: Sequence[Record]) -> tuple[dict[str, dict[str, list[float]]], dict[str, list[int]]]:
    """Per run the history by metric, and the numbers of its epochs; runs of equal names are told apart by their paths."""
    short = [name(record.path) for record in runs]
    shown = short if len(set(short)) == len(short) else [str(record.path) for record in runs]
    history: dict[str, dict[str, list[float]]] = {}
    for label, record in zip(shown, runs, strict=True):
        keys = dict.fromkeys(k for row in record.rows for k, v in row.items() if isinstance(v, (int, float)))
        history[label] = {
            key: [row[key] if isinstance(row.get(key), (int, float)) else float("nan") for row in record.rows]
            for key in keys
            if key not in records.ABOUT or key in ("lr", "gradient_norm")
        }
    return history, {label: [row["epoch"] for row in record.rows] for label, record in zip(shown, runs, strict=True)}


def draw(runs: Sequence[Record], metrics: Sequence[str], out: Path) -> None:
    """Draw curves into an .html file, or by matplotlib into a picture."""
    history, epochs = curves(runs)
    kind = out.suffix.lower()
    if kind == ".html":
        from dlcore.report.compare import page

        records.write_whole(out, page(history, epochs, list(metrics)))
    elif kind in (".png", ".svg", ".pdf"):
        from dlcore.training.plotting import figure

        drawing = figure(history, epochs, metrics or None)
        with writing(out):
            drawing.savefig(out, dpi=144)
    else:
        raise UsageError("the kind of file is not known", where=str(out), expected=".html, .png, .svg or .pdf")


def event_files(runs: Sequence[Record], out: Path) -> None:
    """TensorBoard's event files of runs, a folder each."""
    from dlcore.training.tensorboard import ScalarLog

    history, epochs = curves(runs)
    for label, metrics in history.items():
        log = ScalarLog(out / label.strip("/").replace("/", "-"))
        try:
            for i, epoch in enumerate(epochs[label]):
                log.add(
                    epoch, {("learning_rate" if key == "lr" else key): values[i] for key, values in metrics.items()}
                )
        finally:
            log.close()


# ---- clean -------------------------------------------------------------------------------------------------------


def removable(folder: Path, keep: int | None) -> list[tuple[Path, str]]:
    """Folders that may go, and why: unfinished runs, rests of runs that were killed while they began, and with `keep` all
    finished runs but the newest."""
    found = [(record.path, "unfinished") for record in find(folder) if not record.result]
    finished = [record.path for record in find(folder) if record.result]
    found += [(path, "older") for path in (finished[keep:] if keep is not None else [])]
    found += [(path, "left behind") for path in sorted(folder.glob(".*.*")) if path.is_dir() and records.is_run(path)]
    return [(path, why) for path, why in found if time.time() - changed(path) > RECENT or why == "older"]


def changed(path: Path) -> float:
    """When anything in a folder was changed last."""
    return max((p.stat().st_mtime for p in [path, *path.rglob("*")] if not p.is_symlink()), default=0.0)


def size(path: Path) -> int:
    """Bytes of the files in a folder."""
    return sum(p.stat().st_size for p in path.rglob("*") if p.is_file() and not p.is_symlink())


def remove(paths: Sequence[Path]) -> None:
    """Remove run folders.  Raises WriteError."""
    for path in paths:
        with writing(path):
            shutil.rmtree(path)
