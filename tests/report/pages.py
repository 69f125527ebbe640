"""Reports to look at: made of numbers, no training."""

import numpy as np

from dlcore.metrics import evaluation
from dlcore.report import Example, Report, png


def epochs(count=12):
    """Rows of metrics.jsonl."""
    return [
        {
            "epoch": i + 1,
            "loss": 1.5 * 0.8**i,
            "accuracy": 1 - 0.5 * 0.85**i,
            "val_loss": 1.4 * 0.83**i + 0.01 * i,
            "val_accuracy": 1 - 0.55 * 0.87**i,
            "lr": 0.002 * (1 - i / count),
            "seconds": 0.5 * (i + 1),
        }
        for i in range(count)
    ]


def labels(classes=3, rows=300, names=None):
    """An evaluation of a classifier that is often right."""
    rng = np.random.default_rng(classes)
    targets = rng.integers(0, classes, rows)
    logits = rng.normal(size=(rows, classes)) + 2 * np.eye(classes)[targets]
    probs = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return evaluation.of_labels(targets, probs.astype(np.float32), names or [f"label {i}" for i in range(classes)])


def numbers(rows=300):
    rng = np.random.default_rng(0)
    true = rng.normal(size=rows) * 1000
    return evaluation.of_numbers(true, true + rng.normal(size=rows) * 100)


def images(count=6):
    rng = np.random.default_rng(1)
    return [
        Example(f"row {i}", "cat", "dog", "p = 0.01", png.data_uri(rng.integers(0, 256, (12, 12, 3)).astype(np.uint8)))
        for i in range(count)
    ]


def texts(count=6):
    return [Example(f"line {i}", "ham", "spam <b>", "p = 0.02", text="long words " * 30) for i in range(count)]


def full(found, examples):
    """A page with every part."""
    return Report(
        name="runs/digits",
        task="image-classify \u00b7 mlp",
        version="0.1.0",
        when="2026-01-31 12:00",
        rows=epochs(),
        best_epoch=9,
        evaluation=found,
        measured="the test part: 300 rows",
        examples=examples,
        train_rows=2700,
        facts={"level": "v3", "seed": "1"},
        cost={"training time": "6.0 s", "operations": "1.2 TFLOP"},
        config='task = "image-classify"\n\n[train]\nepochs = 12\n' + "key = " + "1" * 200,
        lock='[machine]\nlevel = "v3"\n',
    )
