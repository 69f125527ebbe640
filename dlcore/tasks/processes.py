"""Independent pieces of work, each in a forked process with one kernel thread; results do not depend on how many run at once."""
from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any

from dlcore.errors import DlcoreError, UsageError

if TYPE_CHECKING:
    from multiprocessing.context import ForkProcess


def cores() -> int:
    """The processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check_jobs(jobs: int | None) -> int:
    """How many processes run at once: `jobs`, at most one per core; None or 0 means one per core."""
    if jobs is not None and (not isinstance(jobs, int) or isinstance(jobs, bool) or jobs < 0):
        raise UsageError(f"jobs = {jobs!r} is of no use", expected="a whole number; 0 takes every core")
    return min(jobs or cores(), cores())


def in_processes(work: Callable[[int], Any], count: int, jobs: int) -> Iterator[tuple[int, Any]]:
    """(number, work(number)) for the numbers below `count`, each as soon as it is there.

    With one job all is done here.  `work` sees the caller's memory as it was; what it returns is pickled.  Its exception is
    raised here, and ends the others.  Raises `DlcoreError` where a process ends without an answer.
    """
    if jobs == 1 or count == 1:
        yield from ((number, work(number)) for number in range(count))
        return
    context = multiprocessing.get_context("fork")
    waiting = list(range(count))
    running: dict[Connection, tuple[int, ForkProcess]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                number = waiting.pop(0)
                here, there = context.Pipe(duplex=False)
                process = context.Process(target=_child, args=(work, number, there), daemon=True)
                process.start()
                there.close()
                running[here] = number, process
            for ready in wait(list(running)):
                assert isinstance(ready, Connection)
                number, process = running.pop(ready)
                answer = _received(ready)
                process.join()
                if answer is None:
                    raise DlcoreError(f"process {number + 1} of {count} ended without an answer",
                                      got=f"exit code {process.exitcode}", hint="was there enough memory? --jobs 1 needs least")
                done, value = answer
                if not done:
                    raise value
                yield number, value
    finally:
        for connection, (_, process) in running.items():
            process.terminate()
            process.join()
            connection.close()


def _child(work: Callable[[int], Any], number: int, answer: Connection) -> None:
    from dlcore.runtime import set_threads
    signal.signal(signal.SIGINT, signal.SIG_IGN)            # Ctrl-C reaches the parent, which ends its children
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    set_threads(1)
    try:
        message = pickle.dumps((True, work(number)))
    except Exception as error:
        message = _pickled(error)
    answer.send_bytes(message)
    answer.close()


def _pickled(error: Exception) -> bytes:
    try:
        message = pickle.dumps((False, error))
        pickle.loads(message)
        return message
    except Exception:                                       # an exception with a constructor of its own
        return pickle.dumps((False, DlcoreError(f"{type(error).__name__}: {error}")))


def _received(connection: Connection) -> Any:
    try:
        return pickle.loads(connection.recv_bytes())
    except EOFError:
        return None
    finally:
        connection.close()
