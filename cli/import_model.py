"""`dlcore import PATH -o model.dlc`: a network that another program trained, as a model file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from dlcore.cli import options
from dlcore.cli.console import Console, result, result_json
from dlcore.errors import UsageError

TORCH = (".th", ".pt", ".pth", ".tar")


@click.command(short_help="Make a model file of a network that another program trained.", no_args_is_help=True)
@click.argument("file", metavar="PATH")
@click.option("-o", "--out", required=True, metavar="FILE", help="Model file to write, such as model.dlc.")
@click.option("--labels", default="", metavar="A,B,...", help="Of a network for images: its outputs' names.  [default: CIFAR-10's]")
@click.option("--tokenizer", default="", metavar="PATH", help="Of a model of texts: its tokenizer.  [default: beside the weights]")
@click.option("--context", type=options.Whole(min=2), metavar="N", help="Of a language model: the most tokens it sees.")
@options.common
@click.pass_context
def command(
    ctx: click.Context, file: str, out: str, labels: str, tokenizer: str, context: int | None, as_json: bool
) -> None:
    """Import PATH.  No code in it is run, and pickled weights are refused.

    \b
    a folder   of Hugging Face's kind (config.json, model.safetensors, tokenizer.json): GPT-2, BERT or Llama
    x.bin      a checkpoint of llama2.c, with its tokenizer.bin beside it
    x.th, .pt  a residual network for CIFAR-10 as PyTorch before 1.6 wrote it
    """
    made: Callable[..., tuple[Any, dict[str, Any]]]
    given: dict[str, Any]
    place = Path(file)
    if not place.exists():
        raise UsageError("there is no such file", where=file)
    if place.is_file() and place.suffix in TORCH:
        given = {"--tokenizer": tokenizer, "--context": context}
        unfit, made = "this is a network for images", torch_network
    else:
        given = {"--labels": labels}
        unfit, made = "this is a model of texts", text_model
    if chosen := [name for name, value in given.items() if value]:
        raise UsageError(unfit, where=chosen[0], hint="leave it out")
    estimator, facts = made(file, labels=labels, tokenizer=tokenizer, context=context or 0)
    estimator.save(out)
    count = estimator.model.count_params()
    if unused := getattr(estimator, "unused_", ()):
        Console(quiet=bool(ctx.obj and ctx.obj.get("quiet"))).say("import", f"not used: {', '.join(unused)}")
    if as_json:
        result_json({"model": out, "task": estimator.task, "weights": count, **facts})
    else:
        result(f"{out}: {estimator.task}, {count:,} weights, " + ", ".join(_shown(*fact) for fact in facts.items()))


def torch_network(file: str, labels: str, **rest: Any) -> tuple[Any, dict[str, Any]]:
    """A classifier of images."""
    from dlcore.tasks import torch_resnet

    names = tuple(name.strip() for name in labels.split(",") if name.strip()) or torch_resnet.LABELS
    made = torch_resnet.read(file, names)
    return made, {"arch": made.arch, "labels": list(names)}


def text_model(file: str, tokenizer: str, context: int, **rest: Any) -> tuple[Any, dict[str, Any]]:
    """A language model, or an encoder of texts."""
    from dlcore.tasks.pretrained import from_pretrained

    made: Any = from_pretrained(file, tokenizer=tokenizer, context=context)
    facts = {"tokens": len(made.tokenizer_)}
    if made.task == "embed":
        return made, {**facts, "pool": made.pool, "normalize": made.normalize, "max_len": made.max_len}
    return made, {"arch": made.arch, **facts, "context": made.context}


def _shown(name: str, value: Any) -> str:
    if isinstance(value, list):
        return f"{len(value)} {name}"
    return f"{name} {value:,}" if type(value) is int else f"{name} {value}"
