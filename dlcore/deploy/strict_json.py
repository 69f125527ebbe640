"""JSON from a file that nobody vouches for: either plain data within limits, or a `ModelFileError`."""
from __future__ import annotations

import json
from typing import Any

from dlcore.errors import ModelFileError

MAX_DEPTH = 64


def _no_constant(text: str) -> None:
    raise ValueError(f"{text} is not JSON")


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key occurs twice")
    return result


def _too_deep(value: Any) -> bool:
    """Whether anything lies more than MAX_DEPTH lists and objects deep: whoever walks the value later may recurse."""
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [child for part in level if isinstance(part, (dict, list))
                 for child in (part.values() if isinstance(part, dict) else part)]
        if not level:
            return False
    return True


def parse_json(data: bytes, where: str, limit: int) -> Any:
    """Parse UTF-8 JSON of at most `limit` bytes; raises `ModelFileError` naming `where` for anything else.

    Refused too: NaN and infinities, a key that occurs twice, nesting deeper than 64, half a surrogate pair.
    """
    if len(data) > limit:
        raise ModelFileError("a part of the model file is too large", where=where, expected=f"at most {limit:,} bytes",
                             got=f"{len(data):,}")
    try:
        text = data.decode("utf-8")
        value = json.loads(text, parse_constant=_no_constant, object_pairs_hook=_no_duplicates)
        if _too_deep(value):
            raise ValueError(f"nested deeper than {MAX_DEPTH}")
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode("utf-8")       # half a surrogate pair fails here
    except RecursionError:
        reason = f"nested deeper than {MAX_DEPTH}"
    except ValueError as error:
        reason = str(error)[:200]
    else:
        return value
    raise ModelFileError("a part of the model file is not valid JSON", where=where, got=reason,
                         hint="the file is damaged or was written by something else")
