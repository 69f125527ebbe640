"""From a task's name and the given options to checked settings: what `train` will do, and why each value is what it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlcore.cli.draft import Draft, put_file, validate
from dlcore.cli.errors import unknown
from dlcore.cli.toml_text import read_file, to_toml
from dlcore.errors import UsageError

if TYPE_CHECKING:
    from dlcore.tasks.task import Task

# option -> the key of the configuration that it sets
KEYS = {
    "data": ("data", "train"),
    "test": ("data", "test"),
    "val_split": ("data", "val-split"),
    "label_col": ("data", "label-col"),
    "text_col": ("data", "text-col"),
    "augment": ("data", "augment"),
    "size": ("data", "size"),
    "skip_bad": ("data", "skip-bad"),
    "header": ("data", "header"),
    "input": ("data", "input"),
    "horizon": ("data", "horizon"),
    "target": ("data", "targets"),
    "time_col": ("data", "time-col"),
    "split": ("data", "split"),
    "folds": ("data", "folds"),
    "fold_kind": ("data", "fold-kind"),
    "group": ("data", "group"),
    "time_order": ("data", "time-order"),
    "epochs": ("train", "epochs"),
    "batch": ("train", "batch"),
    "lr": ("train", "lr"),
    "optimizer": ("train", "optimizer"),
    "schedule": ("train", "schedule"),
    "warmup": ("train", "warmup"),
    "weight_decay": ("train", "weight-decay"),
    "l1": ("train", "l1"),
    "l2": ("train", "l2"),
    "clip": ("train", "clip"),
    "accumulate": ("train", "accumulate"),
    "ema": ("train", "ema"),
    "precision": ("train", "precision"),
    "monitor": ("train", "monitor"),
    "init": ("train", "init"),
    "freeze": ("train", "freeze"),
    "seed": ("train", "seed"),
    "save_every": ("train", "save-every"),
    "keep": ("train", "keep"),
    "device": ("run", "device"),
    "threads": ("run", "threads"),
    "jobs": ("run", "jobs"),
    "max_time": ("run", "max-time"),
    "log_every": ("run", "log-every"),
}


@dataclass
class Plan:
    """A checked configuration: the task, its architecture, the sections, and the source of every value that was given."""

    task: Task
    arch: str
    preset: str
    sections: dict[str, dict[str, Any]]
    given: dict[tuple[str, str], str]

    def toml(self) -> str:
        """The complete configuration; `dlcore train` accepts it in place of a task's name."""
        sections = {**self.sections, "model": {"arch": self.arch, **self.sections["model"]}}
        if self.preset:
            sections["model"] = {"preset": self.preset, **sections["model"]}
        return to_toml(self.task.name, sections, header="the complete configuration of this run")

    def options(self) -> dict[str, Any]:
        """What the task makes its estimator from: every key that is not about files or the machine, with underscores."""
        return {
            key.replace("-", "_"): value
            for section in ("data", "model", "train")
            for key, value in self.sections[section].items()
            if (section, key) not in READING | SAVING
        }

    def reading(self) -> dict[str, Any]:
        """What the task's `read` is told besides the source."""
        data = self.sections["data"]
        told = {key: data[key] for key in COLUMNS}
        told |= {key: data[key] for key in READER_KEYS if data.get(key)}
        told |= {f"{key}-col": data[key] for key in LANGUAGES if data.get(key)}
        told |= {HEADER: data[HEADER]} if HEADER in data else {}
        if data.get("test-split") and not data["test"]:
            told["test-split"] = data["test-split"]
        return {key.replace("-", "_"): value for key, value in told.items()}

    @property
    def folded(self) -> bool:
        """Whether there is a cross-validation before the training."""
        return bool(self.sections["data"]["folds"])

    def lines(self) -> list[tuple[str, str]]:
        """(label, text) of what was chosen: values that nobody gave are marked as defaults."""
        rows = [("model", f"{self.task.name}/{self.arch}" + (f", preset {self.preset}" if self.preset else ""))]
        for section in ("model", "train", "data"):
            shown = [
                f"{key} {_show(value)}{'' if (section, key) in self.given else ' (default)'}"
                for key, value in self.sections[section].items()
                if value != "" and (section, key) not in FILES and (self.folded or (section, key) not in FOLDING)
            ]
            rows += [(section if i == 0 and section != "model" else "", text) for i, text in enumerate(_wrap(shown))]
        return rows


FILES = {("data", "train"), ("data", "test")}  # the reader's own lines name them
SAVING = {("train", "save-every"), ("train", "keep")}
FOLDING = {("data", key) for key in ("folds", "fold-kind", "group", "time-order")}
COLUMNS = ("label-col", "text-col")
# keys that only some tasks have, for their `read`
READER_KEYS = ("size", "skip-bad", "time-col", "columns", "gaps", "split")
LANGUAGES, HEADER = ("source", "target"), "header"      # what both the reader and the estimator are told
READING = FILES | FOLDING | {("data", key) for key in (*COLUMNS, *READER_KEYS)}


def make(name: str, options: Mapping[str, Any], settings: Sequence[str], arch: str | None, preset: str | None) -> Plan:
    """The plan for TASK or a configuration file.  Raises UsageError and ConfigError."""
    from dlcore.tasks import TASKS

    file = Path(name) if name.endswith(".toml") else None
    task_name = _task_of(file) if file else name
    if task_name not in TASKS:
        raise unknown("task", task_name, TASKS, hint="dlcore train TASK --data PATH")
    task = TASKS[task_name]
    draft = Draft(task_name)
    if file:
        put_file(draft, file)
    for option, (section, key) in KEYS.items():
        if options.get(option) is not None and options.get(option) != "auto":
            draft.put(section, key, options[option], "--" + option.replace("_", "-"))
    for setting in settings:
        draft.set(setting)
    chosen_arch = _choose("architecture", arch, draft, "arch", task.architectures) or next(iter(task.architectures))
    chosen_preset = _choose("preset", preset, draft, "preset", task.presets)
    for section, values in task.presets.get(chosen_preset, {}).items():
        for key, value in values.items():
            draft.put_below(section, key, value, f"preset {chosen_preset}")
    if "train" not in draft.sections.get("data", {}):
        raise UsageError("no training data", expected="a file or folder", hint="add --data PATH")
    sections = validate(draft, task.defaults(chosen_arch))
    given = {
        (section, key): value.source for section, values in draft.sections.items() for key, value in values.items()
    }
    if (
        sections["train"]["optimizer"] != "adamw"
        and sections["train"].get("weight-decay")
        and ("train", "weight-decay") not in given
    ):
        sections["train"]["weight-decay"] = 0.0  # a default for adamw is none for another optimizer
    return Plan(task, chosen_arch, chosen_preset, sections, given)


def _task_of(file: Path) -> str:
    task = read_file(file)[0].get("task")
    if not isinstance(task, str):
        raise UsageError("the configuration file names no task", where=str(file), expected='task = "tabular"')
    return task


def _choose(kind: str, option: str | None, draft: Draft, key: str, known: Mapping[str, Any]) -> str:
    """The name given by the option, --set or the file, or ""; it must be a known one."""
    item = draft.sections.get("model", {}).pop(key, None)
    name = option if option is not None else str(item.value) if item else ""
    if name and name not in known:
        raise unknown(kind, name, known, hint="" if known else f"this task has no {kind}s")
    return name


def _show(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _wrap(items: Sequence[str], width: int = 100) -> list[str]:
    lines: list[str] = []
    for item in items:
        if lines and len(lines[-1]) + len(item) + 3 <= width:
            lines[-1] += " · " + item
        else:
            lines.append(item)
    return lines
