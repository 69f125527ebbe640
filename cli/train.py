"""`dlcore train TASK --data D`: from words to a run folder with a model in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from dlcore.cli import options
from dlcore.cli.console import Console, number, result, result_json
from dlcore.cli.options import Duration, Finite, Whole
from dlcore.errors import Interrupted, UsageError

if TYPE_CHECKING:
    from dlcore.cli.plan import Plan
    from dlcore.cli.run_folder import RunFolder


@click.command(short_help="Train a model on your data.", no_args_is_help=True)
@click.argument("task", metavar="TASK")
@click.option("--data", metavar="PATH", help="Training data: a file or folder; - is standard input.")
@click.option("--test", metavar="PATH", help="Test data, measured once at the end and used for nothing else.")
@click.option("--val-split", type=Finite(0, 1, closed=True), help="Share of the training part kept for validation.")
@click.option(
    "--label-col", metavar="NAME", help="Column of the answer.  [default: label, category, class, target or intent]"
)
@click.option("--text-col", metavar="NAME", help="Column of the text, for tasks on text.")
@click.option(
    "--augment",
    metavar="CHANGES",
    help="Random changes of training images: crop,flip,rotate=10,brightness=0.2,cutout,mixup, ...; see docs/data.md.",
)
@click.option("--size", metavar="HxW", help="Bring images to this size, as 32 or 24x32.  [default: the commonest]")
@click.option("--skip-bad", is_flag=True, default=None, help="Leave out images that cannot be read, and count them.")
@options.header
@click.option("--input", type=Whole(min=1), metavar="STEPS", help="Steps of a series that are seen.")
@click.option("--horizon", type=Whole(min=1), metavar="STEPS", help="Steps of a series that are forecast.")
@click.option("--target", multiple=True, metavar="COLUMN", callback=options.as_list, help="Column to forecast; may be repeated.")
@click.option("--time-col", metavar="NAME", help="Column of the times of a series; none: there is none.")
@click.option("--split", metavar="A,B,C", help="Training, validation and test steps of a series, or shares: 0.7,0.1,0.2.")
@click.option("--arch", metavar="NAME", help="Architecture of the network.")
@click.option("--preset", metavar="NAME", help="Named defaults of the task.")
@click.option("--epochs", type=Whole(min=1), help="Passes over the training part.")
@click.option("--batch", type=Whole(min=1), help="Rows per step.")
@click.option("--lr", type=Finite(0), help="Learning rate.")
@options.recipe
@click.option("--seed", type=Whole(min=0, max=2**63 - 1), help="Seed of weights, order, dropout and split.")
@click.option("--folds", type=Whole(min=2), metavar="K", help="Cross-validate in K folds before the training.")
@click.option(
    "--fold-kind",
    type=click.Choice(["auto", "plain", "stratified", "group", "stratified-group", "time"]),
    help="How rows are divided; auto goes by --group, --time-order, labels.",
)
@click.option("--group", metavar="COL", help="Column of groups that no fold divides; it is not learned from.")
@click.option("--time-order", metavar="COL", help="Column of the time: folds test on what came later.")
@click.option("--jobs", type=Whole(min=1), help="Folds at once, each on one thread.  [default: one per core]")
@click.option("--save-every", type=Whole(min=1), help="Steps between two checkpoints.  [default: an epoch]")
@click.option("--keep", type=Whole(min=1), help="How many of the latest checkpoints are kept.  [default: 1]")
@click.option("--log-every", type=Whole(min=1), metavar="STEPS", help="Also a line of progress every so many steps.")
@click.option("--max-time", type=Duration(), metavar="TIME", help="The most time to train, about: 90s, 10m, 1h30m.")
@click.option("--dry-run", is_flag=True, help="Say shapes, memory and time after a few steps; write nothing.")
@click.option("--lr-find", is_flag=True, help="Only look for a learning rate: suggests one, and writes a csv file.")
@click.option("--overfit", type=Whole(min=1), metavar="N", help="Only try to learn N batches by heart.")
@click.option("--out", metavar="FOLDER", help="Run folder; must not exist or be empty.  [default: runs/TASK]")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="SECTION.KEY=VALUE",
    help="Any other setting of config.toml; may be repeated.",
)
@options.require_option
@options.machine
@options.common
@click.pass_context
def command(
    ctx: click.Context,
    task: str,
    out: str | None,
    as_json: bool,
    require: tuple[str, ...],
    arch: str | None,
    preset: str | None,
    settings: tuple[str, ...],
    dry_run: bool,
    overfit: int | None,
    lr_find: bool,
    **given: Any,
) -> None:
    """Train a model for TASK, or as the configuration file TASK.toml says.

    \b
    dlcore train image-classify --data mnist/ --epochs 5
    dlcore train tabular --data adult.csv --label-col income --set model.hidden=[64,64]
    """
    from dlcore.cli import plan, rehearse
    from dlcore.cli.execute import prepare

    if dry_run + bool(overfit) + lr_find > 1:
        raise UsageError("--dry-run, --overfit and --lr-find exclude each other", hint="give one of them")
    if lr_find and require:
        raise UsageError("looking for a learning rate measures no quality", where="--require", hint="leave it out")
    if dry_run and require:
        raise UsageError("a dry run measures no quality", where="--require", hint="leave out --dry-run or --require")
    wanted = options.requirements(require)
    chosen = plan.make(task, given, settings, arch, preset)
    console = Console(quiet=bool(ctx.obj and ctx.obj.get("quiet")))
    try:
        if dry_run:
            report = rehearse.dry_run(console, chosen, *prepare(console, chosen))
        elif overfit:
            report = rehearse.overfit(console, chosen, *prepare(console, chosen), overfit)
        elif lr_find:
            report = rehearse.find_rate(console, chosen, *prepare(console, chosen), out)
        else:
            report = train(console, chosen, out)
    finally:
        console.close()
    if as_json:
        result_json(report)
    else:
        result(summary(report))
    options.check_requirements(wanted, report["metrics"] if wanted else {})


def train(console: Console, plan: Plan, out: str | None, folder: RunFolder | None = None) -> dict[str, Any]:
    """Train in `folder`, or in one that is started; returns what `--json` prints."""
    from dlcore.cli import lock, run_folder
    from dlcore.cli.execute import execute
    from dlcore.runtime import default_threads, device_reason, kernel_table

    options.use_device(plan.sections["run"]["device"])
    options.use_threads(plan.sections["run"]["threads"] or None)
    started = folder is None
    if folder is None:
        place = run_folder.choose(out, plan.task.name)
        folder = run_folder.RunFolder.start(place, plan.toml(), lock.text(plan), numbered=out is None)
    device, _, why = device_reason().partition(": ")
    with folder.held():
        console.open_log(folder.open_log())
        console.say(
            "run",
            f"{folder.path} · device {device} ({why}) · level {kernel_table().level} · float32"
            f" · at most {default_threads()} threads",
        )
        try:
            return execute(console, plan, folder)
        except Interrupted:
            raise
        except Exception:
            if started and not folder.trained:
                folder.discard()  # what is refused leaves nothing behind
            raise
        finally:
            folder.close()


def summary(report: dict[str, Any]) -> str:
    """The result for people."""
    if "lr_find" in report:
        return f"learning rate {report['suggestion']:.3g}\n{report['csv']}"
    if "dry_run" in report:
        return f"{report['parameters']:,} weights, about {report['seconds']:.0f} s of training"
    shown = [name for name in report["metrics"] if name not in report.get("details", ())]
    metrics = "  ".join(f"{name} {number(report['metrics'][name])}" for name in shown)
    return f"{metrics}\nmodel {report['model']}" if "model" in report else metrics
