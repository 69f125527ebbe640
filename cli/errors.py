"""From an exception to the message that a user reads and the exit code that a script reads."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Iterable, Iterator

import click

from dlcore.errors import ConfigError, DataError, DlcoreError, Interrupted, UsageError, WriteError

CANNOT_WRITE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}


def similar(word: str, words: Iterable[str]) -> str:
    """The entry of `words` that `word` was probably meant to be, or ""."""
    import difflib

    return next(iter(difflib.get_close_matches(word, list(words), n=1, cutoff=0.6)), "")


def unknown(kind: str, word: str, words: Iterable[str], hint: str = "") -> UsageError:
    """The error for a name that is not one of `words`."""
    words = list(words)
    guess = similar(word, words)
    return UsageError(
        f"no {kind} named {word!r}", expected=", ".join(words), hint=f"did you mean {guess!r}?" if guess else hint
    )


@contextlib.contextmanager
def writing(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turns an operating-system error of the block into a WriteError that names `path`."""
    try:
        yield
    except WriteError:
        raise
    except OSError as fault:
        raise WriteError(
            f"cannot write {os.fspath(path)}",
            got=fault.strerror or str(fault),
            hint="free some space or choose another place; what stood there before is unchanged",
        ) from fault


@contextlib.contextmanager
def refused() -> Iterator[None]:
    """Settings that a task refuses are a faulty configuration: one by one they were checked, and they do not go together."""
    try:
        yield
    except UsageError as fault:
        raise ConfigError(
            fault.message, where=fault.where, expected=fault.expected, got=fault.got, hint=fault.hint
        ) from fault


@contextlib.contextmanager
def unreadable(path: str) -> Iterator[None]:
    """Turns an operating-system error of the block into a DataError that names `path`."""
    try:
        yield
    except OSError as fault:
        raise DataError("cannot be read", where=path, got=fault.strerror or str(fault)) from fault


def report(fault: BaseException, debug: bool = False) -> int:
    """Print `fault` on stderr in the form of its kind; returns the exit code."""
    if isinstance(fault, (click.exceptions.Exit, SystemExit)):
        code = fault.exit_code if isinstance(fault, click.exceptions.Exit) else fault.code
        return code if isinstance(code, int) else int(code is not None)
    if isinstance(fault, BrokenPipeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader went away: nothing left to say
        return 0
    if debug:
        import traceback

        traceback.print_exception(fault)
    text, code = describe(fault)
    with contextlib.suppress(OSError):  # where nobody reads it, the exit code still tells
        click.echo(text, err=True)
    return code


def describe(fault: BaseException) -> tuple[str, int]:
    """Message and exit code of a fault."""
    if isinstance(fault, DlcoreError):
        return f"{fault.code}  {fault}", fault.exit_code
    if isinstance(fault, click.exceptions.NoArgsIsHelpError) and fault.ctx is not None:
        if isinstance(fault.ctx.command, click.Group):
            return fault.format_message(), UsageError.exit_code
        usage = fault.ctx.get_usage().removeprefix("Usage: ")
        fault = UsageError("more words are needed", expected=usage, hint=f"{fault.ctx.command_path} --help")
        return f"{fault.code}  {fault}", fault.exit_code
    if isinstance(fault, click.ClickException):
        context = getattr(fault, "ctx", None)
        path = context.command_path if context else "dlcore VERB"
        return f"{UsageError.code}  {fault.format_message()}\n  hint      {path} --help", UsageError.exit_code
    if isinstance(fault, (KeyboardInterrupt, click.Abort)):
        return f"{Interrupted.code}  interrupted", Interrupted.exit_code
    if isinstance(fault, OSError) and fault.errno in CANNOT_WRITE:
        return f"{WriteError.code}  cannot write {fault.filename or 'standard output'}: {fault.strerror}", WriteError.exit_code
    return (
        f"{DlcoreError.code}  {type(fault).__name__}: {fault}\n"
        "  hint      this is a fault of dlcore's own; --debug shows where it happened",
        DlcoreError.exit_code,
    )
