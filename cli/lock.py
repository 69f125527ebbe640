"""run.lock: what a run was computed with, so that it can be told whether another would give the same bits."""

from __future__ import annotations

import hashlib
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from dlcore.cli.config import to_toml
from dlcore.cli.errors import unreadable

CHUNK = 1 << 20


def text(task: str, seed: int, sources: Sequence[str], threads: int) -> str:
    """The lock of a run of `task` on these data sources."""
    from dlcore import __version__
    from dlcore.runtime import kernel_table

    sections: dict[str, Mapping[str, Any]] = {
        "versions": {"dlcore": __version__, "python": platform.python_version(), "numpy": metadata.version("numpy")},
        "machine": {
            "system": platform.system(),
            "architecture": platform.machine(),
            "level": kernel_table().level,
            "precision": "float32",
            "threads": threads,
        },
        "data": {source: data_hash(source) for source in sources},
        "run": {"seed": seed, "command": [Path(sys.argv[0]).name, *sys.argv[1:]]},
    }
    return to_toml(
        task, sections, header="written when the run started; results are the same bits for any number of threads"
    )


def data_hash(source: str) -> str:
    """SHA-256 of a file, or of the names and contents of a folder's files in order; standard input has none."""
    path = Path(source)
    digest = hashlib.sha256()
    if source == "-":
        return "standard input"
    with unreadable(source):
        for file in sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]:
            if path.is_dir():
                digest.update(os.fsencode(file.relative_to(path)) + b"\0")
            with open(file, "rb") as content:
                while block := content.read(CHUNK):
                    digest.update(block)
    return "sha256:" + digest.hexdigest()
