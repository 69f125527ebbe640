"""One run, new or resumed: read, train, measure, save; and what is kept of it when it is stopped."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from dlcore.cli import folds, lock, options
from dlcore.cli.console import Console
from dlcore.cli.errors import refused
from dlcore.cli.recorder import Recorder
from dlcore.cli.run_folder import FOLDS, LOCK, SAMPLES
from dlcore.errors import ConfigError, DivergedError, Interrupted, UsageError

if TYPE_CHECKING:
    from dlcore.cli.plan import Plan
    from dlcore.cli.run_folder import RunFolder

CHECKPOINT_SECONDS = 2.0  # least time between checkpoints of epochs, where no number of steps was asked for


def execute(console: Console, plan: Plan, folder: RunFolder, data: dict[str, str] | None = None) -> dict[str, Any]:
    """Trains a run to its end, from its newest checkpoint if it has one; returns what `--json` prints.

    data: the digests that the data had when the run began, where they are known."""
    try:
        return _execute(console, plan, folder, data)
    except KeyboardInterrupt as fault:  # while data is read, or between two of the steps below
        if isinstance(fault, Interrupted):
            raise
        raise unstarted(folder) from None


def _execute(console: Console, plan: Plan, folder: RunFolder, data: dict[str, str] | None) -> dict[str, Any]:
    from dlcore.tasks import recipe
    from dlcore.training.backup import BackupAndRestore

    parts, estimator = prepare(console, plan)
    if plan.folded and not getattr(estimator, "foldable", True):
        raise ConfigError("this task has no folds", where="data.folds", got=plan.task.name, hint="leave out --folds")
    rows = folds.Rows.of(plan, parts, estimator) if plan.folded else None
    if rows is not None:
        parts = parts._replace(train=rows.train)
    train = plan.sections["train"]
    monitor = recipe.of(estimator)["monitor"]
    recorder = Recorder(console, folder, estimator.contents, monitor, plan.sections["run"]["log-every"])
    backup = BackupAndRestore(
        folder.checkpoints,
        save_freq=train["save-every"] or "epoch",
        delete_checkpoint=False,
        keep=train["keep"],
        best=monitor,
        seconds=0.0 if train["save-every"] else CHECKPOINT_SECONDS,
    )
    if not data:
        data = {source: lock.data_hash(source) for source in lock.sources(plan)}
        folder.write(LOCK, lock.text(plan, data))
    try:
        scores = cross_validated(console, folder, rows, estimator)
        rows_to_learn, held_back = (parts.train, {}) if rows is None else rows.for_training()
        with stopping(recorder):
            estimator.fit(
                rows_to_learn,
                callbacks=[recorder, *stops(plan), *pictures(estimator, folder), backup],
                log=lambda line: console.say("train", line),
                **held_back,
            )
        if recorder.session.interrupted:
            estimator.save(str(folder.model))
            raise stopped(folder, recorder)
        parts, kept = parts._replace(train=rows_to_learn), held_back.get("validation_data")
        return finish(console, plan, folder, estimator, recorder, parts, kept, scores)
    except KeyboardInterrupt as fault:
        if isinstance(fault, Interrupted):
            raise
        raise unstarted(folder, recorder.started) from None
    except DivergedError as fault:
        step = recorder.session.loop.state.step
        fault.hint += f"; {backup.folder}/last is the state after step {step:,}"
        raise
    except UsageError as fault:
        if recorder.started:
            raise
        # the options were checked one by one: what a task refuses now are settings that do not go together
        raise ConfigError(
            fault.message, where=fault.where, expected=fault.expected, got=fault.got, hint=fault.hint
        ) from fault
    finally:
        recorder.close()


def prepare(console: Console, plan: Plan) -> tuple[Any, Any]:
    """The data's parts and an estimator for them, after telling what was read and chosen."""
    options.use_device(plan.sections["run"]["device"])
    options.use_threads(plan.sections["run"]["threads"] or None)
    parts = read(console, plan)
    with refused():
        estimator = plan.task.create(parts.train, plan.arch, **plan.options())
    for label, text in plan.lines():
        console.say(label, text)
    check_labels(parts, estimator)
    return parts, estimator


def check_labels(parts: Any, estimator: Any) -> None:
    """Raises DataError now for what would be found after the training: one label only, or a test label unknown in training."""
    from dlcore.cli.model import has_labels
    from dlcore.data.answers import Classes

    if has_labels(estimator):
        known = Classes.fit(parts.train.y, parts.train.source)
        if parts.test is not None:
            known.encode(parts.test.y, parts.test.source, parts.test.place)


