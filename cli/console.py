"""What the user sees: results on stdout, progress on stderr and in the run's log.txt."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
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


class Console:
    """Progress: labelled lines and a table of epochs on stderr; the same lines go to `log` once there is one."""

    def __init__(self, quiet: bool = False, stream: TextIO | None = None):
        self.stream = stream or sys.stderr
        self.quiet = quiet
        self._log: TextIO | None = None
        self._before: list[str] = []  # lines said before the log was opened
        self._status: Any = None

    def open_log(self, log: TextIO) -> None:
        """Send a copy of every line, those said so far among them, to `log`."""
        self._log = log
        log.write("".join(line + "\n" for line in self._before))
        log.flush()

    def line(self, text: str = "") -> None:
        """One line of progress."""
        if self._log is None:
            self._before.append(text)
        else:
            self._log.write(text + "\n")
            self._log.flush()
        if not self.quiet:
            if self._status is not None:
                self._status.console.print(text, markup=False, highlight=False, soft_wrap=True)
            else:
                click.echo(text, file=self.stream)

    def say(self, label: str, *texts: str) -> None:
        """Lines that begin with a label: `data    3,000 images`."""
        for text in texts:
            self.line(f"{label:<8}{text}".rstrip())
            label = ""

    def table(self, names: Sequence[str]) -> EpochTable:
        """A table with one row per epoch."""
        return EpochTable(self, names)

    def live(self, text: str) -> None:
        """Replace the one live line at the foot of a terminal; a pipe gets none."""
        if self.quiet or not self.stream.isatty():
            return
        if self._status is None:
            self._status = _live_line(self.stream)
        if self._status is not None:
            self._status.update(text)

    def close(self) -> None:
        """Take the live line away."""
        if self._status is not None:
            self._status.stop()
            self._status = None


def _live_line(stream: TextIO) -> Any:
    try:
        from rich.console import Console as RichConsole
        from rich.status import Status
    except ImportError:
        return None  # plain lines are enough
    status = Status("", console=RichConsole(file=stream), spinner="line")
    status.start()
    return status


class EpochTable:
    """Aligned rows of metrics; the header is printed before the first row."""

    WIDTH = 12

    def __init__(self, console: Console, names: Sequence[str]):
        self.console, self.names = console, list(names)
        self._started = False

    def row(self, epoch: int, metrics: Mapping[str, float], seconds: float, mark: bool = False) -> None:
        """One finished epoch, `seconds` after the start; `metrics` by name, missing ones left blank; `mark`: the best so far."""
        if not self._started:
            self._started = True
            heads = [name.replace("_", " ") for name in self.names]
            self.console.line()
            self.console.line(
                f"{'epoch':>6}"
                + "".join(f"{head:>{max(self.WIDTH, len(head) + 2)}}" for head in heads)
                + f"{'time':>10}"
            )
        cells = "".join(
            f"{number(metrics[name]) if name in metrics else '':>{max(self.WIDTH, len(name) + 2)}}"
            for name in self.names
        )
        self.console.line(f"{epoch:>6}{cells}{seconds:>9.1f}s" + " *" * mark)
