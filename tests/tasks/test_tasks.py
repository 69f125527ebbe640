"""The tasks as the command line uses them: reading, defaults, making an estimator, reading again for a trained one."""
from __future__ import annotations

import io
import subprocess
import sys

import numpy as np
import pytest
from conftest import DATA

import dlcore as dl
from dlcore.errors import DataError, UsageError
from dlcore.tasks import TASKS, ImageClassifier, TabularClassifier, TabularRegressor

TABULAR, IMAGES = TASKS["tabular"], TASKS["image-classify"]


def write(tmp_path, text: str, name: str = "t.csv") -> str:
    (tmp_path / name).write_text(text)
    return str(tmp_path / name)


def rows(count: int = 80, header: str = "a,b,label\n", answer=lambda i: "xy"[i % 2]) -> str:
    return header + "".join(f"{i % 7},{'rst'[i % 3]},{answer(i)}\n" for i in range(count))


def test_listing_tasks_imports_none_of_them():
    code = ("import sys; from dlcore.tasks import TASKS\n"
            "print(list(TASKS), [m for m in sys.modules if m.startswith('dlcore.tasks.')])")
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == f"{list(TASKS)} []" and {"image-classify", "tabular", "text-classify"} <= set(TASKS)
    with pytest.raises(KeyError):
        TASKS["other"]


@pytest.mark.parametrize("name", list(TASKS))
def test_every_default_can_be_given(name, tmp_path, mnist):
    task = TASKS[name]
    assert task.name == name and task.summary
    table = write(tmp_path, "a,b\n1,2\n3,4\n" if name == "series" else rows())
    pictures = {**dict.fromkeys(("image-classify", "autoencode", "gan"), mnist), "detect": DATA / "detection" / "bccd"}
    train = task.read(str(pictures.get(name, table))).train
    for arch in task.architectures:
        options = {key.replace("-", "_"): value for section in task.defaults(arch).values() for key, value in section.items()}
        plain, given = task.create(train, arch, seed=3), task.create(train, arch, seed=3, **options)
        assert {k: list(v) if isinstance(v, tuple) else v for k, v in plain.get_params().items()} == given.get_params()
        assert given.random_state == 3


@pytest.mark.parametrize(("answer", "kind"), [
    (lambda i: "xy"[i % 2], TabularClassifier), (lambda i: i % 10, TabularClassifier), (lambda i: i, TabularRegressor),
    (lambda i: i / 8, TabularRegressor), (lambda i: f"{i % 3}.0", TabularClassifier), (lambda i: f"0{i % 3}", TabularClassifier),
])
def test_labels_or_numbers_by_the_answers(tmp_path, answer, kind):
    train = TABULAR.read(write(tmp_path, rows(answer=answer))).train
    assert type(TABULAR.create(train)) is kind
    assert type(TABULAR.create(train, answers="labels")) is TabularClassifier
    with pytest.raises(UsageError, match="auto, labels, numbers"):
        TABULAR.create(train, answers="words")


def test_a_table_is_read_learned_and_read_again(tmp_path):
    path = write(tmp_path, rows(400))
    parts = TABULAR.read(path)
    assert parts.test is None and any("the answers are column 'label'" in note for note in parts.notes)
    model = TABULAR.create(parts.train, epochs=3, hidden=[8]).fit(parts.train)
    assert model.label_col == "label"
    want = model.predict(parts.train.x)
    assert model.evaluate(TABULAR.read(path, like=model).held_out())["accuracy"] == np.mean(want == parts.train.y)
    # to predict: with the answers, without them, in another order
    for text in (rows(400), *("".join(f"{line.rsplit(',', 1)[0]}\n" for line in rows(400).splitlines()),),
                 "b,a\n" + "".join(f"{'rst'[i % 3]},{i % 7}\n" for i in range(400))):
        part = TABULAR.read(write(tmp_path, text, "p.csv"), labelled=False, like=model).held_out()
        assert part.y is None
        np.testing.assert_array_equal(model.predict(part.x), want)
    with pytest.raises(DataError, match="no column 'label'"):
        TABULAR.read(write(tmp_path, "a,b\n1,r\n", "q.csv"), like=model)


def test_tables_without_a_header(tmp_path):
    first = "".join(f"{line.rsplit(',', 1)[1]},{line.rsplit(',', 1)[0]}\n" for line in rows(400, "").splitlines())
    for text, label in ((rows(400, ""), "c3"), (first, "c1")):
        parts = TABULAR.read(write(tmp_path, text), label_col=label)
        model = TABULAR.create(parts.train, epochs=2, hidden=[8]).fit(parts.train)
        inputs = "".join(f"{i % 7},{'rst'[i % 3]}\n" for i in range(400))
        part = TABULAR.read(write(tmp_path, inputs, "p.csv"), labelled=False, like=model).held_out()
        np.testing.assert_array_equal(model.predict(part.x), model.predict(parts.train.x))


