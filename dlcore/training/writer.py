"""Writing checkpoints beside the training: a thread that takes snapshots one after the other."""
from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from dlcore.training import checkpoint
from dlcore.training.checkpoint import Snapshot


class Writer:
    """Writes snapshots in the order in which they come.  The thread ends when there is nothing left to write; a program
    that ends waits for it.  What it raises is raised again by the next `put` or `wait`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._queue: list[tuple[Path, Snapshot, Callable[[], None]]] = []
        self._thread: threading.Thread | None = None
        self._failure: Exception | None = None
        self._spare: dict[Path, Snapshot] = {}

    def put(self, path: Path, snapshot: Snapshot, before: Callable[[], None] = lambda: None) -> None:
        """Writes `snapshot` to `path` when those before it are written; the thread calls `before` first."""
        self.check()
        with self._lock:
            self._queue.append((path, snapshot, before))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="dlcore-checkpoint")
                self._thread.start()

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._queue:
                    self._thread = None
                    return
                path, snapshot, before = self._queue[0]
            try:
                before()
                checkpoint.write(path, snapshot)
            except Exception as failure:    # for whoever waits: a thread has nobody to tell
                self._failure = failure
            with self._lock:
                self._queue.pop(0)
                self._spare[path] = snapshot

    def spare(self, path: Path) -> Snapshot | None:
        """The last snapshot written to `path`, whose memory may now be used again."""
        with self._lock:
            return self._spare.pop(path, None)

    def writing(self, path: Path) -> bool:
        """Whether a snapshot for `path` is being written or waits."""
        with self._lock:
            return any(place == path for place, _, _ in self._queue)

    def wait(self) -> None:
        """Returns when everything is written.  Raises what went wrong since the last time."""
        thread = self._thread
        if thread is not None:
            thread.join()
        self.check()

    def check(self) -> None:
        """Raises what went wrong since the last time."""
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure
