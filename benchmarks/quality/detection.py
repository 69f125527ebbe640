"""Detectors on BCCD (or another data set with boxes): average precision on the test part, and what the training took.

    python benchmarks/quality/detection.py BCCD [--arch yolo-tiny] [--epochs N] [--seed 0] [--out FOLDER] [--runs FOLDER]

Every architecture is trained from scratch by its defaults on the training part; weights are those of the epoch whose mAP@.5 on the
validation part was best; the test part is measured once.  With --runs checkpoints of each architecture are kept there, and a
training that was stopped goes on from them, to the same bits; times are those of all its parts.  A run replaces its architectures'
entries of detection.json and writes detection.md from all that stand there.
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
from dlcore.training.backup import BackupAndRestore
from dlcore.training.callbacks import Callback


def processor() -> str:
    """The machine in a line."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()}, {os.cpu_count()} threads seen, level {kernel_table().level}"


class Clock(Callback):
    """Seconds of the training, by the clock and of the processor, over all its parts; a line for each epoch."""

    def __init__(self) -> None:
        self.before = (0.0, 0.0)
        self.start()

    def start(self) -> None:
        self.begin = time.perf_counter(), time.process_time()

    def taken(self) -> tuple[float, float]:
        """(seconds, processor seconds)."""
        now = time.perf_counter() - self.begin[0], time.process_time() - self.begin[1]
        return self.before[0] + now[0], self.before[1] + now[1]

    def get_state(self) -> dict[str, Any]:
        return {"taken": list(self.taken())}

    def set_state(self, state: dict[str, Any]) -> None:
        self.before = (state["taken"][0], state["taken"][1])

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        values = " ".join(f"{name} {value:.3f}" for name, value in (logs or {}).items())
        print(f"{epoch + 1} {self.taken()[0]:.0f} s, {self.taken()[1]:.0f} of the processor: {values}", flush=True)


def measure(arch: str, parts: Any, options: dict[str, Any], runs: Path | None) -> dict[str, Any]:
    """Trains one architecture and measures it on the test part."""
    model, clock = Detector.of(arch, **options), Clock()
    kept = [BackupAndRestore(runs / arch, delete_checkpoint=False)] if runs is not None else []
    model.fit(parts.train, log=lambda line: print(line, flush=True), callbacks=[clock, *kept])
    seconds, processor_seconds = clock.taken()
    begin = time.perf_counter()
    metrics = model.evaluate(parts.test)
    history = model.history_.history
    best = max(range(len(history["loss"])), key=lambda e: history["val_map50"][e])
    found = {"arch": arch, "weights": model.model.count_params(), "epochs": len(history["loss"]), "best_epoch": best + 1,
             "seconds": round(seconds, 1), "processor_seconds": round(processor_seconds, 1), "threads": default_threads(),
             "milliseconds_a_picture": round((time.perf_counter() - begin) / len(parts.test) * 1e3, 1),
             "seed": model.seed_, "size": list(model.image_shape[:2]), "width": model.width,
             "val_map50": history["val_map50"][best], "loss": history["loss"][-1], "test": metrics, "machine": processor()}
    if runs is not None:
        model.save(runs / f"{arch}.dlc")
    print(json.dumps(found), flush=True)
    return found


def table(results: dict[str, dict[str, Any]]) -> str:
    """The results as Markdown."""
    classes = [name.removeprefix("map50_") for name in next(iter(results.values()))["test"]
               if name.startswith("map50_") and name.split("_")[1] != "95"]
    lines = ["# Detectors from scratch, side by side", "",
             "Trained by their defaults, but for the epochs, on the training part; the epoch is chosen on the validation part;",
             "the test part is measured once.  Processor seconds are those of all threads, decoding and validation included.", "",
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
    return "\n".join([*lines, "", f"Machine: {machine}; a virtual machine on shared hardware.", ""])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data")
    parser.add_argument("--arch", action="append", choices=list(ARCHITECTURES))
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--width", type=int)
    parser.add_argument("--augment")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "results")
    parser.add_argument("--runs", type=Path)
    given = parser.parse_args()
    parts = read_detection(given.data)
    print("\n".join(parts.notes), flush=True)
    options = {name: value for name in ("epochs", "width", "augment") if (value := getattr(given, name)) is not None}
    file = given.out / "detection.json"
    results = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    given.out.mkdir(parents=True, exist_ok=True)
    for arch in given.arch or ARCHITECTURES:
        results[arch] = measure(arch, parts, {**options, "random_state": given.seed}, given.runs)
        file.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        (given.out / "detection.md").write_text(table(results), encoding="utf-8")


if __name__ == "__main__":
    main()
