"""`dlcore train` with the options of the training recipe, on a real table."""

import csv
import json
import re
import tomllib

import numpy as np
import pytest


@pytest.fixture
def table(dlcore_command):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((80, 3))
    rows = [[*row, "yes" if sum(row) > 0 else "no"] for row in x.round(3).tolist()]
    with open(dlcore_command.folder / "t.csv", "w", newline="") as file:
        csv.writer(file).writerows([["a", "b", "c", "label"], *rows])
    return "t.csv"


def test_all_options_reach_the_run_and_its_config_repeats_it(dlcore_command, table):
    words = ["train", "tabular", "--data", table, "--epochs", 2, "--optimizer", "lamb", "--schedule", "cosine", "--warmup", 0.1]
    words += ["--weight-decay", 0.01, "--l1", 1e-5, "--l2", 1e-4, "--clip", 1, "--accumulate", 2, "--ema", 0.9, "--json"]
    words += ["--precision", "bf16"]
    words += ["--set", "train.optimizer-options={beta_1 = 0.8}"]
    done = json.loads(dlcore_command(*words, "--out", "one").stdout)
    config = tomllib.loads((dlcore_command.folder / "one" / "config.toml").read_text())["train"]
    wanted = {"optimizer": "lamb", "schedule": "cosine", "warmup": 0.1, "weight-decay": 0.01, "l1": 1e-5, "l2": 1e-4, "clip": 1.0}
    wanted |= {"accumulate": 2, "ema": 0.9, "optimizer-options": {"beta_1": 0.8}}
    wanted |= {"precision": "bf16"}
    assert {key: config[key] for key in wanted} == wanted
    assert 'precision = "bf16"' in (dlcore_command.folder / "one" / "run.lock").read_text()
    again = json.loads(dlcore_command("train", "one/config.toml", "--json", "--out", "two").stdout)
    assert again["metrics"] == done["metrics"]
    more = ["--init", "one/model.dlc", "--freeze", "dense", "--schedule", "plateau", "--epochs", 1]
    told = dlcore_command("train", "tabular", "--data", table, *more, "--out", "three")
    assert "begins with" in told.stderr and "not trained: dense" in told.stderr and "plateau" in told.stderr


def test_lr_find(dlcore_command, table):
    done = json.loads(dlcore_command("train", "tabular", "--data", table, "--lr-find", "--json", "--out", "found").stdout)
    with open(dlcore_command.folder / done["csv"]) as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == done["steps"] > 20 and done["suggestion"] in [float(row["learning_rate"]) for row in rows]
    assert [p.name for p in (dlcore_command.folder / "found").iterdir()] == ["learning_rates.csv"]


def test_monitor_chooses_the_epoch_that_is_kept(dlcore_command, table):
    words = ("train", "tabular", "--data", table, "--epochs", "6", "--lr", "0.05", "--json")
    by_accuracy = json.loads(dlcore_command(*words, "--monitor", "val_accuracy", "--out", "a").stdout)
    rows = [json.loads(line) for line in (dlcore_command.folder / "a" / "metrics.jsonl").read_text().splitlines()]
    best = max(row["val_accuracy"] for row in rows)
    assert by_accuracy["best_epoch"] == next(row["epoch"] for row in rows if row["val_accuracy"] == best)
    assert by_accuracy["metrics"]["val_accuracy"] == best
    by_loss = json.loads(dlcore_command(*words, "--out", "l").stdout)
    rows = [json.loads(line) for line in (dlcore_command.folder / "l" / "metrics.jsonl").read_text().splitlines()]
    assert by_loss["metrics"]["val_loss"] == min(row["val_loss"] for row in rows)


def test_lines_of_progress_every_so_many_steps(dlcore_command, table):
    words = ("--epochs", "2", "--batch", "20", "--log-every", "3", "--out", "p")
    done = dlcore_command("train", "tabular", "--data", table, *words)
    steps = [int(n) for n in re.findall(r"^\S*\s+step (\d+)  epoch", done.stderr, re.MULTILINE)]
    assert steps and steps == [3 * (n + 1) for n in range(len(steps))]


def test_a_run_on_texts_shows_its_worst_rows(dlcore_command):
    from conftest import DATA

    words = ["train", "text-classify", "--data", str(DATA / "text" / "sms_400.tsv"), "--epochs", "1", "--arch", "bilstm"]
    settings = [word for text in ("model.embed=8", "model.hidden=[4]", "train.sparse=true") for word in ("--set", text)]
    dlcore_command(*words, *settings, "--out", "s")
    assert "Worst examples" in (dlcore_command.folder / "s" / "report.html").read_text()
