"""Figures of a training by matplotlib (extra `plot`), which is imported when one is asked for."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dlcore.errors import UsageError


def figure(curves: Mapping[str, Mapping[str, Sequence[float]]], epochs: Mapping[str, Sequence[int]],
           metrics: Sequence[str] | None = None) -> Any:
    """A matplotlib Figure: one chart per metric, training solid and validation dashed.

    curves: name of a run -> its history; epochs: name of a run -> the numbers of its epochs, as shown.  Raises `UsageError`
    where matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise UsageError("figures need matplotlib", hint="pip install 'dlcore[plot]'") from None
    names = list(metrics or dict.fromkeys(name.removeprefix("val_") for run in curves.values() for name in run))
    known = {name for run in curves.values() for name in run}
    unknown = [name for name in names if name not in known and f"val_{name}" not in known]
    if unknown or not names:
        raise UsageError(f"no metric named {', '.join(unknown)}" if unknown else "there is nothing to draw",
                         expected=", ".join(sorted(known)))
    # a Figure of its own: no pyplot, so no window system and nothing to close
    fig = Figure(figsize=(6.4 * min(2, len(names)), 3.6 * -(-len(names) // 2)), layout="constrained")
    axes = fig.subplots(-(-len(names) // 2), min(2, len(names)), squeeze=False).ravel()
    for axis, name in zip(axes, names, strict=False):
        for colour, (run, history) in enumerate(curves.items()):
            for i, (key, part, style) in enumerate(((name, "training", "-"), (f"val_{name}", "validation", "--"))):
                if key in history:
                    axis.plot(epochs[run], history[key], style, color=f"C{colour if len(curves) > 1 else i}",
                              label=f"{run} {part}".strip(), marker="." if len(history[key]) < 30 else "")
        axis.set_xlabel("epoch")
        axis.set_ylabel(name.replace("_", " "))
        axis.grid(alpha=0.3)
        axis.legend(frameon=False)
    for axis in axes[len(names):]:
        axis.set_visible(False)
    return fig
