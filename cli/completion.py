"""`dlcore completion SHELL`: the script that lets a shell complete verbs and options."""

from __future__ import annotations

import click

from dlcore.cli import options
from dlcore.cli.console import result, result_json


@click.command(short_help="Print the completion script of a shell.", no_args_is_help=True)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@options.common
def command(shell: str, as_json: bool) -> None:
    """Print the script that lets SHELL complete verbs, options and their values.

    \b
    eval "$(dlcore completion bash)"          in ~/.bashrc
    eval "$(dlcore completion zsh)"           in ~/.zshrc
    dlcore completion fish > ~/.config/fish/completions/dlcore.fish
    """
    from click.shell_completion import get_completion_class

    from dlcore.cli.main import app

    made = get_completion_class(shell)
    assert made is not None
    script = made(app, {}, "dlcore", "_DLCORE_COMPLETE").source()
    if as_json:
        result_json({"shell": shell, "script": script})
    else:
        result(script)
