"""Image classifiers on MNIST and Fashion-MNIST by the task's own architectures: accuracy on the 10,000 test images, weights, time.

    python benchmarks/quality/images.py DATA [--cases mnist-cnn,fashion-resnet8] [--seeds 0] [--epochs N] [--out FOLDER]

DATA is a folder with `mnist` and `fashion_mnist`, each of idx files.  Settings are the defaults of `ImageClassifier.of(arch)` where
a case says nothing else; a tenth of the training images is kept for validation, whose best epoch is measured, once.  Keras
publishes 99.25 % after 12 epochs for the CNN in its example `mnist_cnn`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

from dlcore.data.images import read_images
from dlcore.tasks import ImageClassifier

# name -> (folder, architecture, settings that differ from its defaults)
CASES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "mnist-cnn": ("mnist", "cnn", {"epochs": 12}),
    "mnist-cnn-plain": ("mnist", "cnn", {"epochs": 12, "augment": ""}),
    "fashion-cnn": ("fashion_mnist", "cnn", {"epochs": 12}),
    "fashion-resnet8": ("fashion_mnist", "resnet8", {"augment": "crop=2,flip"}),
    "fashion-resnet20": ("fashion_mnist", "resnet20", {"augment": "crop=2,flip"}),
    "fashion-mobilenet": ("fashion_mnist", "mobilenet-small", {}),
}


def measure(data: Path, case: str, seed: int, epochs: int) -> dict[str, Any]:
    """Trains and measures one classifier."""
    folder, arch, settings = CASES[case]
    parts = read_images(data / folder)
    settings = {**settings, **({"epochs": epochs} if epochs else {})}
    model = ImageClassifier.of(arch, random_state=seed, **settings)
    begin = time.perf_counter()
    model.fit(parts.train)
    seconds = time.perf_counter() - begin
    found = {"case": case, "arch": arch, "epochs": model.epochs, "augment": model.augment, "seed": seed}
    found |= {"accuracy": model.score(parts.test), "weights": model.model.count_params(), "seconds": round(seconds, 1)}
    print(found, flush=True)
    return found


def table(results: list[dict[str, Any]]) -> str:
    """The results as Markdown; accuracies are medians of the seeds."""
    lines = ["# Image classifiers", "",
             "Accuracy on the 10,000 test images, median of the seeds; one thread on a machine that others used at the same time,",
             "so that the seconds say nothing of speed.", "",
             "| data and architecture | augmentation | epochs | weights | accuracy | seeds | seconds |",
             "| --- | --- | --- | --- | --- | --- | --- |"]
    for key in dict.fromkeys((r["case"], r["epochs"]) for r in results):
        rows = [r for r in results if (r["case"], r["epochs"]) == key]
        first, seeds = rows[0], ", ".join(str(r["seed"]) for r in rows)
        accuracy = statistics.median(r["accuracy"] for r in rows)
        seconds = statistics.median(r["seconds"] for r in rows)
        lines.append(f"| {first['case']} | {first['augment'] or 'none'} | {first['epochs']} | {first['weights']:,} | "
                     f"{accuracy:.4f} | {seeds} | {seconds:.0f} |")
    return "\n".join([*lines, ""])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--cases", default="mnist-cnn,fashion-resnet8", help=", ".join(CASES))
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--epochs", type=int, default=0, help="0: those of the case")
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "results")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    path = given.out / "images.json"
    for case in given.cases.split(","):
        for seed in map(int, given.seeds.split(",")):
            found = measure(given.data, case, seed, given.epochs)
            known = json.loads(path.read_text())["results"] if path.exists() else []      # runs of other cases stay
            same = ("case", "epochs", "seed")
            known = [r for r in known if any(r[k] != found[k] for k in same)] + [found]
            path.write_text(json.dumps({"results": known}, indent=1) + "\n")
            (given.out / "images.md").write_text(table(known))


if __name__ == "__main__":
    main()
