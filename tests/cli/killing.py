"""Started by test_resume.py: trains a small run, kills it at many moments, resumes it, compares the models byte for byte.

Every run is a child forked from this process, in which all is imported, so that most of its life is training.  Prints JSON.
"""
import hashlib
import json
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

from dlcore.cli import lock, main, plan  # noqa: F401
from dlcore.cli import train as _train  # noqa: F401
from dlcore.tasks import tabular  # noqa: F401
from dlcore.training import backup, checkpoint  # noqa: F401

TRIALS = 50
POINTS = 18         # of them at a chosen call, the rest at random times


def child(words, point=None, seconds=None, threads=1):
    """Runs a command line in a forked child; `point`: (module, function, n) in whose n-th call it kills itself;
    `seconds`: after which it is killed.  Returns (exit status or -9, seconds)."""
    begin = time.perf_counter()
    pid = os.fork()
    if pid == 0:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        if "--debug" not in words:
            os.dup2(null, 2)
        if point:
            arm(*point)
        os._exit(main.run([*words, "--threads", str(threads)]))
    if seconds is not None:
        time.sleep(seconds)
        os.kill(pid, signal.SIGKILL)
    status = os.waitpid(pid, 0)[1]
    return os.waitstatus_to_exitcode(status), time.perf_counter() - begin


def arm(module, name, n):
    """The n-th call of a function kills the process."""
    function, calls = getattr(module, name), [0]

    def deadly(*arguments, **options):
        calls[0] += 1
        if calls[0] == n:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **options)
    setattr(module, name, deadly)


def digest(folder):
    return hashlib.sha256((folder / "model.dlc").read_bytes()).hexdigest()


def resumable(words):
    """Resumes, with another number of threads each time."""
    code, _ = child(["resume", *words, "--debug"], threads=1 + random.randrange(2))
    if code != 0:
        raise SystemExit(f"dlcore resume exited {code}")


def main_(data):
    random.seed(0)
    train = ["train", "tabular", "--data", data, "--label-col", "income", "--epochs", "12", "--set", "model.hidden=[12]",
             "--save-every", "3", "--keep", "2", "--set", "train.patience=4", "--out"]
    code, seconds = child([*train, "whole"])
    assert code == 0, code
    wanted, seen = digest(Path("whole")), {"early": 0, "without checkpoint": 0, "half written": 0, "resumed": 0, "ended": 0}
    points = [(lock, "data_hash", 1), (plan.Plan, "options", 1), (os, "rename", 1), (os, "mkdir", 2)]
    points += [(os, "write", n) for n in (1, 2, 4, 7, 11)] + [(os, "pwrite", n) for n in (1, 3, 6)]
    points += [(os, "replace", n) for n in (2, 3, 6)] + [(os, "link", n) for n in (1, 4)] + [(os, "fsync", 9)]
    assert len(points) == POINTS
    for trial in range(TRIALS):
        run = Path(f"run{trial}")
        if trial < POINTS:
            code, _ = child([*train, str(run)], point=points[trial])
        else:
            code, latest = 0, seconds
            while code != -signal.SIGKILL:          # a run that had ended before is begun again, and killed sooner
                shutil.rmtree(run, ignore_errors=True)
                code, _ = child([*train, str(run)], seconds=random.uniform(0, latest))
                latest /= 2
        if not run.exists():
            seen["early"] += 1
            continue
        names = {p.name for p in (run / "ckpt").iterdir()} if (run / "ckpt").exists() else set()
        seen["without checkpoint"] += not names & {"last"}
        seen["half written"] += any(name.endswith(".tmp") for name in names)
        if trial % 4 == 0 and code == -signal.SIGKILL:              # once more, while it is resuming
            child(["resume", str(run)], seconds=random.uniform(0, seconds))
        resumable([str(run)])
        if digest(run) != wanted:
            raise SystemExit(f"trial {trial}: another model after {points[trial:trial + 1] or 'a random moment'}")
        if left := [str(p) for p in run.rglob(".*")]:
            raise SystemExit(f"trial {trial}: left behind {left}")
        if (run / "metrics.csv").read_text().count("\n") != Path("whole/metrics.csv").read_text().count("\n"):
            raise SystemExit(f"trial {trial}: other rows of metrics")
        seen["resumed" if code == -signal.SIGKILL else "ended"] += 1
        shutil.rmtree(run)
    print(json.dumps({**seen, "seconds": seconds}))


main_(sys.argv[1])
