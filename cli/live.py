"""The live line: where a training stands, some times a second on a terminal, now and then in a pipe."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dlcore.cli.console import Console, number

if TYPE_CHECKING:
    from dlcore.training.session import Session

TERMINAL_SECONDS, PIPE_SECONDS = 0.2, 30.0
WINDOW = 5.0  # seconds that the speed is an average of
PAGE = 4096


@dataclass
class Facts:
    """What is shown of a session; reading it costs the training nothing, for it only looks."""

    session: Session | None = None
    begin: float = 0.0
    first: float = 0.0  # share that was done at the beginning
    seen: deque[tuple[float, int]] = field(default_factory=deque)  # (time, step) of the last seconds

    def start(self, session: Session) -> None:
        self.session, self.begin, self.seen = session, time.perf_counter(), deque()
        self.first = self.done() or 0.0

    def done(self) -> float | None:
        """The share of all steps that is done; None where their number is not known."""
        assert self.session is not None
        loop, steps = self.session.loop, self.session.params["steps"]
        total = loop.epochs - self.session.first
        if not steps or total <= 0:
            return None
        return min(1.0, (loop.state.epoch - self.session.first + loop.state.position / steps) / total)

    def step(self) -> int:
        assert self.session is not None
        return self.session.loop.state.step

    def rows_per_second(self) -> float:
        """Over the last seconds."""
        assert self.session is not None
        now, step = time.perf_counter(), self.session.loop.state.step
        self.seen.append((now, step))
        while len(self.seen) > 2 and now - self.seen[1][0] > WINDOW:
            self.seen.popleft()
        before, then = self.seen[0]
        return (step - then) * self.session.params["batch_size"] / (now - before) if now > before else 0.0

    def seconds_left(self, done: float | None) -> float | None:
        if not done or done <= self.first:
            return None
        return (1 - done) / (done - self.first) * (time.perf_counter() - self.begin)

    def row(self) -> dict[str, Any]:
        """What a row of metrics has beside the logs of its epoch."""
        assert self.session is not None
        report, loop = self.session.report, self.session.loop
        speed = report.rows / report.seconds if report and report.seconds > 0 else 0.0
        norm = loop.gradient_norm()
        found = {"lr": loop.learning_rate(), "gradient_norm": norm, "rows_per_second": round(speed, 1)}
        return {name: value for name, value in found.items() if value is not None}

    def parts(self) -> list[str]:
        """The live line, most important part first."""
        assert self.session is not None
        loop, done = self.session.loop, self.done()
        epoch = min(loop.state.epoch + 1, loop.epochs) - self.session.first
        parts = [f"epoch {epoch}/{loop.epochs - self.session.first}"]
        if done is not None:
            parts.append(f"{done:4.0%}")
        if loop.state.rows:
            parts.append(f"loss {number(loop.logs()['loss'])}")
        speed, left, norm, rate = (
            self.rows_per_second(),
            self.seconds_left(done),
            loop.gradient_norm(),
            loop.learning_rate(),
        )
        parts.append(f"{speed:,.0f} rows/s")
        if left is not None:
            parts.append(f"{duration(left)} left")
        if rate is not None:
            parts.append(f"lr {rate:.2e}")
        if norm is not None:
            parts.append(f"grad {number(norm)}")
        return [*parts, f"{memory() / 1e6:,.0f} MB"]


class Live:
    """Shows the facts of a session from a thread of its own."""

    def __init__(self, console: Console):
        self.console, self.facts = console, Facts()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, session: Session) -> None:
        """Begins to show a session."""
        self.facts.start(session)
        if not self.console.quiet and self._thread is None:
            self._thread = threading.Thread(target=self._run, name="dlcore-live", daemon=True)
            self._thread.start()

    def line(self) -> None:
        """One plain line, which stays."""
        self.console.say("train", f"step {self.facts.step():,}  " + fitted(self.facts.parts(), max(self.console.width, 100)))

    def stop(self) -> None:
        """Takes the line away."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self.console.live("")

    def _run(self) -> None:
        told = False
        pause = TERMINAL_SECONDS if self.console.terminal else PIPE_SECONDS
        while not self._stop.wait(pause):
            assert self.facts.session is not None
            if self.facts.session.interrupted and not told:
                self.console.line("stopping after this step; a second signal stops at once")
                told = True
            text = fitted(self.facts.parts(), self.console.width)
            if self.console.terminal:
                self.console.live(text)
            else:
                self.console.say("train", text)


def fitted(parts: list[str], width: int) -> str:
    """As many parts as go into a line of this width."""
    text = parts[0]
    for part in parts[1:]:
        if len(text) + 2 + len(part) >= width:
            break
        text += "  " + part
    return text


def duration(seconds: float) -> str:
    """0:07, 12:34, 1:02:03."""
    whole = int(seconds + 0.5)
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def memory() -> int:
    """Bytes of this process that lie in memory."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * PAGE
