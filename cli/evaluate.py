"""`dlcore evaluate MODEL DATA`: the metrics of a trained model on labelled data."""

from __future__ import annotations

import click

from dlcore.cli import options
from dlcore.cli.console import Console, number, result, result_json


@click.command(short_help="Measure a trained model on labelled data.", no_args_is_help=True)
@click.argument("model")
@click.argument("data")
@click.option("--label-col", default="", metavar="NAME", help="Column of the answer.  [default: as in training]")
@click.option("--text-col", default="", metavar="NAME", help="Column of the text.  [default: as in training]")
@options.require_option
@options.machine
@options.common
@click.pass_context
def command(
    ctx: click.Context,
    model: str,
    data: str,
    label_col: str,
    text_col: str,
    require: tuple[str, ...],
    device: str,
    threads: int | None,
    as_json: bool,
) -> None:
    """Measure MODEL, a run folder or a model file, on DATA.

    Where DATA has a test part, that part is measured, else all of it; - is standard input.
    """
    from dlcore.cli.model import open_task, say_notes

    wanted = options.requirements(require)
    options.use_threads(threads)
    estimator, task = open_task(model)
    part = task.read(data, label_col=label_col, text_col=text_col, like=estimator).held_out()
    console = Console(quiet=bool(ctx.obj and ctx.obj.get("quiet")))
    say_notes(console, part.notes)
    metrics = estimator.evaluate(part)
    if as_json:
        result_json({"task": task.name, "model": model, "data": part.source, "rows": len(part), "metrics": metrics})
    else:
        for name, value in metrics.items():
            result(f"{name:<12} {number(value)}")
    options.check_requirements(wanted, metrics)
