"""`dlcore config ...`: configurations made, shown, checked, compared, and described for editors."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dlcore.cli import options
from dlcore.cli.console import result, result_json

if TYPE_CHECKING:
    from dlcore.cli.plan import Plan

PLACEHOLDER = "data.csv"  # stands for the training data where a task alone is named

set_option = click.option("--set", "settings", multiple=True, metavar="SECTION.KEY=VALUE", help="Change one setting.")


@click.group(short_help="Make, show, check and compare configurations.", no_args_is_help=True)
def command() -> None:
    """Make, show, check and compare the configurations of `dlcore train`.

    A TARGET is a configuration file, a run folder, or the name of a task, which means its defaults.
    """


@command.command(no_args_is_help=True)
@click.argument("task")
@click.option("--arch", metavar="NAME", help="Architecture of the network.")
@click.option("--preset", metavar="NAME", help="Named defaults of the task.")
@click.option("--data", metavar="PATH", default=PLACEHOLDER, show_default=True, help="Training data.")
@click.option("-o", "--out", metavar="FILE", help="Write to FILE, which must not exist.  [default: standard output]")
@set_option
@options.common
def init(
    task: str,
    arch: str | None,
    preset: str | None,
    data: str,
    out: str | None,
    settings: tuple[str, ...],
    as_json: bool,
) -> None:
    """Write the complete configuration of TASK, each key with a comment."""
    from dlcore.cli.errors import writing
    from dlcore.errors import UsageError

    made = _plan(task, settings, arch, preset, data)
    if out is not None:
        if Path(out).exists():
            hint = "remove it first, or choose another -o"
            raise UsageError("the output file exists; nothing was written over", where=out, hint=hint)
        with writing(out):
            Path(out).write_text(made.toml(), encoding="utf-8")
    _show(made, as_json, made.toml().rstrip() if out is None else f"dlcore train {out}")


@command.command(no_args_is_help=True)
@click.argument("target")
@set_option
@options.common
def show(target: str, settings: tuple[str, ...], as_json: bool) -> None:
    """Print the complete configuration of TARGET, its defaults filled in."""
    made = _plan(target, settings)
    _show(made, as_json, made.toml().rstrip())


@command.command(no_args_is_help=True)
@click.argument("target")
@set_option
@options.common
def check(target: str, settings: tuple[str, ...], as_json: bool) -> None:
    """Tell whether TARGET is a configuration that `dlcore train` accepts; exit code 3 with all problems where not."""
    made = _plan(target, settings)
    changed = _differences(_flat(_plan(made.task.name, (), made.arch, made.preset or None)), _flat(made))
    changed = [row for row in changed if row[0] not in ("data.train", "data.test")]
    if as_json:
        result_json({"task": made.task.name, "arch": made.arch, "changed": {name: value for name, _, value in changed}})
    else:
        result(f"fine: {made.task.name}/{made.arch}, {len(changed)} settings differ from the defaults")
        for name, before, value in changed:
            result(f"  {name} = {value}  (default {before})")


@command.command(no_args_is_help=True)
@click.argument("first")
@click.argument("second")
@options.common
def diff(first: str, second: str, as_json: bool) -> None:
    """Print the settings in which the targets FIRST and SECOND differ."""
    rows = _differences(*(_flat(_plan(target, ())) for target in (first, second)))
    if as_json:
        result_json({name: [before, after] for name, before, after in rows})
    for name, before, after in [] if as_json else rows:
        result(f"{name:<22} {_shown(before):<28} {_shown(after)}")


@command.command(no_args_is_help=True)
@click.argument("task")
@click.option("--arch", metavar="NAME", help="Architecture of the network.")
@options.common
def schema(task: str, arch: str | None, as_json: bool) -> None:
    """Print the JSON schema of TASK's configuration, for editors."""
    import json

    from dlcore.cli.config import json_schema

    made = _plan(task, (), arch)
    found = json_schema(made.task.name, made.task.defaults(made.arch), list(made.task.architectures))
    result_json(found) if as_json else result(json.dumps(found, indent=2, ensure_ascii=False))


def _plan(
    target: str,
    settings: tuple[str, ...],
    arch: str | None = None,
    preset: str | None = None,
    data: str = PLACEHOLDER,
) -> Plan:
    """The plan of a task, a configuration file or a run folder."""
    from dlcore.cli import plan
    from dlcore.cli.run_folder import CONFIG

    folder = Path(target)
    name = str(folder / CONFIG) if (folder / CONFIG).is_file() else target
    return plan.make(name, {} if name.endswith(".toml") else {"data": data}, settings, arch, preset)


def _flat(made: Plan) -> dict[str, Any]:
    rows = {"task": made.task.name, "model.arch": made.arch, "model.preset": made.preset}
    return rows | {f"{part}.{key}": value for part, values in made.sections.items() for key, value in values.items()}


def _differences(first: dict[str, Any], second: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    names = dict.fromkeys((*first, *second))
    return [(name, first.get(name), second.get(name)) for name in names if first.get(name) != second.get(name)]


def _shown(value: Any) -> str:
    return "-" if value is None else repr(value) if isinstance(value, str) else str(value)


def _show(made: Plan, as_json: bool, text: str) -> None:
    if as_json:
        sections = {**made.sections, "model": {"arch": made.arch, **made.sections["model"]}}
        result_json({"task": made.task.name, **sections})
    else:
        result(text)
