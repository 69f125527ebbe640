"""Autoencoders on MNIST: reconstruction and ELBO on the test part, and each digit in turn as the anomaly.

    python benchmarks/quality/autoencode.py MNIST [--digits 0123456789] [--epochs 5] [--rows 20000] [--out FOLDER]

A model is trained on the first `rows` training images whose digit is not the anomaly; the AUC is that of its score on the whole
test part, the anomaly being positive.  Beside it, as what costs nothing: the distance to the mean training image, and to the plane
of as many principal components as the code has numbers.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np

from dlcore.data.images import read_images
from dlcore.metrics.ranking import roc_auc_score
from dlcore.tasks import Autoencoder

ARCHS = ("vae", "conv")


def linear(train: np.ndarray, test: np.ndarray, parts: int) -> dict[str, np.ndarray]:
    """Scores of the test images by the mean image and by principal components."""
    rows, seen = (a.reshape(len(a), -1).astype(np.float64) / 255 for a in (train, test))
    mean = rows.mean(0)
    _, vectors = np.linalg.eigh((rows - mean).T @ (rows - mean))
    plane, moved = vectors[:, -parts:], seen - mean
    return {"mean": np.square(moved).sum(1), "pca": np.square(moved - moved @ plane @ plane.T).sum(1)}


def measure(digit: int, train: Any, test: Any, epochs: int, rows: int) -> dict[str, Any]:
    """All scores with one digit as the anomaly."""
    usual = np.flatnonzero(train.y != digit)[:rows]
    odd, found = test.y == digit, {"digit": digit}
    for arch in ARCHS:
        model = Autoencoder.of(arch, epochs=epochs, random_state=0)
        begin = time.perf_counter()
        model.fit(train.x[usual])
        seconds = time.perf_counter() - begin
        found[arch] = {"auc": float(roc_auc_score(odd, model.predict(test.x))), "seconds": round(seconds, 1)}
        found[arch] |= model.evaluate(test.x[~odd])
        print(digit, arch, found[arch], flush=True)
    for name, score in linear(train.x[usual], test.x, Autoencoder().latent).items():
        found[name] = {"auc": float(roc_auc_score(odd, score))}
    return found


def table(results: list[dict[str, Any]], epochs: int, rows: int) -> str:
    """The results as Markdown."""
    names = (*ARCHS, "pca", "mean")
    lines = ["# Autoencoders on MNIST", "",
             f"{rows:,} images of nine digits, {epochs} epochs; AUC of the anomaly score on the 10,000 test images, the",
             "tenth digit being the anomaly.  ELBO and KL in nats an image, error as the mean square of a pixel, on the test",
             "images of the nine.",
             "`pca`: distance to the plane of 16 principal components; `mean`: to the mean image.", "",
             "| anomaly | " + " | ".join(f"AUC {n}" for n in names) + " | ELBO vae | KL vae | error vae | error conv |",
             "| --- " * (len(names) + 5) + "|"]
    for r in results:
        cells = [f"{r[n]['auc']:.3f}" for n in names]
        cells += [f"{r['vae']['elbo']:.1f}", f"{r['vae']['kl_nats']:.1f}", f"{r['vae']['reconstruction_error']:.4f}",
                  f"{r['conv']['reconstruction_error']:.4f}"]
        lines.append(f"| {r['digit']} | " + " | ".join(cells) + " |")
    means = [f"{statistics.mean(r[n]['auc'] for r in results):.3f}" for n in names]
    return "\n".join([*lines, "| mean | " + " | ".join(means) + " | | | | |", ""])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data")
    parser.add_argument("--digits", default="0123456789")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--rows", type=int, default=20000)
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "results")
    given = parser.parse_args()
    parts = read_images(given.data)
    results = [measure(int(d), parts.train, parts.test, given.epochs, given.rows) for d in given.digits]
    given.out.mkdir(parents=True, exist_ok=True)
    made = {"epochs": given.epochs, "rows": given.rows, "results": results}
    (given.out / "autoencode.json").write_text(json.dumps(made, indent=1) + "\n")
    (given.out / "autoencode.md").write_text(table(results, given.epochs, given.rows))


if __name__ == "__main__":
    main()
