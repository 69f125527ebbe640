"""The tasks' defaults beside their neighbours, on rows held out of the *training* parts: test rows are never read.

    python benchmarks/quality/choose.py DATA [--sets mnist,digits,adult,bike_sharing] [--seeds 0,1] [--out FOLDER]

Each neighbour changes one setting of the default.  A fifth of a set's training rows (drawn once, seed 0) is what the choice goes
by; what a task keeps back for itself comes out of the rest.  To be quick, large sets are cut and epochs are fewer, for all
settings of a set alike.  A default holds where no neighbour is better by more than the spread of the seeds on most sets.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import tabular as tables

from dlcore.data.images import read_images
from dlcore.data.split import split
from dlcore.tasks import ImageClassifier, TabularClassifier, TabularRegressor

# set -> (training rows at most, epochs)
CUTS = {"mnist": (12_000, 8), "mnist-whole": (60_000, 20), "digits": (1_400, 60), "adult": (6_000, 20), "bike_sharing": (8_000, 30)}
NEIGHBOURS: dict[str, list[dict[str, Any]]] = {
    "mnist": [{"lr": 1e-3}, {"lr": 4e-3}, {"dropout": 0.2}, {"dropout": 0.5}, {"hidden": (256, 256)}, {"hidden": (1024, 512)},
              {"batch_size": 64}, {"batch_size": 256}],
    "mnist-whole": [{"dropout": 0.2}, {"lr": 4e-3}],       # what the cut favours, at the task's own length
    "table": [{"lr": 1e-3}, {"lr": 4e-3}, {"dropout": 0.0}, {"dropout": 0.4}, {"hidden": (128, 64)}, {"hidden": (512, 256)},
              {"batch_size": 16}, {"batch_size": 64}, {"weight_decay": 1e-3}, {"weight_decay": 1e-1}],
}


def parts(name: str, data: Path) -> tuple[Any, Any, Any, Any, Any]:
    """(estimator's class, x, y to train on, x, y to choose by)."""
    if name.startswith("mnist"):
        train = read_images(data / "mnist").train
        x, y, kind = train.x, train.y, ImageClassifier
    else:
        rows = tables.SETS[name](data)
        x, y, kind = rows.x, rows.y, TabularClassifier if rows.metric == "accuracy" else TabularRegressor
    chosen = np.random.default_rng(0).permutation(len(y))[: CUTS[name][0]]
    x, y = (x[chosen] if isinstance(x, np.ndarray) else x.take(chosen)), y[chosen]
    learn, choose = split(len(y), 0.2, 0)
    taken = [x[i] if isinstance(x, np.ndarray) else x.take(i) for i in (learn, choose)]
    return kind, taken[0], y[learn], taken[1], y[choose]


def measure(name: str, data: Path, seeds: list[int]) -> dict[str, Any]:
    kind, x, y, x_choice, y_choice = parts(name, data)
    found: dict[str, Any] = {}
    for changed in [{}, *NEIGHBOURS[name if name in NEIGHBOURS else "table"]]:
        begin = time.perf_counter()
        scores = [kind(random_state=s, epochs=CUTS[name][1], **changed).fit(x, y).score(x_choice, y_choice) for s in seeds]
        label = ", ".join(f"{key} {value}" for key, value in changed.items()) or "the default"
        found[label] = {"scores": scores, "mean": float(np.mean(scores)), "seconds": time.perf_counter() - begin}
        print(f"{name:<13} {label:<24} {found[label]['mean']:.4f}  {scores}", flush=True)
    return found


def table(results: dict[str, Any]) -> str:
    lines = ["# Defaults beside neighbours, on rows held out of the training part", ""]
    for name, found in results.items():
        lines += [f"## {name}: {CUTS[name][0]:,} rows, {CUTS[name][1]} epochs", "", "| setting | mean | by seed |"]
        lines += ["| --- | --- | --- |"]
        for label, r in found.items():
            lines.append(f"| {label} | {r['mean']:.4f} | {', '.join(f'{s:.4f}' for s in r['scores'])} |")
        lines.append("")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--sets", default=",".join(CUTS))
    parser.add_argument("--seeds", default="0,1")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    seeds = [int(s) for s in options.seeds.split(",")]
    results: dict[str, Any] = {}
    if options.out and (options.out / "defaults.json").exists():
        results = json.loads((options.out / "defaults.json").read_text())
    for name in options.sets.split(","):
        results[name] = measure(name, options.data, seeds)
        if options.out:
            (options.out / "defaults.json").write_text(json.dumps(results, indent=1) + "\n")
            (options.out / "defaults.md").write_text(table(results))


if __name__ == "__main__":
    main()
