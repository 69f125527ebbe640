"""`dlcore predict MODEL INPUT`: one line per row on stdout, in the order of the input."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from dlcore.cli import options
from dlcore.cli.console import Console, result_json
from dlcore.errors import DataError, UsageError


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
@click.option(
    "--save",
    metavar="FILE.png|FOLDER",
    help="A picture of what is predicted, for models that draw one; of a detector the pictures with their boxes.",
)
@click.option(
    "--threshold",
    type=options.Finite(0, 1.000001, closed=True),
    metavar="SCORE",
    help="Of a detector: show boxes with this score or more.  [default: as in training]",
)
@click.option("--skip-bad", is_flag=True, help="Leave out pictures that cannot be read, and name them.")
@click.option("--text", metavar="TEXT", help="One text in place of INPUT.")
@click.option(
    "--beam",
    type=options.Whole(min=1, max=64),
    metavar="K",
    help="Translations followed at a time; 1 takes the likeliest.",
)
@click.option(
    "--attention", metavar="FILE.svg", help="A picture of what each token of the one translation looked at."
)
@options.precision
@options.header
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
    threshold: float | None,
    skip_bad: bool,
    text: str | None,
    beam: int | None,
    attention: str | None,
    precision: str | None,
    header: bool | None,
    device: str,
    threads: int | None,
    as_json: bool,
) -> None:
    """Label INPUT with MODEL, a run folder or a model file; without INPUT, or with -, standard input is read.

    Several files are read one after another: dlcore predict runs/image-classify photos/*.jpg
    """
    from dlcore.cli.model import named, open_task, reading, say_notes
    from dlcore.data.dataset import together

    if proba and top_k:
        raise UsageError("--proba and --top-k exclude each other", hint="give one of them")
    for option, path in (("-o", out), ("--save", save), ("--attention", attention)):
        if path is not None and Path(path).is_file():
            hint = f"remove it first, or choose another {option}"
            raise UsageError("the output file exists; nothing was written over", where=path, hint=hint)
    options.use_threads(threads)
    estimator, task = open_task(model, precision)
    console = Console(quiet=bool(ctx.obj and ctx.obj.get("quiet")))
    made_by = {"task": task.name, **named(model, precision)}
    told = reading(task, skip_bad, header)
    if hasattr(estimator, "detect"):
        others = {"--proba": proba, "--top-k": top_k, "--text": text, "--beam": beam, "--attention": attention}
        for option, value in others.items():
            if value:
                raise UsageError("a detector finds boxes with a score each", where=option, hint="leave it out")
        how: dict[str, Any] = {"labelled": False, "like": estimator, "skip_bad": skip_bad}
        part = together([task.read(source, **how).held_out() for source in data or ("-",)])
        say_notes(console, part.notes)
        detect(estimator, made_by, part.x, out, save, threshold, as_json)
        return
    if threshold is not None:
        raise UsageError("this option is for detectors", where="--threshold", got=task.name)
    if save is not None and Path(save).exists():
        raise UsageError("the output exists; nothing was written over", where=save, hint="choose another --save")
    classes = getattr(estimator, "classes_", None)
    if classes is None and (proba or top_k):
        raise UsageError(
            "this model predicts numbers, which have no probabilities",
            where="--proba" if proba else "--top-k",
            hint="leave it out",
        )
    if save is not None and not hasattr(estimator, "picture"):
        raise UsageError("this model draws no picture", where="--save", got=task.name, hint="leave it out")
    options.use_beam(estimator, beam)
    part = given(text, data, estimator, task, told)
    if skip_bad and not len(part):
        raise DataError("no picture can be read", where=", ".join(data[:3]), got=part.notes[-1] if part.notes else "")
    say_notes(console, (*part.notes, *(estimator.input_notes(part.x) if hasattr(estimator, "input_notes") else ())))
    if attention is not None:
        draw(attention, estimator, task.name, part.x)
    if save is not None:
        from dlcore.training.grids import write_png

        write_png(save, estimator.picture(part.x))
    if as_json:
        result_json(_object(estimator, made_by, part.x, classes, proba, top_k))
    else:
        _write(_lines(estimator, part.x, classes, proba, top_k), out)


def detect(
    estimator: Any,
    made_by: dict[str, Any],
    pictures: Any,
    out: str | None,
    save: str | None,
    threshold: float | None,
    as_json: bool,
) -> None:
    """Boxes in pictures: csv or JSON, and the pictures with the boxes drawn."""
    from dlcore.tasks import detected

    names = [str(file) for file in pictures.files]
    places = detected.places_for(save, names) if save is not None else []
    found = estimator.predict(pictures, threshold=threshold)
    for place, row in zip(places, range(len(names)), strict=False):
        picture = estimator.draw(pictures.take([row]), found[row : row + 1])[0]
        detected.write_picture(place, picture)
    if as_json:
        rows = [
            {"image": name, "boxes": [box.to_json() for box in boxes]} for name, boxes in zip(names, found, strict=True)
        ]
        result_json({**made_by, "labels": list(estimator.labels_), "predictions": rows})
    else:
        _write((_csv(row) for row in (detected.HEADER, *detected.rows(names, found))), out)


def given(text: str | None, data: tuple[str, ...], estimator: Any, task: Any, told: dict[str, Any]) -> Any:
    """What is to be predicted: every INPUT, or the one text of --text.   told: to the task's `read`."""
    from dlcore.data.dataset import Dataset, together

    if text is None:
        parts = [task.read(source, labelled=False, like=estimator, **told).held_out() for source in data or ("-",)]
        whole = together(parts)
        if len(parts) == 1 or "skip_bad" not in told:
            return whole
        return replace(whole, notes=(*whole.notes, *(note for part in parts for note in part.notes)))  # what is left out
    import numpy as np

    if not getattr(estimator, "reads_text", False):
        raise UsageError("this model takes no texts", where="--text", got=task.name, hint="leave it out")
    if data:
        raise UsageError("--text stands in place of INPUT", got=data[0], hint="give one of them")
    if not text.strip():
        raise DataError("the text is empty", where="--text")
    return Dataset(np.array([text], object), None, "--text")


def draw(path: str, estimator: Any, task: str, x: Any) -> None:
    """The picture of --attention."""
    from dlcore.cli.errors import writing

    if not hasattr(estimator, "attention"):
        raise UsageError("this model has no attention to show", where="--attention", got=task, hint="leave it out")
    if not path.lower().endswith(".svg"):
        raise UsageError("the picture is an SVG file", where="--attention", expected="NAME.svg", got=path)
    if len(x) != 1:
        raise UsageError("the picture is of one text", where="--attention", got=f"{len(x):,} texts", hint='--text "..."')
    picture = estimator.attention(x[0]).svg()
    with writing(path), open(path, "x", encoding="utf-8") as file:
        file.write(picture)


def _object(
    estimator: Any, report: dict[str, Any], x: Any, classes: Any, proba: bool, top_k: int | None
) -> dict[str, Any]:
    if hasattr(estimator, "table"):
        columns, rows = estimator.table(x)
        return report | {"columns": columns, "predictions": rows}
    if not (proba or top_k):
        return report | {"predictions": estimator.predict(x)}
    probabilities = estimator.predict_proba(x)
    best = probabilities.argsort(axis=1, kind="stable")[:, ::-1]
    one = not hasattr(estimator, "thresholds_")
    report |= {"classes": classes, "predictions": classes[probabilities.argmax(axis=1)] if one else estimator.predict(x)}
    if proba:
        return report | {"probabilities": probabilities}
    return report | {
        "top": [[[classes[c], row[c]] for c in order[:top_k]] for row, order in zip(probabilities, best, strict=True)]
    }


def _lines(estimator: Any, x: Any, classes: Any, proba: bool, top_k: int | None) -> Iterator[str]:
    if hasattr(estimator, "table"):
        columns, rows = estimator.table(x)
        yield _csv(columns)
        yield from (_csv([f"{v:.7g}" if isinstance(v, float) else v for v in row]) for row in rows)
    elif proba:
        yield _csv(classes)
        for row in estimator.predict_proba(x):
            yield ",".join(f"{p:.6g}" for p in row)
    elif top_k:
        for row in estimator.predict_proba(x):
            best = (-row).argsort(kind="stable")[:top_k]
            yield "\t".join(f"{classes[c]} {row[c]:.4f}" for c in best)
    else:
        for label in estimator.predict(x):
            if getattr(label, "ndim", 0):  # a vector
                yield ",".join(f"{value:.7g}" for value in label.tolist())
                continue
            if isinstance(label, list):  # any number of labels
                yield _csv(label)
                continue
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
