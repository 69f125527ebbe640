"""A process that compiles for one level: jobs come as lines of JSON, answers go back the same way.

    {"name": "relu", "dtypes": "f32", "path": "/.../digest.o"}  ->  {"error": ""}

The build starts it with the environment of `levels.environment`; see there why the level cannot be changed later.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from dlcore.compiler import levels


def main(arguments: list[str]) -> None:
    """arguments: modules of rooms to load; none: all rooms."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what rooms print is no answer
    level, wide = levels.current(), levels.wide()
    _target(level)
    from dlcore.compiler import emit, rooms

    emit.prepare()
    failed = rooms.load(arguments or None)
    jobs = {(job.spec.name, job.dtypes): job for job in rooms.jobs(level, wide)}
    for line in sys.stdin:
        wanted = json.loads(line)
        try:
            _compile(jobs, wanted, failed)
            error = ""
        except Exception as e:  # whatever is wrong with one kernel is reported, and the next one is compiled
            error = f"{type(e).__name__}: {e}"
        answers.write(json.dumps({"error": error}) + "\n")
        answers.flush()


def _target(level: levels.Level) -> None:
    """Makes Numba, which is not imported yet, compile for the level's architecture: it asks LLVM for the process's
    triple."""
    from llvmlite import binding

    binding.get_process_triple = binding.targets.get_process_triple = lambda: level.triple


def _compile(jobs: dict[tuple[str, str], Any], wanted: dict[str, str], failed: dict[str, Exception]) -> None:
    from dlcore.compiler import emit, gate

    job = jobs.get((wanted["name"], wanted["dtypes"]))
    if job is None:
        raise LookupError(
            f"{wanted['name']} is not known at this level" + "".join(f"\n{m}: {e}" for m, e in failed.items())
        )
    data = emit.compile_kernel(job.kernel, job.spec, dict(job.bound), job.symbol)
    gate.check(data, job.symbol)
    path = Path(wanted["path"])
    unfinished = path.with_suffix(f".{os.getpid()}")
    unfinished.write_bytes(data)
    unfinished.rename(path)


if __name__ == "__main__":
    main(sys.argv[1:])
