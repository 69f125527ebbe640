"""Residual networks for CIFAR-10 as `pytorch_resnet_cifar10` saved them (BSD-2-Clause), as an image classifier.

Its networks are those of He et al., 2016, section 4.2, with option A for shortcuts; pictures are scaled to 0 to 1, then normalised
by MEAN and STD.  A convolution's weights are [C_out, C_in, KH, KW] there and [KH, KW, C_in, C_out] here.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dlcore.deploy import torch_file
from dlcore.errors import ModelFileError

if TYPE_CHECKING:
    from dlcore.tasks.image_classify import ImageClassifier
    from dlcore.training.model import Model

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
LABELS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def convolution_weights(array: np.ndarray) -> np.ndarray:
    """PyTorch's order, [C_out, C_in / groups, KH, KW] (of a transposed one [C_in, C_out / groups, KH, KW]), to [KH, KW, ., .]."""
    if array.ndim == 3:                             # of sequences
        return np.ascontiguousarray(array.transpose(2, 1, 0))
    return np.ascontiguousarray(array.transpose(2, 3, 1, 0))


def state_of(path: str | Path) -> dict[str, np.ndarray]:
    """The weights of a checkpoint by name, without the "module." of data-parallel training."""
    found = torch_file.read(path)
    state = found.get("state_dict", found) if isinstance(found, Mapping) else None
    if not isinstance(state, Mapping) or not all(isinstance(v, np.ndarray) for v in state.values()):
        raise ModelFileError("the file holds no state_dict", where=str(path))
    return {name.removeprefix("module."): array for name, array in state.items()}


def read(path: str | Path, labels: Sequence[str] = LABELS) -> ImageClassifier:
    """The classifier that a checkpoint holds.  Raises `ModelFileError` for other networks."""
    from dlcore.models import resnet
    state, where = state_of(path), str(path)
    blocks = {int(name.split(".")[1]) for name in state if name.startswith("layer1.")}
    if not blocks or "linear.weight" not in state or "conv1.weight" not in state:
        raise ModelFileError("the file holds no residual network for small images", where=where,
                             expected="conv1, bn1, layer1 to layer3, linear", got=", ".join(list(state)[:4]))
    depth, outputs = 6 * (max(blocks) + 1) + 2, len(state["linear.weight"])
    if len(labels) != outputs:
        raise ModelFileError("labels and outputs differ in number", where=where, expected=f"{outputs} labels", got=str(len(labels)))
    network = resnet((32, 32, 3), outputs, depth=depth, width=len(state["conv1.weight"]), output_activation="softmax", flat=True,
                     shortcut="padding", mean=MEAN, std=STD)
    assign(network, state, where)
    return classifier(network, depth, labels)


def assign(network: Model, state: Mapping[str, np.ndarray], where: str) -> None:
    """Copies the weights in; names are those of the file in the order of the network's layers."""
    from dlcore.layers import BatchNormalization, Conv2D, Dense
    blocks = range((sum(isinstance(x, Conv2D) for x in network.layers) - 1) // 6)
    stems = ["", *(f"layer{stage}.{block}." for stage in (1, 2, 3) for block in blocks)]
    numbers = [(stem, i) for stem in stems for i in ((1,) if not stem else (1, 2))]
    convolutions = iter([f"{stem}conv{i}" for stem, i in numbers])
    norms = iter([f"{stem}bn{i}" for stem, i in numbers])
    try:
        for layer in network.layers:
            if isinstance(layer, Conv2D):
                layer.set_weights([convolution_weights(state[f"{next(convolutions)}.weight"])])
            elif isinstance(layer, BatchNormalization) and layer.trainable:
                name = next(norms)
                layer.set_weights([state[f"{name}.{part}"] for part in ("weight", "bias", "running_mean", "running_var")])
            elif isinstance(layer, Dense):
                layer.set_weights([state["linear.weight"].T, state["linear.bias"]])
    except KeyError as error:
        raise ModelFileError("a weight is missing", where=where, got=str(error)) from None


def classifier(network: Any, depth: int, labels: Sequence[str]) -> ImageClassifier:
    from dlcore.data.answers import Classes
    from dlcore.data.preprocess import ImagePreprocessor
    from dlcore.tasks.image_classify import ARCHITECTURES, ImageClassifier
    name = f"resnet{depth}"
    made = ImageClassifier.of(name if name in ARCHITECTURES else "resnet20")
    order = np.argsort(np.array(labels))            # classes are sorted here
    dense = network.layers[-1]
    weight, bias = dense.get_weights()
    dense.set_weights([weight[:, order], bias[order]])
    made._preprocessor, made._answers = ImagePreprocessor((32, 32, 3), 1 / 255), Classes(np.array(labels)[order])
    made._network = network
    return made
