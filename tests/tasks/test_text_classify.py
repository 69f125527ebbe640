"""Texts: files are read, classifiers learn, come back from a file as they were, and say what is wrong."""
import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.metrics import f1_score

import dlcore
from dlcore.cli.main import run
from dlcore.data.texts import read_texts
from dlcore.errors import DataError, ModelFileError, UsageError
from dlcore.metrics.thresholds import label_thresholds
from dlcore.tasks import TASKS, MultiLabelTextClassifier, TextClassifier

DATA = Path(__file__).parent.parent / "data" / "text"
FEW = {"epochs": 4, "lr": 1e-2}
ARCHITECTURES = {"ngrams": {**FEW, "embed": 16, "vocabulary": 4000}, "bilstm": {**FEW, "epochs": 6, "embed": 16, "hidden": (16,)},
                 "transformer": {**FEW, "embed": 16, "hidden": (16,), "dropout": 0.1}}


@pytest.fixture(scope="module")
def sms():
    return read_texts(DATA / "sms_400.tsv")


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_learns_and_comes_back_from_a_file(arch, sms, tmp_path):
    lines = []
    model = TextClassifier(arch, **ARCHITECTURES[arch]).fit(sms, log=lines.append)
    scores = model.evaluate(sms)
    assert scores["accuracy"] > 0.93, scores
    model.save(tmp_path / "m.dlc")
    again = dlcore.load(tmp_path / "m.dlc")
    np.testing.assert_array_equal(again.predict_proba(sms.x), model.predict_proba(sms.x))
    assert again.get_params() == {**model.get_params(), "hidden": list(model.hidden)}
    assert set(again.predict(["win cash now!!! call 0906", "see you at home"])) <= {"ham", "spam"}
    assert any("padding" in line or "n-grams" in line for line in lines)


def test_chinese_is_read_by_character():
    data = read_texts(DATA / "sib200_zho_Hans_dev.tsv")
    lines = []
    model = TextClassifier(**{**ARCHITECTURES["ngrams"], "epochs": 12}).fit(data, log=lines.append)
    assert model.evaluate(data)["accuracy"] > 0.8
    assert any("up to 3 words" in line for line in lines)
    letters = TextClassifier("bilstm", tokenizer="char", **ARCHITECTURES["bilstm"]).fit(data)
    assert letters._tokenizer.encode("中文")[0] > 1


def several():
    """Texts whose labels are the colours that they name."""
    rng, words = np.random.default_rng(0), ["red", "green", "blue"]
    chosen = rng.random((300, 3)) < 0.4
    texts = [" ".join(rng.permutation([*(w for w, c in zip(words, row, strict=True) if c), "some", "words"])) for row in chosen]
    return texts, [[w for w, c in zip(words, row, strict=True) if c] for row in chosen]


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_several_labels(arch, tmp_path):
    texts, labels = several()
    model = MultiLabelTextClassifier(arch, **{**ARCHITECTURES[arch], "epochs": 20}).fit(texts, labels)
    scores = model.evaluate(texts, labels)
    assert scores["accuracy"] > 0.95, scores
    found = model.predict(texts)
    truth, got = (np.array([[w in row for w in model.classes_] for row in rows]) for rows in (labels, found))
    assert scores["macro_f1"] == pytest.approx(f1_score(truth, got, average="macro", zero_division=0))
    model.save(tmp_path / "m.dlc")
    assert dlcore.load(tmp_path / "m.dlc").predict(texts) == found


def rare():
    """Texts with a sign that makes a label likely, not certain: no probability of it comes near a half."""
    rng = np.random.default_rng(3)
    sign, rest = rng.random(600) < 0.25, rng.random(600) < 0.5
    has = sign & (rng.random(600) < 0.3)
    texts = ["some " + ("hint " if s else "") + ("red" if r else "words") for s, r in zip(sign, rest, strict=True)]
    return texts, [[*(["rare"] if h else []), *(["red"] if r else [])] for h, r in zip(has, rest, strict=True)]


