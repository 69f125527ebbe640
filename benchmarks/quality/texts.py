"""Texts: the architectures of `text-classify` on public data sets, median of seeds.

    python benchmarks/quality/texts.py DATA [--sets banking77,sms] [--arch ngrams,bilstm] [--seeds 0,1,2] [--out FOLDER]

DATA holds the folders banking77, sms_spam, sib200 and goemotions.  Settings are the task's defaults, chosen on validation parts
of the training rows; test parts are measured once.  SMS spam has no test part: a stratified fifth, seed 0, is kept.  sib200 is
Chinese, beside scikit-learn's TF-IDF of character n-grams (1 to 4) with logistic regression.  goemotions has
several labels a row, and its epoch is the one with the best macro F1 on the validation part.
"""
from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np

from dlcore.data.dataset import Dataset
from dlcore.data.split import split
from dlcore.data.texts import read_texts
from dlcore.tasks.text_classify import TASK

BARS = {("banking77", "bilstm"): ("accuracy", 0.87), ("goemotions", "bilstm"): ("macro_f1", 0.41),
        ("sms", "ngrams"): ("accuracy", 0.985)}

def parts(name: str, data: Path) -> tuple[Dataset, Dataset]:
    """(training rows, test rows)"""
    if name == "banking77":
        return read_texts(data / "banking77/train.csv"), read_texts(data / "banking77/test.csv")
    if name == "sib200":
        folder = data / "sib200/zho_Hans"
        return read_texts(folder / "train.tsv"), read_texts(folder / "test.tsv")
    if name == "goemotions":
        return read_texts(data / "goemotions/train.tsv"), read_texts(data / "goemotions/test.tsv", multi_label=True)
    whole = read_texts(data / "sms_spam/SMSSpamCollection")
    assert whole.y is not None
    train, test = split(len(whole), 0.2, 0, np.unique(whole.y, return_inverse=True)[1])
    return whole.take(train), whole.take(test)


def linear(train: Dataset, test: Dataset) -> float:
    """scikit-learn's TF-IDF of character n-grams with logistic regression."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    model = make_pipeline(TfidfVectorizer(analyzer="char", ngram_range=(1, 4)), LogisticRegression(max_iter=2000))
    return float(model.fit(train.x, train.y).score(test.x, test.y))


def run(name: str, arch: str, data: Path, seeds: list[int]) -> dict[str, Any]:
    train, test = parts(name, data)
    scores, seconds = [], []
    for seed in seeds:
        start = time.perf_counter()
        model = TASK.create(train, arch, seed, **options(arch)).fit(train)
        seconds.append(round(time.perf_counter() - start, 1))
        scores.append(model.evaluate(test))
        print(name, arch, "seed", seed, scores[-1], flush=True)
    record: dict[str, Any] = {"data": name, "arch": arch, "seeds": seeds, "scores": scores, "fit_seconds": seconds,
                              "median": {m: statistics.median(s[m] for s in scores) for m in scores[0]}}
    if name == "sib200":
        record["tf-idf and logistic regression"] = linear(train, test)
    if (name, arch) in BARS:
        metric, least = BARS[name, arch]
        record |= {"bar": {metric: least}, "holds": record["median"][metric] >= least}
    return record


def options(arch: str) -> dict[str, Any]:
    """The task's defaults, as the command line passes them on."""
    sections = TASK.defaults(arch)
    return {key.replace("-", "_"): value for section in sections.values() for key, value in section.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--sets", default="banking77,sms,sib200,goemotions")
    parser.add_argument("--arch", default="ngrams,bilstm")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent.parent / "results")
    given = parser.parse_args()
    path = given.out / "texts.json"
    found = json.loads(path.read_text())["runs"] if path.exists() else []
    for name in given.sets.split(","):
        for arch in given.arch.split(","):
            record = run(name, arch, given.data, [int(s) for s in given.seeds.split(",")])
            found = [r for r in found if (r["data"], r["arch"]) != (name, arch)] + [record]
            report = {"python": platform.python_version(), "machine": platform.machine(), "runs": found}
            path.write_text(json.dumps(report, indent=1) + "\n")
    return int(not all(r.get("holds", True) for r in found))


if __name__ == "__main__":
    raise SystemExit(main())
