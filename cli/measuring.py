"""What `evaluate` does with a model and its data: groups, threshold, worst rows, the gap to training, the report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlcore.cli import records
from dlcore.cli.console import number
from dlcore.errors import UsageError, WriteError

if TYPE_CHECKING:
    import numpy as np

    from dlcore.data.dataset import Dataset
    from dlcore.metrics.evaluation import Evaluation

MOST_GROUPS = 50
WIDEST = 20  # labels of a confusion matrix that is printed


def measure(
    estimator: Any,
    part: Dataset,
    model: str,
    *,
    by: str | None,
    threshold: float | str | None,
    worst: int,
    seed: int,
    report: bool,
    say: Callable[..., None],
) -> tuple[dict[str, Any], list[str]]:
    """What `--json` prints beside the model's name, and lines for people."""
    evaluation = estimator.evaluation(part, threshold=threshold, seed=seed)
    found = evaluation.to_json()
    lines = metric_lines(evaluation.metrics, evaluation.intervals)
    if evaluation.kind == "classifier":
        lines += ["", evaluation.text.rstrip(), "", *confusion_lines(evaluation), "", *calibration_lines(evaluation)]
    if evaluation.threshold is not None:
        found["threshold_by"] = threshold if isinstance(threshold, str) else "given"
        lines += ["", threshold_line(evaluation, threshold)]
    if by:
        found["groups"] = groups(estimator, part, by, evaluation.threshold, seed)
        lines += ["", *group_lines(by, found["groups"])]
    run = records.read(model) if records.is_run(Path(model)) else None
    gaps = generalisation(run, estimator, evaluation) if run else {}
    if gaps:
        found["generalisation"] = gaps
        lines += ["", *gap_lines(gaps)]
    if worst:
        found["worst"] = worst_rows(part, evaluation, worst)
        lines += ["", *worst_lines(found["worst"])]
    if run and report:
        write_report(run, estimator, part, evaluation, say)
    return found, lines


def write_report(
    run: records.Record, estimator: Any, part: Dataset, evaluation: Evaluation, say: Callable[..., None]
) -> None:
    """report.html with this evaluation in it; a folder that cannot be written is said, and is no error."""
    from dlcore.cli import report

    try:
        report.write(run, estimator, part, evaluation)
    except WriteError as fault:
        say("report", f"not written: {fault.got}")
    else:
        say("report", str(run.path / records.REPORT))


def metric_lines(metrics: Mapping[str, float], intervals: Mapping[str, Any]) -> list[str]:
    """One metric a line, with its interval where there is one."""
    lines = []
    for name, value in metrics.items():
        line = f"{name:<22}{number(value)}"
        if name in intervals:
            line += f"   95 % {number(intervals[name].low)} to {number(intervals[name].high)}"
        lines.append(line)
    return lines


def label_lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Labels of which a row may have any number, one a line, with what each is measured by."""
    left = max(5, *(len(row["label"]) for row in rows)) + 2
    names = [name for name in rows[0] if name != "label"]
    shown = [
        f"{row['label']:>{left}}"
        + "".join(f"{row[n]:>11,}" if isinstance(row[n], int) else f"{row[n]:>11.3f}" for n in names)
        for row in rows
    ]
    return [" " * left + "".join(f"{name:>11}" for name in names), *shown]


def confusion_lines(evaluation: Evaluation) -> list[str]:
    """The matrix, or for many labels the pairs that are confused most."""
    names, counts = evaluation.labels, evaluation.confusion
    if len(names) <= WIDEST:
        shown = [name if len(name) <= 12 else name[:11] + "\u2026" for name in names]
        width = max(len(str(counts.max())), 5, *map(len, shown)) + 2
        left = max(map(len, shown)) + 2
        rows = [
            f"{name:>{left}}" + "".join(f"{count:>{width}}" for count in row)
            for name, row in zip(shown, counts.tolist(), strict=True)
        ]
        return [
            "confusion: rows are answers, columns predictions",
            " " * left + "".join(f"{n:>{width}}" for n in shown),
            *rows,
        ]
    lines = ["most confused"]
    for true, pred, count in confused(counts, 10):
        lines.append(f"  {count:>7,}  {names[true]} taken for {names[pred]}")
    return lines


def confused(counts: np.ndarray, most: int) -> list[tuple[int, int, int]]:
    """(answer, prediction, rows) of the commonest mistakes."""
    import numpy as np

    wrong = counts - np.diag(np.diag(counts))
    order = np.argsort(-wrong, axis=None, kind="stable")[:most]
    pairs = [divmod(int(cell), len(counts)) for cell in order]
    return [(true, pred, int(wrong[true, pred])) for true, pred in pairs if wrong[true, pred] > 0]


def calibration_lines(evaluation: Evaluation) -> list[str]:
    """Confidence beside accuracy, bin by bin."""
    bins = evaluation.calibration
    assert bins is not None
    what = f"probability of {evaluation.labels[1]}" if len(evaluation.labels) == 2 else "confidence"
    lines = [f"calibration: {what} beside how often it was right", f"{'rows':>10}{'said':>10}{'was':>10}"]
    for rows, said, was in zip(bins.rows.tolist(), bins.confidence.tolist(), bins.accuracy.tolist(), strict=True):
        lines.append(f"{rows:>10,}{said:>10.3f}{was:>10.3f}")
    return lines


def threshold_line(evaluation: Evaluation, asked: float | str | None) -> str:
    how = {"f1": "the best F1 on these rows", "youden": "the best sensitivity + specificity on these rows"}
    text = f"threshold {evaluation.threshold:.4g}: {evaluation.labels[1]!r} is predicted from this probability on"
    return f"{text}; {how[asked]}, so what is measured here flatters it" if isinstance(asked, str) else text


# ---- groups --------------------------------------------------------------------------------------------------------


def groups(estimator: Any, part: Dataset, column: str, threshold: float | None, seed: int) -> list[dict[str, Any]]:
    """Metrics of the rows of each value of a column; quantities are cut into quarters."""
    import numpy as np

    names, group_of = group_values(part, column)
    if len(names) > MOST_GROUPS:
        raise UsageError(
            f"column {column!r} has too many values for groups",
            where="--by",
            expected=f"at most {MOST_GROUPS}",
            got=str(len(names)),
        )
    found = []
    for i, name in enumerate(names):
        rows = np.flatnonzero(group_of == i)
        if len(rows) == 0:
            continue
        evaluation = estimator.evaluation(part.take(rows), threshold=threshold, seed=seed)
        row = {"group": name, "rows": len(rows), **evaluation.to_json()}
        found.append({key: value for key, value in row.items() if key in ("group", "rows", "metrics", "intervals")})
    return found


def group_values(part: Dataset, column: str) -> tuple[list[str], np.ndarray]:
    """The groups' names and (N,) the number of each row's group.  Raises UsageError where there is no such column."""
    import numpy as np

    columns = dict(getattr(part.x, "columns", None) or {})
    if part.label:
        columns[part.label] = part.y
    if column not in columns:
        raise UsageError(
            f"there is no column {column!r} to group by",
            where="--by",
            expected=", ".join(map(str, columns)) if columns else "data with columns",
        )
    cells = columns[column]
    cells = cells.tolist() if hasattr(cells, "tolist") else list(cells)
    try:
        quantities = np.array([np.nan if cell is None else float(cell) for cell in cells])
    except (TypeError, ValueError):
        quantities = np.array([np.nan])
    if len(np.unique(quantities[~np.isnan(quantities)])) > 12:
        return quarters(quantities)
    texts = np.array(["(missing)" if cell is None or cell != cell else str(cell) for cell in cells])
    names, group_of = np.unique(texts, return_inverse=True)
    return names.tolist(), group_of


def quarters(values: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Quantities cut into four groups of as many rows, in order, and one of missing values."""
    import numpy as np

    edges = np.unique(np.nanquantile(values, [0, 0.25, 0.5, 0.75, 1]))
    names = [f"{low:.4g} to {high:.4g}" for low, high in zip(edges[:-1], edges[1:], strict=True)]
    place = np.searchsorted(edges[1:-1], values, side="right")
    return [*names, "(missing)"], np.where(np.isnan(values), len(names), place)


