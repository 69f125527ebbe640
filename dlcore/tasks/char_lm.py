"""The task `char-lm` of the command line: a language model of characters."""
from __future__ import annotations

from dlcore.tasks.language_model import CHAR_TASK as TASK
from dlcore.tasks.language_model import ESTIMATORS

__all__ = ["ESTIMATORS", "TASK"]
