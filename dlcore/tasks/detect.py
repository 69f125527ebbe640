"""Things in pictures, each with a box around it: `Detector`, and the task `detect` of the command line."""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from dlcore.data.dataset import Dataset, Parts
from dlcore.data.detection.dataset import Detections, pictures_of
from dlcore.data.saved import fields
from dlcore.errors import DataError, ModelFileError, UsageError
from dlcore.metrics.detection import Detected, DetectionScores, detection_scores
from dlcore.tasks import detect_settings, detected, recipe
from dlcore.tasks.detect_inputs import BoxClasses, list_of, pictures_and_boxes, pixels_of, sizes_of, without_bad
from dlcore.tasks.detect_settings import ANCHORS, ARCHITECTURES, CHANGES, LARGEST, LAST, RECIPE
from dlcore.tasks.detected import Box, MeanPrecision
from dlcore.tasks.estimator import Estimator, renamed
from dlcore.tasks.task import Sections

if TYPE_CHECKING:
    from dlcore.data.loader import Source
    from dlcore.training.callbacks import Callback
    from dlcore.training.model import Model

LEAST = 0.01                # score of what `evaluate` counts
_BATCH = 16                 # pictures that the network sees at once


class Detector(Estimator):
    """Boxes around things in pictures, with labels and scores.

    arch        "yolo-tiny", "ssd" or "faster-rcnn"
    image_size  pixels of the longer side of what the network sees, or (height, width); pictures are fitted in undistorted
    width       channels of the first layer, those of others in proportion;   attention: between all places of the coarsest map
    threshold, overlap   scores from which `predict` shows boxes; of boxes that overlap by more the best is kept
    augment     random changes of training pictures and their boxes, see `dlcore.data.augment`
    measure_every   epochs between two measurements of `val_map50`, by which the best weights are chosen

    `fit(data)`, `predict(pictures)`, `evaluate(data)`, `score(data)`, `save(path)`.  Pictures are `Detections` of `read_detection`,
    paths, or arrays u8 (H, W[, 3]); boxes are `Boxes`, or arrays (N, 5) of class, x1, y1, x2, y2, one for each picture.  Training
    holds the pictures in memory, at the size that the network sees.
    """

    task, _kind = "detect", "detector"
    hidden, dropout = (), 0.0
    _sections = {"data": ("val_split", "augment"),
                 "model": ("image_size", "width", "attention", "threshold", "overlap"),
                 "train": ("epochs", "batch", "optimizer", "lr", "schedule", "weight_decay", "patience", "measure_every")}

    def __init__(self, arch: str = "yolo-tiny", image_size: Any = 320, width: int = 12, attention: bool = False,
                 threshold: float = 0.3, overlap: float = 0.5, augment: str = CHANGES, epochs: int = 100, batch_size: int = 8,
                 lr: float = 2e-3, optimizer: str = "adamw", schedule: str = "cosine", weight_decay: float = 0.02,
                 patience: int = 0, val_split: float = 0.15, measure_every: int = 5, random_state: int | None = 0,
                 training: Mapping[str, Any] | None = None):
        self.arch, self.image_size, self.width, self.attention = arch, image_size, width, attention
        self.threshold, self.overlap, self.augment, self.epochs = threshold, overlap, augment, epochs
        self.batch_size, self.lr, self.optimizer, self.schedule = batch_size, lr, optimizer, schedule
        self.weight_decay, self.patience, self.val_split, self.measure_every = weight_decay, patience, val_split, measure_every
        self.random_state, self.training = random_state, training

    @classmethod
    def of(cls, arch: str, **params: Any) -> Self:
        """A detector of this architecture trained by its own recipe where `params` say nothing.  Raises `UsageError`."""
        if arch not in ARCHITECTURES:
            raise UsageError(f"arch = {arch!r} is no detector", expected=", ".join(ARCHITECTURES))
        return cls(**{"arch": arch, "training": {**RECIPE, **dict(params.pop("training", None) or {})}, **params})

    def _check_params(self) -> None:
        super()._check_params()
        detect_settings.check(self)

    # ---- training ----------------------------------------------------------------------------------------------------
    def fit(self, x: Any, y: Any = None, sample_weight: Any = None, *, validation_data: Any = None,
            callbacks: Sequence[Callback] = (), log: Callable[[str], None] | None = None, classes: Sequence[str] = ()) -> Self:
        """Trains on pictures and their boxes.  `Detections` bring a part to validate on along.  classes: names, where `x` has none.
        Other arguments and errors: see `Estimator.fit`."""
        self._check_params()
        if isinstance(x, Detections):
            classes = classes or x.classes
            validation_data = x.validation if validation_data is None else validation_data
        x, y = pictures_and_boxes(x, y)
        if y is None:
            raise DataError("the pictures have no boxes to learn from", hint="read_detection(source), or fit(x, y)")
        highest = max((int(b.labels.max()) for b in y if len(b)), default=-1)
        if highest < 0:
            raise DataError("there is no box to learn from", got=f"{len(y):,} pictures without any")
        self._names = tuple(map(str, classes)) or tuple(map(str, range(highest + 1)))
        return super().fit(x, y, sample_weight, validation_data=validation_data, callbacks=callbacks, log=log)

    def _raw(self, x: Any) -> Any:
        return x

    _checked = _raw

    def _fit_answers(self, y: Any) -> list[str]:
        self._answers = BoxClasses(self._names)
        return []

    @classmethod
    def _answers_from_json(cls, value: Any, where: str) -> BoxClasses:
        return BoxClasses.from_json(value, where)

    def _fit_inputs(self, x: Any, rows: np.ndarray) -> list[str]:
        from dlcore.data.detection.letterbox import shape_for
        size = self.image_size
        if isinstance(size, (list, tuple)):
            self._shape = int(size[0]), int(size[1])
        else:
            self._shape = shape_for(sizes_of(x)[rows], int(size))
        lines = [f"pictures are fitted into {self._shape[0]}x{self._shape[1]}"]
        if self.augment:
            lines.append(f"training pictures and boxes are changed at random: {detect_settings.changes(self)}")
        return lines

    def _training(self, x: Any, rows: np.ndarray, targets: np.ndarray, weight: np.ndarray | None) -> Source:
        from dlcore.data.detection.anchors import anchors_of
        from dlcore.data.detection.letterbox import BoxedImages, letterboxed, packed
        images, frames = letterboxed(list_of(x, rows), self._shape)
        boxes = packed(targets, frames)
        there = boxes[boxes[..., 0] >= 0]
        self._anchors = anchors_of(there[:, 3:] - there[:, 1:3], ANCHORS.get(self.arch, 1), self.seed_)
        return BoxedImages(images, boxes, detect_settings.changes(self) if self.augment else None, weight)

    def _validation(self, x: Any, targets: np.ndarray, val: np.ndarray, validation_data: Any) -> Any:
        from dlcore.data.detection.letterbox import BoxedImages, letterboxed, packed
        from dlcore.data.loader import Pieces
        if validation_data is not None:
            given = validation_data if isinstance(validation_data, tuple) else (validation_data, None)
            pictures, boxes = pictures_and_boxes(*given)
            if boxes is None:
                raise DataError("the validation data has no boxes")
            rows = np.arange(len(pictures))
        else:
            pictures, boxes, rows = x, targets[val], val
        self._watched = None
        if not len(rows):
            return None
        images, frames = letterboxed(list_of(pictures, rows), self._shape)
        self._watched = images, frames, sizes_of(pictures)[rows], self._answers.encode(boxes)
        return Pieces(BoxedImages(images, packed(boxes, frames)), _BATCH)

    def _make(self, shape: tuple[int, ...]) -> tuple[Model, str]:
        from dlcore import models
        options: dict[str, Any] = {"width": self.width, "attention": bool(self.attention), "seed": self.seed_}
        whole, count = (*self._shape, 3), len(self._answers.labels)
        if self.arch == "ssd":
            network = models.ssd(whole, count, **options)
        else:
            make = models.yolo_tiny if self.arch == "yolo-tiny" else models.faster_rcnn
            network = make(whole, count, self._anchors.tolist(), **options)
        sizes = ", ".join(f"{w:.0f}x{h:.0f}" for w, h in self._anchors)
        return network, f"{self.arch} on {self._shape[0]}x{self._shape[1]}, {count} classes" + \
            (f", anchors {sizes}" if self.arch in ANCHORS else "")

    def _compile(self, network: Model) -> None:
        from dlcore.training.detection_losses import DetectionLoss
        network.compile(recipe.optimizer(self), DetectionLoss())

    def _train(self, inputs: Any, targets: np.ndarray, weight: np.ndarray | None, validation: Any, callbacks: Sequence[Callback],
               say: Callable[[str], None]) -> None:
        own = [MeanPrecision(self._precision, self.measure_every)] if self._watched is not None else []
        super()._train(inputs, targets, weight, validation, [*own, *callbacks], say)

    def _precision(self) -> float:
        """The mean average precision of the pictures to validate on, as the model stands."""
        assert self._watched is not None
        images, frames, sizes, boxes = self._watched
        found = self._find(images, frames, sizes, LEAST)
        return detection_scores(boxes, found, self._answers.labels).metrics().get("map50", 0.0)

    # ---- finding -----------------------------------------------------------------------------------------------------
    @property
    def labels_(self) -> tuple[str, ...]:
        """The names of the classes."""
        return self._answers.labels

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, 3) of what the network sees."""
        return (*self._shape, 3)

    def _decoded(self, said: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(boxes (P, 4), scores (P, K)) of one picture's output."""
        from dlcore.data.detection import decode
        last = self.model.layers[-1]
        if self.arch != "faster-rcnn":
            return decode.decoder(last)(said)
        proposals = next(layer for layer in self.model.layers if type(layer).__name__ == "RegionProposals")
        return decode.from_regions(said, len(proposals.anchors.array), proposals.regions)

    def _find(self, images: np.ndarray, frames: np.ndarray, sizes: np.ndarray, threshold: float,
              overlap: float | None = None) -> list[Detected]:
        from dlcore.data.detection.decode import found_in
        found = []
        for begin in range(0, len(images), _BATCH):
            part = images[begin:begin + _BATCH]
            said = self.model.predict(part.reshape(len(part), -1).astype(np.float32) * np.float32(1 / 255))
            for i, one in enumerate(said, begin):
                boxes, scores = self._decoded(one)
                found.append(found_in(boxes, scores, threshold, self.overlap if overlap is None else overlap, frames[i],
                                      (int(sizes[i][0]), int(sizes[i][1]))))
        return found

    def detect(self, x: Any, threshold: float | None = None, overlap: float | None = None) -> list[Detected]:
        """What is in each picture, as arrays; see `predict`."""
        from dlcore.data.detection.letterbox import letterboxed
        _ = self.model
        pictures, _ = pictures_and_boxes(x, None)
        least = self.threshold if threshold is None else threshold
        found: list[Detected] = []
        for begin in range(0, len(pictures), _BATCH):
            rows = np.arange(begin, min(begin + _BATCH, len(pictures)))
            images, frames = letterboxed(list_of(pictures, rows), self._shape)
            found += self._find(images, frames, sizes_of(pictures)[rows], least, overlap)
        return found

    def predict(self, x: Any, threshold: float | None = None, overlap: float | None = None) -> list[list[Box]]:
        """The boxes in each picture, best first.   threshold, overlap: instead of the parameters of these names."""
        return [detected.boxes_of(found, self.labels_) for found in self.detect(x, threshold, overlap)]

    def evaluate(self, x: Any, y: Any = None, sample_weight: Any = None) -> dict[str, float]:
        """map50, map50_95, map75, map50 of each class, means by size, recalls: see `dlcore.metrics.detection`."""
        return self.scores(x, y).metrics()

    def scores(self, x: Any, y: Any = None) -> DetectionScores:
        """Average precisions at all thresholds, of every class and size."""
        pictures, boxes = pictures_and_boxes(x, y)
        if boxes is None or not len(pictures):
            raise DataError("there are no boxes to compare with", got=f"{len(pictures):,} pictures")
        return detection_scores(self._answers.encode(boxes), self.detect(pictures, LEAST), self.labels_)

    def score(self, x: Any, y: Any = None, sample_weight: Any = None) -> float:
        """map50."""
        return self.evaluate(x, y).get("map50", 0.0)

    def draw(self, x: Any, found: Sequence[Sequence[Box]]) -> list[np.ndarray]:
        """The pictures with these boxes, u8 (H, W, 3) each.  Needs Pillow."""
        pictures, _ = pictures_and_boxes(x, None)
        return [detected.drawn(pixels_of(one), boxes, self.labels_)
                for one, boxes in zip(list_of(pictures, np.arange(len(pictures))), found, strict=True)]

    # ---- files -------------------------------------------------------------------------------------------------------
    def _parts(self) -> dict[str, Any]:
        assert self.model.network is not None
        numbers = int(self.model.network.outputs[0].shape[1])
        return {"preprocess.json": {"height": self._shape[0], "width": self._shape[1], "outputs": numbers}}

    def _restore(self, config: Mapping[str, Any], extras: Mapping[str, Any], where: str) -> int:
        place = f"{where}, preprocess.json"
        height, width, self._numbers = fields(extras.get("preprocess.json"), place, height=int, width=int, outputs=int)
        if not (1 <= height <= LARGEST and 1 <= width <= LARGEST):
            raise ModelFileError("the size of pictures is malformed", where=place, got=f"{height} x {width}")
        self._shape = height, width
        return height * width * 3

    def _outputs(self) -> int:
        return self._numbers

    def _fits(self, network: Any) -> bool:
        layers = {type(layer).__name__: layer for layer in network.layers}
        last, each = network.layers[-1], 5 + len(self._answers.labels)
        if type(last).__name__ != LAST[self.arch]:
            return False
        if self.arch != "faster-rcnn":
            places = last.places if self.arch == "yolo-tiny" else last.priors
            return self._numbers == places.shape[0] * each
        first = layers.get("RegionProposals")
        return first is not None and self._numbers == first.anchors.shape[0] * 6 + first.regions * (4 + each)

    def made_up_boxes(self, count: int) -> np.ndarray:
        """Targets to time a step with, f32 (count, 16, 5): boxes of a quarter of the size, all over the picture."""
        low = np.random.default_rng(0).random((count, 16, 2)) * 0.75 * np.array(self._shape[::-1])
        boxes = np.concatenate([np.zeros((count, 16, 1)), low, low + 0.25 * np.array(self._shape[::-1])], 2)
        return boxes.astype(np.float32)

    def samples(self, x: Any) -> np.ndarray:
        from dlcore.data.detection.letterbox import letterboxed
        pictures, _ = pictures_and_boxes(x, None)
        images, _ = letterboxed(list_of(pictures, np.arange(len(pictures))), self._shape)
        return images.reshape(len(images), -1).astype(np.float32) * np.float32(1 / 255)


