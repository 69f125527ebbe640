"""One format into another: tables, images to npz, anything to a cache."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np

from dlcore.data.cache import build_cache
from dlcore.data.inspect import kind_of
from dlcore.data.pictures import parse_size
from dlcore.data.table import read_table
from dlcore.data.write import format_of, write_bytes, write_table
from dlcore.errors import UsageError, WriteError


def convert(source: str, target: str, label_col: str = "", text_col: str = "", size: str = "") -> dict[str, Any]:
    """Reads `source` and writes `target` in the format of its name; returns rows and path.

    Raises `UsageError` for a name that says no format, `DataError` for what the format cannot hold, `WriteError` where `target` is
    there already."""
    wanted = parse_size(size)
    if target.rstrip("/").endswith(".cache"):
        cache = build_cache(source, target.rstrip("/"), size=wanted, label_col=label_col)
        return {"rows": len(cache), "path": target}
    kind = format_of(target)
    if kind_of(source) == "table":
        if wanted:
            raise UsageError("a table has no size", got=f"--size {size}")
        table = read_table(source)
        write_table(table, target, label_col, text_col)
        return {"rows": len(table), "path": target}
    if kind != "npz":
        raise UsageError("images are written as .npz or .cache", got=target)
    if Path(target).exists():
        raise WriteError("the file is there already, and is not overwritten", where=target, hint="choose another name")
    from dlcore.data.images import read_images

    parts = read_images(source, wanted, label_col=label_col)
    arrays = (
        {"x_train": parts.train.x, "y_train": parts.train.y} if parts.test else {"x": parts.train.x, "y": parts.train.y}
    )
    if parts.test:
        arrays |= {"x_test": parts.test.x, "y_test": parts.test.y}
    out = io.BytesIO()
    np.savez_compressed(out, **{name: array for name, array in arrays.items() if array is not None})  # type: ignore[arg-type]
    write_bytes(Path(target), out.getvalue())
    return {"rows": len(parts.train) + (len(parts.test) if parts.test else 0), "path": target}
