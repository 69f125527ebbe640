"""What a detector found: as objects, as lines, as drawings; and how well, while it is trained."""
from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dlcore.deploy.atomic import all_or_nothing
from dlcore.errors import UsageError, WriteError
from dlcore.metrics.detection import Detected
from dlcore.training.callbacks import Callback

HEADER = ("image", "label", "score", "x", "y", "w", "h")
COLOURS = ((230, 60, 60), (40, 110, 230), (30, 150, 70), (200, 120, 0), (140, 60, 190), (0, 150, 160), (220, 60, 150))
METRIC = "val_map50"


@dataclass(frozen=True)
class Box:
    """One thing that was found: its label, how sure (0 to 1), and corners x1, y1, x2, y2 in pixels of the picture."""

    label: str
    score: float
    xyxy: tuple[float, float, float, float]

    @property
    def xywh(self) -> tuple[float, float, float, float]:
        """Left, top, width, height."""
        x1, y1, x2, y2 = self.xyxy
        return x1, y1, x2 - x1, y2 - y1

    def to_json(self) -> dict[str, Any]:
        """For `--json`; tenths of pixels."""
        x, y, w, h = (round(v, 1) for v in self.xywh)
        return {"label": self.label, "score": round(self.score, 4), "x": x, "y": y, "w": w, "h": h}


def boxes_of(found: Detected, labels: Sequence[str]) -> list[Box]:
    """As objects, best first."""
    return [Box(str(labels[k]), float(score), (float(x1), float(y1), float(x2), float(y2)))
            for k, score, (x1, y1, x2, y2) in zip(found.labels, found.scores, found.xyxy, strict=True)]


def rows(names: Sequence[str], found: Sequence[Sequence[Box]]) -> Iterator[tuple[Any, ...]]:
    """(image, label, score, x, y, w, h) of each box."""
    for name, boxes in zip(names, found, strict=True):
        for box in boxes:
            yield name, box.label, f"{box.score:.4f}", *(f"{v:.1f}" for v in box.xywh)


def drawn(picture: np.ndarray, boxes: Sequence[Box], labels: Sequence[str]) -> np.ndarray:
    """A picture u8 (H, W, 3) with its boxes, each class in a colour of its own."""
    from PIL import Image, ImageDraw
    image = Image.fromarray(picture)
    draw, thick = ImageDraw.Draw(image), max(1, min(image.size) // 200)
    for box in reversed(boxes):                     # the surest on top
        colour = COLOURS[list(labels).index(box.label) % len(COLOURS)]
        draw.rectangle(box.xyxy, outline=colour, width=thick)
        text = f"{box.label} {box.score:.2f}"
        at = box.xyxy[0] + thick, max(0.0, box.xyxy[1] - 11)
        draw.rectangle(draw.textbbox(at, text), fill=colour)
        draw.text(at, text, fill=(255, 255, 255))
    return np.asarray(image)


def places_for(target: str | os.PathLike[str], names: Sequence[str]) -> list[Path]:
    """Where the drawings of these pictures go: a file for one of them, else a folder, which must be new or empty.  UsageError."""
    path = Path(target)
    if path.suffix.lower() in (".png", ".jpg", ".jpeg"):
        if len(names) != 1:
            raise UsageError("one file cannot hold several pictures", where=str(path), expected="the name of a folder",
                             got=f"{len(names):,} pictures")
        if path.exists():
            raise UsageError("the output file exists; nothing was written over", where=str(path), hint="choose another --save")
        return [path]
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise UsageError("the output folder exists and is not empty; nothing was written over", where=str(path),
                         hint="choose another --save")
    stems: dict[str, int] = {}
    found = []
    for name in names:
        stem = Path(name).stem
        stems[stem] = stems.get(stem, 0) + 1
        found.append(path / (f"{stem}.png" if stems[stem] == 1 else f"{stem}-{stems[stem]}.png"))
    return found


def write_picture(path: Path, pixels: np.ndarray) -> None:
    """PNG, or JPEG by the name, whole or not at all.  Raises WriteError."""
    from PIL import Image
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as fault:
        raise WriteError("the folder for pictures cannot be made", where=str(path.parent),
                         got=fault.strerror or str(fault)) from fault
    with all_or_nothing(path, "the picture") as temporary:
        Image.fromarray(pixels).save(temporary, format="PNG" if path.suffix.lower() == ".png" else "JPEG", quality=92)
        os.replace(temporary, path)


class MeanPrecision(Callback):
    """Adds `val_map50` to what an epoch reports: the mean average precision of the model as it stands, by `measure()`.

    every: epochs between two measurements, which cost time; between them the last value stands.  The last epoch is measured."""

    def __init__(self, measure: Callable[[], float], every: int):
        self.measure, self.every, self.value = measure, every, 0.0

    def get_state(self) -> dict[str, Any]:
        return {"value": self.value}

    def set_state(self, state: dict[str, Any]) -> None:
        self.value = state["value"]

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        if (epoch + 1) % self.every == 0 or epoch + 1 == self.params["epochs"]:
            self.value = self.measure()
        if logs is not None:
            logs[METRIC] = self.value
        self.session.history.history.setdefault(METRIC, []).append(self.value)
