"""`import`, `generate`, `predict`, `train --init` and `export` on models from elsewhere, as they are typed."""
from __future__ import annotations

import json

import numpy as np
import pytest
from conftest import DATA

from dlcore.cli.main import run

FOLDERS = DATA / "pretrained"


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    out = str(tmp_path_factory.mktemp("encoder") / "model.dlc")
    assert run(["import", str(FOLDERS / "bert_tiny"), "-o", out]) == 0
    return out


def test_the_documented_text_of_a_checkpoint(tmp_path, capsys):
    source, model = FOLDERS / "stories260k", str(tmp_path / "stories.dlc")
    assert run(["import", str(source / "stories260K.bin"), "-o", model, "--tokenizer", str(source / "tok512.bin")]) == 0
    assert "260,032 weights" in capsys.readouterr().out
    assert run(["generate", model, "-n", "256", "--temperature", "0"]) == 0
    documented = (source / "stories260K.md").read_text().split("-t 0.0\n")[1].split("\n```")[0]
    assert capsys.readouterr().out == documented + "\n"
    assert run(["info", model, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["parameters"] == 260032
    assert run(["export", model, "--to", "safetensors", "-o", str(tmp_path / "folder"), "--json"]) == 0
    assert "model.safetensors" in json.loads(capsys.readouterr().out)["files"]
    assert run(["import", str(tmp_path / "folder"), "-o", model, "--context", "64", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["context"] == 64
    assert run(["generate", model, "-n", "40", "--temperature", "0"]) == 0
    assert documented.startswith(capsys.readouterr().out.strip())
    assert run(["generate", model, "-n", "3", "--prompt", documented[:300]]) == 4


def test_vectors_of_the_lines_of_a_file(tmp_path, capsys, encoder):
    expected = np.load(FOLDERS / "expected.npz")
    texts = expected["bert/texts"].tolist()
    (tmp_path / "texts.txt").write_text("\n".join([*texts, "my " * 20]) + "\n")
    assert run(["predict", encoder, str(tmp_path / "texts.txt"), "-o", str(tmp_path / "out.csv")]) == 0
    assert "2 of 5 texts have more than 12 tokens" in capsys.readouterr().err
    found = np.loadtxt(tmp_path / "out.csv", delimiter=",")
    np.testing.assert_allclose(found[:len(texts)], expected["bert/vectors"], atol=1e-5)
    assert run(["predict", encoder, str(tmp_path / "texts.txt"), "--json"]) == 0
    assert np.shape(json.loads(capsys.readouterr().out)["predictions"]) == (5, 24)


def test_a_classifier_on_an_encoder(tmp_path, capsys, encoder):
    rows = "text,label\n" + "where is my card,card\nsend the money,money\n" * 30
    (tmp_path / "rows.csv").write_text(rows)
    words = ["train", "text-classify", "--data", str(tmp_path / "rows.csv"), "--arch", "bert", "--epochs", "1", "--quiet"]
    assert run([*words, "--init", encoder, "--freeze", "encoder/block_0", "--out", str(tmp_path / "run")]) == 0
    capsys.readouterr()
    assert run(["predict", str(tmp_path / "run"), str(tmp_path / "rows.csv")]) == 0
    assert set(capsys.readouterr().out.split()) <= {"card", "money"}
    assert run([*words, "--out", str(tmp_path / "other")]) == 3
    assert "begins with an encoder" in capsys.readouterr().err and not (tmp_path / "other").exists()


def test_what_is_refused(tmp_path, capsys, encoder):
    pickled = tmp_path / "pickled"
    pickled.mkdir()
    (pickled / "config.json").write_text('{"model_type": "bert"}')
    (pickled / "pytorch_model.bin").write_bytes(b"\x80\x02.")
    assert run(["import", str(pickled), "-o", str(tmp_path / "m.dlc")]) == 4
    assert "pytorch_model.bin" in capsys.readouterr().err and not (tmp_path / "m.dlc").exists()
    assert run(["import", str(tmp_path / "none"), "-o", str(tmp_path / "m.dlc")]) == 2
    assert run(["import", str(FOLDERS / "bert_tiny"), "-o", str(tmp_path / "m.dlc"), "--labels", "a,b"]) == 2
    assert run(["import", str(FOLDERS / "gpt2_tiny"), "-o", str(tmp_path / "m.dlc"), "--context", "21"]) == 2
    assert run(["train", "embed", "--data", "x.csv"]) == 2
    assert "not trained" in capsys.readouterr().err
    assert run(["predict", encoder, "--proba"]) == 2
    assert run(["generate", encoder]) == 2
    (tmp_path / "x.csv").write_text("text,label\nmy card,a\nthe money,b\n")
    assert run(["evaluate", encoder, str(tmp_path / "x.csv")]) == 2
    assert run(["profile", encoder, "--train"]) == 2
    assert run(["export", encoder, "--to", "safetensors", "-o", str(tmp_path)]) == 2
