"""`dlcore.load`: a model file back into what was saved."""
from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from typing import Any

from dlcore.deploy.model_file import ModelFile, read
from dlcore.errors import ModelFileError

_TASKS = {
    "image-classify": "dlcore.tasks.image_classify",
    "tabular": "dlcore.tasks.tabular",
    "char-lm": "dlcore.tasks.language_model",
    "language-model": "dlcore.tasks.language_model",
    "text-classify": "dlcore.tasks.text_classify",
    "autoencode": "dlcore.tasks.autoencode",
    "gan": "dlcore.tasks.gan",
    "detect": "dlcore.tasks.detect",
    "series": "dlcore.tasks.series",
    "embed": "dlcore.tasks.embed",
    "translate": "dlcore.tasks.translate",
}


def load(path: str | os.PathLike[str], custom_objects: Mapping[str, Any] | None = None, *, precision: str | None = None) -> Any:
    """A model or an estimator from a model file, a folder with the same contents, or a run's folder.

    custom_objects: layers, losses and metrics of your own that a model uses, by name.  Needs NumPy alone.
    precision: of products in what it answers: "float32", "bf16", "tf32x3" or "int8"; None: "float32", or of a bare model that of
    its training.  `answers_in` changes it later.
    Raises `ModelFileError` whatever the bytes are; `UsageError` for another precision, before anything is read.
    """
    from dlcore.training import answers, saving
    if precision is not None:
        answers.check(precision)
    path = os.fspath(path)
    inside = os.path.join(path, "model.dlc")
    file = read(inside if os.path.isfile(inside) else path)
    if file.config["model_type"] == saving.MODEL_TYPE:
        made = saving.restore(file.config, file.tensors, custom_objects, where=path)
    else:
        made = _estimator(file, path)
    if precision is not None:
        made.answers_in = precision
    return made


def _estimator(file: ModelFile, path: str) -> Any:
    """The estimator in a model file.   ModelFileError"""
    kind = file.config["model_type"]
    if kind not in _TASKS:
        raise ModelFileError("the model file is of an unknown kind", where=path,
                             expected=", ".join(["model", *_TASKS]), got=kind[:60],
                             hint="update dlcore if the file was written by a newer one")
    estimators = importlib.import_module(_TASKS[kind]).ESTIMATORS
    name = file.config.get("estimator")
    if not isinstance(name, str) or name not in estimators:
        raise ModelFileError("the model file names an estimator that does not exist", where=path,
                             expected=", ".join(estimators), got=str(name)[:60])
    return estimators[name].from_file(file.config, file.tensors, file.extras, path)
