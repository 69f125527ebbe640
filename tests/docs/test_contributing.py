"""The worked examples of CONTRIBUTING.md and of the user's pages, run as they stand."""

import importlib
import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT

import dlcore
from dlcore.errors import ModelFileError


def blocks(page):
    """The Python code of a page, in order."""
    return re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def examples(tmp_path_factory):
    """A folder that holds the files of CONTRIBUTING.md, importable."""
    folder = tmp_path_factory.mktemp("examples")
    for block in blocks("CONTRIBUTING.md"):
        path = folder / re.match(r"# (\S+)\n", block)[1]
        path.parent.mkdir(exist_ok=True)
        path.write_text(block)
    sys.path.insert(0, str(folder))
    yield folder
    sys.path.remove(str(folder))


class Joined:
    """The kernels of a room of its own, and those of dlcore for everything else."""

    def __init__(self, own, base):
        self.own, self.base = own, base
        self.level, self.constants, self.calls = base.level, base.constants, {**base.calls, **own.calls}
        self.lowerings = base.lowerings

    def has(self, name, dtypes="f32"):
        return self.own.has(name, dtypes) or self.base.has(name, dtypes)

    def entry(self, name, dtypes="f32"):
        return (self.own if self.own.has(name, dtypes) else self.base).entry(name, dtypes)


@pytest.fixture(scope="module")
def cube_table(examples):
    """Compiles the example's room for the lowest level of this machine."""
    from dlcore.compiler import levels
    from dlcore.runtime import kernel_table

    lowest = levels.levels_of(levels.host_arch())[0].name
    command = [
        sys.executable,
        "-m",
        "dlcore.compiler",
        "--rooms",
        "cube.cpu",
        "--levels",
        lowest,
        "--output",
        str(examples / "out"),
        "--cache",
        str(examples / "cache"),
    ]
    path = os.pathsep.join([str(examples), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(command, capture_output=True, text=True, cwd=examples, env={**os.environ, "PYTHONPATH": path})
    assert done.returncode == 0, done.stdout + done.stderr
    return Joined(kernel_table(folder=examples / "out"), kernel_table())


def test_the_operation_agrees_with_its_reference(cube_table):
    from dlcore.graph import Graph, plan

    cube, ref = importlib.import_module("cube"), importlib.import_module("cube.ref")
    for case in ref.CASES:
        graph = Graph()
        x = graph.input("x", *case.inputs["x"].shape)
        out = cube.cube(x)
        seed = graph.input("seed", *out.shape)
        program = plan(graph, {"out": out}, gradients={out: [x]}, seeds={out: seed}, table=cube_table)
        instance = program.bind(table=cube_table)
        dout = np.random.default_rng(3).standard_normal(out.shape)
        instance["x"][...], instance["seed"][...] = case.inputs["x"], dout
        instance.run()
        (expected,) = case.expected()
        assert abs(instance["out"] - expected).max() <= case.tolerance * max(1, abs(expected).max())
        gradient = case.gradients(dout.astype(np.float32).astype(np.float64))["x"]
        assert abs(instance["d x"] - gradient).max() <= case.gradient_tolerance * max(1, abs(gradient).max())
    assert len(ref.CASES) == 2


def test_the_layer_learns_and_is_saved(examples, tmp_path):
    ScaledShift = importlib.import_module("scaled_shift").ScaledShift  # noqa: N806  (a class)
    model = dlcore.Sequential([ScaledShift(input_shape=(3,))])
    model.compile("adam", "mean_squared_error")
    model.optimizer.learning_rate = 0.05
    x = np.random.default_rng(0).standard_normal((64, 3), dtype=np.float32)
    y = x * np.float32([1.5, -2, 0.5]) + np.float32([1, 0, -1])
    history = model.fit(x, y, epochs=150, batch_size=64, verbose=0)
    assert history.history["loss"][-1] < 1e-3
    model.save(tmp_path / "m.dlc")
    with pytest.raises(ModelFileError):
        dlcore.load(tmp_path / "m.dlc")
    again = dlcore.Model.load(tmp_path / "m.dlc", custom_objects={"ScaledShift": ScaledShift})
    assert np.array_equal(again.predict(x), model.predict(x))


def test_the_task_works_on_the_command_line(examples, tmp_path, monkeypatch, capsys):
    from dlcore import tasks
    from dlcore.cli.main import run
    from dlcore.deploy import load

    monkeypatch.setitem(tasks._TASK_MODULES, "letters", "letters")
    monkeypatch.setitem(load._TASKS, "letters", "letters")
    monkeypatch.chdir(tmp_path)
    words = ["".join(letters) for letters in np.random.default_rng(0).choice(list("abcdxyz"), (300, 6))]
    rows = [f"{word},{'many' if word.count('x') > 1 else 'few'}" for word in words]
    (tmp_path / "words.csv").write_text("word,label\n" + "\n".join(rows) + "\n")
    assert run(["train", "letters", "--data", "words.csv", "--require", "val_accuracy>=0.9", "-q"]) == 0
    assert run(["train", "letters", "--data", "words.csv", "--preset", "quick", "-q"]) == 0
    (tmp_path / "new.csv").write_text("word\nxaxaxa\nabcabc\n")
    capsys.readouterr()
    assert run(["predict", "runs/letters", "new.csv", "-q"]) == 0
    assert capsys.readouterr().out.split() == ["many", "few"]
    assert "epochs = 5" in (tmp_path / "runs/letters-2/config.toml").read_text()


@pytest.mark.parametrize("task", ["tabular", "image-classify"])
@pytest.mark.parametrize("folder", ["docs", "docs/zh"])
def test_the_pages_name_the_defaults(task, folder):
    from dlcore.tasks import TASKS

    text = (ROOT / folder / f"{task}.md").read_text(encoding="utf-8")
    found = dict(re.findall(r"^\| `(\w+\.[\w-]+)` \| `(.*?)` \|", text, re.MULTILINE))
    wanted = {
        f"{section}.{key}": value if isinstance(value, str) else json.dumps(value)
        for section, values in TASKS[task].defaults("mlp").items()
        for key, value in values.items()
    }
    assert found == wanted


@pytest.mark.parametrize("page", ["README.md", "docs/tabular.md", "docs/image-classify.md"])
def test_the_pages_examples_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = blocks(page)
    assert code
    for block in code:
        exec(compile(block, page, "exec"), {})
