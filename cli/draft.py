"""A configuration being put together and checked: all problems are reported at once.

Four sources, the later ones win: the task's defaults for the architecture, the preset, a configuration file, the command line
(options, then `--set section.key=value`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from dlcore.cli.config import SECTIONS, dashed, section_of
from dlcore.cli.errors import similar
from dlcore.cli.toml_text import read_file, toml_value
from dlcore.errors import ConfigError

LONGEST_SHOWN = 60  # of a value in a message


@dataclass
class Value:
    """A value and where it came from: a file's line, an option, `--set`, or a default."""

    value: Any
    source: str = ""


@dataclass
class Draft:
    """A configuration being put together: sections of keys with their sources, and the problems met so far."""

    task: str
    sections: dict[str, dict[str, Value]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def put(self, section: str, key: str, value: Any, source: str) -> None:
        """Later values replace earlier ones."""
        self.sections.setdefault(section, {})[key] = Value(value, source)

    def put_below(self, section: str, key: str, value: Any, source: str) -> None:
        """A value that counts only where there is none yet."""
        self.sections.setdefault(section, {}).setdefault(key, Value(value, source))

    def set(self, text: str) -> None:
        """One `--set section.key=value`; the value is read as TOML, and as text where it is none."""
        name, equals, value = text.partition("=")
        section, dot, key = name.strip().partition(".")
        if not (equals and dot and section and key):
            self.problems.append(_problem("--set", text, "cannot be read: section.key=value is expected"))
            return
        self.put(section, key, toml_value(value), "--set")


def put_file(draft: Draft, path: Path) -> None:
    """Add what a configuration file says; its `task` must be the draft's."""
    values, lines = read_file(path)
    for section, content in values.items():
        if isinstance(content, dict):
            for key, value in content.items():
                draft.put(section, key, value, f"{path.name}:{lines.get((section, key), '?')}")
        elif section != "task":
            draft.problems.append(
                _problem(f"{path.name}:{lines.get(('', section), '?')}", section, "stands in no section")
            )


def validate(draft: Draft, defaults: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """The checked sections {"data": ..., "model": ..., "train": ..., "run": ...}.

    `defaults` (section -> key -> default) holds the keys that the task and its architecture add to those every task has.
    Raises ConfigError with every problem there is.
    """
    kinds = {section: section_of(section, base, defaults.get(section, {})) for section, base in SECTIONS.items()}
    checked: dict[str, dict[str, Any]] = {}
    names = {section: [dashed(name) for name in kind.model_fields] for section, kind in kinds.items()}
    for section in SECTIONS:
        content = draft.sections.get(section, {})
        try:
            checked[section] = kinds[section](**{key: item.value for key, item in content.items()}).model_dump(
                by_alias=True
            )
        except ValidationError as fault:
            for error in fault.errors():
                draft.problems.append(_explain(section, error, content, names))
    draft.problems += _combinations(draft, checked)
    keys = [f"{section}.{dashed(key)}" for section, kind in kinds.items() for key in kind.model_fields]
    for section in draft.sections.keys() - kinds.keys():
        for key, item in draft.sections[section].items():
            draft.problems.append(
                _problem(
                    item.source,
                    f"{section}.{key}",
                    "unknown section",
                    similar(f"{section}.{key}", keys) or similar(section, kinds),
                )
            )
    if draft.problems:
        count = len(draft.problems)
        raise ConfigError(
            f"{count} problem{'s' * (count > 1)} in the configuration, nothing was started\n"
            + "\n".join(draft.problems)
        )
    return checked


def _explain(section: str, error: Any, content: Mapping[str, Value], names: Mapping[str, list[str]]) -> str:
    key = str(error["loc"][0])
    item = content.get(key, Value(None))
    name = f"{section}.{key}"
    if error["type"] == "extra_forbidden":
        guess = similar(key, names[section])
        elsewhere = [place for place in names if key in names[place]]
        place = elsewhere[0] if elsewhere and not guess else section
        return _problem(item.source, name, "unknown key", f"{place}.{guess or key}" if guess or elsewhere else "")
    if error["type"] == "missing":
        return _problem("", name, "is missing")
    guess = similar(item.value, re.findall(r"'([^']*)'", error["msg"])) if isinstance(item.value, str) else ""
    shown = json.dumps(item.value, default=str, ensure_ascii=False)
    if len(shown) > LONGEST_SHOWN:
        shown = shown[:LONGEST_SHOWN] + "..."
    which = f"item {error['loc'][1] + 1} " if len(error["loc"]) > 1 and isinstance(error["loc"][1], int) else ""
    return _problem(item.source, f"{name} = {shown}", which + _expectation(error), guess)


def _expectation(error: Any) -> str:
    """What a value must be, from pydantic's kind of error."""
    given = error.get("ctx", {})
    known = {
        "int_type": "must be a whole number",
        "int_from_float": "must be a whole number",
        "float_type": "must be a number",
        "finite_number": "must be a finite number",
        "string_type": "must be text",
        "bool_type": "must be true or false",
        "list_type": "must be a list, such as [64, 32]",
        "greater_than": f"must be above {given.get('gt', 0):g}",
        "greater_than_equal": f"must be at least {given.get('ge', 0):g}",
        "less_than": f"must be below {given.get('lt', 0):g}",
        "less_than_equal": f"must be at most {given.get('le', 0):g}",
        "literal_error": f"must be one of {given.get('expected')}".replace("True or False", "true or false"),
    }
    return known.get(error["type"], error["msg"].lower())


def _combinations(draft: Draft, checked: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Settings that are fine one by one and do not go together."""
    data = checked.get("data", {})
    given = draft.sections.get("data", {})
    folds, kind = data.get("folds", 0), data.get("fold-kind", "auto")
    wrong = []
    if folds == 1:
        wrong.append(("folds", "must be 0, or at least 2"))
    if data.get("group") and data.get("time-order"):
        wrong.append(("time-order", "does not go with data.group: folds go by one of them"))
    if not folds:
        wrong += [(key, "needs data.folds") for key in ("group", "time-order") if data.get(key)]
        wrong += [("fold-kind", "needs data.folds")] if kind != "auto" else []
    elif "group" in kind and not data.get("group"):
        wrong.append(("fold-kind", "needs data.group, the column of the groups"))
    elif data.get("group") and kind not in ("auto", "group", "stratified-group"):
        wrong.append(("group", f"does not go with folds of kind {kind}"))
    elif data.get("time-order") and kind not in ("auto", "time"):
        wrong.append(("time-order", f"does not go with folds of kind {kind}"))
    return [
        _problem(given[key].source if key in given else "", f"data.{key} = {json.dumps(data[key])}", why) for key, why in wrong
    ]


def _problem(source: str, what: str, why: str, guess: str = "") -> str:
    return f"  {source:<15} {what:<28} {why}" + (f"; did you mean {guess}?" if guess else "")
