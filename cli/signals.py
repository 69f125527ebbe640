"""Signals that end a command: an interrupt raised in the main thread, never lost, and kept back where it would do harm."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_depth = 0  # of `held` blocks that run
_came = False  # a signal, while held


def _interrupt(signum: int, frame: object) -> None:
    global _came
    if _depth:
        _came = True
    else:
        raise KeyboardInterrupt


def _again(unraisable: sys.UnraisableHookArgs) -> None:
    """An interrupt that came inside a finalizer or a weak reference's callback, where Python drops it, comes again."""
    if unraisable.exc_type is KeyboardInterrupt:
        signal.setitimer(signal.ITIMER_REAL, 0.01)
    else:
        sys.__unraisablehook__(unraisable)


def catch() -> None:
    """Turn SIGINT, SIGTERM and SIGHUP into KeyboardInterrupt in the main thread, wherever it is."""
    for number in (signal.SIGINT, signal.SIGTERM):  # SIGINT too: a script's background processes begin with it ignored
        signal.signal(number, _interrupt)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # not under nohup
        signal.signal(signal.SIGHUP, _interrupt)
    signal.signal(signal.SIGALRM, _interrupt)  # by _again
    sys.unraisablehook = _again


@contextmanager
def held() -> Iterator[None]:
    """No interrupt inside; one that came is raised at the end.  For short pieces of a library that does not expect any."""
    global _depth, _came
    _depth += 1
    try:
        yield
    finally:
        _depth -= 1
        if _came and not _depth:
            _came = False
            raise KeyboardInterrupt
