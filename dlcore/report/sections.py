"""The parts of a report, each a piece of HTML."""
from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from dlcore.metrics.evaluation import Curve, Evaluation
from dlcore.report import svg
from dlcore.report.svg import Series

if TYPE_CHECKING:
    from dlcore.report.page import Example, Report

MOST_CURVES = 8                         # labels whose curves are drawn
WIDEST = 40                             # labels of a matrix that is drawn
BESIDE = 12                             # labels of a table that stands beside a chart
TILES = {"classifier": ("accuracy", "macro_f1", "roc_auc", "log_loss", "calibration_error"),
         "regressor": ("rmse", "mae", "r2", "max_error")}
ABOUT = ("epoch", "step", "seconds", "time", "lr", "rows_per_second")   # columns of an epoch that have a chart of their own or none
NAMES = {"accuracy": "accuracy", "macro_f1": "macro F1", "roc_auc": "ROC AUC", "log_loss": "log loss",
         "d_loss": "discriminator loss", "g_loss": "generator loss",
         "calibration_error": "calibration error", "rmse": "RMSE", "mae": "MAE", "r2": "R\u00b2", "lr": "learning rate",
         "max_error": "greatest error", "map50": "mAP@.5", "map50_95": "mAP@.5:.95", "map75": "mAP@.75",
         "brier_score": "Brier score", "matthews_corrcoef": "Matthews correlation",
         "cohen_kappa": "Cohen's kappa"}


def name(key: str) -> str:
    """A metric's name for people."""
    if key in NAMES:
        return NAMES[key]
    return f"validation {name(key[4:])}" if key.startswith("val_") else key.replace("_", " ")


def number(value: float) -> str:
    """Four digits."""
    if not math.isfinite(value):
        return "\u2013"
    if value and (abs(value) < 1e-3 or abs(value) >= 1e6):
        return f"{value:.2e}"
    return f"{value:.4f}" if abs(value) < 10 else f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"


def card(title: str, content: str, kind: str = "") -> str:
    head = f"<h3>{escape(title)}</h3>" if title else ""
    return f'<div class="card {kind}">{head}{content}</div>' if content else ""


def cards(*parts: str) -> str:
    return f'<div class="cards">{"".join(parts)}</div>' if any(parts) else ""


def keys(series: Sequence[Series]) -> str:
    """The legend of a chart."""
    if len(series) < 2:
        return ""
    rows = "".join(f'<li><i class="k{s.colour % svg.COLOURS} {s.style}"></i>{escape(s.name)}</li>' for s in series)
    return f'<ul class="keys">{rows}</ul>'


def tiles(report: Report) -> str:
    """The figures that matter most."""
    found: list[tuple[str, str, str]] = []
    evaluation = report.evaluation
    if evaluation is not None:
        for key in TILES[evaluation.kind]:
            if key in evaluation.metrics:
                interval = evaluation.intervals.get(key)
                note = f"95 %: {number(interval.low)} to {number(interval.high)}" if interval else ""
                found.append((name(key), number(evaluation.metrics[key]), note))
    if report.rows:
        best = f"best: {report.best_epoch}" if report.best_epoch else ""
        found.append(("epochs", f"{report.rows[-1]['epoch']:,}", best))
    cells = "".join(f'<div class="tile"><span>{escape(n)}</span><b>{escape(v)}</b><small>{escape(note)}</small></div>'
                    for n, v, note in found)
    return f'<div class="tiles">{cells}</div>'


# ---- training --------------------------------------------------------------------------------------------------------

ABOUT = ("epoch", "seconds", "lr", "step", "time", "rows_per_second")      # in a row, and no metric


def training(report: Report) -> str:
    """Losses, metrics, learning rate and speed over the epochs."""
    rows = report.rows
    measured = dict.fromkeys(key for row in rows for key, value in row.items()
                             if isinstance(value, (int, float)) and key not in ABOUT)
    pairs = dict.fromkeys(key.removeprefix("val_") for key in measured)
    mark = (float(report.best_epoch), f"best: epoch {report.best_epoch}") if report.best_epoch and len(rows) > 1 else None
    parts = []
    for key in pairs:
        series = [_over_epochs(rows, k, n, colour) for colour, (k, n) in
                  enumerate(((key, "training"), (f"val_{key}", "validation"))) if k in measured]
        chart = svg.lines(series, "epoch", name(key), mark=mark, whole=True, x_range=_epochs(rows))
        parts.append(card(name(key).capitalize() if name(key).islower() else name(key), chart + keys(series)))
    if any("lr" in row for row in rows):
        series = [_over_epochs(rows, "lr", "learning rate", 2)]
        parts.append(card("Learning rate", svg.lines(series, "epoch", "learning rate", whole=True, x_range=_epochs(rows))))
    parts.append(card("Speed", _speed(rows, report.train_rows)))
    return cards(*parts)


