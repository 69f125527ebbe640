"""Five folds here and in scikit-learn: `python benchmarks/cross_validation.py [--out RESULTS.json]`.  Needs scikit-learn.

The same folds of the digits (1,797 rows, 64 columns), the same kind of network (one hidden layer of 100, Adam at 0.001, batches of
200, 60 epochs, no part kept for validation): dlcore.cross_validate with its processes, scikit-learn's cross_val_score of its
MLPClassifier with as many jobs, and the same function of our estimator.  They take turns; seconds are medians.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
import warnings
from pathlib import Path

from harness import machine
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import dlcore

FOLDS, EPOCHS, HIDDEN, BATCH, TURNS = 5, 60, (100,), 200, 5


def cases(jobs):
    x, y = load_digits(return_X_y=True)
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
    plain = {"hidden": HIDDEN, "epochs": EPOCHS, "batch_size": BATCH, "lr": 1e-3, "optimizer": "adam", "schedule": "constant",
             "dropout": 0.0, "weight_decay": 0.0, "val_split": 0.0, "patience": 0, "random_state": 0}
    ours = dlcore.TabularClassifier(**plain)
    network = MLPClassifier(HIDDEN, max_iter=EPOCHS, batch_size=BATCH, tol=0.0, n_iter_no_change=EPOCHS, alpha=0.0, random_state=0)
    theirs = make_pipeline(StandardScaler(), network)
    return {
        "dlcore.cross_validate": lambda: dlcore.cross_validate(ours, x, y, folds=folds, jobs=jobs).mean["accuracy"],
        "dlcore, cross_val_score": lambda: cross_val_score(ours, x, y, cv=folds, n_jobs=jobs).mean(),
        "MLPClassifier, cross_val_score": lambda: cross_val_score(theirs, x, y, cv=folds, n_jobs=jobs).mean(),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "cross_validation.json")
    parser.add_argument("--turns", type=int, default=TURNS)
    chosen = parser.parse_args()
    jobs, found = len(os.sched_getaffinity(0)), {}
    warnings.simplefilter("ignore", ConvergenceWarning)
    for _ in range(chosen.turns):
        for name, run in cases(jobs).items():
            begin = time.perf_counter()
            score = float(run())
            found.setdefault(name, []).append((time.perf_counter() - begin, score))
    rows = {n: {"seconds": statistics.median(s for s, _ in samples), "accuracy": samples[-1][1]} for n, samples in found.items()}
    about = {"machine": machine(), "folds": FOLDS, "jobs": jobs, "epochs": EPOCHS, "turns": chosen.turns}
    text = json.dumps({**about, "results": rows}, indent=1)
    chosen.out.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
