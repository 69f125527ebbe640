"""Evaluating 10 million predictions: dlcore.metrics beside scikit-learn, in turns in one process.

    python benchmarks/metrics.py [--rows 10000000] [--rounds 3] [--out benchmarks/results]

Needs scikit-learn.  Cases: a classifier of two labels (scores f32 and f64, with and without weights), one of ten labels, and
numbers.  Each turn calls every metric of a case once in each library; reported are medians in seconds, and the greatest
difference between the two values.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
import sklearn.calibration
import sklearn.metrics

import dlcore.metrics

sys.path.insert(0, str(Path(__file__).parent))
from harness import HERE, machine  # noqa: E402

Measure = tuple[str, tuple[Any, ...], dict[str, Any]]


def two_labels(rows: int, dtype: type, weighted: bool) -> Iterator[Measure]:
    """Scores of a classifier that is right in about three rows of four."""
    rng = np.random.default_rng(0)
    true = rng.integers(0, 2, rows)
    score = np.clip(rng.normal(0.35 + 0.3 * true, 0.25), 0, 1).astype(dtype)
    pred = (score > 0.5).astype(true.dtype)
    weight = {"sample_weight": rng.random(rows)} if weighted else {}
    for name in ("accuracy_score", "precision_recall_fscore_support", "confusion_matrix"):
        yield name, (true, pred), weight
    for name in ("roc_auc_score", "average_precision_score", "log_loss", "brier_score_loss"):
        yield name, (true, score), weight
    if not weighted:
        yield "roc_curve", (true, score), {}
        yield "precision_recall_curve", (true, score), {}
        yield "calibration_curve", (true, score), {"n_bins": 10}
        yield "classification_report", (true, pred), {}
        yield "matthews_corrcoef", (true, pred), {}


def ten_labels(rows: int) -> Iterator[Measure]:
    """Probabilities of ten labels, f32."""
    rng = np.random.default_rng(1)
    true = rng.integers(0, 10, rows)
    proba = rng.random((rows, 10), np.float32)
    proba[np.arange(rows), true] += 0.5
    proba /= proba.sum(axis=1, keepdims=True)
    pred = proba.argmax(axis=1)
    for name in ("accuracy_score", "balanced_accuracy_score", "confusion_matrix", "classification_report", "cohen_kappa_score"):
        yield name, (true, pred), {}
    yield "log_loss", (true, proba), {}
    yield "top_k_accuracy_score", (true, proba), {"k": 3}
    yield "roc_auc_score", (true, proba), {"multi_class": "ovr"}


def numbers(rows: int) -> Iterator[Measure]:
    """Answers and predictions f64."""
    rng = np.random.default_rng(2)
    true = rng.normal(size=rows)
    pred = true + rng.normal(size=rows)
    for name in ("mean_squared_error", "mean_absolute_error", "median_absolute_error", "r2_score"):
        yield name, (true, pred), {}


CASES: dict[str, Callable[[int], Iterator[Measure]]] = {
    "two labels, f64": lambda rows: two_labels(rows, np.float64, False),
    "two labels, f32": lambda rows: two_labels(rows, np.float32, False),
    "two labels, f64, weighted": lambda rows: two_labels(rows, np.float64, True),
    "ten labels": lambda rows: ten_labels(rows // 10),
    "numbers": numbers,
}


def theirs(name: str) -> Callable[..., Any]:
    return getattr(sklearn.metrics, name, None) or getattr(sklearn.calibration, name)


def timed(function: Callable[..., Any], arguments: tuple[Any, ...], options: dict[str, Any]) -> tuple[float, Any]:
    begin = time.perf_counter()
    value = function(*arguments, **options)
    return time.perf_counter() - begin, value


def difference(a: Any, b: Any) -> float:
    """The greatest difference between two values of a metric."""
    if isinstance(a, str):
        return float(a != b)
    if isinstance(a, tuple):
        return max(difference(x, y) for x, y in zip(a, b, strict=True))
    if a is None or np.shape(a) != np.shape(b):
        return 0.0 if a is b else float("inf")
    finite = np.isfinite(a)
    return float(np.max(np.abs(np.asarray(a, np.float64) - b)[finite], initial=0.0))


def measure(case: str, rows: int, rounds: int) -> list[dict[str, Any]]:
    found = []
    for name, arguments, options in CASES[case](rows):
        own, other, worst = [], [], 0.0
        for turn in range(rounds):
            pair = [(own, getattr(dlcore.metrics, name)), (other, theirs(name))]
            values = {}
            for times, function in pair if turn % 2 == 0 else pair[::-1]:
                seconds, values[id(times)] = timed(function, arguments, options)
                times.append(seconds)
            worst = max(worst, difference(values[id(own)], values[id(other)]))
        found.append({"case": case, "metric": name, "rows": len(arguments[0]), "turns": rounds, "dlcore_s": statistics.median(own),
                      "sklearn_s": statistics.median(other), "greatest_difference": worst})
        print(f"{case:28} {name:34} {found[-1]['dlcore_s']:8.3f} {found[-1]['sklearn_s']:8.3f} s"
              f"  {found[-1]['sklearn_s'] / found[-1]['dlcore_s']:6.1f} times  differ by {worst:.1e}", flush=True)
    return found


def markdown(report: dict[str, Any]) -> str:
    lines = ["# Metrics, seconds: dlcore beside scikit-learn", "",
             "| case | metric | rows | turns | dlcore | scikit-learn | times faster | greatest difference |",
             "| --- | --- | --- | --- | --- | --- | --- | --- |"]
    for row in report["records"]:
        lines.append(f"| {row['case']} | {row['metric']} | {row['rows']:,} | {row['turns']} "
                     f"| {row['dlcore_s']:.3f} | {row['sklearn_s']:.3f} "
                     f"| {row['sklearn_s'] / row['dlcore_s']:.1f} | {row['greatest_difference']:.1e} |")
    lines += ["", "## Machine", "", *(f"* {key}: {value}" for key, value in report["machine"].items()), "",
              f"Medians over the turns. scikit-learn {report['sklearn']}, numpy {report['numpy']}."]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--case", action="append", choices=CASES)
    parser.add_argument("--out", type=Path, default=HERE / "results")
    options = parser.parse_args()
    chosen = options.case or list(CASES)
    report: dict[str, Any] = {"machine": machine(), "sklearn": sklearn.__version__,
                              "numpy": np.__version__, "records": []}
    path = options.out / "metrics.json"
    if options.case and path.exists():                               # cases may be measured one at a time
        report["records"] = [r for r in json.loads(path.read_text())["records"] if r["case"] not in chosen]
    warnings.simplefilter("ignore")
    for case in chosen:
        report["records"] += measure(case, options.rows, options.rounds)
    options.out.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=1) + "\n")
    (options.out / "metrics.md").write_text(markdown(report))


if __name__ == "__main__":
    main()
