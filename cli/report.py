"""A run's report.html and result.json: written when training ends, and the page again by `evaluate`."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlcore.cli import records
from dlcore.cli.run_folder import CONFIG, LOCK

if TYPE_CHECKING:
    from dlcore.data.dataset import Dataset
    from dlcore.metrics.evaluation import Evaluation
    from dlcore.report import Example

EXAMPLES = 24  # rows that are shown
MAIN = 3  # metrics of the test part that are printed; the others are in --json


def finish(
    folder: Path, estimator: Any, parts: Any, kept: Any, result: dict[str, Any], say: Callable[..., None]
) -> dict[str, Any]:
    """Measure the trained model on the test part (without one, for the page alone, on the rows kept for validation), write
    result.json and report.html; returns what `train --json` prints."""
    part, name = _measured(estimator, parts, kept)
    evaluation = None
    if part is not None and hasattr(estimator, "evaluation"):
        evaluation = estimator.evaluation(part)
    if parts.test is not None:
        scores = evaluation.metrics if evaluation is not None else estimator.evaluate(parts.test)
        result["metrics"] |= {f"test_{key}": value for key, value in scores.items()}
        result["details"] = [f"test_{key}" for key in list(scores)[MAIN:]]
    rows = len(parts.train) - len(getattr(estimator, "validation_rows_", ()))
    cost = costs(estimator, rows, result)
    records.write_result(folder, {**result, "train_rows": rows, "cost": cost})
    write(records.read(folder), estimator, part, evaluation, name)
    say("report", str(folder / records.REPORT))
    return result


def _measured(estimator: Any, parts: Any, kept: Any) -> tuple[Dataset | None, str]:
    """The rows that the page shows, and what they are called."""
    if parts.test is not None:
        return parts.test, "the test part"
    if kept is not None:
        return kept, "the validation data"
    rows = getattr(estimator, "validation_rows_", ())
    if len(rows):
        return parts.train.take(rows), "the rows kept for validation"
    return parts.train, "the rows trained on"


def costs(estimator: Any, rows: int, result: Mapping[str, Any]) -> dict[str, Any]:
    """What the run took: seconds, floating-point operations of its training steps, the most memory of the process."""
    found: dict[str, Any] = {
        "seconds": result["seconds"],
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "parameters": estimator.model.count_params(),
    }
    if each := estimator.model.programs.step_flops():
        found |= {"flops_per_row": each, "flops": each * rows * result["epochs"]}
    return found


def write(
    run: records.Record, estimator: Any, part: Dataset | None, evaluation: Evaluation | None, measured: str = ""
) -> None:
    """Write the page of a run with this evaluation in it.  Raises WriteError."""
    from dlcore import __version__
    from dlcore.report import Report

    if part is not None and (evaluation is not None or hasattr(estimator, "charts")):
        measured = f"{measured or part.source or 'data'}: {len(part) if evaluation is None else evaluation.rows:,} rows"
        measured += f", products in {estimator.answers_in}" if estimator.answers_in != "float32" else ""
    task, arch = run.config.get("task", ""), run.config.get("model", {}).get("arch", "")
    page = Report(
        name=str(run.path),
        task=f"{task} \u00b7 {arch}" if arch else str(task),
        version=__version__,
        when=time.strftime("%Y-%m-%d %H:%M"),
        rows=run.rows,
        best_epoch=int(run.best.get("epoch", 0)),
        evaluation=evaluation,
        scores=_scores(run) if evaluation is None else {},
        measured=measured,
        charts=estimator.charts(part) if part is not None and hasattr(estimator, "charts") else "",
        examples=examples(part, evaluation) if evaluation is not None and part is not None else (),
        train_rows=int(run.result.get("train_rows", 0)),
        cost=cost_lines(run.result),
        facts=fact_lines(run),
        config=(run.path / CONFIG).read_text(encoding="utf-8"),
        lock=(run.path / LOCK).read_text(encoding="utf-8"),
    )
    records.write_whole(run.path / records.REPORT, page.html())


def _scores(run: records.Record) -> dict[str, float]:
    """What was measured on the test part, by name."""
    found = run.result.get("metrics", {})
    return {name.removeprefix("test_"): value for name, value in found.items() if name.startswith("test_")}


def examples(part: Dataset, evaluation: Evaluation) -> list[Example]:
    """The rows that are most wrong; of a classifier only those with a wrong label."""
    import numpy as np

    from dlcore.cli.measuring import worst_rows
    from dlcore.report import Example, png

    wrong = (
        evaluation.rows if evaluation.kind == "regressor" else int(np.count_nonzero(evaluation.true != evaluation.pred))
    )
    found = []
    for entry in worst_rows(part, evaluation, min(EXAMPLES, wrong)):
        row = part.x[entry["row"] - 1] if isinstance(part.x, np.ndarray) else None
        is_image = isinstance(row, np.ndarray) and row.ndim in (2, 3)
        detail = f"p = {entry['probability']:.2g}" if "probability" in entry else f"error {entry['error']:+.4g}"
        cells = entry.get("cells", {})
        found.append(
            Example(
                place=f"line {entry['line']}" if "line" in entry else f"row {entry['row']}",
                answer=_text(entry["answer"]),
                predicted=_text(entry["predicted"]),
                detail=detail,
                picture=png.data_uri(row) if is_image and row is not None else "",
                text=" \u00b7 ".join(f"{name} {_text(value)}" for name, value in cells.items() if value is not None),
            )
        )
    return found


def _text(value: Any) -> str:
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def cost_lines(result: Mapping[str, Any]) -> dict[str, str]:
    """The cost for people."""
    cost = result.get("cost", {})
    found = {}
    if "seconds" in cost:
        found["training time"] = duration(cost["seconds"])
    if cost.get("flops"):
        found["operations"] = f"{scaled(cost['flops'])}FLOP in {result.get('epochs', 0):,} epochs"
        found["operations a row"] = f"{scaled(cost['flops_per_row'])}FLOP, forward, backward and update"
        if cost.get("seconds"):
            found["mean rate"] = f"{scaled(cost['flops'] / cost['seconds'])}FLOP/s, validation and saving included"
    if "peak_memory_bytes" in cost:
        found["peak memory"] = f"{cost['peak_memory_bytes'] / 1e6:,.0f} MB of the whole process"
    if "parameters" in cost:
        found["weights"] = f"{cost['parameters']:,}"
    return found


def fact_lines(run: records.Record) -> dict[str, str]:
    """Machine and data for people."""
    lock = run.lock
    found = {f"{name} version": str(value) for name, value in lock.get("versions", {}).items()}
    found |= {str(name): str(value) for name, value in lock.get("machine", {}).items()}
    found |= {str(source): str(digest)[:23] + "\u2026" for source, digest in lock.get("data", {}).items()}
    if "seed" in lock.get("run", {}):
        found["seed"] = str(lock["run"]["seed"])
    return found


def scaled(value: float) -> str:
    """1234567 as "1.23 M"."""
    for power, prefix in ((15, "P"), (12, "T"), (9, "G"), (6, "M"), (3, "k")):
        if value >= 10**power:
            return f"{value / 10**power:.3g} {prefix}"
    return f"{value:.3g} "


def duration(seconds: float) -> str:
    """Seconds as people say them."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
