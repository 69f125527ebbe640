"""The Python of docs/resume.md runs as it stands."""

import re

import numpy as np
from conftest import ROOT

import dlcore as dl
from dlcore.layers import Dense


def test_the_examples_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((40, 3)).astype(np.float32), rng.integers(0, 2, 40)
    model = dl.Sequential([Dense(2, activation="softmax", input_shape=(3,))])
    model.compile("adam", "sparse_categorical_crossentropy")
    names = {"model": model, "x": x, "y": y, "held_back": (x, y)}
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "resume.md").read_text(), re.S)
    assert len(blocks) == 2
    for block in blocks:
        exec(block, names)
    assert len((tmp_path / "log.csv").read_text().splitlines()) > 1
    patience = names["Patience"]()
    model.fit(x, y, epochs=2, verbose=0, callbacks=[patience])
    assert patience.get_state() == {"before": patience.before} and patience.before < float("inf")
