"""`dlcore import FILE -o model.dlc`: a network that another program trained, as a model file."""

from __future__ import annotations

from pathlib import Path

import click

from dlcore.cli import options
from dlcore.cli.console import result, result_json
from dlcore.errors import UsageError


@click.command(short_help="Make a model file of a network that another program trained.", no_args_is_help=True)
@click.argument("file")
@click.option("-o", "--out", required=True, metavar="FILE", help="Model file to write, such as model.dlc.")
@click.option("--labels", default="", metavar="A,B,...", help="Names of the outputs.  [default: CIFAR-10's]")
@options.common
def command(file: str, out: str, labels: str, as_json: bool) -> None:
    """Import FILE: a residual network for CIFAR-10 as PyTorch before 1.6 wrote it (.th, .pt).  No code in it is run."""
    from dlcore.tasks import torch_resnet

    if not Path(file).is_file():
        raise UsageError("there is no such file", where=file)
    names = tuple(name.strip() for name in labels.split(",") if name.strip()) or torch_resnet.LABELS
    made = torch_resnet.read(file, names)
    made.save(out)
    count = made.model.count_params()
    if as_json:
        result_json({"model": out, "task": made.task, "arch": made.arch, "weights": count, "labels": list(names)})
        return
    result(f"{out}: {made.arch}, {count:,} weights, {len(names)} labels")
