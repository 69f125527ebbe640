"""Pictures of how a model stands, written while it is trained."""
from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from dlcore.deploy.atomic import all_or_nothing
from dlcore.errors import UsageError, WriteError
from dlcore.report import png
from dlcore.training.callbacks import Callback


def write_png(path: str | os.PathLike[str], pixels: np.ndarray) -> None:
    """Writes (H, W) or (H, W, C) pixels, u8, as a PNG file, whole or not at all.  Raises WriteError and ShapeError."""
    path = Path(path)
    with all_or_nothing(path, "the picture") as temporary:
        temporary.write_bytes(png.encode(pixels))
        os.replace(temporary, path)


class SaveGrids(Callback):
    """Writes `NAME-STEP.png` for each picture that `draw()` makes of the model as it stands, {name: u8 pixels}.

    folder  made where it is missing;   every: steps between two pictures; 0: after each epoch
    at_end  write also when the training ends at another step

    Drawing changes nothing of the training.  Raises UsageError; WriteError where a picture cannot be written."""

    def __init__(self, folder: str | os.PathLike[str], draw: Callable[[], Mapping[str, np.ndarray]], every: int = 0,
                 at_end: bool = False):
        if every < 0:
            raise UsageError("grids are written every so many steps", expected="a whole number from 0", got=str(every))
        self.folder, self.draw, self.every, self.at_end = Path(folder), draw, every, at_end
        self.drawn = -1             # the step of the last pictures

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as fault:
            raise WriteError("the folder for pictures cannot be made", where=str(self.folder),
                             got=fault.strerror or str(fault)) from fault
        if self.every:
            self.session.every(self.every, self.save)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        if not self.every:
            self.save()

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        if self.at_end and self.drawn != self.model.state.step:
            self.save()

    def save(self) -> None:
        """Writes the pictures of now."""
        model = self.model
        self.drawn = model.state.step
        model.store.changed()               # between two steps nobody has said that the weights are others
        with model.averages.used(True):
            for name, pixels in self.draw().items():
                write_png(self.folder / f"{name}-{model.state.step:06d}.png", pixels)
