"""`dlcore tune TASK --data D --time 10m`: settings searched by Optuna, the best of them trained as a run of its own."""

from __future__ import annotations

from typing import Any

import click

from dlcore.cli import options
from dlcore.cli.console import Console, result, result_json
from dlcore.cli.options import Duration, Finite, Size, Whole
from dlcore.errors import UsageError


@click.command(short_help="Search for settings under a budget of time and size.", no_args_is_help=True)
@click.argument("task", metavar="TASK")
@click.option("--data", metavar="PATH", help="Training data: a file or folder.")
@click.option("--test", metavar="PATH", help="Test data, measured once with the best settings; no trial sees it.")
@click.option("--val-split", type=Finite(0, 1, closed=True), help="Share of the training part that trials are compared on.")
@click.option("--label-col", metavar="NAME", help="Column of the answer.")
@click.option("--text-col", metavar="NAME", help="Column of the text, for tasks on text.")
@click.option("--arch", metavar="NAME", help="Architecture of the network.")
@click.option("--preset", metavar="NAME", help="Named defaults of the task.")
@click.option("--epochs", type=Whole(min=1), help="Passes over the training part in a trial, at most.")
@click.option("--seed", type=Whole(min=0, max=2**63 - 1), help="Seed of the search and of every trial.")
@click.option("--time", "seconds", type=Duration(), metavar="TIME", help="Time in all, the last training included: 10m.")
@click.option("--trials", type=Whole(min=1), metavar="N", help="Trials at most.  [default: 20, or no limit with --time]")
@click.option("--max-size", type=Size(), metavar="BYTES", help="Largest model file: 500k, 2M.")
@click.option("--workers", type=Whole(min=1), default=1, show_default=True, help="Processes on the same study.")
@click.option(
    "--space",
    multiple=True,
    metavar="KEY=VALUES",
    help="What is tried: train.lr=1e-4..1e-2:log, train.batch=32,64, or none; may be repeated.  [default: the task's]",
)
@click.option("--metric", metavar="NAME", help="What is compared.  [default: val_loss; of gan: fid]")
@click.option("--out", metavar="FOLDER", help="Run folder; must not exist or be empty.  [default: runs/TASK-tune]")
@click.option("--set", "settings", multiple=True, metavar="SECTION.KEY=VALUE", help="A setting that no trial changes.")
@options.machine
@options.common
@click.pass_context
def command(
    ctx: click.Context,
    task: str,
    seconds: float | None,
    trials: int | None,
    max_size: int | None,
    workers: int,
    space: tuple[str, ...],
    metric: str | None,
    out: str | None,
    arch: str | None,
    preset: str | None,
    settings: tuple[str, ...],
    as_json: bool,
    **given: Any,
) -> None:
    """Search for the settings of TASK, or of a configuration file, that do best on the rows kept for validation.

    Where TASK is the folder of an earlier search, that search goes on.  The best settings are trained once more: the folder
    is then a run like any other.

    \b
    dlcore tune tabular --data adult.csv --label-col income --time 10m --max-size 2M
    dlcore tune tabular --data adult.csv --space train.lr=1e-4..1e-2:log --space "model.hidden=[[64], [256, 128]]"
    """
    from dlcore.cli import search

    _optuna()
    console = Console(quiet=bool(ctx.obj and ctx.obj.get("quiet")))
    budget = search.Budget(seconds, trials if trials or seconds else search.TRIALS, max_size)
    try:
        found = search.resumed(task, space, metric, given, settings, arch, preset, out) or search.started(
            console, task, space, metric, given, settings, arch, preset, out
        )
        report = search.run(console, found, budget, workers)
    finally:
        console.close()
    if as_json:
        result_json(report)
    else:
        from dlcore.cli.train import summary

        best = "  ".join(f"{key} {value}" for key, value in report["best"].items())
        result(f"best of {report['trials']} trials: {best}\n{summary(report)}")


def _optuna() -> None:
    import importlib.util

    if importlib.util.find_spec("optuna") is None:
        raise UsageError("dlcore tune searches with Optuna, which is not installed", hint="pip install 'dlcore[tune]'")
