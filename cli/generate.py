"""`dlcore generate MODEL --prompt TEXT`: text that a language model writes, shown as it is made."""

from __future__ import annotations

import sys
import time
from typing import Any

import click

from dlcore.cli import options
from dlcore.cli.console import result_json
from dlcore.cli.options import Finite
from dlcore.errors import UsageError


@click.command(short_help="Write text with a trained language model.", no_args_is_help=True)
@click.argument("model")
@click.option("--prompt", default="\n", metavar="TEXT", help="How the text begins; - is standard input.  [default: a line feed]")
@click.option("-n", "--max-new", type=click.IntRange(min=1), default=200, show_default=True, help="Tokens to write, at most.")
@click.option("--temperature", type=Finite(0, closed=True), default=1.0, show_default=True, help="0 takes the likeliest token.")
@click.option("--top-k", type=click.IntRange(min=1), help="Draw from the K likeliest tokens.")
@click.option("--top-p", type=Finite(0, 1.000001), default=1.0, help="Draw from the fewest that reach this probability.")
@click.option("--min-p", type=Finite(0, 1, closed=True), default=0.0, help="Draw from those so likely beside the likeliest.")
@click.option("--repetition-penalty", type=Finite(0), default=1.0, help="Above 1, tokens that occurred become less likely.")
@click.option("--stop", multiple=True, metavar="TEXT", help="End before this text; may be repeated.")
@click.option("--beams", type=click.IntRange(min=1), help="Search for the likeliest text with so many beams instead of drawing.")
@click.option("--seed", type=click.IntRange(min=0, max=2**63 - 1), default=0, show_default=True, help="The same, the same text.")
@options.machine
@options.common
def command(
    model: str, prompt: str, max_new: int, device: str, threads: int | None, as_json: bool, stop: tuple[str, ...], **given: Any
) -> None:
    """Write on from a prompt with MODEL, a run folder or a model file of a language model.

    \b
    dlcore generate runs/char-lm --prompt "ROMEO:" -n 300 --temperature 0.8
    """
    from dlcore.cli.model import open_task

    options.use_threads(threads)
    estimator, task = open_task(model)
    if not hasattr(estimator, "stream"):
        raise UsageError("this model does not write text", where=model, expected="a language model", got=task.name)
    prompt = sys.stdin.read() if prompt == "-" else prompt
    chosen = {name: value for name, value in given.items() if value is not None}
    begin, text = time.perf_counter(), prompt
    if not as_json:
        click.echo(prompt, nl=False)
    for piece in estimator.stream(prompt, max_new, stop=stop, **chosen):
        text += piece
        if not as_json:
            click.echo(piece, nl=False)
    if not as_json:
        click.echo()
        return
    new = len(estimator.tokenizer_.encode(text, special=False)) - len(estimator.tokenizer_.encode(prompt, special=False))
    seconds = time.perf_counter() - begin
    made = {"task": task.name, "model": model, "prompt": prompt, "text": text, "new": new, "seconds": round(seconds, 3)}
    result_json(made | chosen)
