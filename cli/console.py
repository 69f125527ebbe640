"""What the user sees: results on stdout, progress on stderr and in the run's log.txt."""

from __future__ import annotations

import json
import math
import os
import sys
import threading
from collections.abc import Mapping
from typing import Any, TextIO

import click


def result(text: str) -> None:
    """Print a result on stdout."""
    click.echo(text)


def result_json(value: Mapping[str, Any]) -> None:
    """Print one JSON object on stdout; numbers that JSON does not know become null."""
    click.echo(json.dumps(plain(value), ensure_ascii=False, allow_nan=False))


def plain(value: Any) -> Any:
    """`value` in JSON's own types: NumPy scalars and arrays unwrapped, NaN and infinities as None."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def number(value: Any) -> str:
    """A metric for people: four decimals, small rates in powers of ten."""
    if isinstance(value, float) and value and abs(value) < 1e-3:
        return f"{value:.1e}"
    return f"{value:.4f}" if isinstance(value, float) else f"{value:,}"


STYLES = {"bold": "1", "green": "32"}
PIPE_WIDTH = 120
CLEAR = "\r\x1b[K"  # to the line's beginning, and what stands there away


class Console:
    """Progress: labelled lines on stderr, and in `log` once there is one; on a terminal also one live line at the foot.

    A pipe gets plain lines without control characters; NO_COLOR (https://no-color.org) takes colours away.  Threads may
    use it side by side.
    """

    def __init__(self, quiet: bool = False, stream: TextIO | None = None):
        self.stream = stream or sys.stderr
        self.quiet = quiet
        self.terminal = not quiet and self.stream.isatty() and os.environ.get("TERM", "") != "dumb"
        self.colour = self.terminal and not os.environ.get("NO_COLOR")
        self._log: TextIO | None = None
        self._before: list[str] = []  # lines said before the log was opened
        self._live = ""
        self._lock = threading.RLock()

    @property
    def width(self) -> int:
        """Characters of a line."""
        if not self.terminal:
            return PIPE_WIDTH
        try:
            return os.get_terminal_size(self.stream.fileno()).columns or 80
        except OSError:
            return 80

    def open_log(self, log: TextIO) -> None:
        """Send a copy of every line, those said so far among them, to `log`."""
        self._log = log
        log.write("".join(line + "\n" for line in self._before))
        log.flush()

    def line(self, text: str = "", style: str = "") -> None:
        """One line of progress; `style` is one of STYLES, for terminals."""
        with self._lock:
            if self._log is None:
                self._before.append(text)
            elif not self._log.closed:
                self._log.write(text + "\n")
                self._log.flush()
            if not self.quiet:
                shown = f"\x1b[{STYLES[style]}m{text}\x1b[0m" if style and self.colour else text
                self._put(f"{CLEAR}{shown}\n{self._live}" if self._live else shown + "\n")

    def _put(self, text: str) -> None:
        """Progress that nobody can read any more (`2>&1 | head`, a terminal that was closed) ends no training."""
        try:
            self.stream.write(text)
            self.stream.flush()
        except (OSError, ValueError):
            self.quiet, self.terminal = True, False

    def say(self, label: str, *texts: str) -> None:
        """Lines that begin with a label: `data    3,000 images`."""
        for text in texts:
            self.line(f"{label:<8}{text}".rstrip())
            label = ""

    def live(self, text: str) -> None:
        """Replace the live line at the foot of a terminal, "" takes it away; a pipe gets none."""
        with self._lock:
            if self.terminal and text != self._live:
                self._put(CLEAR + text)
                self._live = text

    def close(self) -> None:
        """Take the live line away."""
        self.live("")