def test_each_label_has_a_threshold(tmp_path):
    texts, labels = rare()
    options = {**ARCHITECTURES["ngrams"], "epochs": 10, "val_split": 0.3}
    lines = []
    model = MultiLabelTextClassifier("ngrams", **options).fit(texts, labels, log=lines.append)
    half = MultiLabelTextClassifier("ngrams", thresholds=0.5, **options).fit(texts, labels)
    assert model.score(texts, labels) > half.score(texts, labels) + 0.15
    assert model.thresholds_[list(model.classes_).index("rare")] < 0.4
    assert "validation rows" in lines[-1] and "with 0.5 for all" in lines[-1]
    rows = {row["label"]: row for row in model.by_label(texts, labels)}
    assert rows["rare"]["recall"] > 0.9 and rows["rare"]["rows"] == sum("rare" in row for row in labels)
    model.save(tmp_path / "m.dlc")
    again = dlcore.load(tmp_path / "m.dlc")
    np.testing.assert_array_equal(again.thresholds_, model.thresholds_)
    probs = again.predict_proba(texts[:50])
    again.thresholds_[:] = 1
    assert again.predict(texts[:50]) == [[]] * 50
    np.testing.assert_array_equal(again.predict_proba(texts[:50]), probs)


def test_several_labels_have_no_folds():
    with pytest.raises(UsageError, match="several labels"):
        dlcore.cross_validate(MultiLabelTextClassifier(epochs=1), *several(), folds=3)


def test_thresholds_without_rows_to_choose_by():
    lines = []
    model = MultiLabelTextClassifier("ngrams", **{**ARCHITECTURES["ngrams"], "epochs": 1, "val_split": 0.0})
    model.fit(*several(), log=lines.append)
    assert model.thresholds_.tolist() == [0.5] * 3 and "no rows are kept" in lines[-1]


@pytest.mark.parametrize("value", [2, -0.1, "some", True, None])
def test_bad_thresholds(value):
    with pytest.raises(UsageError, match="thresholds"):
        MultiLabelTextClassifier(thresholds=value).fit(["a b", "c d"], [["x"], ["y"]])


def test_thresholds_of_few_rows_lie_in_a_range_that_is_good():
    """All thresholds between the rows with and without a label are as good: one in the middle is taken, for labels of any size."""
    rng = np.random.default_rng(0)
    truth = np.zeros((400, 3), bool)
    truth[:8, 0] = truth[:100, 1] = True
    probs = np.clip(np.where(truth, 0.4, 0.05) + rng.uniform(-0.04, 0.04, truth.shape), 0, 1)
    found = label_thresholds(truth, probs)
    assert (0.12 < found).all() and (found < 0.34).all()
    with pytest.raises(UsageError, match="do not fit"):
        label_thresholds(truth, probs[:, :2])


