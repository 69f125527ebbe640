"""The model that an argument names, opened, and the task it belongs to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from dlcore.cli.console import Console
from dlcore.cli.run_folder import model_path
from dlcore.errors import ModelFileError, UsageError

if TYPE_CHECKING:
    from dlcore.tasks.task import Task


def open_model(argument: str, precision: str | None = None) -> Any:
    """What `dlcore.load` gives for a run folder or a model file.  Raises ModelFileError.

    precision: that it answers in, where the user asked for one; a line where the device has no such products."""
    import dlcore
    from dlcore.training.answers import missing

    loaded = dlcore.load(model_path(argument), precision=precision)
    if precision is not None and (found := missing(precision)):
        Console(quiet=bool((click.get_current_context().obj or {}).get("quiet"))).say("model", *found)
    return loaded


def open_task(argument: str, precision: str | None = None) -> tuple[Any, Task]:
    """The estimator in a run folder or model file, and its task.  Raises ModelFileError for a model that is no task's."""
    from dlcore.tasks import TASKS

    estimator = open_model(argument, precision)
    name = str(getattr(estimator, "task", ""))
    if name not in TASKS:
        raise ModelFileError(
            "this file holds a bare network, which has no labels and no preprocessing",
            where=argument,
            hint="use dlcore.load in Python, or train with dlcore train",
        )
    return estimator, TASKS[name]


def reading(task: Task, skip_bad: bool = False, header: bool | None = None) -> dict[str, Any]:
    """What options say to the task's `read`.  Raises UsageError where it does not listen to them."""
    if not skip_bad and header is None:
        return {}
    known = task.defaults("")["data"]
    if skip_bad and "skip-bad" not in known:
        raise UsageError("this task reads no images", where="--skip-bad", got=task.name, hint="leave it out")
    if header is not None and "header" not in known:
        raise UsageError("this task reads no tables whose header can be told", where="--header", got=task.name, hint="leave it out")
    return ({"skip_bad": True} if skip_bad else {}) | ({} if header is None else {"header": header})


def has_labels(estimator: Any) -> bool:
    """Whether it gives each row one of the labels that it knows."""
    from dlcore.tasks.supervised import Classifier

    return isinstance(estimator, Classifier) and estimator._kind == "classifier"


def named(model: str, precision: str | None) -> dict[str, Any]:
    """What `--json` prints of them: the model as it was named, and the precision if one was asked for."""
    return {"model": model} | ({} if precision is None else {"precision": precision})


def say_notes(console: Console, notes: tuple[str, ...]) -> None:
    """What a reader decided."""
    if notes:
        console.say("data", *notes)
