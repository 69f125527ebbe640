"""Charts as inline SVG: lines, bars, points and a matrix.  Colours are classes, so that the page's style sheet chooses them.

A chart is 560 wide and 300 high in its own units and fills its card.
"""
from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 560, 300
LEFT, RIGHT, TOP, BOTTOM = 74, 14, 12, 44
COLOURS = 8                             # classes s0 to s7


@dataclass(frozen=True)
class Series:
    """A line.  `style`: "" is solid, "dashed"; `colour`: its number."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    colour: int = 0
    style: str = ""


class Axis:
    """A scale from values to units, with round ticks; `log` where all values are positive and far apart."""

    def __init__(self, low: float, high: float, begin: float, end: float, log: bool = False, whole: bool = False):
        self.log, self.begin, self.end = log, begin, end
        self.low: float
        self.high: float
        if log:
            self.low, self.high = math.floor(math.log10(low)), math.ceil(math.log10(high))
            self.high = max(self.high, self.low + 1)
            step = max(1.0, -(-(self.high - self.low) // 6))
            self.ticks = [10.0 ** e for e in range(int(self.low), int(self.high) + 1, int(step))]
        else:
            step = nice((high - low) / 5 or 1.0)
            step = max(1.0, round(step)) if whole else step
            self.low, self.high = low, high if high > low else low + step
            first = math.ceil(low / step - 1e-9)
            self.ticks = [i * step for i in range(first, math.floor(self.high / step + 1e-9) + 1)]
        self.step = step

    def __call__(self, value: float) -> float:
        place = math.log10(max(value, 1e-300)) if self.log else value
        return self.begin + (place - self.low) / (self.high - self.low) * (self.end - self.begin)

    def text(self, value: float) -> str:
        if self.log:
            return f"{value:g}"
        digits = max(0, -math.floor(math.log10(self.step) + 1e-9))
        return f"{value:,.{digits}f}" if digits < 6 else f"{value:.1e}"


def nice(step: float) -> float:
    """The least of 1, 2, 2.5, 5 and 10 times a power of ten that is at least `step`."""
    power = 10.0 ** math.floor(math.log10(step))
    return next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= step * (1 - 1e-9))


def tag(name: str, content: str = "", **attributes: object) -> str:
    """An element; `_` in a name is `-`, `class_` is `class`."""
    words = "".join(f' {key.rstrip("_").replace("_", "-")}="{escape(_short(value))}"' for key, value in attributes.items())
    return f"<{name}{words}>{content}</{name}>"


def _short(value: object) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def text(x: float, y: float, content: str, **attributes: object) -> str:
    return tag("text", escape(content), x=float(x), y=float(y), **attributes)


def frame(content: str, label: str, width: float = WIDTH, height: float = HEIGHT, limit: float = 0.0) -> str:
    """The element around a chart; `label` is what it says to those who cannot see it, `limit` how many pixels a unit of
    it may take."""
    most = {"style": f"max-width:{limit * width:.0f}px"} if limit else {}
    return tag("svg", content, viewBox=f"0 0 {width:g} {height:g}", role="img", aria_label=label, **most)


def axes(x: Axis, y: Axis, x_label: str, y_label: str) -> str:
    """Grid, ticks and names."""
    parts = []
    for tick in y.ticks:
        parts.append(tag("line", class_="grid", x1=LEFT, x2=WIDTH - RIGHT, y1=y(tick), y2=y(tick)))
        parts.append(text(LEFT - 8, y(tick) + 4, y.text(tick), class_="tick end"))
    for tick in x.ticks:
        parts.append(text(x(tick), HEIGHT - BOTTOM + 18, x.text(tick), class_="tick mid"))
    parts.append(tag("line", class_="axis", x1=LEFT, x2=WIDTH - RIGHT, y1=HEIGHT - BOTTOM, y2=HEIGHT - BOTTOM))
    parts.append(text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, x_label, class_="name mid"))
    middle = (TOP + HEIGHT - BOTTOM) / 2
    parts.append(text(13, middle, y_label, class_="name mid", transform=f"rotate(-90 13 {middle:g})"))
    return "".join(parts)


def lines(series: Sequence[Series], x_label: str, y_label: str, *, x_range: tuple[float, float] | None = None,
          y_range: tuple[float, float] | None = None, log: bool = False, mark: tuple[float, str] | None = None,
          diagonal: bool = False, whole: bool = False) -> str:
    """A chart of lines; points carry their values as titles.  `mark`: a place on x, and what is there."""
    known = [(x, y) for s in series for x, y in zip(s.x, s.y, strict=True) if math.isfinite(y)]
    if not known:
        return ""
    log = log and min(y for _, y in known) > 0
    low, high = y_range or _padded([y for _, y in known], log)
    across = x_range or (min(x for x, _ in known), max(x for x, _ in known))
    x = Axis(*across, LEFT, WIDTH - RIGHT, whole=whole)
    y = Axis(low, high, HEIGHT - BOTTOM, TOP, log)
    parts = [axes(x, y, x_label, y_label)]
    if diagonal:
        parts.append(tag("line", class_="guide", x1=x(0), y1=y(0), x2=x(1), y2=y(1)))
    if mark:
        parts.append(tag("line", class_="mark", x1=x(mark[0]), x2=x(mark[0]), y1=TOP, y2=HEIGHT - BOTTOM))
        side = "end" if x(mark[0]) > WIDTH * 0.7 else ""
        parts.append(text(x(mark[0]) + (-6 if side else 6), TOP + 10, mark[1], class_=f"tick {side}".strip()))
    parts += [_line(s, x, y) for s in series]
    return frame("".join(parts), f"{y_label} by {x_label}: " + ", ".join(s.name for s in series))


def _padded(values: Sequence[float], log: bool) -> tuple[float, float]:
    low, high = min(values), max(values)
    if log:
        return low, high
    room = (high - low) * 0.06 or abs(high) * 0.1 or 1.0
    return (low - room if low < 0 or low > room else 0.0), high + room


def _line(s: Series, x: Axis, y: Axis) -> str:
    points = [(x(a), y(b), a, b) for a, b in zip(s.x, s.y, strict=True) if math.isfinite(b)]
    path = " ".join(f"{'L' if i else 'M'}{a:.1f} {b:.1f}" for i, (a, b, _, _) in enumerate(points))
    parts = [tag("path", d=path, class_=f"line s{s.colour % COLOURS} {s.style}".strip())]
    if len(points) <= 60:
        for a, b, value, height in points:
            title = tag("title", escape(f"{s.name}: {height:.5g} at {value:g}"))
            parts.append(tag("circle", title, cx=a, cy=b, r=3.0 if len(points) <= 25 else 2.0,
                             class_=f"dot s{s.colour % COLOURS}"))
    return "".join(parts)


def reliability(confidence: Sequence[float], accuracy: Sequence[float], rows: Sequence[int], x_label: str) -> str:
    """Accuracy by confidence: points as large as their bins, against the diagonal, over a histogram of the rows."""
    x, y = Axis(0.0, 1.0, LEFT, WIDTH - RIGHT), Axis(0.0, 1.0, HEIGHT - BOTTOM, TOP)
    most, width = max(rows), (WIDTH - LEFT - RIGHT) / 10 - 4
    parts = [axes(x, y, x_label, "share that is right")]
    for c, n in zip(confidence, rows, strict=True):
        left = x(min(math.floor(min(c, 1 - 1e-9) * 10), 9) / 10) + 2
        height = (HEIGHT - BOTTOM - TOP) * 0.25 * n / most
        parts.append(tag("rect", tag("title", f"{n:,} rows"), class_="bar", x=left, y=HEIGHT - BOTTOM - height,
                         width=width, height=height, rx=2))
    parts.append(tag("line", class_="guide", x1=x(0), y1=y(0), x2=x(1), y2=y(1)))
    parts.append(_line(Series("right", confidence, accuracy), x, y))
    return frame("".join(parts), "calibration: share that is right by confidence")


def matrix(names: Sequence[str], counts: Sequence[Sequence[int]]) -> str:
    """A confusion matrix as squares, shaded by the share of their row."""
    size = len(names)
    cell = max(16.0, min(52.0, 520.0 / size))
    shown = [name if len(name) <= 14 else name[:13] + "\u2026" for name in names]
    longest = max(map(len, shown))
    upright = longest * 7.5 <= cell
    left, top, under = 34 + 7.0 * longest, 12.0, 28 + (14 if upright else 7.0 * longest)
    parts = []
    for i, row in enumerate(counts):
        total = sum(row) or 1
        for j, count in enumerate(row):
            title = tag("title", escape(f"{names[i]} taken for {names[j]}: {count:,} of {total:,}"))
            share = count / total
            kind = "right" if i == j else "wrong"
            parts.append(tag("rect", title, class_=f"cell {kind}", x=left + j * cell, y=top + i * cell, width=cell - 2,
                             height=cell - 2, rx=3, fill_opacity=f"{0.04 + 0.96 * share ** 0.7 if count else 0.04:.3f}"))
            if cell >= 22 and count:
                parts.append(text(left + j * cell + cell / 2 - 1, top + i * cell + cell / 2 + 3, f"{count}",
                                  class_="count strong" if share > 0.45 else "count"))
        parts.append(text(left - 8, top + i * cell + cell / 2 + 3, shown[i], class_="tick end"))
    bottom = top + size * cell
    for j, name in enumerate(shown):
        x, y = left + j * cell + cell / 2 - 1, bottom + 14
        turn = {} if upright else {"transform": f"rotate(-90 {x:g} {bottom + 6:g})"}
        parts.append(text(x, y if upright else bottom + 10, name, class_="tick mid" if upright else "tick end", **turn))
    height = bottom + under
    parts.append(text(left + size * cell / 2, height - 4, "predicted", class_="name mid"))
    middle = top + size * cell / 2
    parts.append(text(13, middle, "answer", class_="name mid", transform=f"rotate(-90 13 {middle:g})"))
    return frame("".join(parts), "confusion matrix", left + size * cell + 12, height, limit=1.3)


def scatter(x_values: Sequence[float], y_values: Sequence[float], x_label: str, y_label: str) -> str:
    """Points against the diagonal, on one scale for both."""
    low, high = min(*x_values, *y_values), max(*x_values, *y_values)
    room = (high - low) * 0.04 or 1.0
    x = Axis(low - room, high + room, LEFT, WIDTH - RIGHT)
    y = Axis(low - room, high + room, HEIGHT - BOTTOM, TOP)
    parts = [axes(x, y, x_label, y_label), tag("line", class_="guide", x1=x(low), y1=y(low), x2=x(high), y2=y(high))]
    for a, b in zip(x_values, y_values, strict=True):
        parts.append(tag("circle", tag("title", f"{y_label} {b:.5g}, {x_label} {a:.5g}"), cx=x(a), cy=y(b), r=3,
                         class_="point s0"))
    return frame("".join(parts), f"{y_label} by {x_label}")


def bars(edges: Sequence[float], counts: Sequence[int], x_label: str) -> str:
    """A histogram."""
    x = Axis(edges[0], edges[-1], LEFT, WIDTH - RIGHT)
    y = Axis(0.0, max(*counts, 1) * 1.05, HEIGHT - BOTTOM, TOP)
    parts = [axes(x, y, x_label, "rows")]
    for low, high, count in zip(edges[:-1], edges[1:], counts, strict=True):
        title = tag("title", f"{count:,} rows from {low:.4g} to {high:.4g}")
        parts.append(tag("rect", title, class_="column", x=x(low) + 1, y=y(count), width=max(1.0, x(high) - x(low) - 2),
                         height=y(0) - y(count), rx=2))
    return frame("".join(parts), f"histogram of {x_label}")


def heat(rows: Sequence[str], columns: Sequence[str], shares: Sequence[Sequence[float]], row_name: str, column_name: str) -> str:
    """A matrix of shares from 0 to 1, darker where greater, as an SVG file with a style of its own, light and dark."""
    cell = max(14.0, min(34.0, 1100.0 / max(len(rows), len(columns))))
    left, top = 40 + 7.5 * max(map(_width, rows)), 34 + 7.5 * max(map(_width, columns))
    parts = [tag("style", HEAT_STYLE), text(left, 14, f"across: {column_name}; down: {row_name}", class_="name")]
    for j, name in enumerate(columns):
        x = left + j * cell + cell / 2 + 4
        parts.append(text(x, top - 6, name, class_="tick", transform=f"rotate(-90 {x:g} {top - 6:g})"))
    for i, name in enumerate(rows):
        y = top + i * cell
        parts.append(text(left - 8, y + cell / 2 + 4, name, class_="tick end"))
        for j, column in enumerate(columns):
            share = float(shares[i][j])
            title = tag("title", escape(f"{name} looks at {column}: {share:.0%}"))
            parts.append(tag("rect", title, class_="cell", x=left + j * cell, y=y, width=cell - 1, height=cell - 1, rx=2,
                             fill_opacity=f"{0.03 + 0.97 * min(1.0, max(0.0, share)):.3f}"))
    width, height = left + len(columns) * cell + 14, top + len(rows) * cell + 14
    return ('<?xml version="1.0" encoding="UTF-8"?>\n'
            + tag("svg", "".join(parts), xmlns="http://www.w3.org/2000/svg", viewBox=f"0 0 {width:g} {height:g}", width=width,
                  height=height, role="img", aria_label=f"what each {row_name} token looked at in the {column_name}") + "\n")


def _width(name: str) -> float:
    """Of a text in letters; ideographs and what is as wide count twice."""
    return sum(2 if "\u1100" <= c else 1 for c in name)


HEAT_STYLE = ("svg{background:#fff}text{font:12px system-ui,-apple-system,'Segoe UI',Roboto,'Noto Sans','Noto Sans CJK SC',"
              "'PingFang SC','Microsoft YaHei',sans-serif;fill:#15191f}.name{fill:#5a6472}.end{text-anchor:end}.cell{fill:#1f6feb}"
              "@media(prefers-color-scheme:dark){svg{background:#171b22}text{fill:#e7ebf1}.name{fill:#98a3b3}.cell{fill:#6aa6ff}}")