def _epochs(rows: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    return (float(rows[0]["epoch"]), float(max(rows[-1]["epoch"], rows[0]["epoch"] + 1)))


def _over_epochs(rows: Sequence[Mapping[str, Any]], key: str, shown: str, colour: int) -> Series:
    known = [(float(row["epoch"]), float(row[key])) for row in rows if isinstance(row.get(key), (int, float))]
    return Series(shown, [x for x, _ in known], [y for _, y in known], colour)


def _speed(rows: Sequence[Mapping[str, Any]], train_rows: int) -> str:
    """Rows per second of each epoch, as noted or from the clock, which a resumed run starts again; else seconds."""
    if all("rows_per_second" in row for row in rows):
        series = _over_epochs(rows, "rows_per_second", "rows a second", 5)
        return svg.lines([series], "epoch", series.name, whole=True, x_range=_epochs(rows),
                         y_range=(0.0, max(series.y, default=1.0) * 1.1))
    ends = [float(end) for row in rows if isinstance(end := row.get("seconds"), (int, float))]
    if len(ends) < len(rows):
        return ""
    took = [end - begin if end > begin else end for begin, end in zip([0.0, *ends], ends, strict=False)]
    if any(seconds <= 0 for seconds in took):
        return ""
    values = [train_rows / seconds for seconds in took] if train_rows else took
    label = "rows a second, validation included" if train_rows else "seconds an epoch"
    return svg.lines([Series(label, [float(row["epoch"]) for row in rows], values, 5)], "epoch", label.partition(",")[0],
                     whole=True, x_range=_epochs(rows), y_range=(0.0, max(values) * 1.1))


# ---- evaluation ------------------------------------------------------------------------------------------------------

def evaluation(found: Evaluation) -> str:
    return _numbers(found) if found.kind == "regressor" else _labels(found)


def _labels(found: Evaluation) -> str:
    parts = []
    if len(found.labels) <= WIDEST:
        parts.append(card("Confusion matrix", svg.matrix(found.labels, found.confusion.tolist()), "matrix"))
    parts.append(card("All metrics", metric_table(found)))
    if found.roc:
        parts.append(_curves("ROC curve", found.roc, "false positive rate", "true positive rate", "AUC", True))
        parts.append(_curves("Precision and recall", found.pr, "recall", "precision", "AP", False))
    if found.calibration is not None and len(found.calibration.rows):
        bins = found.calibration
        what = f"probability of {found.labels[1]}" if len(found.labels) == 2 else "confidence"
        note = '<p class="note">Points on the dashed line mean what they say; grey columns count the rows.</p>'
        chart = svg.reliability(bins.confidence.tolist(), bins.accuracy.tolist(), bins.rows.tolist(), what)
        parts.append(card("Calibration", chart + note))
    parts.append(card("Labels", label_table(found), "wide" if len(found.labels) > BESIDE else ""))
    return cards(*parts)


def _curves(title: str, curves: Mapping[str, Curve], x: str, y: str, area: str, diagonal: bool) -> str:
    """Curves of the labels; of many those with the least area, which need a look."""
    chosen = sorted(curves.items(), key=lambda item: item[1].area)[:MOST_CURVES]
    order = [label for label in curves if label in dict(chosen)]
    series = [Series(f"{label} ({area} {curves[label].area:.3f})", curves[label].x.tolist(), curves[label].y.tolist(), i)
              for i, label in enumerate(order)]
    chart = svg.lines(series, x, y, x_range=(0.0, 1.0), y_range=(0.0, 1.0), diagonal=diagonal)
    legend = keys(series) if len(series) > 1 else f'<p class="note">{escape(series[0].name)}</p>'
    more = len(curves) - len(series)
    note = f'<p class="note">The {len(series)} labels with the least area; {more} more are above.</p>' if more else ""
    return card(title, chart + legend + note)


def metric_table(found: Evaluation) -> str:
    """Every metric with its interval."""
    rows = []
    for key, value in found.metrics.items():
        interval = found.intervals.get(key)
        note = f"{number(interval.low)} to {number(interval.high)}" if interval else ""
        rows.append(f'<tr><td>{escape(name(key))}</td><td class="n">{number(value)}</td><td class="n">{note}</td></tr>')
    threshold = "" if found.threshold is None else f'<p class="note">Threshold {found.threshold:.4g}.</p>'
    return (f'<div class="scroll"><table><tr><th>metric</th><th class="n">value</th><th class="n">95 % interval</th></tr>'
            f'{"".join(rows)}</table></div>{threshold}')


def label_table(found: Evaluation) -> str:
    """Precision, recall and F1 of each label."""
    rows = []
    for label, scores in found.report.items():
        if label in ("accuracy", "micro avg"):
            continue
        cells = "".join(f'<td class="n">{scores[key]:.4f}</td>' for key in ("precision", "recall", "f1-score"))
        kind = ' class="sum"' if label in ("macro avg", "weighted avg") and label not in found.labels else ""
        rows.append(f'<tr{kind}><td>{escape(label)}</td>{cells}<td class="n">{scores["support"]:,.0f}</td></tr>')
    heads = "".join(f'<th class="n">{head}</th>' for head in ("precision", "recall", "F1", "rows"))
    return f'<div class="scroll"><table><tr><th>label</th>{heads}</tr>{"".join(rows)}</table></div>'


def _numbers(found: Evaluation) -> str:
    shown = np.random.default_rng(0).permutation(found.rows)[:600]
    points = svg.scatter(found.true[shown].tolist(), found.pred[shown].tolist(), "answer", "prediction")
    counts, edges = np.histogram(found.pred - found.true, bins=30)
    return cards(card("Predictions", points), card("Errors", svg.bars(edges.tolist(), counts.tolist(), "prediction - answer")),
                 card("All metrics", metric_table(found)))


# ---- examples, facts, configuration ----------------------------------------------------------------------------------

def worst(examples: Sequence[Example]) -> str:
    """Pictures in a gallery, other rows in a table."""
    if all(example.picture for example in examples):
        figures = "".join(
            f'<figure><img src="{example.picture}" alt="{escape(example.place)}" title="{escape(example.place)}">'
            f"<figcaption><b>{escape(example.answer)}</b> taken for <b>{escape(example.predicted)}</b><br>"
            f"{escape(example.detail)}</figcaption></figure>" for example in examples)
        return card("", f'<div class="gallery">{figures}</div>')
    rows = "".join(f'<tr><td>{escape(e.place)}</td><td>{escape(e.answer)}</td><td>{escape(e.predicted)}</td>'
                   f'<td class="n">{escape(e.detail)}</td><td class="text">{escape(e.text)}</td></tr>' for e in examples)
    heads = '<tr><th>place</th><th>answer</th><th>predicted</th><th class="n">how wrong</th><th>row</th></tr>'
    return card("", f'<div class="scroll"><table>{heads}{rows}</table></div>')


def scores(values: Mapping[str, float]) -> str:
    """A table of metrics."""
    rows = "".join(f'<tr><td>{escape(name(key))}</td><td class="n">{number(value)}</td></tr>' for key, value in values.items())
    return card("", f'<div class="scroll"><table><tr><th>metric</th><th class="n">value</th></tr>{rows}</table></div>')


def facts(cost: Mapping[str, str], others: Mapping[str, str]) -> str:
    return cards(card("Cost", _list(cost)), card("Machine and data", _list(others)))


def _list(values: Mapping[str, str]) -> str:
    rows = "".join(f"<dt>{escape(key)}</dt><dd>{escape(value)}</dd>" for key, value in values.items())
    return f"<dl>{rows}</dl>" if rows else ""


def configuration(config: str, lock: str) -> str:
    files = (("config.toml", config), ("run.lock", lock))
    return cards(*(card(name, f"<pre>{escape(text)}</pre>") for name, text in files if text))
