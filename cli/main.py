"""Entry point of `dlcore`: verbs loaded when they are named, and every fault turned into a message and an exit code.

`dlcore --help` imports click and the standard library, nothing else; each verb lives in a module of its own name, whose
`command` is the click command.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys

import click

import dlcore
from dlcore.cli import signals
from dlcore.cli.errors import report, unknown
from dlcore.errors import UsageError

VERBS = {
    "train": "Train a model on your data.",
    "resume": "Go on with a run that was interrupted, to the same bits.",
    "evaluate": "Measure a trained model on labelled data.",
    "predict": "Label new data with a trained model.",
    "generate": "Write text with a trained language model.",
    "info": "Show what a model file or a run folder holds.",
    "runs": "List, compare, draw, verify and clean run folders.",
    "import": "Make a model file of a network that another program trained.",
    "export": "Turn a trained model into files for another world (C99, safetensors).",
    "tune": "Search for settings under a budget of time and size.",
    "config": "Make, show, check and compare configurations.",
    "data": "Check, show, split, convert and fetch data.",
    "profile": "Show each kernel call of a model with its cost and time.",
    "doctor": "Check this installation: CPU level, threads, kernels, gradients.",
    "completion": "Print the completion script of a shell.",
}
MODULES = {"config": "config_verbs", "import": "import_model"}  # verbs whose module has another name


class Verbs(click.Group):
    """A group that knows its verbs by name and imports one when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        return importlib.import_module(f"dlcore.cli.{MODULES.get(cmd_name, cmd_name)}").command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in VERBS:
            raise unknown("verb", args[0], VERBS, hint="dlcore --help")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl(list(VERBS.items()))


def _show_version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        click.echo(f"dlcore {dlcore.__version__}")
        ctx.exit()


@click.group(cls=Verbs, no_args_is_help=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_version,
    help="Print the version and exit.",
)
def app() -> None:
    """Train, evaluate and ship neural networks.

    \b
    dlcore train image-classify --data mnist/
    dlcore evaluate runs/image-classify mnist/
    dlcore predict runs/image-classify digits.idx

    Results go to stdout, progress to stderr.
    Exit codes: 0 fine, 1 a fault of dlcore's own, 2 usage, 3 configuration, 4 data or model file, 5 diverged,
    6 a required quality was missed, 7 device missing, 74 cannot write, 75 interrupted.
    """


def run(arguments: list[str]) -> int:
    """Run one command line; returns its exit code."""
    debug = "--debug" in arguments
    try:
        for word in arguments:
            if word[:1] in "\u2010\u2011\u2012\u2013\u2014\u2212" and word:
                plain = "--" + word.lstrip("\u2010\u2011\u2012\u2013\u2014\u2212-")
                raise UsageError(
                    f"{word!r} begins with a typographic dash; options begin with --", hint=f"did you mean {plain!r}?"
                )
        with app.make_context("dlcore", list(arguments)) as context:
            app.invoke(context)
        sys.stdout.flush()
        return 0
    except BaseException as fault:
        return report(fault, debug)


def main() -> None:
    """The console script."""
    if "_DLCORE_COMPLETE" in os.environ:
        app.main(prog_name="dlcore")
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the caller: the next file that is opened must not take its place
            setattr(sys, name, open(os.devnull, "r" if name == "stdin" else "w"))
    signals.catch()
    code = run(sys.argv[1:])
    with contextlib.suppress(OSError):
        sys.stderr.flush()
    sys.exit(code)
