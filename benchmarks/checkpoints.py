"""Checkpoints of 500 MB beside the disk, and the loop around the step: `python benchmarks/checkpoints.py [--out RESULTS.json]`.

The disk's speed is that of a plain write and fsync of as many bytes, in the same folder, in turns with the checkpoints. How long
training stands still is the time of a snapshot, whose memory was used before; beside it stands a plain copy of as many bytes.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import dlcore
from dlcore.cli.profile import loop_overhead
from dlcore.layers import Dense
from dlcore.training import checkpoint
from dlcore.training.checkpoint import Snapshot

MEGABYTES, TURNS = 500, 7


def state(megabytes: int) -> Snapshot:
    """Arrays as of a network of some layers with Adam's memory."""
    rng, size = np.random.default_rng(0), megabytes * 1_000_000 // 4 // 24
    return Snapshot({f"weights/{n}": rng.standard_normal(size, dtype=np.float32) for n in range(24)}, {"state": {}})


def plain_write(path: Path, arrays: dict[str, np.ndarray]) -> float:
    """Seconds to write and synchronise the same bytes."""
    begin = time.perf_counter()
    with open(path, "wb", buffering=0) as file:
        for array in arrays.values():
            view = memoryview(array).cast("B")
            while len(view):
                view = view[file.write(view) :]
        os.fsync(file.fileno())
    return time.perf_counter() - begin


def write_checkpoint(path: Path, snapshot: Snapshot) -> float:
    begin = time.perf_counter()
    checkpoint.write(path, snapshot)
    return time.perf_counter() - begin


def disk(folder: Path, megabytes: int) -> dict[str, Any]:
    """Megabytes per second of checkpoints and of plain writes, in turns."""
    snapshot = state(megabytes)
    size = sum(a.nbytes for a in snapshot.arrays.values())
    plain, ours = [], []
    for _ in range(TURNS):
        plain.append(size / plain_write(folder / "plain", snapshot.arrays) / 1e6)
        (folder / "plain").unlink()
        ours.append(size / write_checkpoint(folder / "checkpoint", snapshot) / 1e6)
        (folder / "checkpoint").unlink()
    ratios = [b / a for a, b in zip(plain, ours)]
    return {"megabytes": megabytes, "plain_mb_per_s": plain, "checkpoint_mb_per_s": ours, "ratio": statistics.median(ratios)}


def pause(megabytes: int) -> dict[str, Any]:
    """Milliseconds that training stands still for a snapshot, and those of a plain copy of as many bytes."""
    width = int((megabytes * 1_000_000 / 4 / 3) ** 0.5)         # Adam: three numbers for each weight
    model = dlcore.Sequential([Dense(width, input_shape=(width,))])
    model.compile("adam", "mse")
    x = np.zeros((1, width), np.float32)
    model.train_on_batch(x, x)
    snapshot, _ = model.state.export(model)
    size = sum(a.nbytes for a in snapshot.values())
    source, target = np.ones(size // 4, np.float32), np.ones(size // 4, np.float32)
    ours, plain = [], []
    for _ in range(TURNS):
        begin = time.perf_counter()
        model.state.export(model, snapshot)
        ours.append((time.perf_counter() - begin) * 1e3)
        begin = time.perf_counter()
        np.copyto(target, source)
        plain.append((time.perf_counter() - begin) * 1e3)
    return {"megabytes": size / 1e6, "snapshot_ms": ours, "copy_ms": plain}


def overhead() -> dict[str, float]:
    """Microseconds per step of W1 around the program, by batch."""
    found = {}
    for batch in (32, 128):
        layers = [Dense(n, activation=a) for n, a in ((256, "relu"), (128, "relu"), (10, "softmax"))]
        model = dlcore.Sequential([dlcore.layers.Input((784,)), *layers])
        model.compile(dlcore.Adam(1e-3), "sparse_categorical_crossentropy")
        x, y = np.zeros((batch, 784), np.float32), np.zeros(batch, np.int32)
        found[str(batch)] = loop_overhead(model, x, y)["loop_overhead_us"]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=MEGABYTES)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.out.parent if args.out else ".") as folder:
        written = disk(Path(folder), args.megabytes)
    result = {
        "machine": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "disk": written,
        "pause": pause(args.megabytes),
        "loop_overhead_us": overhead(),
    }
    text = json.dumps(result, indent=1)
    print(text)
    if args.out:
        args.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