def stops(plan: Plan) -> list[Any]:
    """Callbacks that end the training early."""
    from dlcore.training.max_time import MaxTime

    seconds = plan.sections["run"]["max-time"]
    return [MaxTime(seconds)] if seconds else []


def pictures(estimator: Any, folder: RunFolder) -> list[Any]:
    """The callback that writes pictures of the training into `samples/`, for tasks that make images."""
    return [estimator.grid_callback(folder.path / SAMPLES)] if hasattr(estimator, "grid_callback") else []


def cross_validated(console: Console, folder: RunFolder, rows: Any, estimator: Any) -> dict[str, Any] | None:
    """What the folds add to the report; they are measured once, also where the run is resumed."""
    if rows is None:
        return None
    known = folder.read(FOLDS)
    if known is None:
        (folder.path / folds.PREDICTIONS).unlink(missing_ok=True)
        scores = rows.cross_validate(console, folder, begin_with=estimator)
        known = folds.added({"metrics": {}}, scores)
        folder.keep(FOLDS, known)
    return known


def read(console: Console, plan: Plan) -> Any:
    """The training data's parts; `--test` takes the place of a test part that the data has."""
    data = plan.sections["data"]
    columns = plan.reading()
    parts = plan.task.read(data["train"], **columns)
    console.say("data", *parts.train.notes)
    if data["test"]:
        whole = {key: value for key, value in columns.items() if key != "split"}  # a test file is not divided
        test = plan.task.read(data["test"], **whole).held_out()
        parts = parts._replace(test=test)
    if parts.test is not None:
        console.say("test", f"{len(parts.test):,} rows of {parts.test.source}: measured once, at the end")
    return parts


def finish(
    console: Console,
    plan: Plan,
    folder: RunFolder,
    estimator: Any,
    recorder: Recorder,
    parts: Any,
    kept: Any,
    scores: dict[str, Any] | None,
) -> dict[str, Any]:
    """Save the trained model, measure it on the test part, and write result.json and report.html.

    `kept`: validation data that were given to the training; `scores`: of the folds; both may be None.
    """
    from dlcore.cli import report

    recorder.close()
    estimator.save(str(folder.model))
    console.say("saved", f"{folder.model}  {folder.model.stat().st_size / 1e3:,.0f} kB")
    result = {
        "task": plan.task.name,
        "arch": plan.arch,
        "run": str(folder.path),
        "model": str(folder.model),
        "epochs": recorder.epochs,
        "epochs_planned": plan.sections["train"]["epochs"],
        "best_epoch": recorder.best_epoch,
        "seconds": round(recorder.seconds, 3),
        "seed": plan.sections["train"]["seed"],
        "metrics": dict(recorder.best),
    }
    if scores is not None:
        result["metrics"] |= scores["metrics"]
        result["folds"] = scores["folds"]
    return report.finish(folder.path, estimator, parts, kept, result, console.say)


def stopped(folder: RunFolder, recorder: Recorder) -> Interrupted:
    """The error that says how to go on."""
    state = recorder.session.loop.state
    model = f"; model.dlc is the model of epoch {recorder.best_epoch}" if recorder.best_epoch else ""
    return Interrupted(
        f"stopped after step {state.step:,}",
        where=str(folder.path),
        got=f"checkpoint {folder.checkpoints}/last{model}",
        hint=f"dlcore resume {folder.path}",
    )


def unstarted(folder: RunFolder, started: bool = False) -> Interrupted:
    """The same where no step was interrupted."""
    return Interrupted(
        "stopped" if started else "stopped before the first step",
        where=str(folder.path),
        hint=f"dlcore resume {folder.path}",
    )


@contextmanager
def stopping(recorder: Recorder) -> Iterator[None]:
    """While training, the first SIGINT, SIGTERM or SIGHUP stops it after the step that runs, the second at once."""

    def handle(signum: int, frame: object) -> None:
        session = getattr(recorder, "session", None)
        if session is None:
            raise KeyboardInterrupt
        if session.interrupted:
            sys.stderr.flush()
            os._exit(Interrupted.exit_code)
        session.interrupt()

    caught = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # a terminal that is closed, but not under nohup
        caught.append(signal.SIGHUP)
    before = {number: signal.signal(number, handle) for number in caught}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
