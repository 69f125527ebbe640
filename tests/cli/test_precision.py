"""--precision of `predict`, `evaluate`, `generate` and `profile`, as they are typed."""
from __future__ import annotations

import json

import numpy as np
import pytest
from conftest import DATA

from dlcore.cli import options
from dlcore.cli.main import run
from dlcore.graph.spec import PRODUCTS, TRAINING
from dlcore.runtime import kernel_table
from dlcore.training.answers import missing


@pytest.fixture(scope="module")
def bard(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bard")
    (folder / "text.txt").write_text("the cat sat on the mat. " * 40)
    small = [f"--set={key}" for key in ("train.steps=20", "model.context=16", "model.width=64", "model.layers=1")]
    words = ["--data", str(folder / "text.txt"), "--out", str(folder / "run"), "-q", *small]
    assert run(["train", "char-lm", "--preset", "nano-cpu", *words]) == 0
    return folder


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    folder = tmp_path_factory.mktemp("table")
    rows = [f"{a:.4f},{b:.4f},{'yes' if a + b > 0 else 'no'}" for a, b in np.random.default_rng(0).normal(size=(120, 2))]
    (folder / "rows.csv").write_text("a,b,label\n" + "\n".join(rows) + "\n")
    words = ["--epochs", "4", "--set", "model.hidden=[64,64]", "--out", str(folder / "run"), "-q"]
    assert run(["train", "tabular", "--data", str(folder / "rows.csv"), *words]) == 0
    return folder


def printed(capsys, *words):
    """What --json prints, and what is said beside it."""
    assert run([*words, "--json"]) == 0
    told = capsys.readouterr()
    return json.loads(told.out), told.err


def test_choices_are_those_that_there_are():
    assert options.TRAINING == TRAINING and set(options.ANSWERS) == set(PRODUCTS)


@pytest.mark.parametrize("precision", ["bf16", "int8", "tf32x3"])
def test_probabilities_are_near_and_named(table, capsys, precision):
    words = ["predict", str(table / "run"), str(table / "rows.csv"), "--proba"]
    plain, said = printed(capsys, *words)
    assert "precision" not in plain and "products" not in said
    found, said = printed(capsys, *words, "--precision", precision)
    assert found["precision"] == precision and list(found)[:3] == ["task", "model", "precision"]
    np.testing.assert_allclose(found["probabilities"], plain["probabilities"], atol=0.05)
    assert (f"no {precision} products: they are float32" in said) == bool(missing(precision))
    assert (found["probabilities"] == plain["probabilities"]) == bool(missing(precision))
    same, said = printed(capsys, *words, "--precision", "float32")
    assert same["probabilities"] == plain["probabilities"] and same["precision"] == "float32" and "products" not in said


def test_a_processor_without_them_is_named_once(table, capsys, monkeypatch):
    monkeypatch.setenv("DLCORE_CPU_LEVEL", "v2" if kernel_table().level != "aarch64" else "aarch64")
    words = ["predict", str(table / "run"), str(table / "rows.csv")]
    assert run(words) == 0
    plain = capsys.readouterr()
    for precision in ("bf16", "int8"):
        assert run([*words, "--precision", precision]) == 0
        told = capsys.readouterr()
        assert told.out == plain.out
        assert told.err.count(f"this processor (level {kernel_table().level}) has no {precision} products: they are float32") == 1
    assert run([*words, "--precision", "int8", "-q"]) == 0
    assert capsys.readouterr().err == ""


def test_evaluation_names_it_in_the_report(table, capsys):
    page = table / "run" / "report.html"
    words = ["evaluate", str(table / "run"), str(table / "rows.csv")]
    plain, _ = printed(capsys, *words)
    assert "products in" not in page.read_text()
    found, _ = printed(capsys, *words, "--precision", "int8")
    assert found["precision"] == "int8" and "products in int8" in page.read_text()
    assert found["metrics"]["accuracy"] == pytest.approx(plain["metrics"]["accuracy"], abs=0.05)
    assert run(words) == 0 and "products in" not in page.read_text()


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_text_is_generated_in_it(bard, capsys, precision):
    words = ["generate", str(bard / "run"), "--prompt", "the cat sat", "-n", "8", "--temperature", "0", "--precision", precision]
    found, said = printed(capsys, *words)
    assert found["precision"] == precision and found["text"].startswith("the cat sat") and found["new"] == 8
    assert ("products" in said) == bool(missing(precision))
    assert run(words) == 0
    assert capsys.readouterr().out == found["text"] + "\n"
    found, _ = printed(capsys, "evaluate", str(bard / "run"), str(bard / "text.txt"), "--precision", precision)
    plain, _ = printed(capsys, "evaluate", str(bard / "run"), str(bard / "text.txt"))
    assert found["metrics"]["loss"] == pytest.approx(plain["metrics"]["loss"], abs=0.05)


def test_vectors_of_texts(tmp_path, capsys):
    model = str(tmp_path / "m.dlc")
    assert run(["import", str(DATA / "pretrained" / "bert_tiny"), "-o", model]) == 0
    capsys.readouterr()
    (tmp_path / "texts.txt").write_text("my card\nwhere is the money\n")
    words = ["predict", model, str(tmp_path / "texts.txt")]
    plain, _ = printed(capsys, *words)
    found, _ = printed(capsys, *words, "--precision", "bf16")
    np.testing.assert_allclose(found["predictions"], plain["predictions"], atol=0.1)
    assert (found["predictions"] == plain["predictions"]) == bool(missing("bf16"))


def test_profiles_show_its_kernels(table, capsys):
    def calls(*words):
        report, _ = printed(capsys, "profile", str(table / "run"), "--batch", "8", "--repeats", "1", *words)
        return report.get("precision"), " ".join(row["kernel"] for row in report["calls"])
    assert "half_" not in calls()[1]
    found = calls("--precision", "bf16")
    assert found[0] == "bf16" and ("half_" in found[1]) != bool(missing("bf16"))
    assert calls("--precision", "int8")[0] == "int8"
    found = calls("--train", "--batch", "32", "--precision", "bf16")
    assert found[0] == "bf16" and ("bf16" in found[1]) != bool(missing("bf16"))


def test_what_is_refused(table, bard, capsys):
    for words in (["predict", str(table / "run"), str(table / "rows.csv")], ["generate", str(bard / "run")],
                  ["evaluate", str(table / "run"), str(table / "rows.csv")], ["profile", str(table / "run")]):
        assert run([*words, "--precision", "int4"]) == 2
        told = capsys.readouterr()
        assert all(name in told.err for name in ("int4", "float32", "bf16", "int8")) and not told.out
    assert run(["profile", str(table / "run"), "--train", "--precision", "int8"]) == 2
    assert "int8 is for answers" in capsys.readouterr().err
    assert run(["train", "tabular", "--data", str(table / "rows.csv"), "--precision", "int8", "--out", str(table / "x")]) == 2
    assert not (table / "x").exists()
