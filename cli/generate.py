"""`dlcore generate MODEL`: text that a language model writes, shown as it is made; images, as one picture."""

from __future__ import annotations

import itertools
import sys
import time
from pathlib import Path
from typing import Any

import click

from dlcore.cli import options
from dlcore.cli.console import result_json
from dlcore.cli.errors import writing
from dlcore.cli.options import Finite
from dlcore.errors import UsageError

TOKENS, IMAGES = 200, 64  # made where the user does not say how many
OF_TEXT = ("prompt", "temperature", "top_k", "top_p", "min_p", "repetition_penalty", "stop", "beams")


@click.command(short_help="Make text or images with a trained model.", no_args_is_help=True)
@click.argument("model")
@click.option("--prompt", metavar="TEXT", help="How the text begins; - is standard input.  [default: the model's own beginning]")
@click.option("-n", "--max-new", type=options.Whole(min=1), help="Tokens, at most, or images.  [default: 200, or 64]")
@click.option("-o", "--out", metavar="FILE", help="Of images: a new PNG file, or .npy for the pixels as numbers.")
@click.option("--label", metavar="LABEL", help="Of images that a model makes for labels: this one.  [default: any]")
@click.option("--temperature", type=Finite(0, closed=True), default=1.0, show_default=True, help="0 takes the likeliest token.")
@click.option("--top-k", type=options.Whole(min=1), help="Draw from the K likeliest tokens.")
@click.option("--top-p", type=Finite(0, 1.000001), default=1.0, help="Draw from the fewest that reach this probability.")
@click.option("--min-p", type=Finite(0, 1, closed=True), default=0.0, help="Draw from those so likely beside the likeliest.")
@click.option("--repetition-penalty", type=Finite(0), default=1.0, help="Above 1, tokens that occurred become less likely.")
@click.option("--stop", multiple=True, metavar="TEXT", help="End before this text; may be repeated.")
@click.option("--beams", type=options.Whole(min=1), help="Search for the likeliest text with so many beams instead of drawing.")
@click.option("--seed", type=options.Whole(min=0, max=2**63 - 1), default=0, show_default=True, help="The same, the same result.")
@options.precision
@options.machine
@options.common
@click.pass_context
def command(
    ctx: click.Context,
    model: str,
    max_new: int | None,
    out: str | None,
    label: str | None,
    precision: str | None,
    device: str,
    threads: int | None,
    as_json: bool,
    **given: Any,
) -> None:
    """Write on from a prompt, or make images, with MODEL, a run folder or a model file.

    \b
    dlcore generate runs/char-lm --prompt "ROMEO:" -n 300 --temperature 0.8
    dlcore generate runs/gan -n 64 -o grid.png --label 7
    """
    from dlcore.cli.model import named, open_task

    options.use_threads(threads)
    estimator, task = open_task(model, precision)
    made_by = {"task": task.name, **named(model, precision)}
    if hasattr(estimator, "stream"):
        if out is not None:
            raise UsageError("text goes to standard output", where="--out", hint="leave it out")
        if label is not None:
            raise UsageError("this model makes text, not images", where="--label", hint="leave it out")
        write(estimator, made_by, max_new or TOKENS, as_json, **given)
    elif hasattr(estimator, "generate"):
        if chosen := [name for name in OF_TEXT if ctx.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE]:
            raise UsageError("this model makes images, not text", where="--" + chosen[0].replace("_", "-"), hint="leave it out")
        draw(estimator, made_by, max_new or IMAGES, out, given["seed"], label, as_json)
    else:
        expected = "one that writes text or makes images"
        raise UsageError("this model generates nothing", where=model, expected=expected, got=task.name)


def draw(
    estimator: Any, made_by: dict[str, Any], count: int, out: str | None, seed: int, label: str | None, as_json: bool
) -> None:
    """Images into a file."""
    import numpy as np

    from dlcore.cli.console import result
    from dlcore.report import png
    from dlcore.training.grids import write_png

    if out is None or not out.lower().endswith((".png", ".npy")):
        raise UsageError("images are written to a file", where="--out", expected="NAME.png or NAME.npy", got=out or "")
    if Path(out).exists():
        hint = "remove it first, or choose another -o"
        raise UsageError("the output file exists; nothing was written over", where=out, hint=hint)
    if label is not None and not getattr(estimator, "conditional", False):
        hint = "leave it out; dlcore train gan --set model.conditional=true makes one that does"
        raise UsageError("this model makes images without labels", where="--label", got=label, hint=hint)
    begin = time.perf_counter()
    images = estimator.generate(count, seed=seed, **({} if label is None else {"label": label}))
    seconds = time.perf_counter() - begin
    if out.lower().endswith(".png"):
        write_png(out, png.grid(images))
    else:
        with writing(out), open(out, "xb") as file:
            np.save(file, images)
    if as_json:
        made = {**made_by, "images": count, "shape": list(images.shape[1:]), "out": out}
        made |= {} if label is None else {"label": label}
        result_json(made | {"seed": seed, "seconds": round(seconds, 3)})
    else:
        result(f"{count} images in {out}")


def write(
    estimator: Any, made_by: dict[str, Any], max_new: int, as_json: bool, prompt: str | None, stop: tuple[str, ...], **given: Any
) -> None:
    """Text to standard output."""
    prompt = estimator.opening if prompt is None else sys.stdin.read() if prompt == "-" else prompt
    chosen = {name: value for name, value in given.items() if value is not None}
    begin, text = time.perf_counter(), prompt
    pieces = estimator.stream(prompt, max_new, stop=stop, **chosen)
    first = next(pieces, "")  # what is wrong with the prompt is said before anything is written
    if not as_json:
        click.echo(prompt, nl=False)
    for piece in itertools.chain([first], pieces):
        text += piece
        if not as_json:
            click.echo(piece, nl=False)
    if not as_json:
        click.echo()
        return
    new = len(estimator.tokenizer_.encode(text, special=False)) - len(estimator.tokenizer_.encode(prompt, special=False))
    seconds = time.perf_counter() - begin
    made = {**made_by, "prompt": prompt, "text": text, "new": new, "seconds": round(seconds, 3)}
    result_json(made | chosen)