def test_several_labels_on_the_command_line(tmp_path, capsys):
    texts, labels = several()
    (tmp_path / "rows.tsv").write_text("".join(f"{t}\t{','.join(row)}\n" for t, row in zip(texts, labels, strict=True) if row))
    words = ["--data", str(tmp_path / "rows.tsv"), "--epochs", "6", "--out", str(tmp_path / "run"), "--val-split", "0.3"]
    assert run(["train", "text-classify", *words]) == 0
    assert "thresholds of the labels" in capsys.readouterr().err
    epochs = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    best = max(row["val_macro_f1"] for row in epochs)
    assert run(["runs", "list", str(tmp_path), "--json"]) == 0
    assert best in [row["metrics"].get("val_macro_f1") for row in json.loads(capsys.readouterr().out)["runs"]]
    words = [*words[:5], str(tmp_path / "by_loss"), *words[6:], "--monitor", "val_loss"]
    assert run(["train", "text-classify", *words]) == 0
    assert "macro_f1" not in (tmp_path / "by_loss/metrics.jsonl").read_text()
    capsys.readouterr()
    assert run(["evaluate", str(tmp_path / "run"), str(tmp_path / "rows.tsv"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found["metrics"]) == {"accuracy", "macro_f1", "micro_f1"} and len(found["by_label"]) == 3
    assert run(["info", str(tmp_path / "run")]) == 0
    assert "thresholds    3: 0." in capsys.readouterr().out
    assert run(["predict", str(tmp_path / "run"), "--text", "some red green words"]) == 0
    assert set(capsys.readouterr().out.strip().split(",")) <= {"red", "green", "blue"}
    assert run(["train", "text-classify", *words[:5], str(tmp_path / "x"), "--set", "model.thresholds=2"]) == 3


def test_whether_there_is_a_header_is_told(tmp_path, capsys):
    """The first row names the columns by words that are no usual names, or is a row that has one."""
    rows = "".join(f"some {'red' if i % 2 else 'blue'} words {i}\t{'warm' if i % 2 else 'cold'}\n" for i in range(60))
    (tmp_path / "named.tsv").write_text("what is said\tits kind\n" + rows)
    (tmp_path / "plain.tsv").write_text("title\twarm\n" + rows)
    for name, option, columns in (("named", "--header", "what is said,its kind"), ("plain", "--no-header", "c1,c2")):
        words = ["--data", str(tmp_path / f"{name}.tsv"), "--epochs", "1", "--out", str(tmp_path / name), option]
        assert run(["train", "text-classify", *words]) == 0
        assert f"header {option == '--header'}" in capsys.readouterr().err
        model = dlcore.load(tmp_path / name / "model.dlc")
        assert (model.columns, model.header) == (columns, option == "--header")
        assert model.classes_.tolist() == ["cold", "warm"]
        assert run(["evaluate", str(tmp_path / name), str(tmp_path / f"{name}.tsv"), "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["rows"] == 60 + (name == "plain")
    assert run(["predict", str(tmp_path / "plain"), str(tmp_path / "named.tsv"), "--header"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 60
    assert run(["predict", str(tmp_path / "plain"), str(tmp_path / "plain.tsv")]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 61


def test_long_texts_in_windows():
    """The telling word stands behind what is read of a truncated text."""
    rng = np.random.default_rng(1)
    texts = [" ".join(["so"] * int(rng.integers(10, 30)) + [("good", "bad")[n % 2]] + ["so"] * 3) for n in range(120)]
    labels = ["good" if n % 2 == 0 else "bad" for n in range(120)]
    options = {**ARCHITECTURES["bilstm"], "epochs": 12, "max_len": 8, "dropout": 0.0, "val_split": 0.0}
    cut = TextClassifier("bilstm", **options).fit(texts, labels).score(texts, labels)
    whole = TextClassifier("bilstm", long="windows", **options).fit(texts, labels).score(texts, labels)
    assert cut < 0.7 < 0.9 < whole


def test_keeps_scikit_learns_manners():
    model = TextClassifier("bilstm", epochs=3)
    assert (model.lr, model.hidden, TextClassifier().hidden) == (2e-3, (128,), ())
    assert clone(model).get_params() == model.get_params()
    assert "epochs=3" in repr(model)


FILES = {
    "named.csv": "text,category\n\"a, b\",x\nc d,y\n", "other.csv": "review;stars;label\ngood one;5;x\nbad one;1;y\n",
    "plain.tsv": "x\ta, b\ny\tc \"d\nx\te\n", "fast.txt": "__label__x a, b\n__label__y c d\n",
    "rows.jsonl": '{"sentence": "a b", "label": "x"}\n\n{"sentence": "null", "label": "y"}\n',
}


@pytest.mark.parametrize("name", FILES)
def test_files_of_one_label(name, tmp_path):
    (tmp_path / name).write_text(FILES[name])
    data = read_texts(tmp_path / name)
    assert list(data.y)[:2] == ["x", "y"]
    assert data.x[0] in ("a, b", "good one", "a b") and len(data) >= 2


SEVERAL = {
    "a.tsv": "t one\t3,7\tid1\nt two\t3\tid2\nt three\t7\tid3\nt four\t3\tid4\nt five\t7\tid5\nt six\t3\tid6\n",
    "b.txt": "__label__3 __label__7 t one\n__label__3 t two\n",
    "c.jsonl": '{"text": "t one", "labels": ["3", "7"]}\n{"text": "t two", "labels": ["3"]}\n{"text": "u", "labels": ["7"]}\n',
}


@pytest.mark.parametrize("name", SEVERAL)
def test_files_of_several_labels(name, tmp_path):
    (tmp_path / name).write_text(SEVERAL[name])
    data = read_texts(tmp_path / name)
    assert data.x[:2].tolist() == ["t one", "t two"]
    assert data.y[0] == ("3", "7") and data.y[1] == ("3",)
    made = TASKS["text-classify"].create(data)
    assert isinstance(made, MultiLabelTextClassifier)


def test_texts_without_labels(tmp_path, sms):
    (tmp_path / "new.txt").write_text("one text\nanother, text\n\n")
    model = TextClassifier(**{**ARCHITECTURES["ngrams"], "epochs": 1}).fit(sms)
    part = TASKS["text-classify"].read(str(tmp_path / "new.txt"), labelled=False, like=model).train
    assert part.x.tolist() == ["one text", "another, text"]
    assert len(model.predict(part.x)) == 2


BAD = {
    "empty.csv": ("", "file is empty"), "latin.csv": (b"text,label\na,x\n\xe9t\xe9,y\n", "not UTF-8"),
    "gap.csv": ("text,label\n,x\nb,y\n", "a text is empty"), "unlabelled.csv": ("text,label\na,\nb,y\n", "label is missing"),
    "one.csv": ("text\na\nb\n", "no column but the texts"),
    "ids.csv": ("text,number\na,1\nb,2\nc,3\nd,4\ne,5\n", "looks like labels"),
    "broken.jsonl": ("{\"text\": \"a\"", "not valid JSON"), "marks.txt": ("__label__a b\nc d\n", "no label"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files(name, tmp_path):
    content, message = BAD[name]
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError, match=message) as error:
        read_texts(tmp_path / name)
    assert error.value.exit_code == 4 and name in str(error.value)


def test_the_line_of_bad_bytes_is_named(tmp_path):
    (tmp_path / "x.csv").write_bytes(b"text,label\na,x\n\xe9t\xe9,y\n")
    with pytest.raises(DataError) as error:
        read_texts(tmp_path / "x.csv")
    assert "row 3" in str(error.value)


@pytest.mark.parametrize("texts, message", [([3, "a"], "no text"), ("abc", "come as a list"), (["a", " "], "empty")])
def test_bad_texts(texts, message):
    with pytest.raises(DataError, match=message):
        TextClassifier().fit(texts, ["x", "y"])


@pytest.mark.parametrize("options, message", [
    ({"arch": "cnn"}, "arch"), ({"long": "drop"}, "long"), ({"embed": 0}, "embed"), ({"max_len": -1}, "max_len"),
    ({"arch": "bilstm", "hidden": ()}, "hidden"), ({"arch": "transformer", "embed": 10}, "embed"),
    ({"vocabulary": 1.5}, "vocabulary"),
])
def test_bad_parameters(options, message):
    with pytest.raises(UsageError, match=message):
        TextClassifier(**options).fit(["a b", "c d"], ["x", "y"])


def test_a_tokenizer_that_does_not_fit(sms, tmp_path):
    from dlcore.data.text import TextTokenizer
    from dlcore.deploy import model_file
    words = TextTokenizer.words(sms.x)
    config = words.to_json()
    shifted = {w: i + 5 for w, i in config["model"]["vocab"].items()}
    added = [{**t, "id": t["id"] + 5} for t in config["added_tokens"]]
    (tmp_path / "t.json").write_text(json.dumps({**config, "model": {**config["model"], "vocab": shifted}, "added_tokens": added}))
    with pytest.raises(ModelFileError, match="does not fit"):
        TextClassifier("bilstm", tokenizer=str(tmp_path / "t.json"), **ARCHITECTURES["bilstm"]).fit(sms)
    model = TextClassifier("bilstm", **{**ARCHITECTURES["bilstm"], "epochs": 1}).fit(sms)
    model.save(tmp_path / "m.dlc")
    config, tensors, extras = model_file.read(tmp_path / "m.dlc")
    more = TextTokenizer.words([*sms.x, "supercalifragilistic"]).to_json()
    model_file.write(tmp_path / "n.dlc", config, dict(tensors), {**extras, "tokenizer.json": more})
    with pytest.raises(ModelFileError, match="do not fit together"):
        dlcore.load(tmp_path / "n.dlc")
