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
    from dlcore.tasks.image_classify import ImageClassifier
    from dlcore.tasks.language_model import CharLM, LanguageModel
    from dlcore.tasks.tabular import TabularClassifier, TabularRegressor
    from dlcore.tasks.task import Task
    from dlcore.tasks.text_classify import MultiLabelTextClassifier, TextClassifier
    from dlcore.tasks.translate import Translator

# the name that users type -> the module whose TASK it is
_TASK_MODULES = {"image-classify": "dlcore.tasks.image_classify", "tabular": "dlcore.tasks.tabular",
                 "char-lm": "dlcore.tasks.char_lm", "language-model": "dlcore.tasks.language_model",
                 "text-classify": "dlcore.tasks.text_classify", "autoencode": "dlcore.tasks.autoencode",
                 "translate": "dlcore.tasks.translate"}
_ESTIMATORS = {"Autoencoder": "dlcore.tasks.autoencode",
               "ImageClassifier": "dlcore.tasks.image_classify", "TabularClassifier": "dlcore.tasks.tabular",
               "TabularRegressor": "dlcore.tasks.tabular", "CharLM": "dlcore.tasks.language_model",
               "LanguageModel": "dlcore.tasks.language_model", "TextClassifier": "dlcore.tasks.text_classify",
               "MultiLabelTextClassifier": "dlcore.tasks.text_classify",
               "Translator": "dlcore.tasks.translate"}

__all__ = ["TASKS", "Autoencoder", "CharLM", "ImageClassifier", "LanguageModel", "MultiLabelTextClassifier",
           "TabularClassifier", "TabularRegressor", "TextClassifier", "Translator"]


class _Registry(Mapping[str, "Task"]):
    """Task names without their modules: listing them imports nothing."""

    def __getitem__(self, name: str) -> Task:
        return importlib.import_module(_TASK_MODULES[name]).TASK

    def __iter__(self) -> Iterator[str]:
        return iter(_TASK_MODULES)

    def __len__(self) -> int:
        return len(_TASK_MODULES)


TASKS = _Registry()


def __getattr__(name: str) -> Any:
    if name not in _ESTIMATORS:
        raise AttributeError(f"module 'dlcore.tasks' has no attribute {name!r}")
    return getattr(importlib.import_module(_ESTIMATORS[name]), name)
