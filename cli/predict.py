"""`dlcore predict MODEL INPUT`: one line per row on stdout, in the order of the input."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from dlcore.cli import options
from dlcore.cli.console import Console, result_json
from dlcore.errors import UsageError


@click.command(short_help="Label new data with a trained model.", no_args_is_help=True)
@click.argument("model")
@click.argument("data", metavar="[INPUT]...", nargs=-1)
@click.option("--proba", is_flag=True, help="The probability of every class as CSV; the first line names the classes.")
@click.option(
    "--top-k",
    type=options.Whole(min=1),
    metavar="K",
    help="The K likeliest labels with their probabilities, best first.",
)
@click.option("-o", "--out", metavar="FILE", help="Write to FILE, which must not exist.  [default: standard output]")
@click.option("--save", metavar="FILE.png", help="A picture of what is predicted, for models that draw one.")
@options.machine
@options.common
@click.pass_context
def command(
    ctx: click.Context,
    model: str,
    data: tuple[str, ...],
    proba: bool,
    top_k: int | None,
    out: str | None,
    save: str | None,
    device: str,
    threads: int | None,
    as_json: bool,
) -> None:
    """Label INPUT with MODEL, a run folder or a model file; without INPUT, or with -, standard input is read.

    Several files are read one after another: dlcore predict runs/image-classify photos/*.jpg
    """
    from dlcore.cli.model import open_task, say_notes
    from dlcore.data.dataset import together

    if proba and top_k:
        raise UsageError("--proba and --top-k exclude each other", hint="give one of them")
    for option, path in (("-o", out), ("--save", save)):
        if path is not None and Path(path).exists():
            hint = f"remove it first, or choose another {option}"
            raise UsageError("the output file exists; nothing was written over", where=path, hint=hint)
    options.use_threads(threads)
    estimator, task = open_task(model)
    classes = getattr(estimator, "classes_", None)
    if classes is None and (proba or top_k):
        raise UsageError(
            "this model predicts numbers, which have no probabilities",
            where="--proba" if proba else "--top-k",
            hint="leave it out",
        )
    if save is not None and not hasattr(estimator, "picture"):
        raise UsageError("this model draws no picture", where="--save", got=task.name, hint="leave it out")
    part = together([task.read(source, labelled=False, like=estimator).held_out() for source in data or ("-",)])
    say_notes(Console(quiet=bool(ctx.obj and ctx.obj.get("quiet"))), part.notes)
    if save is not None:
        from dlcore.training.grids import write_png

        write_png(save, estimator.picture(part.x))
    if as_json:
        result_json(_object(estimator, task.name, model, part.x, classes, proba, top_k))
    else:
        _write(_lines(estimator, part.x, classes, proba, top_k), out)


def _object(
    estimator: Any, task: str, model: str, x: Any, classes: Any, proba: bool, top_k: int | None
) -> dict[str, Any]:
    report: dict[str, Any] = {"task": task, "model": model}
    if not (proba or top_k):
        return report | {"predictions": estimator.predict(x)}
    probabilities = estimator.predict_proba(x)
    best = probabilities.argsort(axis=1, kind="stable")[:, ::-1]
    report |= {"classes": classes, "predictions": classes[probabilities.argmax(axis=1)]}
    if proba:
        return report | {"probabilities": probabilities}
    return report | {
        "top": [[[classes[c], row[c]] for c in order[:top_k]] for row, order in zip(probabilities, best, strict=True)]
    }


def _lines(estimator: Any, x: Any, classes: Any, proba: bool, top_k: int | None) -> Iterator[str]:
    if proba:
        yield _csv(classes)
        for row in estimator.predict_proba(x):
            yield ",".join(f"{p:.6g}" for p in row)
    elif top_k:
        for row in estimator.predict_proba(x):
            best = (-row).argsort(kind="stable")[:top_k]
            yield "\t".join(f"{classes[c]} {row[c]:.4f}" for c in best)
    else:
        for label in estimator.predict(x):
            yield (
                f"{label:.7g}" if isinstance(label, float) or getattr(label, "dtype", None) == "float32" else str(label)
            )


def _csv(names: Any) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(names)
    return line.getvalue()


def _write(lines: Iterator[str], out: str | None) -> None:
    from dlcore.cli.errors import writing
    from dlcore.deploy.atomic import write_text

    if out is None:
        for line in lines:
            click.echo(line)
        return
    text = "".join(line + "\n" for line in lines)
    with writing(out):
        write_text(Path(out), text)
