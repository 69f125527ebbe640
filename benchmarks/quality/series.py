"""Series: the architectures of `series` on ETTh1, 96 hours in, 96 out, all seven columns, median of seeds.

    python benchmarks/quality/series.py DATA [--arch transformer,lstm,dlinear] [--seeds 0,1,2] [--out FOLDER]

DATA holds the folder ett.  12, 4 and 4 months are for training, validation and test, as in Zhou et al., Informer, 2021, and who
measured since: 8,640, 2,880 and 2,880 hours, columns standardised by the first.  Settings are the task's defaults; the weights of
the epoch with the least validation error are measured once, on every window of the test part.
"""
from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from pathlib import Path
from typing import Any

from dlcore.tasks.series import PRESETS, TASK

MOST = {"transformer": 0.42}


def run(arch: str, data: Path, seed: int) -> dict[str, Any]:
    preset = dict(PRESETS["etth"]["data"])
    parts = TASK.read(str(data / "ett/ETTh1.csv"), split=preset.pop("split"))
    assert parts.test is not None
    begin = time.perf_counter()
    model = TASK.create(parts.train, arch, seed, **preset).fit(parts.train)
    seconds = round(time.perf_counter() - begin, 1)
    scores = model.evaluate(parts.test)
    print(arch, "seed", seed, {name: round(scores[name], 4) for name in ("mse", "mae", "naive_mse")}, flush=True)
    return {"seed": seed, "epochs": model.n_iter_, "fit_seconds": seconds, "weights": model.model.count_params(), "scores": scores}


def summed_up(arch: str, runs: list[dict[str, Any]]) -> dict[str, Any]:
    """The record of an architecture: its runs and the medians of their scores."""
    median = {name: statistics.median(r["scores"][name] for r in runs) for name in runs[0]["scores"]}
    record = {"data": "ETTh1", "arch": arch, "median": median, "runs": runs}
    return record | ({"bar": {"mse": MOST[arch]}, "holds": median["mse"] <= MOST[arch]} if arch in MOST else {})


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--arch", default="transformer,lstm,dlinear")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent.parent / "results")
    given = parser.parse_args()
    path = given.out / "series.json"
    found = json.loads(path.read_text())["architectures"] if path.exists() else {}
    for arch, seed in [(arch, int(seed)) for arch in given.arch.split(",") for seed in given.seeds.split(",")]:
        runs = [r for r in found.get(arch, {"runs": []})["runs"] if r["seed"] != seed] + [run(arch, given.data, seed)]
        found[arch] = summed_up(arch, sorted(runs, key=lambda r: r["seed"]))
        threads = os.environ.get("DLCORE_THREADS", str(os.cpu_count()))
        path.write_text(json.dumps({"python": platform.python_version(), "machine": platform.machine(), "threads": threads,
                                    "architectures": found}, indent=1) + "\n")
    return int(not all(r.get("holds", True) for r in found.values()))


if __name__ == "__main__":
    raise SystemExit(main())
