"""`dlcore runs list|compare|plot|tensorboard|verify|clean`: a look back at run folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from dlcore.cli import options
from dlcore.cli.console import Console, result, result_json
from dlcore.errors import UsageError


@click.group(short_help="List, compare, draw, verify and clean run folders.", no_args_is_help=True)
def command() -> None:
    """Look back at runs: folders that `dlcore train` made."""


def _records(names: tuple[str, ...]) -> list[Any]:
    from dlcore.cli import records

    return [records.read(name) for name in names]


@command.command("list")
@click.argument("folder", default="runs")
@click.option("--sort", metavar="METRIC", help="Best first by this metric.  [default: newest first]")
@options.common
def list_(folder: str, sort: str | None, as_json: bool) -> None:
    """The runs in FOLDER (runs/ without one), newest first."""
    from dlcore.cli import history

    rows = [history.summary(record) for record in history.find(Path(folder))]
    if sort:
        rows = history.sorted_by(rows, sort)
    if as_json:
        result_json({"folder": folder, "runs": rows})
    else:
        result("\n".join(history.table(rows)) if rows else f"no runs in {folder}")


@command.command("compare")
@click.argument("runs", nargs=-1, required=True)
@options.common
def compare(runs: tuple[str, ...], as_json: bool) -> None:
    """Settings in which RUNS differ, and what they reached, side by side."""
    from dlcore.cli import history

    found = history.comparison(_records(runs))
    if as_json:
        result_json(found)
    else:
        result("\n".join(history.comparison_lines(found)))


@command.command("plot")
@click.argument("runs", nargs=-1, required=True)
@click.option(
    "--metric", "metrics", multiple=True, metavar="NAME", help="Draw this metric; may be repeated.  [default: all]"
)
@click.option(
    "-o",
    "--out",
    required=True,
    metavar="FILE",
    help="FILE.html needs nothing else; .png, .svg and .pdf need matplotlib (dlcore[plot]).",
)
@options.common
def plot(runs: tuple[str, ...], metrics: tuple[str, ...], out: str, as_json: bool) -> None:
    """Draw the curves of RUNS into one file, which must not exist."""
    from dlcore.cli import history

    if Path(out).exists():
        raise UsageError("the output file exists; nothing was written over", where=out, hint="choose another name")
    history.draw(_records(runs), list(metrics), Path(out))
    if as_json:
        result_json({"runs": list(runs), "out": out})
    else:
        result(out)


@command.command("tensorboard")
@click.argument("runs", nargs=-1, required=True)
@click.option(
    "-o", "--out", required=True, metavar="FOLDER", help="Folder of the event files; must not exist or be empty."
)
@options.common
def tensorboard(runs: tuple[str, ...], out: str, as_json: bool) -> None:
    """Write the curves of RUNS as TensorBoard's event files."""
    from dlcore.cli import history

    place = Path(out)
    if place.exists() and (not place.is_dir() or any(place.iterdir())):
        raise UsageError("the output folder exists and is not empty; nothing was written over", where=out, hint="choose another -o")
    history.event_files(_records(runs), place)
    if as_json:
        result_json({"runs": list(runs), "out": out})
    else:
        result(f"tensorboard --logdir {out}")


@command.command("verify")
@click.argument("run")
@options.common
@click.pass_context
def verify(ctx: click.Context, run: str, as_json: bool) -> None:
    """Train RUN again from its config.toml and compare the weights bit by bit.

    Exits with 6 where they differ, with 4 where the data have changed, with 7 where this machine computes with another
    processor level than the run did.
    """
    from dlcore.cli import history, replay

    console = Console(quiet=bool(ctx.obj and ctx.obj.get("quiet")))
    try:
        found = replay.verify(console, _records((run,))[0])
    finally:
        console.close()
    if as_json:
        result_json(found)
    else:
        result(f"{history.name(Path(run))}: {found['weights']:,} weights, the same bits")


@command.command("clean")
@click.argument("folder", default="runs")
@click.option("--keep", type=options.Whole(min=0), metavar="N", help="Remove finished runs too, but the N newest.")
@click.option("--yes", is_flag=True, help="Remove; without this option it is only told what would be removed.")
@options.common
def clean(folder: str, keep: int | None, yes: bool, as_json: bool) -> None:
    """Remove runs in FOLDER (runs/ without one) that did not come to their end, and what killed runs left behind.

    What changed within the last hour may be training, and is left alone, as is every folder that is no run.
    """
    from dlcore.cli import history

    chosen = history.removable(Path(folder), keep)
    freed = sum(history.size(path) for path, _ in chosen)
    if yes:
        history.remove([path for path, _ in chosen])
    if as_json:
        rows = [{"path": str(path), "why": why} for path, why in chosen]
        result_json({"removed" if yes else "would_remove": rows, "bytes": freed})
        return
    for path, why in chosen:
        result(f"{'removed' if yes else 'would remove'}  {path}  ({why})")
    text = f"{len(chosen)} folders, {freed / 1e6:,.1f} MB"
    result(text if yes or not chosen else f"{text}; --yes removes them")
