"""Weights to files and from files, and which layers are trained: `save_weights`, `load_weights`, `freeze`."""
from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dlcore.errors import ModelFileError, UsageError
from dlcore.training.saving import named_variables

if TYPE_CHECKING:
    from dlcore.training.model import Model

PREFIX = "weights/"         # of weights in a model file


def save(model: Model, path: str | os.PathLike[str]) -> None:
    """See `Model.save_weights`.  Raises WriteError, and leaves what stood there before."""
    model.ensure_store()
    with model.averages.used(True):
        write(path, {name: v.array for name, v in named_variables(model).items()})


def copies(model: Model) -> dict[str, np.ndarray]:
    """The weights by name, copied, so that they can be written while training goes on."""
    model.ensure_store()
    with model.averages.used(True):
        return {name: v.numpy() for name, v in named_variables(model).items()}


def write(path: str | os.PathLike[str], arrays: Mapping[str, np.ndarray]) -> None:
    """Writes a file of weights, whole or not at all.  WriteError."""
    from dlcore.deploy import safetensors
    from dlcore.deploy.atomic import all_or_nothing, sync_folder
    pieces = safetensors.pieces(arrays, {"format": "dlcore"})
    with all_or_nothing(Path(path), "the weights") as work:
        with open(work, "xb") as file:
            for piece in pieces:
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        os.replace(work, path)
        sync_folder(Path(path).parent)


def load(model: Model, path: str | os.PathLike[str], skip_mismatch: bool = False) -> list[str]:
    """See `Model.load_weights`."""
    if not model.built:
        raise UsageError("a model without shapes takes no weights", hint="build it first, or fit it")
    given, variables = read(path), named_variables(model)
    model.ensure_store()
    fits = {n for n, v in variables.items() if n in given and given[n].shape == v.shape and given[n].dtype == np.float32}
    if not skip_mismatch and (wrong := sorted(variables.keys() - fits) or sorted(given.keys() - variables.keys())):
        first = wrong[0]
        raise ModelFileError("the file's weights are not the model's", where=f"{path}, {first}",
                             expected=f"shape {variables[first].shape}" if first in variables else "no such weight",
                             got=f"{given[first].dtype} {given[first].shape}" if first in given else "no such weight",
                             hint="skip_mismatch=True takes those that fit")
    for name in fits:
        variables[name].assign(given[name])
    model.averages.restart()
    return [name for name in variables if name in fits]


def read(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """The weights in a file, by name.  ModelFileError where there are none."""
    from dlcore.deploy import model_file, safetensors
    place = Path(path)
    if not place.exists():
        raise ModelFileError("no such model file, file of weights or run folder", where=str(place),
                             expected="a folder that dlcore train made, a file model.dlc, or what save_weights wrote")
    if (place / "model.dlc").is_file():         # a run's folder
        place = place / "model.dlc"
    if place.is_dir() or place.suffix == ".dlc":
        tensors: Mapping[str, np.ndarray] = model_file.read(place)[1]
    else:
        try:
            tensors = safetensors.parse(memoryview(place.read_bytes()), str(place))
        except OSError as error:
            raise ModelFileError("the weights cannot be read", where=str(place), got=str(error)) from None
    if any(name.startswith(PREFIX) for name in tensors):
        tensors = {name.removeprefix(PREFIX): a for name, a in tensors.items() if name.startswith(PREFIX)}
    return dict(tensors)


def freeze(model: Model, patterns: Sequence[str]) -> list[str]:
    """See `Model.freeze`."""
    layers = [layer for layer in model.all_layers() if layer is not model]
    frozen = []
    for pattern in patterns:
        found = [layer for layer in layers if fnmatchcase(layer.path, pattern) or fnmatchcase(layer.name, pattern)]
        if not found:
            raise UsageError("no layer to freeze matches", expected=", ".join(layer.path for layer in layers[:20]),
                             got=repr(pattern))
        for layer in found:
            layer.trainable = False
        frozen += [layer.path for layer in found]
    return list(dict.fromkeys(frozen))
