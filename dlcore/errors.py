"""Errors that users meet: what went wrong, where, what was expected, what was found, how to mend it.

Every error of dlcore derives from `DlcoreError`.  The command line prints `str(error)` and exits with `error.exit_code`;
a traceback is shown under `--debug` only.
"""
from __future__ import annotations

from collections.abc import Iterable


class DlcoreError(Exception):
    """A fault with a message for its reader.

    `where` names the place (file and row, layer, option), `expected` and `got` the difference, `hint` the remedy.
    """

    code = "DL-E00"
    exit_code = 1

    def __init__(self, message: str, *, where: str = "", expected: str = "", got: str = "", hint: str = ""):
        super().__init__(message)
        self.message, self.where, self.expected, self.got, self.hint = message, where, expected, got, hint

    def __str__(self) -> str:
        lines = [self.message]
        lines += [f"  {name:<10}{text}" for name in ("where", "expected", "got", "hint") if (text := getattr(self, name))]
        return "\n".join(lines)


def meant(word: object, known: Iterable[str]) -> str:
    """A hint: the entry of `known` that `word` was probably meant to be; "" where none is like it."""
    import difflib

    found = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6) if isinstance(word, str) else []
    return f"did you mean {found[0]!r}?" if found else ""


class SpecError(DlcoreError, ValueError):
    """A call's spec string is wrong; the message points into it."""

    code = "DL-E01"


class ShapeError(DlcoreError, ValueError):
    """Shapes or dtypes do not fit a call, a layer or a model."""

    code, exit_code = "DL-E02", 4


class NotDifferentiableError(DlcoreError, TypeError):
    """A gradient was asked for that has no derivation; the message names the layer and the call."""

    code = "DL-E03"


class UsageError(DlcoreError, ValueError):
    """The command line or a function was used wrongly."""

    code, exit_code = "DL-U01", 2


class NotFittedError(UsageError, AttributeError):
    """An estimator was used before `fit`.  Where scikit-learn is loaded, its `NotFittedError` catches this one too."""


class ConfigError(DlcoreError, ValueError):
    """The configuration is wrong; all problems are listed at once."""

    code, exit_code = "DL-C01", 3


class DataError(DlcoreError, ValueError):
    """The data cannot be used: missing, truncated, malformed, out of range."""

    code, exit_code = "DL-D01", 4


class ModelFileError(DlcoreError, ValueError):
    """A model file is missing, damaged or of another kind."""

    code, exit_code = "DL-M01", 4


class DivergedError(DlcoreError, ArithmeticError):
    """Training met a loss or a gradient that is not finite; weights are those before that step."""

    code, exit_code = "DL-T01", 5


class GateError(DlcoreError):
    """A quality gate (`--require accuracy>=0.9`) was not met."""

    code, exit_code = "DL-Q01", 6


class DeviceError(DlcoreError, RuntimeError):
    """A device, CPU level or precision that was asked for is not here, or is full: then `share` of what was asked for is free."""

    code, exit_code = "DL-G01", 7
    share = 0.0


class WriteError(DlcoreError, OSError):
    """A file could not be written; what stood there before is unchanged."""

    code, exit_code = "DL-W01", 74


class Interrupted(DlcoreError, KeyboardInterrupt):
    """Stopped by the user or a signal; the message says what was kept."""

    code, exit_code = "DL-I01", 75
