"""Detectors on BCCD (or another data set with boxes): average precision on the test part, and what the training took.

    python benchmarks/quality/detection.py BCCD [--arch yolo-tiny] [--epochs N] [--seed 0] [--out FOLDER] [--models FOLDER]

Every architecture is trained from scratch by its defaults on the training part; weights are those of the epoch whose mAP@.5 on
the validation part was best; the test part is measured once.  A run replaces its architectures' entries of detection.json and
writes detection.md from all that stand there.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from pathlib import Path
from typing import Any

from dlcore.data.detection import read_detection
from dlcore.runtime import default_threads, kernel_table
from dlcore.tasks.detect import ARCHITECTURES, Detector


def processor() -> str:
    """The machine in a line."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()}, {os.cpu_count()} threads seen, level {kernel_table().level}"


def measure(arch: str, parts: Any, options: dict[str, Any], models: Path | None) -> dict[str, Any]:
    """Trains one architecture and measures it on the test part."""
    model = Detector.of(arch, **options)
    begin, used = time.perf_counter(), time.process_time()
    model.fit(parts.train, log=lambda line: print(line, flush=True))
    seconds, processor_seconds = time.perf_counter() - begin, time.process_time() - used
    begin = time.perf_counter()
    metrics = model.evaluate(parts.test)
    history = model.history_.history
    best = max(range(len(history["loss"])), key=lambda e: history["val_map50"][e])
    found = {"arch": arch, "weights": model.model.count_params(), "epochs": len(history["loss"]), "best_epoch": best + 1,
             "seconds": round(seconds, 1), "processor_seconds": round(processor_seconds, 1), "threads": default_threads(),
             "milliseconds_a_picture": round((time.perf_counter() - begin) / len(parts.test) * 1e3, 1),
             "seed": model.seed_, "size": list(model.image_shape[:2]), "width": model.width,
             "val_map50": history["val_map50"][best], "loss": history["loss"][-1], "test": metrics, "machine": processor()}
    if models is not None:
        models.mkdir(parents=True, exist_ok=True)
        model.save(models / f"{arch}.dlc")
    print(json.dumps(found), flush=True)
    return found


def table(results: dict[str, dict[str, Any]]) -> str:
    """The results as Markdown."""
    classes = [name.removeprefix("map50_") for name in next(iter(results.values()))["test"]
               if name.startswith("map50_") and name.split("_")[1] != "95"]
    lines = ["# Detectors from scratch, side by side", "",
             "Trained by their defaults on the training part; the epoch is chosen on the validation part; the test part is measured",
             "once.  Processor seconds are those of all threads of the training, decoding and validation included.", "",
             "| architecture | mAP@.5 | mAP@.5:.95 | " + " | ".join(f"AP@.5 {c}" for c in classes)
             + " | weights | epochs (best) | time | processor seconds | threads | ms a picture |",
             "| --- " * (8 + len(classes)) + "|"]
    for name in ARCHITECTURES:
        if name not in results:
            continue
        r = results[name]
        cells = [f"{r['test'][metric]:.3f}" for metric in ("map50", "map50_95", *(f"map50_{c}" for c in classes))]
        cells = [*cells,
                 f"{r['weights']:,}", f"{r['epochs']} ({r['best_epoch']})", f"{r['seconds'] / 60:.1f} min",
                 f"{r['processor_seconds']:,.0f}", str(r["threads"]), f"{r['milliseconds_a_picture']:.0f}"]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    machine = next(iter(results.values()))["machine"]
    return "\n".join([*lines, "", f"Machine: {machine}; other work ran on it beside the training.", ""])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data")
    parser.add_argument("--arch", action="append", choices=list(ARCHITECTURES))
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--width", type=int)
    parser.add_argument("--augment")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "results")
    parser.add_argument("--models", type=Path)
    given = parser.parse_args()
    parts = read_detection(given.data)
    print("\n".join(parts.notes), flush=True)
    options = {name: value for name in ("epochs", "width", "augment") if (value := getattr(given, name)) is not None}
    file = given.out / "detection.json"
    results = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    given.out.mkdir(parents=True, exist_ok=True)
    for arch in given.arch or ARCHITECTURES:
        results[arch] = measure(arch, parts, {**options, "random_state": given.seed}, given.models)
        file.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        (given.out / "detection.md").write_text(table(results), encoding="utf-8")


if __name__ == "__main__":
    main()
