"""Reading fitted preprocessing back from a model file, whose JSON nobody vouches for."""
from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeVar

from dlcore.errors import ModelFileError

T = TypeVar("T")


def fields(value: Any, where: str, **kinds: type) -> list[Any]:
    """The values of an object that has exactly these fields, each of its type; raises `ModelFileError`.

    `float` takes whole numbers too and refuses those that are not finite; `int` takes no truth values.
    """
    if not isinstance(value, Mapping) or set(value) != set(kinds):
        got = ", ".join(map(str, value)) if isinstance(value, Mapping) else type(value).__name__
        raise ModelFileError("a part of the model file is malformed", where=where, expected=", ".join(kinds),
                             got=got[:120])
    return [_typed(value[name], kind, f"{where}.{name}") for name, kind in kinds.items()]


def _typed(value: Any, kind: type, where: str) -> Any:
    if kind is float and type(value) is int and abs(value) < 1 << 53:
        value = float(value)
    if type(value) is not kind or (isinstance(value, float) and not math.isfinite(value)):
        raise ModelFileError("a value of the model file has the wrong type", where=where, expected=kind.__name__,
                             got=str(value)[:60])
    return value


def choice(value: Any, where: str, options: Mapping[str, T]) -> T:
    """The option that `value` names; raises `ModelFileError` where it names none."""
    if not isinstance(value, str) or value not in options:
        raise ModelFileError("a part of the model file is of an unknown kind", where=where,
                             expected=", ".join(options), got=str(value)[:60])
    return options[value]
