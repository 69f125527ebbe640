"""`train char-lm` and `generate` as they are typed."""
from __future__ import annotations

import json

import pytest

from dlcore.cli.main import run

SMALL = ["--set", "train.steps=20", "--set", "model.context=16", "--set", "model.width=16", "--set", "model.layers=1"]


@pytest.fixture(scope="module")
def bard(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bard")
    (folder / "text.txt").write_text("the cat sat on the mat. " * 40)
    data, out = str(folder / "text.txt"), str(folder / "run")
    assert run(["train", "char-lm", "--data", data, "--preset", "nano-cpu", "--out", out, "--json", *SMALL]) == 0
    return str(folder / "run")


def test_the_preset_trains_and_generate_writes(bard, capsys):
    texts = []
    for threads in ("1", "2"):
        assert run(["generate", bard, "--prompt", "the ", "-n", "30", "--seed", "4", "--top-k", "5", "--threads", threads]) == 0
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1] and texts[0].startswith("the ") and len(texts[0]) == 35
    assert run(["generate", bard, "--prompt", "the ", "-n", "5", "--beams", "2", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["text"].startswith("the ") and made["new"] == 5
    assert run(["evaluate", bard, bard.replace("/run", "/text.txt"), "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)["metrics"]) == {"loss", "perplexity", "bits_per_character"}


def test_lines_that_are_samples_of_their_own(tmp_path, capsys):
    (tmp_path / "names.txt").write_text("ada\nemmy\ngrace\n" * 40)
    data, out = str(tmp_path / "names.txt"), str(tmp_path / "run")
    assert run(["train", "char-lm", "--data", data, "--preset", "names", "--out", out, "--json", *SMALL]) == 0
    told = capsys.readouterr()
    assert 'begin = "line"' in (tmp_path / "run" / "config.toml").read_text() and "114 lines" in told.err
    assert run(["generate", out, "-n", "20", "--seed", "1"]) == 0
    assert capsys.readouterr().out.startswith("\n")
    assert run(["evaluate", out, data, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["metrics"]["loss"] > 0
    assert run(["train", "char-lm", "--data", data, "--set", "data.begin=word", "--out", str(tmp_path / "b")]) == 3
    told = capsys.readouterr()
    assert "begin" in told.err and "anywhere, line" in told.err and not (tmp_path / "b").exists()


def test_a_dry_run_writes_nothing(bard, tmp_path, capsys):
    given = ["--data", bard.replace("/run", "/text.txt"), "--out", str(tmp_path / "run"), "--dry-run", "--json", *SMALL]
    assert run(["train", "char-lm", *given]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["inputs"] == [[16]] and found["steps_per_epoch"] == 20 and not (tmp_path / "run").exists()


def test_what_is_refused(bard, capsys):
    assert run(["generate", bard, "--prompt", "the Ω"]) == 4
    assert run(["generate", bard, "--prompt", "the", "--top-p", "0"]) == 2
    assert run(["generate", bard, "--prompt", "the cat sat on the mat"]) == 4
    assert run(["generate", bard, "--prompt", "the", "--stop", ""]) == 2
    assert capsys.readouterr().out == ""                # refused before anything was written
    assert run(["train", "char-lm", "--data", bard.replace("/run", "/text.txt"), "--preset", "nano"]) == 2
    assert "nano-cpu" in capsys.readouterr().err
