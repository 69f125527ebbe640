"""Configurations as text: TOML read with the lines of its keys, and written with a comment for each."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dlcore.cli.config import COMMENTS, SECTIONS, SHARED, Section, dashed
from dlcore.cli.errors import similar
from dlcore.errors import ConfigError


def toml_value(text: str) -> Any:
    """`text` read as a TOML value; text that is none stands for itself."""
    try:
        values = tomllib.loads(f"x = {text}")
    except tomllib.TOMLDecodeError:
        return text.strip()
    return values["x"] if len(values) == 1 else text.strip()


def read_file(path: Path) -> tuple[dict[str, Any], dict[tuple[str, str], int]]:
    """A TOML file and the line of each (section, key).  Raises ConfigError."""
    try:
        text = path.read_text(encoding="utf-8")
        values = tomllib.loads(text)
    except FileNotFoundError:
        guess = similar(path.name, [file.name for file in path.parent.glob("*.toml")])
        hint = f"did you mean {str(path.with_name(guess))!r}?" if guess else "dlcore config init TASK -o FILE makes one"
        raise ConfigError("no such configuration file", where=str(path), hint=hint) from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as fault:
        raise ConfigError(
            "the configuration file cannot be read", where=str(path), expected="TOML, as UTF-8", got=str(fault)
        ) from None
    return values, _lines(text)


def _lines(text: str) -> dict[tuple[str, str], int]:
    section, lines = "", {}
    for number, line in enumerate(text.splitlines(), 1):
        if head := re.match(r"\s*\[\s*([\w-]+)\s*\]", line):
            section = head[1]
            lines[section, ""] = number
        elif key := re.match(r'\s*"?([\w-]+)"?\s*=', line):
            lines[section, key[1]] = number
    return lines


def to_toml(task: str, sections: Mapping[str, Mapping[str, Any]], header: str = "") -> str:
    """Sections as TOML, each known key with its comment."""
    lines = [f"# {header}"] if header else []
    lines.append(f"task = {to_text(task)}")
    for section, values in sections.items():
        kind = SECTIONS.get(section, Section)
        notes = {dashed(name): info.description for name, info in kind.model_fields.items()}
        notes |= {key: text for (place, key), text in COMMENTS.items() if place == section}
        notes |= {key: options["description"] for (place, key), (_, options) in SHARED.items() if place == section}
        lines += ["", f"[{section}]"]
        for key, value in values.items():
            text = f"{key if re.fullmatch(r'[A-Za-z0-9_-]+', key) else to_text(key)} = {to_text(value)}"
            lines.append(f"{text:<32} # {notes[key]}" if notes.get(key) else text)
    return "\n".join(lines) + "\n"


def to_text(value: Any) -> str:
    """A value as TOML writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(to_text, value)) + "]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{to_text(str(key))} = {to_text(item)}" for key, item in value.items()) + "}"
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
