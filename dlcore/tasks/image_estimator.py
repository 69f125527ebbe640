"""What estimators of images share: preprocessing; and those that learn from images alone: reading, pictures of how they do."""
from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dlcore.data.dataset import Dataset, Parts
from dlcore.data.preprocess import ImagePreprocessor
from dlcore.data.saved import fields
from dlcore.errors import DataError, UsageError
from dlcore.tasks.estimator import Estimator

if TYPE_CHECKING:
    from dlcore.training.callbacks import Callback

SHOWN = 64                  # images of a grid


@dataclass(frozen=True)
class NoAnswers:
    """In the place of labels, for estimators that learn none."""

    def encode(self, y: Any) -> np.ndarray:
        """A number that means nothing, for each row."""
        return np.zeros(len(y), np.float32)

    def to_json(self) -> dict[str, Any]:
        return {"kind": "none"}

    @staticmethod
    def from_json(value: Any, where: str) -> NoAnswers:
        """Raises `ModelFileError` if malformed."""
        fields(value, where, kind=str)
        return NoAnswers()


class OfImages(Estimator):
    """Takes images x (N, H, W) or (N, H, W, C), raw pixel values of any numeric type."""

    _preprocessor: ImagePreprocessor

    def _fit_inputs(self, x: np.ndarray, rows: np.ndarray) -> list[str]:
        self._preprocessor = ImagePreprocessor.fit(x)
        size = "x".join(map(str, self._preprocessor.shape))
        return [f"images of {size}, pixel values times {self._preprocessor.scale:.6g}"]

    def _raw(self, x: Any) -> np.ndarray:
        return np.asarray(x)

    def _checked(self, x: Any) -> np.ndarray:
        return self._preprocessor.check(x)

    def _inputs(self, x: Any) -> np.ndarray:
        return self._preprocessor.transform(x)

    def _parts(self) -> dict[str, Any]:
        return {"preprocess.json": self._preprocessor.to_json()}

    def _restore(self, config: Mapping[str, Any], extras: Mapping[str, Any], where: str) -> int:
        self._preprocessor = ImagePreprocessor.from_json(extras.get("preprocess.json"), f"{where}, preprocess.json")
        return self._preprocessor.width

    @property
    def image_shape(self) -> tuple[int, ...]:
        """(H, W) or (H, W, C) of the images trained on."""
        return self._preprocessor.shape


class ImageEstimator(OfImages):
    """Learns from images alone, without labels or for them."""

    dropout = 0.0
    sample_every: int

    def _fit_answers(self, y: Any) -> list[str]:
        self._answers = NoAnswers()
        return []

    @classmethod
    def _answers_from_json(cls, value: Any, where: str) -> NoAnswers:
        return NoAnswers.from_json(value, where)

    def _images(self, flat: np.ndarray) -> np.ndarray:
        """Pixels f32 (N, width) as images f32 (N, H, W) or (N, H, W, C)."""
        return flat.reshape(len(flat), *self.image_shape)

    # ---- pictures ----------------------------------------------------------------------------------------------------
    def grids(self) -> dict[str, np.ndarray]:
        """Pictures of how the model does now: name -> u8 pixels."""
        raise NotImplementedError

    def grid_callback(self, folder: str | os.PathLike[str]) -> Callback:
        """A callback of `fit` that writes `grids()` into a folder, every `sample_every` steps (0: after each epoch)."""
        from dlcore.training.grids import SaveGrids
        return SaveGrids(folder, self.grids, self.sample_every)


def images_and_labels(x: Any, y: Any) -> tuple[np.ndarray, np.ndarray | None]:
    """Images, and labels where there are any, from a `Dataset` or as they come.  Raises `DataError`."""
    if isinstance(x, Dataset):
        x, y = x.x, x.y
    x = np.asarray(x)
    if y is not None and len(y) != len(x):
        raise DataError("images and labels do not fit together", expected=f"{len(x):,} labels", got=f"{len(y):,}")
    return x, None if y is None else np.asarray(y)


def labelled_as(y: np.ndarray, labels: Sequence[str]) -> np.ndarray:
    """Whether each label is one of these, written as text."""
    return np.isin([str(label) for label in y.tolist()], list(labels))


def read_parts(source: str, label_col: str, text_col: str, like: Any, size: str | int, skip_bad: bool) -> Parts:
    """The images of a source, with labels where it has them; see `read_unlabelled`."""
    from dlcore.data.images import read_unlabelled
    from dlcore.data.pictures import parse_size
    table = Path(source).suffix in (".csv", ".tsv", ".jsonl", ".gz")
    if text_col or (label_col and not table):
        raise UsageError("images have no columns", got=label_col or text_col, hint="leave out --label-col and --text-col")
    shape = like.image_shape if isinstance(like, ImageEstimator) else None
    return read_unlabelled(source, parse_size(str(size)), skip_bad, shape, label_col)
