"""`train translate`, `predict`, `evaluate` and `resume` as they are typed."""
from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

import dlcore
from dlcore.cli.main import run
from dlcore.cli.profile import bind

FILE = Path(__file__).parent.parent / "data/translation/tatoeba_en_zh_400.tsv"
SMALL = ["--set", "model.width=16", "--set", "model.inner=24", "--set", "model.layers=1", "--set", "model.source-tokenizer=word",
         "--batch", "16"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("translate")
    out = str(folder / "run")
    assert run(["train", "translate", "--data", str(FILE), "--epochs", "3", "--out", out, "--json", *SMALL]) == 0
    return out


@pytest.fixture
def typed(monkeypatch):
    def type_in(text):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode()), "utf-8"))
    return type_in


def test_a_run_measures_its_test_part(trained, capsys):
    result = json.loads((Path(trained) / "result.json").read_text())
    assert {"test_bleu", "test_chrf", "test_perplexity", "val_loss"} <= set(result["metrics"])
    assert (Path(trained) / "report.html").stat().st_size > 5000
    capsys.readouterr()
    assert run(["evaluate", trained, str(FILE), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["rows"] == 20 and found["metrics"]["bleu"] == result["metrics"]["test_bleu"]
    assert run(["info", trained, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["type"] == "translate"
    kernels = {row["call"] for row in bind(dlcore.load(trained), 4, True).program.table()}
    assert any(name.endswith("update") or "adam" in name for name in kernels) and len(kernels) > 20


def test_lines_are_translated(trained, typed, tmp_path, capsys):
    found = []
    for options in ([], ["--beam", "1"], ["--threads", "1"]):
        typed("I am coming.\nTom is ill.\n")
        assert run(["predict", trained, *options]) == 0
        found.append(capsys.readouterr().out)
    assert found[0] == found[2] and all(text.count("\n") == 2 for text in found)
    picture = tmp_path / "a.svg"
    assert run(["predict", trained, "--text", "Tom is ill.", "--attention", str(picture), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["predictions"] == [found[0].splitlines()[1]]
    assert picture.read_text().startswith("<?xml") and "ill" in picture.read_text()
    typed("one two three " * 30)
    assert run(["predict", trained]) == 0
    assert "their beginning is read" in capsys.readouterr().err


def test_what_is_refused(trained, typed, tmp_path, capsys):
    def refused(words, code, *expected):
        assert run(words) == code, capsys.readouterr().err
        err = capsys.readouterr().err
        assert all(text in err for text in expected) and "Traceback" not in err, err
    train = ["train", "translate", "--data", str(FILE), "--out", str(tmp_path / "no")]
    refused([*train, "--set", "data.target=klingon"], 4, "klingon", "english, chinese")
    refused([*train, "--set", "model.hedas=3"], 3, "model.heads")
    refused([*train, "--set", "model.width=30"], 3, "multiple of the 4 heads")
    refused([*train, "--folds", "2"], 3, "no folds")
    refused(["export", trained, "--to", "c", "-o", str(tmp_path / "x.c")], 2, "not written as C")
    typed("Hi.\n\nNo.\n")
    refused(["predict", trained], 4, "line 2")
    refused(["predict", trained, "--text", " "], 4, "empty")
    refused(["predict", trained, "--text", "a", "--attention", "a.png"], 2, "SVG")
    typed("Hi.\nNo.\n")
    refused(["predict", trained, "--attention", str(tmp_path / "b.svg")], 2, "one text")
    broken = tmp_path / "broken.tsv"
    broken.write_bytes(b"Hi.\tSalut.\nNo.\tN\xe9.\n")
    refused(["train", "translate", "--data", str(broken)], 4, "UTF-8", "row 2")
    refused(["evaluate", trained, str(broken)], 4, "UTF-8")
    assert not (tmp_path / "no").exists() and not list(tmp_path.glob("*.svg")) and not (tmp_path / "x.c").exists()
