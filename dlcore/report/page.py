"""The report of a run: one HTML file with its own style and drawings, which needs no network and no program.

    Report(name="runs/digits", task="image-classify", rows=epochs, evaluation=evaluation).html()
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

from dlcore.metrics.evaluation import Evaluation
from dlcore.report import sections
from dlcore.report.style import CSS


@dataclass(frozen=True)
class Example:
    """A row that the model got wrong.  picture: a data URI; text: what the row says, where it has no picture."""

    place: str
    answer: str
    predicted: str
    detail: str
    picture: str = ""
    text: str = ""


@dataclass
class Report:
    """What the page says.  Parts that are not known are left out.

    rows: one mapping per epoch, "epoch" and metrics by name; best_epoch: that of the model's weights.  measured: what the
    evaluation was made on; scores: metrics of a task that has no evaluation by labels or numbers.  charts: drawings of what was
    predicted there, HTML.  facts and cost: names and values as shown.  config, lock: TOML.
    """

    name: str
    task: str
    version: str = ""
    when: str = ""
    rows: Sequence[Mapping[str, Any]] = ()
    best_epoch: int = 0
    evaluation: Evaluation | None = None
    scores: Mapping[str, float] = field(default_factory=dict)
    measured: str = ""
    charts: str = ""
    examples: Sequence[Example] = ()
    train_rows: int = 0
    facts: Mapping[str, str] = field(default_factory=dict)
    cost: Mapping[str, str] = field(default_factory=dict)
    config: str = ""
    lock: str = ""

    def html(self) -> str:
        """The page."""
        parts = [self._header(), sections.tiles(self)]
        if self.rows:
            parts.append(section("Training", sections.training(self)))
        if self.evaluation is not None:
            title = f"Evaluation on {self.measured}" if self.measured else "Evaluation"
            parts.append(section(title, sections.evaluation(self.evaluation)))
        elif self.scores:
            title = f"Evaluation on {self.measured}" if self.measured else "Evaluation"
            parts.append(section(title, sections.scores(self.scores)))
        if self.charts:
            parts.append(section(f"Forecasts on {self.measured}" if self.measured else "Forecasts", self.charts))
        if self.examples:
            parts.append(section("Worst examples", sections.worst(self.examples)))
        if self.cost or self.facts:
            parts.append(section("Cost and machine", sections.facts(self.cost, self.facts)))
        if self.config:
            parts.append(section("Configuration", sections.configuration(self.config, self.lock)))
        footer = f"<footer>Written by dlcore {escape(self.version)}{' on ' + escape(self.when) if self.when else ''}.</footer>"
        return ("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
                "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">"
                "<link rel=\"icon\" href=\"data:,\">"
                f"<title>{escape(self.name)} \u00b7 dlcore report</title><style>{CSS}</style></head>\n<body><main>\n"
                + "\n".join(parts) + f"\n{footer}\n</main></body></html>\n")

    def _header(self) -> str:
        return f"<header><h1>{escape(self.name)}</h1><p>{escape(self.task)}</p></header>"


def section(title: str, content: str) -> str:
    return f"<section><h2>{escape(title)}</h2>\n{content}</section>" if content else ""
