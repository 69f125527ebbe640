"""The user's jobs: data, model, loss, metrics and prediction in one estimator each.

    from dlcore.tasks import ImageClassifier, TabularClassifier, TabularRegressor
    from dlcore.tasks import TASKS            # name -> Task, for the command line; each is imported when asked for
"""
from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dlcore.tasks.autoencode import Autoencoder
    from dlcore.tasks.detect import Detector
    from dlcore.tasks.embed import TextEmbedder
    from dlcore.tasks.gan import GAN
    from dlcore.tasks.image_classify import ImageClassifier
    from dlcore.tasks.language_model import CharLM, LanguageModel
    from dlcore.tasks.series import SeriesForecaster
    from dlcore.tasks.tabular import TabularClassifier, TabularRegressor
    from dlcore.tasks.task import Task
    from dlcore.tasks.text_classify import MultiLabelTextClassifier, TextClassifier
    from dlcore.tasks.translate import Translator

# the name that users type -> the module whose TASK it is
_TASK_MODULES = {
    "image-classify": "dlcore.tasks.image_classify",
    "tabular": "dlcore.tasks.tabular",
    "char-lm": "dlcore.tasks.char_lm",
    "language-model": "dlcore.tasks.language_model",
    "text-classify": "dlcore.tasks.text_classify",
    "autoencode": "dlcore.tasks.autoencode",
    "detect": "dlcore.tasks.detect",
    "gan": "dlcore.tasks.gan",
    "series": "dlcore.tasks.series",
    "translate": "dlcore.tasks.translate",
}
# tasks whose models are imported and used, not trained: found by name, not listed
_USED_ONLY = {"embed": "dlcore.tasks.embed"}
_ESTIMATORS = {
    "Autoencoder": "dlcore.tasks.autoencode",
    "CharLM": "dlcore.tasks.language_model",
    "Detector": "dlcore.tasks.detect",
    "GAN": "dlcore.tasks.gan",
    "ImageClassifier": "dlcore.tasks.image_classify",
    "LanguageModel": "dlcore.tasks.language_model",
    "MultiLabelTextClassifier": "dlcore.tasks.text_classify",
    "SeriesForecaster": "dlcore.tasks.series",
    "TabularClassifier": "dlcore.tasks.tabular",
    "TabularRegressor": "dlcore.tasks.tabular",
    "TextClassifier": "dlcore.tasks.text_classify",
    "TextEmbedder": "dlcore.tasks.embed",
    "Translator": "dlcore.tasks.translate",
}

__all__ = ["TASKS", *_ESTIMATORS]


class _Registry(Mapping[str, "Task"]):
    """Task names without their modules: listing them imports nothing."""

    def __getitem__(self, name: str) -> Task:
        return importlib.import_module((_TASK_MODULES | _USED_ONLY)[name]).TASK

    def __iter__(self) -> Iterator[str]:
        return iter(_TASK_MODULES)

    def __len__(self) -> int:
        return len(_TASK_MODULES)


TASKS = _Registry()


def __getattr__(name: str) -> Any:
    if name not in _ESTIMATORS:
        raise AttributeError(f"module 'dlcore.tasks' has no attribute {name!r}")
    return getattr(importlib.import_module(_ESTIMATORS[name]), name)
