"""The callbacks of docs/report.md run as they stand, against stand-ins for wandb and mlflow."""

import re
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from dlcore import layers
from dlcore.training import Sequential

PAGE = Path(__file__).resolve().parents[2] / "docs" / "report.md"


def example(heading):
    text = PAGE.read_text().partition(f"## {heading}\n")[2]
    return re.search(r"```python\n(.*?)```", text, re.S).group(1)


def recorder(calls):
    """A module whose every function notes its name and arguments."""

    class Notes(types.ModuleType):
        def __getattr__(self, name):
            if name.startswith("__"):
                raise AttributeError(name)
            return lambda *a, **k: calls.append((name, a, k)) or self

    return Notes("notes")


@pytest.mark.parametrize(
    "heading,module,cls,logged",
    [("Weights & Biases", "wandb", "WandbLog", "log"), ("MLflow", "mlflow", "MlflowLog", "log_metrics")],
)
def test_the_callback_logs_every_epoch(heading, module, cls, logged, monkeypatch):
    calls, code = [], example(heading)
    assert len([line for line in code.splitlines() if line.strip() and "import" not in line]) <= 10
    monkeypatch.setitem(sys.modules, module, recorder(calls))
    space = {}
    exec(code, space)
    model = Sequential([layers.Dense(1, input_shape=(2,))])
    model.compile("sgd", "mean_squared_error")
    model.fit(np.ones((8, 2)), np.ones((8, 1)), epochs=3, verbose=0, callbacks=[space[cls]()])
    found = [call for call in calls if call[0] == logged]
    assert len(found) == 3 and all("loss" in call[1][0] for call in found)
