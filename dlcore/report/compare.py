"""Curves of several runs on one page, drawn as in a report."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from dlcore.errors import UsageError
from dlcore.report import sections, svg
from dlcore.report.style import CSS
from dlcore.report.svg import Series


def page(curves: Mapping[str, Mapping[str, Sequence[float]]], epochs: Mapping[str, Sequence[int]],
         metrics: Sequence[str] = ()) -> str:
    """A self-contained HTML page: a chart per metric, a colour per run, validation dashed.

    curves: run -> metric -> one value per epoch; epochs: run -> the numbers of its epochs; metrics: those to draw, all
    where empty.  Raises `UsageError` for a metric that no run has.
    """
    known = dict.fromkeys(name for run in curves.values() for name in run)
    names = list(metrics) or list(dict.fromkeys(name.removeprefix("val_") for name in known))
    parts = []
    for name in names:
        series = [Series(f"{run}, {part}", list(map(float, epochs[run])), history[key], colour, style)
                  for colour, (run, history) in enumerate(curves.items())
                  for key, part, style in ((name, "training", ""), (f"val_{name}", "validation", "dashed"))
                  if key in history]
        if not series:
            raise UsageError(f"no run has a metric {name!r}", expected=", ".join(known))
        chart = svg.lines(series, "epoch", sections.name(name), whole=True)
        parts.append(sections.card(sections.name(name), chart + sections.keys(series)))
    title = " and ".join(curves)
    return ("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
            "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"><link rel=\"icon\" href=\"data:,\">"
            f"<title>{escape(title)}</title><style>{CSS}</style></head>\n<body><main><header><h1>{escape(title)}</h1>"
            f"</header>\n<h2>Curves</h2>{sections.cards(*parts)}</main></body></html>\n")
