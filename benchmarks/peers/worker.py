"""The other end of `harness.py`: a process that builds one workload, then measures for as long as it is told, whenever it is told.

Import it before any framework: it reads the flags all workers share and sets the number of threads.  A worker's script ends with
`serve(step)`; `step()` does one step, or `steps` of them, and returns when the result exists.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from importlib import metadata
from typing import Any

SAMPLE_SECONDS = 0.005  # shorter calls are grouped into samples of about this length
WARM_UP, LONG = 3, 2.0  # steps; seconds of a step that is warm enough at once

parser = argparse.ArgumentParser()
parser.add_argument("--mode", required=True)
parser.add_argument("--part", required=True)
parser.add_argument("--batch", type=int, required=True)
parser.add_argument("--threads", type=int, required=True)
args = parser.parse_args()

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "DLCORE_THREADS"):
    os.environ[_name] = str(args.threads)
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# XLA takes one thread per core that it sees, whatever it is told
os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[-args.threads :]))

_answers = os.fdopen(os.dup(1), "w")  # frameworks that print do not disturb the answers
os.dup2(2, 1)


def version(package: str) -> str:
    """Of the library that is measured; its module says where it was imported from the source."""
    return getattr(sys.modules.get(package), "__version__", None) or metadata.version(package)


def _answer(value: dict[str, Any]) -> None:
    _answers.write(json.dumps(value) + "\n")
    _answers.flush()


def serve(step: Callable[[], Any], package: str, steps: int = 1) -> None:
    """Say how long the first call took, then for each line {"seconds": s} draw samples for s seconds."""
    start = time.perf_counter()
    step()
    first = time.perf_counter() - start
    for _ in range(WARM_UP if first < LONG else 0):
        step()
    start = time.perf_counter()
    step()
    took = time.perf_counter() - start
    inner = max(1, min(1000, int(SAMPLE_SECONDS / max(took, 1e-7))))
    _answer({"version": version(package), "first": first, "inner": inner})
    for line in sys.stdin:
        if took < LONG:  # the caches are cold after another worker's turn
            step()
        samples = _samples(step, inner, steps, json.loads(line)["seconds"])
        _answer({"samples": samples, "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024})


def _samples(step: Callable[[], Any], inner: int, steps: int, seconds: float) -> list[float]:
    samples: list[float] = []
    end = time.perf_counter() + seconds
    while not samples or time.perf_counter() < end:
        start = time.perf_counter()
        for _ in range(inner):
            step()
        samples.append((time.perf_counter() - start) / (inner * steps))
    return samples
