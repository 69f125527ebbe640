"""`dlcore runs`: looking back at run folders, on two real runs and copies of them."""

import json
import os
import re
import shutil
import time

import numpy as np
import pytest


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder with two finished runs, and the table that they learned from."""
    from conftest import Command

    folder = tmp_path_factory.mktemp("runs")
    rng = np.random.default_rng(0)
    rows = "".join(f"{a:.3f},{b:.3f},{'yes' if a + b > 0 else 'no'}\n" for a, b in rng.normal(size=(160, 2)))
    (folder / "rows.csv").write_text("a,b,label\n" + rows)
    train = ("train", "tabular", "--data", "rows.csv", "--set", "model.hidden=[8]", "-q")
    for name, words in (("first", ("--epochs", 3)), ("second", ("--epochs", 5, "--lr", 0.02))):
        Command(folder)(*train, *words, "--out", f"runs/{name}")
    return folder


@pytest.fixture
def copy(runs, tmp_path, dlcore_command):
    """The same in a folder that a test may change, with the command that works in it."""
    shutil.copytree(runs, tmp_path, dirs_exist_ok=True)
    return tmp_path, dlcore_command


def test_list(copy):
    _, command = copy
    found = json.loads(command("runs", "list", "--json").stdout)["runs"]
    assert {row["name"] for row in found} == {"first", "second"} and all(row["finished"] for row in found)
    assert {row["name"]: row["epochs"] for row in found} == {"first": 3, "second": 5}
    assert all(row["task"] == "tabular" and 0 < row["metrics"]["val_accuracy"] <= 1 for row in found)
    by_loss = json.loads(command("runs", "list", "--sort", "val_loss", "--json").stdout)["runs"]
    losses = [row["metrics"]["val_loss"] for row in by_loss]
    assert losses == sorted(losses)
    text = command("runs", "list").stdout
    assert "first" in text and "val_loss" in text and "tabular/mlp" in text
    assert "val_accuracy" in command("runs", "list", "--sort", "f1", code=2).stderr
    assert "no such folder" in command("runs", "list", "nowhere", code=4).stderr


def test_compare(copy):
    _, command = copy
    found = json.loads(command("runs", "compare", "runs/first", "runs/second", "--json").stdout)
    assert found["settings"] == {"train.epochs": [3, 5], "train.lr": [0.002, 0.02]}
    assert len(found["metrics"]["val_loss"]) == 2
    text = command("runs", "compare", "runs/first", "runs/second").stdout
    assert re.search(r"train.epochs\s+3\s+5", text) and "val_loss" in text
    assert "no run folder" in command("runs", "compare", "runs", code=4).stderr


def test_plot(copy):
    folder, command = copy
    command("runs", "plot", "runs/first", "runs/second", "-o", "curves.html")
    page = (folder / "curves.html").read_text()
    assert page.count("<svg") >= 3 and "first, validation" in page and not re.search(r'(src|href)="http', page)
    command("runs", "plot", "runs/first", "--metric", "loss", "-o", "loss.html")
    assert (folder / "loss.html").read_text().count("<svg") == 1
    assert "nothing was written over" in command("runs", "plot", "runs/first", "-o", "loss.html", code=2).stderr
    assert (
        "no run has a metric" in command("runs", "plot", "runs/first", "--metric", "f", "-o", "f.html", code=2).stderr
    )
    assert "expected" in command("runs", "plot", "runs/first", "-o", "curves.doc", code=2).stderr


def test_event_files(copy):
    folder, command = copy
    command("runs", "tensorboard", "runs/first", "runs/second", "-o", "events")
    assert sorted(p.name for p in (folder / "events").iterdir()) == ["first", "second"]
    assert len(list((folder / "events" / "first" / "validation").iterdir())) == 1
    assert "nothing was written over" in command("runs", "tensorboard", "runs/first", "-o", "events", code=2).stderr


def test_verify(copy):
    folder, command = copy
    found = json.loads(command("runs", "verify", "runs/first", "--json").stdout)
    assert found["identical"] and found["weights"] > 0
    config = folder / "runs" / "first" / "config.toml"
    config.write_text(config.read_text().replace("lr = 0.002", "lr = 0.003"))
    assert "other weights" in command("runs", "verify", "runs/first", "-q", code=6).stderr
    with (folder / "rows.csv").open("a") as rows:
        rows.write("0,1,yes\n")
    assert "have changed" in command("runs", "verify", "runs/second", code=4).stderr
    lock = folder / "runs" / "second" / "run.lock"
    lock.write_text(re.sub(r'level = "\w+"', 'level = "v9"', re.sub(r'"rows.csv" = ".*"\n', "", lock.read_text())))
    assert "DLCORE_CPU_LEVEL=v9" in command("runs", "verify", "runs/second", code=7).stderr
    (folder / "runs" / "second" / "result.json").unlink()
    assert "did not come to its end" in command("runs", "verify", "runs/second", code=2).stderr
    assert list(folder.glob("dlcore-verify*")) == []


def test_clean(copy):
    folder, command = copy
    runs = folder / "runs"
    (runs / "first" / "result.json").unlink()
    (runs / "notes").mkdir()
    shutil.copytree(runs / "second", runs / ".third.abc")
    assert "0 folders" in command("runs", "clean").stdout  # all of it may be training now
    long_ago = time.time() - 86400
    for path in [runs, *runs.rglob("*")]:
        os.utime(path, (long_ago, long_ago))
    told = command("runs", "clean").stdout
    assert "first  (unfinished)" in told and ".third.abc" in told and "--yes removes them" in told
    assert (runs / "first").exists()
    command("runs", "clean", "--yes")
    assert sorted(path.name for path in runs.iterdir()) == ["notes", "second"]
    assert "(older)" in command("runs", "clean", "--keep", 0).stdout and (runs / "second").exists()