class DetectTask:
    """`detect` on the command line."""

    name = "detect"
    summary = "boxes around things in pictures: Pascal VOC, COCO or YOLO annotations"
    architectures: Mapping[str, str] = ARCHITECTURES
    presets: Mapping[str, Sections] = {"quick": {"train": {"epochs": 30}, "model": {"image-size": 224}}}
    space = {"train.lr": "5e-4..4e-3:log", "train.batch": "4, 8, 16", "model.width": "8, 12, 16, 24"}

    def defaults(self, arch: str) -> Sections:
        found = Detector.of(arch or "yolo-tiny").sections()
        return {**found, "data": {**found["data"], "size": "", "skip-bad": False}}

    def read(self, source: str, *, label_col: str = "", text_col: str = "", labelled: bool = True,
             like: Estimator | None = None, size: str | int = "", skip_bad: bool = False) -> Parts:
        from dlcore.data.detection import read_detection
        from dlcore.data.pictures import parse_size
        if label_col or text_col:
            raise UsageError("pictures have no columns", got=label_col or text_col, hint="leave out --label-col and --text-col")
        wanted = parse_size(str(size))
        if not labelled:
            return Parts(pictures_of(source, skip_bad))
        known = like.labels_ if isinstance(like, Detector) else ()
        parts = read_detection(source, skip_bad=skip_bad, classes=known)
        if skip_bad:                        # to measure a model one part is needed, and its pictures alone are looked through
            parts = without_bad(Parts(parts.held_out()) if known else parts)
        train: Any = parts.train
        return parts if wanted is None else Parts(replace(train, size=wanted), parts.test)

    def create(self, train: Dataset, arch: str = "", seed: int = 0, size: str = "", skip_bad: bool = False,
               **options: Any) -> Detector:
        chosen = getattr(train, "size", None)
        training = {key: value for key, value in options.items()          # what is usual elsewhere may be chosen here, too
                    if key in recipe.KEYS and (key in RECIPE or value != recipe.KEYS[key][0])}
        options = renamed(options) | ({"image_size": list(chosen)} if chosen else {})
        options.pop("training", None)
        return Detector.of(arch or "yolo-tiny", random_state=seed, training=training, **options)


TASK = DetectTask()
ESTIMATORS = {"Detector": Detector}