def group_lines(column: str, found: Sequence[Mapping[str, Any]]) -> list[str]:
    """A table of groups: rows, the first metrics, and the interval of the first."""
    metrics = list(found[0]["metrics"])[:3]
    left = max(len(column), *(len(row["group"]) for row in found)) + 2
    lines = [f"{column:<{left}}{'rows':>9}" + "".join(f"{name:>12}" for name in metrics) + f"   95 % of {metrics[0]}"]
    for row in found:
        cells = "".join(f"{number(row['metrics'][name]):>12}" for name in metrics)
        low, high = row["intervals"][metrics[0]]
        lines.append(f"{row['group']:<{left}}{row['rows']:>9,}{cells}   {number(low)} to {number(high)}")
    values = [row["metrics"][metrics[0]] for row in found]
    return [*lines, f"greatest difference of {metrics[0]}: {max(values) - min(values):.4f}"]


# ---- training and here -------------------------------------------------------------------------------------------


def generalisation(run: records.Record, estimator: Any, evaluation: Evaluation) -> dict[str, dict[str, float]]:
    """For each metric that the epoch of the model knows of its training rows: training, here, and their difference."""
    row, known = run.best, {}
    if evaluation.kind == "classifier":
        known = {"accuracy": row.get("accuracy"), "log_loss": row.get("loss")}
    elif isinstance(row.get("loss"), (int, float)) and row["loss"] >= 0:
        known = {"rmse": row["loss"] ** 0.5 * estimator._answers.scale}
    return {
        name: {"training": value, "here": evaluation.metrics[name], "gap": evaluation.metrics[name] - value}
        for name, value in known.items()
        if isinstance(value, (int, float))
    }


def gap_lines(gaps: Mapping[str, Mapping[str, float]]) -> list[str]:
    lines = ["generalisation: means over the model's epoch of training, dropout included, and here"]
    for name, gap in gaps.items():
        lines.append(f"  {name:<12}{number(gap['training']):>10}{number(gap['here']):>10}   gap {gap['gap']:+.4f}")
    return lines


# ---- worst rows --------------------------------------------------------------------------------------------------


def worst_rows(part: Dataset, evaluation: Evaluation, count: int) -> list[dict[str, Any]]:
    """The rows that are most wrong: their place in the source, cells where there are any, answer and prediction."""
    import numpy as np

    found = []
    classifier = evaluation.kind == "classifier"
    for row in evaluation.worst(count).tolist():
        true, pred = evaluation.true[row], evaluation.pred[row]
        entry: dict[str, Any] = {"row": row + 1}
        if hasattr(part.x, "lines"):
            entry["line"] = int(part.x.lines[row])
        if classifier:
            entry |= {"answer": evaluation.labels[true], "predicted": evaluation.labels[pred]}
            entry["probability"] = float(evaluation.correct[row])
        else:
            entry |= {"answer": float(true), "predicted": float(pred), "error": float(pred - true)}
        if hasattr(part.x, "columns"):
            entry["cells"] = {name: _cell(column[row]) for name, column in part.x.columns.items()}
        elif isinstance(part.x, np.ndarray) and isinstance(part.x[row], str):
            entry["cells"] = {"text": part.x[row]}
        found.append(entry)
    return found


def _cell(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value


def worst_lines(found: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = ["worst rows"]
    for entry in found:
        place = f"line {entry['line']}" if "line" in entry else f"row {entry['row']}"
        how = f"p = {entry['probability']:.2g}" if "probability" in entry else f"error {entry['error']:+.4g}"
        answer, predicted = (f"{v:.6g}" if isinstance(v, float) else v for v in (entry["answer"], entry["predicted"]))
        lines.append(f"  {place:<12} {answer} taken for {predicted}, {how}")
        if "cells" in entry:
            text = " · ".join(f"{name} {value}" for name, value in entry["cells"].items() if value is not None)
            lines.append("      " + (text if len(text) <= 150 else text[:149] + "\u2026"))
    return lines
