"""The table of epochs: as many columns as the terminal is wide."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dlcore.cli.console import Console, number

LEAST = 10  # characters of a metric's column
# column -> (heading, format, width); in this order, those at the end are left out first where the line is too short
FURTHER = {
    "lr": ("lr", "{:.2e}", 10),
    "rows_per_second": ("rows/s", "{:,.0f}", 11),
    "gradient_norm": ("grad norm", "{:.4g}", 11),
}


class EpochTable:
    """Aligned rows; the head is printed before the first."""

    def __init__(self, console: Console, names: Sequence[str]):
        self.console, self.names = console, list(names)
        self.further: list[str] = []
        self._started = False

    def row(self, values: Mapping[str, Any], mark: bool = False) -> None:
        """One finished epoch: `epoch`, `seconds` since the start, metrics by name; `mark`: the best so far."""
        if not self._started:
            self._started = True
            self._choose(values)
            self.console.line()
            heads = [f"{name.replace('_', ' '):>{self._width(name)}}" for name in self.names]
            heads += [f"{FURTHER[name][0]:>{FURTHER[name][2]}}" for name in self.further]
            self.console.line(f"{'epoch':>6}{''.join(heads)}{'time':>9}", style="bold")
        cells = [f"{number(values[n]) if n in values else '':>{self._width(n)}}" for n in self.names]
        for name in self.further:
            _, form, width = FURTHER[name]
            cells.append(f"{form.format(values[name]) if name in values else '':>{width}}")
        line = f"{values['epoch']:>6}{''.join(cells)}{values['seconds']:>8.1f}s"
        self.console.line(line + " *" * mark, style="green" if mark else "")

    def _width(self, name: str) -> int:
        return max(LEAST, len(name) + 2)

    def _choose(self, values: Mapping[str, Any]) -> None:
        """The further columns that there is room for."""
        room = self.console.width - 6 - sum(map(self._width, self.names)) - 9 - 2
        for name, (_, _, width) in FURTHER.items():
            if name in values and name not in self.names and width <= room:
                self.further.append(name)
                room -= width