def test_the_guess_of_a_header_is_overruled(tmp_path):
    """Numbers name the columns, or texts are data: both look like the opposite."""
    years = write(tmp_path, "2019,2020,label\n" + rows(60, ""), "y.csv")
    texts = write(tmp_path, rows(60, "", lambda i: "uv"[i % 2]).replace("0,r,u", "one,w,x", 1), "t.csv")
    assert TABULAR.read(years, label_col="c3").train.x.names == ("c1", "c2")
    assert TABULAR.read(texts, label_col="x").train.x.names == ("one", "w")
    for path, told, label, count in ((years, True, "label", 60), (years, False, "c3", 61), (texts, False, "c3", 60)):
        parts = TABULAR.read(path, label_col=label, header=told)
        model = TABULAR.create(parts.train, epochs=1, hidden=[8], header=told).fit(parts.train)
        assert len(parts.train) == count and model.header is told
        model.save(tmp_path / f"{count}{label}.dlc")
        again = dl.load(tmp_path / f"{count}{label}.dlc")
        one = write(tmp_path, "2019,2020\n1,r\n" if told else "red,r\n", "p.csv")
        part = TABULAR.read(one, labelled=False, like=again).held_out()
        assert again.header is told and len(part) == 1
        assert len(TABULAR.read(path, like=again).train) == count
        assert len(TABULAR.read(write(tmp_path, "4,r\n5,s\n", "q.csv"), labelled=False, like=again, header=False).train) == 2


def test_a_single_row_without_a_header(tmp_path):
    """Of a table without header a row of text is data, whatever it looks like."""
    text = "".join(f"{'ab'[i % 2]},{'rst'[i % 3]},{'xy'[i % 2]}\n" for i in range(60))
    parts = TABULAR.read(write(tmp_path, text), label_col="c3")
    model = TABULAR.create(parts.train, epochs=1, hidden=[8]).fit(parts.train)
    assert model.header == "auto"
    assert len(TABULAR.read(write(tmp_path, "b,r\n", "p.csv"), labelled=False, like=model).train) == 1
    assert len(TABULAR.read(write(tmp_path, "c1,c2\nb,r\n", "q.csv"), labelled=False, like=model).train) == 1


def test_one_row_from_standard_input(tmp_path, monkeypatch):
    parts = TABULAR.read(write(tmp_path, rows(400)))
    model = TABULAR.create(parts.train, epochs=2, hidden=[8]).fit(parts.train)
    for text in ("a,b\n3,r\n", '{"a": 3, "b": "r"}\n', "b\ta\nr\t3\n"):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
        part = TABULAR.read("-", labelled=False, like=model).held_out()
        assert model.predict(part.x).shape == (1,)


@pytest.mark.parametrize(("text", "label", "message"), [
    ("", "label", "empty"), ("a,b,label\n1,2,x\n3,4,y\n", "nope", "no column 'nope'"), ("a,b\n1,2\n", "", "no column is called"),
    ("a,label\n1,x\n2\n", "label", "row 3"),
])
def test_tables_that_are_refused(tmp_path, text, label, message):
    with pytest.raises(DataError, match=message):
        TABULAR.read(write(tmp_path, text), label_col=label)


def test_one_class_is_refused_before_training(tmp_path):
    train = TABULAR.read(write(tmp_path, "a,label\n1,x\n2,x\n")).train
    with pytest.raises(DataError, match="only one class"):
        TABULAR.create(train).fit(train)


def test_images_are_read_for_training_and_for_a_trained_model(mnist):
    parts = IMAGES.read(str(mnist))
    model = IMAGES.create(parts.train, epochs=1, hidden=[16], batch=64)
    assert isinstance(model, ImageClassifier) and model.batch_size == 64
    model.fit(parts.train)
    assert set(model.evaluate(IMAGES.read(str(mnist), like=model).held_out())) == {"accuracy", "macro_f1", "log_loss"}
    assert len(IMAGES.read(str(mnist), labelled=False, like=model).held_out()) == 1000
    with pytest.raises(UsageError, match="no columns"):
        IMAGES.read(str(mnist), label_col="label")


def test_the_adult_cut(mnist):
    folder = mnist.parent / "tabular"
    train = TABULAR.read(str(folder / "adult_300.csv"), label_col="c15").train
    test = TABULAR.read(str(folder / "adult_val_150.csv"), label_col="c15").held_out()
    model = TABULAR.create(train).fit(train)
    assert model.score(test) > 0.76                         # three quarters earn less


@pytest.mark.parametrize("name", list(TASKS))
def test_no_estimator_hides_what_training_calls(name):
    """`--init` asks every estimator for the weights to begin with, by a method that none may take for something else."""
    import importlib

    from dlcore.tasks.estimator import Estimator

    module = importlib.import_module(type(TASKS[name]).__module__)
    for estimator in module.ESTIMATORS.values():
        if issubclass(estimator, Estimator):
            for hook in ("_begin", "_make", "_compile", "_train"):
                assert callable(getattr(estimator, hook)), (estimator, hook)


def test_inputs_are_put_together():
    from dlcore.data.dataset import Dataset, together
    from dlcore.data.table import as_table

    images = [Dataset(np.full((n, 3, 3), n), None, f"{n}.npz") for n in (2, 3)]
    assert np.array_equal(together(images).x[:, 0, 0], [2, 2, 3, 3, 3]) and together(images[:1]) is images[0]
    with pytest.raises(DataError, match="do not fit together"):
        together([images[0], Dataset(np.zeros((1, 4, 4)), None, "other.npz")])
    tables = [Dataset(as_table([{"a": 1, "b": "x"}, {"a": None, "b": "y"}])), Dataset(as_table({"b": ["z"], "c": [3], "a": [2.5]}))]
    whole = together(tables).x
    assert whole.columns == {"a": [1, None, 2.5], "b": ["x", "y", "z"]} and list(whole.lines) == [1, 2, 1]
    with pytest.raises(DataError, match="name one at a time"):
        together([tables[0], images[0]])
