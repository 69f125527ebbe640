"""The one training loop: behind `fit`, behind tasks and the command line.

    loop = Loop(model, feed, state, epochs=20)
    for report in loop:                 # one EpochReport per epoch, or per part of one that was stopped
        print(report.logs)

Between two steps the state is whole: `loop.stop = True` (from a hook, another thread or a signal handler) ends the
epoch after the step that runs, and a new Loop with the same state goes on at the next one, to the same bits.
"""
from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dlcore.errors import DivergedError
from dlcore.runtime.buffers import debug_level
from dlcore.training.state import TrainingState

if TYPE_CHECKING:
    from dlcore.training.model import Model
    from dlcore.training.programs import Runner


NEVER = 1 << 62
BLOCK_SECONDS = 0.2             # of steps that follow one another without Python: a signal waits hardly longer


@dataclass(frozen=True)
class EpochReport:
    """epoch: its number, from 0.  logs: means over its samples.  complete: False where it was stopped before its end.
    rows, seconds: samples that were trained on in this call, and the time they took (validation not counted)."""

    epoch: int
    logs: dict[str, float]
    complete: bool
    rows: int
    seconds: float


class Loop:
    """feed: an ArrayFeed or IterableFeed.  epochs: the number at which `state.epoch` ends.

    validate        called after each whole epoch; returns logs to add ("val_loss", ...)
    on_epoch_begin  called with the epoch's number
    on_step_begin, on_step   called around each step with the position in the epoch
    """

    def __init__(self, model: Model, feed: Any, state: TrainingState, epochs: int, *,
                 validate: Callable[[], dict[str, float]] | None = None,
                 on_epoch_begin: Callable[[int], None] | None = None,
                 on_step_begin: Callable[[int], None] | None = None, on_step: Callable[[int], None] | None = None):
        self.model, self.feed, self.state, self.epochs = model, feed, state, epochs
        self.validate, self.on_epoch_begin = validate, on_epoch_begin
        self.on_step_begin, self.on_step = on_step_begin, on_step
        self.stop = False
        self.runner: Runner | None = None       # of the last step
        self.block = 1                          # steps that follow one another without Python
        self.marks: list[tuple[int, Callable[[], None]]] = []
        self.mark = NEVER                       # the next step after which one of them is called
        self.totals = [0.0] * model.objective.width

    def __iter__(self) -> Iterator[EpochReport]:
        while self.state.epoch < self.epochs and not self.stop:
            yield self.run_epoch()

    def every(self, steps: int, function: Callable[[], None]) -> None:
        """Calls `function` after each step whose number, counted over all epochs, is a multiple of `steps`."""
        self.marks.append((steps, function))
        self.mark = 0

    def reach_mark(self) -> None:
        """Calls what is due at this step, and finds the next mark."""
        step = self.state.step
        for steps, function in self.marks:
            if step % steps == 0:
                function()
        self.mark = min(step - step % steps + steps for steps, _ in self.marks)

    def learning_rate(self) -> float | None:
        """That of the last step; None before the first."""
        return None if self.runner is None else self.runner.scalars.get("lr")

    def gradient_norm(self) -> float | None:
        """The norm of all gradients of the last step; None before the first."""
        norm = None if self.runner is None else self.runner.norm
        return None if norm is None else float(norm[0])

    def logs(self) -> dict[str, float]:
        """Means over the samples of the epoch so far."""
        return self.model.objective.logs(self.totals, max(1, self.state.rows))

    def run_epoch(self) -> EpochReport:
        """Runs what is left of the current epoch, and its validation."""
        state, epoch, before = self.state, self.state.epoch, self.state.rows
        self.totals[:] = state.totals or [0.0] * len(self.totals)
        state.totals = self.totals
        if state.position == 0 and self.on_epoch_begin is not None:
            self.on_epoch_begin(epoch)
        self.model.averages.use(False)
        began = time.perf_counter()
        try:
            if self.may_join:
                complete = self.run_blocks(self.feed.order(epoch))
            else:
                complete = self.run_steps(self.feed.epoch(epoch, state.position))
        finally:
            self.model.store.changed()
        seconds, rows, logs = time.perf_counter() - began, state.rows - before, self.logs()
        if complete:
            state.epoch, state.position, state.rows, state.totals = epoch + 1, 0, 0, []
            self.model.averages.use(True)
            if self.validate is not None:
                logs |= self.validate()
        return EpochReport(epoch, logs, complete, rows, seconds)

    @property
    def may_join(self) -> bool:
        """Whether steps can follow one another without Python: nobody looks at each, and the data lies in memory."""
        watched = self.on_step_begin is not None or self.on_step is not None or debug_level() > 0
        programs = self.model.programs
        return not watched and hasattr(self.feed, "order") and programs.joins and programs.micro_batches == 1

    def run_blocks(self, order: np.ndarray) -> bool:
        """`run_steps` in blocks of some BLOCK_SECONDS; the same steps, sums and bits."""
        state, feed, sums = self.state, self.feed, np.array(self.totals)
        runners, batch, block = feed.bind(), feed.batch, self.block
        while state.position < feed.steps_per_epoch:
            begin = state.position * batch
            size = min(batch, feed.rows - begin)
            runner = self.runner = runners[size]
            left = (feed.rows - begin) // size
            count = 1 if runner.constants else min(left if 2 * left <= 3 * block else block, max(1, self.mark - state.step))
            clock = time.perf_counter()
            self.run_block(runner, order, begin, count, sums)
            seconds = time.perf_counter() - clock
            if count >= block:
                block = self.block = max(1, min(2 * count, int(count * BLOCK_SECONDS / max(seconds, 1e-9))))
            state.position, state.rows = state.position + count, state.rows + count * size
            if state.step >= self.mark:
                self.reach_mark()
            if self.stop:
                return state.position == feed.steps_per_epoch
        return True

    def run_block(self, runner: Runner, order: np.ndarray, begin: int, count: int, sums: np.ndarray) -> None:
        """Steps on the rows from order[begin] on.  DivergedError, with the state before it, where one meets a NaN."""
        state, optimizer = self.state, self.model.optimizer
        if runner.constants:                    # the first run sets them
            runner.rows[:] = order.data[begin:begin + runner.batch]
            step(runner, state, optimizer)
            sums += runner.sums
        else:
            rates = optimizer.rates(state.step + 1, count)
            done = runner.instance.run_rows(order, begin, rates, state.step + 1, sums)
            state.step += done
            if done < count:
                self.totals[:] = sums.tolist()
                state.position, state.rows = state.position + done, state.rows + done * runner.batch
                state.step += 1
                runner.scalars["lr"] = optimizer.rate(state.step)
                raise diverged(runner, state)
            runner.scalars["lr"] = float(rates[-1])
        self.totals[:] = sums.tolist()

    def run_steps(self, runners: Iterator[Runner]) -> bool:
        """Runs steps until the epoch ends (True) or `stop` is set (False).  Nothing here may cost more than a
        microsecond."""
        state, totals, optimizer = self.state, self.totals, self.model.optimizer
        before, after = self.on_step_begin, self.on_step
        for runner in runners:
            if before is not None:
                before(state.position)
            step(runner, state, optimizer)
            self.runner = runner
            for i, value in enumerate(runner.sums):
                totals[i] += value
            state.position += 1
            state.rows += runner.batch
            if state.step >= self.mark:
                self.reach_mark()
            if after is not None:
                after(state.position - 1)
            if self.stop:
                return state.position == self.feed.steps_per_epoch
        return True


def step(runner: Runner, state: TrainingState, optimizer: Any) -> None:
    """One training step on the batch that the runner holds.  DivergedError where it met a NaN or an infinity."""
    set_scalars(runner, state, optimizer)
    runner.run()
    if runner.status[0]:
        raise diverged(runner, state)


def set_scalars(runner: Runner, state: TrainingState, optimizer: Any) -> None:
    """Counts the step, and gives its number and learning rate to the program."""
    state.step += 1
    scalars = runner.scalars
    if "step" in scalars:
        scalars["step"] = state.step
    scalars["lr"] = optimizer.rate(state.step)


def diverged(runner: Runner, state: TrainingState) -> DivergedError:
    """The error for a step that changed nothing because it met a value that is not finite; names the first such
    call."""
    bad = runner.instance.first_bad_step()
    runner.status[0] = 0
    number, lr = state.step, runner.scalars["lr"]
    state.step -= 1
    return DivergedError(f"training diverged at step {number}", where=bad.label if bad else "the loss",
                         expected="finite numbers", got=str(bad) if bad else "a loss or gradient that is not finite",
                         hint=f"the weights are those before this step; try a smaller learning rate than {lr:g}")
