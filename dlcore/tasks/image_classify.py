"""Images and labels: `ImageClassifier`, and the task `image-classify` of the command line."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from dlcore.data.dataset import Dataset, Parts
from dlcore.data.files import bare
from dlcore.errors import UsageError
from dlcore.tasks.estimator import Estimator, renamed
from dlcore.tasks.image_estimator import OfImages
from dlcore.tasks.supervised import Classifier
from dlcore.tasks.task import Sections

if TYPE_CHECKING:
    from dlcore.data.loader import Source
    from dlcore.graph import Tensor
    from dlcore.training.model import Model


def _architecture(text: str, model: str = "", options: Mapping[str, Any] | None = None, **defaults: Any) -> Architecture:
    return Architecture(text, model, options or {}, defaults)


@dataclass(frozen=True)
class Architecture:
    """A line about it, the function of `dlcore.models` that makes it (with `options`), and the parameters that it is best trained
    with."""

    text: str
    model: str
    options: Mapping[str, Any]
    defaults: Mapping[str, Any]


_RESNET = {"hidden": (), "dropout": 0.0, "epochs": 30, "optimizer": "sgd", "lr": 0.1}
ARCHITECTURES = {
    "mlp": _architecture("two hidden layers with dropout"),
    "cnn": _architecture("two convolutions, one pooling, one hidden layer", "cnn", hidden=(128,), dropout=0.5, epochs=12,
                         batch_size=64, lr=2e-3, augment="crop=2,rotate=10"),
    "lenet": _architecture("LeNet-5: two convolutions, each pooled, two hidden layers", "lenet", hidden=(120, 84), dropout=0.0,
                           epochs=20, lr=2e-3),
    "resnet8": _architecture("residual network of 8 layers with batch normalisation", "resnet", {"depth": 8}, **_RESNET),
    "resnet20": _architecture("residual network of 20 layers", "resnet", {"depth": 20}, **_RESNET),
    "resnet32": _architecture("residual network of 32 layers", "resnet", {"depth": 32}, **_RESNET),
    "mobilenet-small": _architecture("depthwise separable convolutions", "mobilenet", hidden=(), dropout=0.0, epochs=30, lr=2e-3),
    "vit": _architecture("small vision transformer: attention between patches", "vit", hidden=(), dropout=0.1, epochs=30,
                         optimizer="adamw", lr=1e-3, weight_decay=0.05, training={"warmup": 0.1}),
}


class ImageClassifier(OfImages, Classifier):
    """Labels for images: x (N, H, W) or (N, H, W, C) raw pixel values of any numeric type, y (N,) labels.

    The network is that of Keras' `mnist_mlp`: two layers of 512 with dropout, batches of 128; the learning rate falls
    to 0 along a cosine.  `arch` names another network (`ARCHITECTURES`); `ImageClassifier.of("cnn")` has the parameters that are
    best for it.  `hidden` are the dense layers in front of the answer.  `augment` changes training images at random, as
    `crop,flip,rotate=10`: see `dlcore.data.augment`.
    """

    task = "image-classify"
    _own = {"data": ("augment",)}

    def __init__(self, hidden: Sequence[int] = (512, 512), dropout: float = 0.4, epochs: int = 20, batch_size: int = 128,
                 lr: float = 2e-3, optimizer: str = "adam", schedule: str = "cosine", weight_decay: float = 0.0,
                 patience: int = 0, val_split: float = 0.1, random_state: int | None = 0, augment: str = "",
                 training: Mapping[str, Any] | None = None, arch: str = "mlp"):
        self.hidden, self.dropout, self.epochs, self.batch_size = hidden, dropout, epochs, batch_size
        self.lr, self.optimizer, self.schedule, self.weight_decay = lr, optimizer, schedule, weight_decay
        self.patience, self.val_split, self.random_state = patience, val_split, random_state
        self.augment, self.training, self.arch = augment, training, arch

    @classmethod
    def of(cls, arch: str, **params: Any) -> Self:
        """An estimator of this architecture with its own defaults where `params` say nothing.  Raises `UsageError`."""
        return cls(**{**known(arch).defaults, **params}, arch=arch)

    def _make(self, shape: tuple[int, ...]) -> tuple[Model, str]:
        found = known(self.arch)
        if not found.model:
            return super()._make(shape)
        from dlcore import models
        network = getattr(models, found.model)(self._preprocessor.shape, self._outputs(), hidden=self.hidden, dropout=self.dropout,
                                               output_activation="softmax", flat=True, seed=self.seed_, **found.options)
        return network, f"{self.arch} on {'x'.join(map(str, self._preprocessor.shape))}, {self._outputs()} outputs"

    def _fit_inputs(self, x: np.ndarray, rows: np.ndarray) -> list[str]:
        lines = super()._fit_inputs(x, rows)
        if self.augment:
            from dlcore.data.augment import Augment
            lines.append(f"training images are changed at random: {Augment.parse(self.augment)}")
        return lines

    def _check_params(self) -> None:
        super()._check_params()
        known(self.arch)
        if self.augment:
            from dlcore.data.augment import Augment
            Augment.parse(self.augment).check_images()

    def _training(self, x: np.ndarray, rows: np.ndarray, targets: np.ndarray, weight: np.ndarray | None) -> np.ndarray | Source:
        from dlcore.data.augment import Augment
        from dlcore.data.loader import MappedRows, mapped
        found, scale = self._preprocessor.check(x), self._preprocessor.scale
        options: dict[str, Any] = {"weight": weight, "scale": scale, "shape": (self._preprocessor.width,), "index": rows}
        if self.augment:
            return Augment.parse(self.augment)(found, self._soft(targets), peak=1 / scale, **options)
        return MappedRows(found, targets, **options) if mapped(x) else super()._training(x, rows, targets, weight)

    def _held_back(self, x: np.ndarray, rows: np.ndarray, targets: np.ndarray) -> Any:
        from dlcore.data.loader import MappedRows, Pieces, mapped
        if not mapped(x):
            return super()._held_back(x, rows, targets)
        shape = (self._preprocessor.width,)
        return Pieces(MappedRows(x, self._soft(targets), scale=self._preprocessor.scale, shape=shape, index=rows))

    def _soft(self, targets: np.ndarray) -> np.ndarray:
        """Labels, or one-hot rows where images are mixed."""
        from dlcore.tasks import settings
        return settings.one_hot(targets, self._outputs()) if settings.mixes_targets(self) else targets

    @property
    def sample_shape(self) -> tuple[int, ...]:
        return self._preprocessor.shape

    def samples(self, x: Any) -> np.ndarray:
        return self._preprocessor.check(x).astype(np.float32)

    def answers(self, samples: np.ndarray) -> np.ndarray:
        return self.predict_proba(samples)

    def random_samples(self, count: int) -> np.ndarray:
        pixels = np.random.default_rng(0).random((count, *self.sample_shape), dtype=np.float32)
        return pixels / np.float32(self._preprocessor.scale)

    def trace(self, x: Tensor) -> Tensor:
        from dlcore import ops
        return super().trace(ops.scale(x.reshape(1, self._preprocessor.width), self._preprocessor.scale))


def known(arch: str) -> Architecture:
    """Raises `UsageError` for a name that is none."""
    if not isinstance(arch, str) or arch not in ARCHITECTURES:
        raise UsageError(f"arch = {arch!r} is no architecture for images", expected=", ".join(ARCHITECTURES))
    return ARCHITECTURES[arch]


class ImageClassifyTask:
    """`image-classify` on the command line."""

    name = "image-classify"
    summary = "labels for images, from idx files, a folder per class, or .npz"
    architectures: Mapping[str, str] = {name: arch.text for name, arch in ARCHITECTURES.items()}
    presets: Mapping[str, Sections] = {}
    space = {"train.lr": "3e-4..1e-2:log", "train.batch": "32, 64, 128, 256", "model.dropout": "0.0..0.6",
             "model.hidden": "[[128], [256, 128], [512, 512], [1024, 512]]"}

    def defaults(self, arch: str) -> Sections:
        found = ImageClassifier.of(arch or "mlp").sections()
        return {**found, "data": {**found["data"], "size": "", "skip-bad": False}}

    def read(self, source: str, *, label_col: str = "", text_col: str = "", labelled: bool = True,
             like: Estimator | None = None, size: str | int = "", skip_bad: bool = False) -> Parts:
        from dlcore.data.images import read_images, read_inputs
        from dlcore.data.pictures import parse_size
        table = bare(source).endswith((".csv", ".tsv", ".jsonl"))
        if text_col or (label_col and not table):
            raise UsageError("images have no columns", got=label_col or text_col,
                             hint="leave out --label-col and --text-col")
        if labelled:
            shape = like.image_shape if isinstance(like, ImageClassifier) else None
            return read_images(source, parse_size(str(size)), skip_bad, shape, label_col)
        assert isinstance(like, ImageClassifier)
        return Parts(read_inputs(source, like.image_shape, skip_bad))

    def create(self, train: Dataset, arch: str = "", seed: int = 0, size: str = "", skip_bad: bool = False,
               **options: Any) -> ImageClassifier:
        return ImageClassifier.of(arch or "mlp", random_state=seed, **renamed(options))


TASK = ImageClassifyTask()
ESTIMATORS = {"ImageClassifier": ImageClassifier}
