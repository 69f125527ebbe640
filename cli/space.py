"""The search space of `dlcore tune`: which settings are tried, and between what."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dlcore.cli.toml_text import toml_value
from dlcore.errors import UsageError

FORM = "train.lr=1e-4..1e-2:log, train.batch=32,64,128 or model.hidden=[[64], [128, 64]]"


@dataclass(frozen=True)
class Dimension:
    """One setting: numbers from `low` to `high`, whole ones where both are, or one of `choices`."""

    key: str
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    choices: tuple[Any, ...] = ()

    @classmethod
    def parse(cls, key: str, text: str) -> Dimension:
        """From LOW..HIGH, LOW..HIGH:log, a, b, c, or a TOML list of choices.  Raises UsageError."""
        text = text.strip()
        low, dots, rest = text.partition("..")
        if dots and not text.startswith("["):
            high, _, scale = rest.partition(":")
            ends = toml_value(low), toml_value(high)
            log = scale.strip() == "log"
            if not all(type(end) in (int, float) for end in ends) or scale.strip() not in ("", "log"):
                raise _unreadable(key, text)
            if not ends[0] < ends[1] or (log and ends[0] <= 0):
                expected = "LOW..HIGH with LOW below HIGH" + (", both above 0" if log else "")
                raise UsageError(f"--space {key}: the range is empty", expected=expected, got=text)
            return cls(key, *ends, log=log)
        choices = toml_value(text) if text.startswith("[") else [toml_value(part) for part in text.split(",")]
        if not isinstance(choices, list) or len(choices) < 2 or "" in choices:
            raise _unreadable(key, text)
        return cls(key, choices=tuple(choices))

    def suggest(self, trial: Any) -> Any:
        """The trial's value."""
        if self.choices:
            # a list is no choice of Optuna's: its text is
            return json.loads(trial.suggest_categorical(self.key, [json.dumps(choice) for choice in self.choices]))
        if isinstance(self.low, int) and isinstance(self.high, int):
            return trial.suggest_int(self.key, self.low, self.high, log=self.log)
        return trial.suggest_float(self.key, self.low, self.high, log=self.log)

    def read(self, parameter: Any) -> Any:
        """The value of a finished trial's parameter."""
        return json.loads(parameter) if self.choices else parameter

    def extremes(self) -> tuple[Any, ...]:
        """Values that must be fine for all between them to be so."""
        return self.choices or (self.low, self.high)


def parse(defaults: Mapping[str, str], given: Sequence[str]) -> dict[str, Dimension]:
    """The task's space with those of --space SECTION.KEY=... in place of its own; `none` takes one out.

    Raises UsageError."""
    texts = dict(defaults)
    for item in given:
        key, equals, text = item.partition("=")
        if not (equals and key.strip() and text.strip()):
            raise _unreadable(key, item)
        if text.strip() == "none":
            texts.pop(key.strip(), None)
        else:
            texts[key.strip()] = text
    if not texts:
        raise UsageError("there is nothing to search", expected=f"--space {FORM}")
    return {key: Dimension.parse(key, text) for key, text in texts.items()}


def _unreadable(key: str, text: str) -> UsageError:
    return UsageError(f"--space {key} cannot be read", got=text, expected=FORM)
