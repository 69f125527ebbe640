"""Long documents: windows beside truncation, and how memory grows with length.

    python benchmarks/quality/long_documents.py DATA [--long truncate,windows] [--train 2000] [--test 500] [--seed 0] [--out FOLDER]

A document joins 30 rows of banking77, in random order: 10 of one intent, its label, and 5 of each of four others, drawn with a
fixed seed; training documents are made of training rows, test documents of test rows.  The same BiLSTM, which reads 64 words
at a time, learns labels with `long="truncate"`, which reads a document's beginning, and with `long="windows"`, whose predictions
are averaged over windows that overlap by half.  A document has some ten windows, so truncation gets ten times the epochs; each
keeps its best.  Memory is that of a training step's program of a Transformer classifier for
documents of T words.
"""
from __future__ import annotations

import argparse
import json
import platform
import time
from pathlib import Path
from typing import Any

import numpy as np

from dlcore.data.texts import read_texts
from dlcore.models import encoder_classifier
from dlcore.tasks import TextClassifier

ROWS, LABELLED, OTHERS = 30, 10, 4
EPOCHS = {"truncate": 60, "windows": 6}
WORDS = 64                          # of a window, and of a document's beginning
LENGTHS = (256, 512, 1024, 2048, 4096)


def documents(path: Path, count: int, seed: int) -> tuple[list[str], np.ndarray]:
    """(texts, labels): `count` documents of the rows of a file."""
    data, rng = read_texts(path), np.random.default_rng(seed)
    assert data.y is not None
    by_intent = {intent: np.flatnonzero(data.y == intent) for intent in np.unique(data.y)}
    intents, texts, labels = np.array(list(by_intent)), [], []
    each = (ROWS - LABELLED) // OTHERS
    for _ in range(count):
        label, *others = rng.choice(intents, 1 + OTHERS, replace=False)
        rows = [*rng.choice(by_intent[label], LABELLED), *(r for other in others for r in rng.choice(by_intent[other], each))]
        texts.append(" ".join(str(data.x[r]) for r in rng.permutation(rows)))
        labels.append(label)
    return texts, np.array(labels)


def measured(long: str, train: Any, test: Any, seed: int) -> dict[str, Any]:
    begin = time.perf_counter()
    model = TextClassifier(arch="bilstm", max_len=WORDS, long=long, embed=64, hidden=(64,), epochs=EPOCHS[long], patience=8,
                           random_state=seed).fit(*train)
    seconds = time.perf_counter() - begin
    found = {"long": long, "epochs": model.n_iter_, "fit_seconds": round(seconds, 1), **model.evaluate(*test)}
    print(found, flush=True)
    return found


def memory(length: int) -> dict[str, Any]:
    """Bytes of activations and gradients of a training step on one document of so many words."""
    model = encoder_classifier(length, 1000, 77, embed=64, hidden=(128,), dropout=0.0)
    model.compile("adam", "sparse_categorical_crossentropy")
    model.train_on_batch(np.ones((1, length), np.int32), np.zeros(1, np.int32))
    arena = max(program.arena for program in model.programs.cache.values())
    found = {"words": length, "bytes": arena, "bytes_per_word": round(arena / length, 1)}
    print(found, flush=True)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--long", default="truncate,windows")
    parser.add_argument("--train", type=int, default=2000)
    parser.add_argument("--test", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent.parent / "results")
    given = parser.parse_args()
    path = given.out / "long_documents.json"
    known = {run["long"]: run for run in json.loads(path.read_text())["runs"]} if path.exists() else {}
    grown = [memory(length) for length in LENGTHS]
    train = documents(given.data / "banking77/train.csv", given.train, given.seed)
    test = documents(given.data / "banking77/test.csv", given.test, given.seed + 1)
    words = [len(text.split()) for text in train[0]]
    known |= {long: measured(long, train, test, given.seed) for long in given.long.split(",")}
    runs = [known[long] for long in EPOCHS if long in known]
    linear = grown[-1]["bytes_per_word"] <= 1.1 * grown[0]["bytes_per_word"]
    better = len(runs) == 2 and runs[1]["accuracy"] > runs[0]["accuracy"]
    made = {"train": given.train, "test": given.test, "seed": given.seed, "median words": float(np.median(words)),
            "most words": max(words)}
    report = {"python": platform.python_version(), "machine": platform.machine(), "documents": made, "runs": runs,
              "memory": grown, "windows are more accurate": better, "memory is linear": linear}
    path.write_text(json.dumps(report, indent=1) + "\n")
    return int(not (better and linear))


if __name__ == "__main__":
    raise SystemExit(main())
