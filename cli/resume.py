"""`dlcore resume RUN`: goes on with a run that was interrupted, to the bits that it would have had without."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dlcore.cli import options
from dlcore.cli.console import Console, result, result_json
from dlcore.errors import ConfigError, DataError, DeviceError, UsageError

if TYPE_CHECKING:
    from dlcore.cli.plan import Plan
    from dlcore.cli.run_folder import RunFolder


@click.command(short_help="Go on with a run that was interrupted, to the same bits.", no_args_is_help=True)
@click.argument("run", metavar="RUN")
@click.option("--epochs", metavar="+N", help="N epochs more than the run was to have, or, without +, N in all.")
@click.option(
    "--allow-different-bits", is_flag=True, help="Go on where this processor or version computes other bits."
)
@options.require_option
@options.machine
@options.common
@click.pass_context
def command(
    ctx: click.Context,
    run: str,
    epochs: str | None,
    allow_different_bits: bool,
    require: tuple[str, ...],
    device: str,
    threads: int | None,
    as_json: bool,
) -> None:
    """Go on with RUN, the folder of a run that was interrupted or killed, from its newest checkpoint.

    The model is the same, bit for bit, as that of a run that was never interrupted, for any number of threads.
    """
    from dlcore.cli.train import summary

    wanted = options.requirements(require)
    console = Console(quiet=bool(ctx.obj and ctx.obj.get("quiet")))
    try:
        report = resume(console, run, epochs, threads, allow_different_bits)
    finally:
        console.close()
    if as_json:
        result_json(report)
    else:
        result(summary(report))
    options.check_requirements(wanted, report["metrics"])


def resume(
    console: Console, run: str, epochs: str | None, threads: int | None, different_bits: bool = False
) -> dict[str, Any]:
    """Continues a run; returns what `--json` prints."""
    from dlcore.cli import lock, plan
    from dlcore.cli.execute import execute
    from dlcore.cli.records import REPORT
    from dlcore.cli.run_folder import CONFIG, LOCK, RESULT, RunFolder
    from dlcore.deploy.atomic import remove_leftovers

    folder = RunFolder.open(run)
    chosen = plan.make(str(folder.path / CONFIG), {}, (), None, None)
    known = lock.read(folder.path / LOCK)
    with folder.held():
        remove_leftovers(folder.path)
        options.use_device(chosen.sections["run"]["device"])
        use_level(known, different_bits)
        options.use_threads(threads or chosen.sections["run"]["threads"] or None)
        check_config(known, chosen, folder)
        finished = folder.read(RESULT)
        extended = "" if epochs is None else extend(chosen, epochs)
        if finished is not None and finished.get("epochs_planned") == chosen.sections["train"]["epochs"]:
            if folder.model.exists() and (folder.path / REPORT).exists():
                console.say("resume", f"{folder.path} has ended; its model stays as it is")
                return finished
        find_data(known, chosen)
        console.open_log(folder.open_log())
        try:
            data = check_data(known, chosen)
            if extended:  # now that nothing is refused any more
                folder.write(CONFIG, extended)
            (folder.path / RESULT).unlink(missing_ok=True)
            console.say("resume", f"{folder.path}  level {known['machine']['level']}, {data_line(data)}")
            return execute(console, chosen, folder, data)
        finally:
            folder.close()


def use_level(known: dict[str, Any], different_bits: bool) -> None:
    """The kernels of the level that the run began with; DeviceError where this processor or version has others."""
    from dlcore import __version__
    from dlcore.runtime import device_kind, kernel_table

    level, version = known["machine"]["level"], known["versions"]["dlcore"]
    if different_bits:
        return
    if version != __version__:
        raise DeviceError(
            "this run was begun by another version of dlcore",
            expected=version,
            got=__version__,
            hint=f"install dlcore {version}, or --allow-different-bits",
        )
    if (device := known["machine"].get("device", "cpu")) != device_kind():
        raise DeviceError(
            "this run was begun on another kind of device",
            expected=device,
            got=device_kind(),
            hint="resume it on such a device, or --allow-different-bits",
        )
    before = os.environ.get("DLCORE_CPU_LEVEL")
    os.environ["DLCORE_CPU_LEVEL"] = level
    try:
        kernel_table()
    except DeviceError as fault:
        if before is None:
            del os.environ["DLCORE_CPU_LEVEL"]
        fault.message = f"this run was begun on kernels of the level {level}, which this processor does not run"
        fault.hint = "resume it on such a processor, or --allow-different-bits"
        raise


def check_config(known: dict[str, Any], chosen: Plan, folder: RunFolder) -> None:
    """ConfigError where a setting that bits depend on was changed since the run began."""
    from dlcore.cli import lock
    from dlcore.cli.toml_text import to_text

    expected = known["run"].get("config")
    if expected is not None and expected != lock.config_hash(chosen):
        found = lock.changed(known, chosen)
        raise ConfigError(
            "the configuration was changed since the run began",
            where=str(folder.path / "config.toml"),
            expected="; ".join(f"{name} = {to_text(then)}" for name, then, _ in found) or expected,
            got="; ".join(f"{name} = {to_text(now)}" for name, _, now in found) or lock.config_hash(chosen),
            hint="put it back, or begin a new run: dlcore train config.toml; "
            "only epochs, save-every, keep, threads and paths may change",
        )


def extend(chosen: Plan, text: str) -> str:
    """More epochs than the run was to have; returns its configuration with them."""
    train = chosen.sections["train"]
    digits = text.removeprefix("+")
    if not digits.isdecimal():
        raise UsageError("--epochs is a number, or + and a number", got=text, expected="+5")
    total = int(digits) + (train["epochs"] if text.startswith("+") else 0)
    if total < train["epochs"]:
        raise UsageError("a resumed run cannot have fewer epochs", expected=f"at least {train['epochs']}", got=text)
    train["epochs"] = total
    return chosen.toml()


def find_data(known: Mapping[str, Any], chosen: Plan) -> None:
    """Relative paths are those of the folder that the run was started in."""
    base = Path(known["run"].get("folder", "."))
    for section, key in (("data", "train"), ("data", "test"), ("train", "init")):
        values = chosen.sections[section]
        path = values.get(key)
        if path and path != "-" and not Path(path).exists() and (base / path).exists():
            values[key] = str(base / path)


def check_data(known: dict[str, Any], chosen: Plan) -> dict[str, str]:
    """The digests of the data; DataError where they are not those of the run's beginning."""
    from dlcore.cli import lock

    found = {source: lock.data_hash(source) for source in lock.sources(chosen)}
    before = known.get("data", {})
    for (source, now), (name, then) in zip(found.items(), before.items(), strict=False):
        if now != then:
            raise DataError(
                "the data has changed since the run began",
                where=source,
                expected=then,
                got=now,
                hint=f"put {name} back as it was, or begin a new run",
            )
    return found if before else {}


def data_line(data: dict[str, str]) -> str:
    return "data verified by digest" if data else "no step was trained yet"
