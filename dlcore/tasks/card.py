"""The model card that lies beside the weights."""
from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dlcore.tasks.estimator import Estimator


def card(estimator: Estimator) -> str:
    """Markdown: what the model is, what it was trained with, how it did on the rows kept for validation."""
    from dlcore import __version__
    history = getattr(estimator, "history_", None)
    measured = [f"| {name} | {values[-1]:.4g} |" for name, values in history.history.items()] if history else []
    parameters = [f"| {name} | {value} |" for name, value in estimator.get_params().items()]
    lines = [f"# {estimator.task}", "",
             f"A `{type(estimator).__name__}` of dlcore {__version__} with {estimator.model.count_params():,} weights.", "",
             "```python", "import dlcore", 'model = dlcore.load("model.dlc")', "model.predict(x)", "```", "",
             "| trained with | |", "| --- | --- |", *parameters]
    if measured:
        lines += ["", "| last epoch | |", "| --- | --- |", *measured]
    return "\n".join(lines) + "\n"
