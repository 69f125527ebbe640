"""run.lock: what a run was computed with, so that it can be told whether another would give the same bits."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import sys
import tomllib
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlcore.cli.errors import unreadable
from dlcore.cli.toml_text import to_toml
from dlcore.errors import ConfigError

if TYPE_CHECKING:
    from dlcore.cli.plan import Plan

CHUNK = 1 << 20


def text(plan: Plan, data: Mapping[str, str] | None = None) -> str:
    """The lock of a run: `data` are the digests of its sources, None while they are not known."""
    from dlcore import __version__
    from dlcore.runtime import default_threads, device_kind, kernel_table

    sections: dict[str, Mapping[str, Any]] = {
        "versions": {"dlcore": __version__, "python": platform.python_version(), "numpy": metadata.version("numpy")},
        "machine": {
            "system": platform.system(),
            "architecture": platform.machine(),
            "device": device_kind(),
            "level": kernel_table().level,
            "precision": plan.sections["train"].get("precision", "float32"),
            "threads": default_threads(),
        },
        "data": data or {},
        "run": {
            "seed": plan.sections["train"]["seed"],
            "config": config_hash(plan),
            "settings": json.dumps(settings(plan)),
            "folder": os.getcwd(),
            "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        },
    }
    return to_toml(
        plan.task.name, sections, header="written when the run started; results are the same bits for any number of threads"
    )


# settings that change no bit of what is computed, or whose change is what was asked for
NEUTRAL = {
    ("data", "train"),  # the digest tells whether it is the same data
    ("data", "test"),
    ("train", "epochs"),
    ("train", "save-every"),
    ("train", "keep"),
    ("run", "threads"),
    ("run", "device"),
    ("run", "jobs"),
    ("run", "max-time"),
}


def config_hash(plan: Plan) -> str:
    """SHA-256 of the settings that a run's bits depend on."""
    text = json.dumps([plan.task.name, plan.arch, settings(plan)], sort_keys=True)
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def settings(plan: Plan) -> dict[str, dict[str, Any]]:
    """The settings that a run's bits depend on, by section."""
    return {
        section: {key: value for key, value in sorted(values.items()) if (section, key) not in NEUTRAL}
        for section, values in sorted(plan.sections.items())
    }


def changed(known: Mapping[str, Any], plan: Plan) -> list[tuple[str, Any, Any]]:
    """(section.key, value then, value now) of the settings that are not those of a run.lock."""
    try:
        then = json.loads(known["run"]["settings"])
    except (KeyError, ValueError):  # of an earlier version
        return []
    now = json.loads(json.dumps(settings(plan)))
    names = {(s, key) for group in (then, now) for s, values in group.items() for key in values}
    pairs = [(f"{s}.{key}", then.get(s, {}).get(key), now.get(s, {}).get(key)) for s, key in sorted(names)]
    return [(name, before, after) for name, before, after in pairs if before != after]


def sources(plan: Plan) -> list[str]:
    """The files and folders that a run reads: of the model that it begins with the file alone, in whose folder other things
    may change."""
    data, init = plan.sections["data"], plan.sections["train"].get("init", "")
    inside = Path(init, "model.dlc")
    model = str(inside) if init and inside.is_file() else init
    return [source for source in (data["train"], data["test"], model if init and Path(init).exists() else "") if source]


def read(path: Path) -> dict[str, Any]:
    """What stands in a run.lock.  Raises ConfigError."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as fault:
        raise ConfigError("the run's lock cannot be read", where=str(path), got=str(fault)) from None


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
