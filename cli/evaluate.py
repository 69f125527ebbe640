"""`dlcore evaluate MODEL DATA`: everything that can be measured of a trained model on labelled data."""

from __future__ import annotations

from typing import Any

import click

from dlcore.cli import options
from dlcore.cli.console import Console, result, result_json
from dlcore.errors import UsageError


class Threshold(click.ParamType):
    """`auto`, `f1`, `youden`, or a probability."""

    name = "threshold"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float | str:
        if isinstance(value, float) or value in ("f1", "youden"):
            return value
        if value == "auto":
            return "f1"
        try:
            number = float(value)
        except ValueError:
            self.fail(f"{value!r} is neither auto, f1, youden nor a number.", param, ctx)
        if not 0 <= number <= 1:
            self.fail(f"{value} does not lie between 0 and 1.", param, ctx)
        return number


@click.command(short_help="Measure a trained model on labelled data.", no_args_is_help=True)
@click.argument("model")
@click.argument("data")
@click.option("--label-col", default="", metavar="NAME", help="Column of the answer.  [default: as in training]")
@click.option("--text-col", default="", metavar="NAME", help="Column of the text.  [default: as in training]")
@click.option("--by", metavar="COLUMN", help="Measure each group of rows with the same value in COLUMN too.")
@click.option(
    "--threshold",
    type=Threshold(),
    metavar="auto|youden|NUMBER",
    help="Two labels: predict the second from this probability on; auto has the best F1 on DATA, youden the best"
    " sensitivity + specificity.",
)
@click.option("--worst", type=options.Whole(min=1), metavar="N", help="Show the N rows that are most wrong.")
@click.option("--beam", type=options.Whole(min=1, max=64), metavar="K",
              help="Translations followed at a time; 1 takes the likeliest.")
@click.option("--seed", type=options.Whole(min=0), default=0, show_default=True, help="Seed of the 95 % intervals.")
@click.option("--report/--no-report", default=True, help="Write report.html into a run folder.  [default: write]")
@click.option("--skip-bad", is_flag=True, help="Leave out images that cannot be read or are missing, and count them.")
@options.precision
@options.header
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
    by: str | None,
    threshold: float | str | None,
    worst: int | None,
    beam: int | None,
    seed: int,
    report: bool,
    skip_bad: bool,
    precision: str | None,
    header: bool | None,
    require: tuple[str, ...],
    device: str,
    threads: int | None,
    as_json: bool,
) -> None:
    """Measure MODEL, a run folder or a model file, on DATA.

    Where DATA has a test part, that part is measured, else all of it; - is standard input.  Shown are metrics with 95 %
    bootstrap intervals, the report of each label, the confusion matrix and the calibration.

    \b
    dlcore evaluate runs/tabular test.csv --by sex --threshold auto
    dlcore evaluate runs/image-classify mnist/ --worst 5 --require "accuracy>=0.98"
    """
    from dlcore.cli import measuring
    from dlcore.cli.model import has_labels, named, open_task, reading, say_notes

    wanted = options.requirements(require)
    options.use_threads(threads)
    estimator, task = open_task(model, precision)
    options.use_beam(estimator, beam)
    told = reading(task, skip_bad, header)
    part = task.read(data, label_col=label_col, text_col=text_col, like=estimator, **told).held_out()
    console = Console(quiet=bool(ctx.obj and ctx.obj.get("quiet")))
    say_notes(console, part.notes)
    if has_labels(estimator):
        estimator._answers.encode(part.y, part.source, part.place)  # a label that training did not see is named with its line
    if not hasattr(estimator, "evaluation"):
        if by or threshold or worst:
            raise UsageError(f"{task.name} has neither groups, thresholds nor worst rows")
        found: dict[str, Any] = {"metrics": estimator.evaluate(part)}
        lines = measuring.metric_lines(found["metrics"], {})
        if hasattr(estimator, "by_label"):
            found["by_label"] = estimator.by_label(part)
            lines += ["", *measuring.label_lines(found["by_label"])]
    else:
        found, lines = measuring.measure(
            estimator,
            part,
            model,
            by=by,
            threshold=threshold,
            worst=worst or 0,
            seed=seed,
            report=report,
            say=console.say,
        )
    if as_json:
        result_json({"task": task.name, **named(model, precision), "data": part.source, "rows": len(part), **found})
    else:
        result("\n".join(lines))
    options.check_requirements(wanted, found["metrics"])
