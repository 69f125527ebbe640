"""What generated images are measured by: a classifier of real ones, its features and its labels."""
from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from dlcore.errors import ModelFileError, UsageError

if TYPE_CHECKING:
    from dlcore.tasks.image_classify import ImageClassifier

EPOCHS, MOST_ROWS = 3, 60_000           # of a LeNet that is trained for this
COVERED = 0.1                           # share of its share among real images from which on a class counts as covered
PREFIX = "judge/"                       # of its tensors in a model file


class Judge:
    """classifier: an `ImageClassifier` that is fitted; its features are what its last layer reads."""

    def __init__(self, classifier: ImageClassifier):
        from dlcore.training.model import Model
        self.classifier = classifier
        network = classifier.model.network
        node = network.outputs[0].node
        if node is None or len(node.inputs) != 1:
            raise UsageError("this classifier's last layer reads no features", expected="a network that ends in a dense layer")
        self.network = Model(network.inputs[0], [node.inputs[0], network.outputs[0]])

    @classmethod
    def trained(cls, x: np.ndarray, y: np.ndarray, seed: int, say: Callable[[str], None]) -> Judge:
        """A LeNet on these images and labels, or on as many of them as suffice."""
        from dlcore.tasks.image_classify import ImageClassifier
        rows = np.arange(len(x))
        if len(x) > MOST_ROWS:
            rows = np.sort(np.random.default_rng(seed).permutation(len(x))[:MOST_ROWS])
        model = ImageClassifier.of("lenet", epochs=EPOCHS, val_split=0.0, random_state=seed)
        model.fit(x[rows], y[rows])
        right = model.score(x[rows], y[rows])
        say(f"a LeNet trained on {len(rows):,} images measures what is generated; accuracy on them {right:.4f}")
        return cls(model)

    @classmethod
    def loaded(cls, path: str, shape: tuple[int, ...]) -> Judge:
        """The classifier of a run or model file.  UsageError where it is none for images of this shape."""
        from dlcore.deploy.load import load
        from dlcore.tasks.image_classify import ImageClassifier
        found = load(path)
        if not isinstance(found, ImageClassifier):
            raise UsageError("images are measured by a classifier of images", where=path, expected="a model of image-classify",
                             got=type(found).__name__)
        if found.image_shape != shape:
            raise UsageError("the classifier is for images of another size", where=path, expected="x".join(map(str, shape)),
                             got="x".join(map(str, found.image_shape)))
        return cls(found)

    def look(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(features f32[N, C], numbers of the likeliest classes i64[N]) of raw images."""
        features, probabilities = self.network.predict(self.classifier._inputs(self.classifier._checked(x)))
        return features.reshape(len(features), -1), probabilities.argmax(1)

    def measure(self, real: np.ndarray, fake: np.ndarray) -> dict[str, float]:
        """fid, the Frechet distance of the features; classes_covered, how many classes the fake images show at least a tenth as
        often as the real ones; class_shift, half the sum of the differences of the classes' shares (0 equal, 1 disjoint)."""
        from dlcore.metrics.frechet import frechet_distance
        (a, seen), (b, made) = self.look(real), self.look(fake)
        count = len(self.classifier.classes_)
        shares = [np.bincount(found, minlength=count) / len(found) for found in (seen, made)]
        covered = (shares[1] >= COVERED * shares[0]) & (shares[1] > 0) & (shares[0] > 0)
        return {"fid": frechet_distance(a, b), "classes_covered": float(covered.sum()),
                "class_shift": float(0.5 * np.abs(shares[0] - shares[1]).sum())}

    def labels(self, x: np.ndarray) -> np.ndarray:
        """The label of each raw image as the classifier sees it."""
        found: np.ndarray = self.classifier.classes_[self.look(x)[1]]
        return found

    # ---- in a model file ---------------------------------------------------------------------------------------------
    def contents(self) -> tuple[dict[str, Any], dict[str, np.ndarray], dict[str, Any]]:
        """(config, tensors, further parts) to be put beside those of another model."""
        config, tensors, extras = self.classifier.contents()
        parts = {name: value for name, value in extras.items() if name.endswith(".json")}
        return {"judge": config}, {PREFIX + name: a for name, a in tensors.items()}, {"judge.json": parts}

    @classmethod
    def restored(cls, config: Mapping[str, Any], tensors: Mapping[str, np.ndarray], extras: Mapping[str, Any],
                 where: str) -> Judge | None:
        """What `contents` gave; None where the file has none.  ModelFileError whatever the file says."""
        from dlcore.tasks.image_classify import ImageClassifier
        found, parts = config.get("judge"), extras.get("judge.json")
        if found is None and parts is None:
            return None
        if not isinstance(found, Mapping) or not isinstance(parts, Mapping):
            raise ModelFileError("the classifier that measures is malformed", where=f"{where}, judge")
        own = {name.removeprefix(PREFIX): a for name, a in tensors.items() if name.startswith(PREFIX)}
        return cls(ImageClassifier.from_file(found, own, parts, f"{where}, judge"))
