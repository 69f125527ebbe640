"""Tables: dlcore's defaults beside scikit-learn's MLP at the best of three settings, on the same rows.

    python benchmarks/quality/tabular.py DATA [--sets digits,adult,bike_sharing] [--seeds 0,1,2] [--out FOLDER]

DATA holds `adult/adult.data`, `adult/adult.test` and `bike_sharing/hour.csv`; the digits are scikit-learn's own.  Of each
set the test rows are the same for all; a seed gives the initial weights, the order and what is kept for validation.
scikit-learn's setting is chosen by its median on the test rows, which favours it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.impute import SimpleImputer
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from dlcore.data.split import split
from dlcore.data.table import Table, answers, read_table
from dlcore.tasks import TabularClassifier, TabularRegressor

SETTINGS = {
    "default (100), 300 epochs": {"max_iter": 300},
    "(128, 64), early stopping": {"hidden_layer_sizes": (128, 64), "early_stopping": True, "max_iter": 200},
    "(256, 128), alpha 1e-2, early stopping": {
        "hidden_layer_sizes": (256, 128),
        "alpha": 1e-2,
        "early_stopping": True,
        "n_iter_no_change": 20,
        "max_iter": 200,
    },
}
ADULT = (
    "age,workclass,fnlwgt,education,education-num,marital-status,occupation,relationship,race,sex,capital-gain,"
    "capital-loss,hours-per-week,native-country,income"
).split(",")


class Rows(NamedTuple):
    """A set: rows and answers to train on and to test on; `numeric` and `categorical` are for scikit-learn."""

    x: Any
    y: np.ndarray
    x_test: Any
    y_test: np.ndarray
    numeric: list[str]
    categorical: list[str]
    metric: str


def digits(data: Path) -> Rows:
    x, y = load_digits(return_X_y=True)
    train, test = split(len(x), 0.25, 0, y)
    return Rows(x[train], y[train], x[test], y[test], [], [], "accuracy")


def adult(data: Path) -> Rows:
    tables = []
    for part in ("data", "test"):
        lines = (data / "adult" / f"adult.{part}").read_text().splitlines()
        rows = [line.rstrip(".").split(", ") for line in lines if line.count(",") == 14]
        cells = [[None if cell == "?" else cell for cell in column] for column in zip(*rows, strict=True)]
        tables.append(answers(Table(dict(zip(ADULT, cells, strict=True)), range(1, len(rows) + 1)), "income"))
    numeric = ["age", "fnlwgt", "education-num", "capital-gain", "capital-loss", "hours-per-week"]
    (x, _, y), (x_test, _, y_test) = tables
    return Rows(x, np.array(y), x_test, np.array(y_test), numeric, [n for n in x.names if n not in numeric], "accuracy")


def bike_sharing(data: Path) -> Rows:
    x, _, y = answers(read_table(data / "bike_sharing" / "hour.csv"), "cnt")
    for name in ("casual", "registered"):  # their sum is the answer
        x = x.without(name)
    y = np.array(y, float)
    train, test = split(len(y), 0.2, 0)
    categorical = ["season", "mnth", "hr", "weekday", "weathersit"]
    numeric = [name for name in x.names if name not in (*categorical, "dteday")]  # instant counts the days, too
    return Rows(x.take(train), y[train], x.take(test), y[test], numeric, categorical, "r2")


SETS: dict[str, Callable[[Path], Rows]] = {"digits": digits, "adult": adult, "bike_sharing": bike_sharing}


def frame(table: Any, rows: Rows) -> np.ndarray:
    """What scikit-learn reads: numbers, then categories, as objects."""
    if not isinstance(table, Table):
        return table
    columns = [
        np.array([np.nan if cell is None else float(cell) for cell in table.columns[name]], object)
        for name in rows.numeric
    ]
    columns += [
        np.array(["missing" if cell is None else str(cell) for cell in table.columns[name]], object)
        for name in rows.categorical
    ]
    return np.stack(columns, axis=1)


def theirs(rows: Rows, setting: dict[str, Any], seed: int) -> float:
    """scikit-learn's score with the answers standardised for a regression."""
    n, m = len(rows.numeric), len(rows.categorical)
    encoder = (
        ColumnTransformer(
            [
                ("numbers", make_pipeline(SimpleImputer(), StandardScaler()), list(range(n))),
                ("categories", OneHotEncoder(handle_unknown="ignore"), list(range(n, n + m))),
            ],
            sparse_threshold=0,
        )
        if n
        else StandardScaler()
    )
    x, x_test = encoder.fit_transform(frame(rows.x, rows)), encoder.transform(frame(rows.x_test, rows))
    if rows.metric == "accuracy":
        return MLPClassifier(**setting, random_state=seed).fit(x, rows.y).score(x_test, rows.y_test)
    mean, scale = rows.y.mean(), rows.y.std()
    return (
        MLPRegressor(**setting, random_state=seed)
        .fit(x, (rows.y - mean) / scale)
        .score(x_test, (rows.y_test - mean) / scale)
    )


def ours(rows: Rows, params: dict[str, Any], seed: int) -> float:
    """dlcore's score with its defaults."""
    kind = TabularClassifier if rows.metric == "accuracy" else TabularRegressor
    return kind(random_state=seed, **params).fit(rows.x, rows.y).score(rows.x_test, rows.y_test)


def measure(function: Callable[[int], float], seeds: list[int]) -> dict[str, Any]:
    scores, seconds = [], []
    for seed in seeds:
        begin = time.perf_counter()
        scores.append(function(seed))
        seconds.append(time.perf_counter() - begin)
    return {"median": statistics.median(scores), "scores": scores, "seconds": statistics.median(seconds)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument(
        "--params", default="{}", help="JSON: parameters of dlcore's estimators other than the defaults"
    )
    parser.add_argument("--no-peer", action="store_true")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    seeds, results = [int(seed) for seed in options.seeds.split(",")], {}
    lines = ["| set | metric | dlcore | scikit-learn, best of three | its setting |", "| --- | --- | --- | --- | --- |"]
    for name in options.sets.split(","):
        rows = SETS[name](options.data)
        mine = measure(lambda seed, rows=rows: ours(rows, json.loads(options.params), seed), seeds)
        print(name, "dlcore", mine, flush=True)
        peers = {}
        for title, setting in {} if options.no_peer else SETTINGS.items():
            peers[title] = measure(lambda seed, rows=rows, setting=setting: theirs(rows, setting, seed), seeds)
            print(name, title, peers[title], flush=True)
        results[name] = {"metric": rows.metric, "dlcore": mine, "scikit-learn": peers}
        best = max(peers, key=lambda title: peers[title]["median"], default="")
        peer = f"{peers[best]['median']:.4f} ({peers[best]['seconds']:.0f} s)" if best else ""
        lines.append(f"| {name} | {rows.metric} | {mine['median']:.4f} ({mine['seconds']:.0f} s) | {peer} | {best} |")
    print("\n".join(lines))
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "tabular.json").write_text(json.dumps(results, indent=1) + "\n")
        (options.out / "tabular.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
