"""Writing files beside the training: a thread that does jobs one after the other."""
from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path


class Writer:
    """Does jobs in the order in which they come, each of them the writing of one file.  The thread ends when nothing is
    left to do; a program that ends waits for it.  What a job raises is raised again by the next call of this class."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._jobs: list[tuple[Path, Callable[[], object]]] = []
        self._thread: threading.Thread | None = None
        self._failure: Exception | None = None

    def put(self, path: Path, job: Callable[[], object]) -> None:
        """Does `job`, which writes to `path`, after those before it."""
        self.check()
        with self._lock:
            self._jobs.append((path, job))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="dlcore-writer")
                self._thread.start()

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._jobs:
                    self._thread = None
                    return
                job = self._jobs[0][1]
            try:
                job()
            except Exception as failure:    # for whoever asks next: a thread has nobody to tell
                self._failure = failure
            with self._lock:
                self._jobs.pop(0)

    def writing(self, path: Path) -> bool:
        """Whether a job for `path` is being done or waits."""
        self.check()
        with self._lock:
            return any(place == path for place, _ in self._jobs)

    def wait(self) -> None:
        """Returns when everything is done."""
        thread = self._thread
        if thread is not None:
            thread.join()
        self.check()

    def check(self) -> None:
        """Raises what went wrong since the last time."""
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure
