"""`dlcore config`: what it makes can be trained, and it says what differs."""

import json
import tomllib

import pytest

from dlcore.tasks import TASKS


@pytest.mark.parametrize("task", list(TASKS))
def test_what_init_makes_is_accepted_and_commented(cli, task):
    text = cli("config", "init", task).stdout
    made = tomllib.loads(text)
    assert made["task"] == task and made["data"]["train"] == "data.csv" and made["train"]["epochs"] >= 1
    keys = [line for line in text.splitlines() if " = " in line and not line.startswith("task")]
    assert [line for line in keys if "#" not in line] == []
    cli("config", "init", task, "-o", "c.toml")
    assert (cli.folder / "c.toml").read_text() == text
    checked = json.loads(cli("config", "check", "c.toml", "--json").stdout)
    assert checked == {"task": task, "arch": made["model"]["arch"], "changed": {}}
    cli("config", "init", task, "-o", "c.toml", code=2)                               # written over is nothing


def test_show_fills_in_the_defaults_and_diff_finds_what_differs(cli):
    (cli.folder / "a.toml").write_text('task = "tabular"\n[data]\ntrain = "x.csv"\n[train]\nepochs = 3\n')
    shown = tomllib.loads(cli("config", "show", "a.toml").stdout)
    assert shown["train"]["epochs"] == 3 and shown["train"]["lr"] > 0 and shown["model"]["arch"] == "mlp"
    assert json.loads(cli("config", "show", "a.toml", "--json").stdout) == shown
    (cli.folder / "b.toml").write_text(cli("config", "show", "a.toml", "--set", "train.lr=0.5").stdout)
    rows = json.loads(cli("config", "diff", "a.toml", "b.toml", "--json").stdout)
    assert rows == {"train.lr": [shown["train"]["lr"], 0.5]}
    assert "train.lr" in cli("config", "diff", "a.toml", "b.toml").stdout
    assert "train.epochs" in cli("config", "diff", "a.toml", "tabular").stdout
    assert "train.epochs = 3" in cli("config", "check", "a.toml").stdout


def test_all_problems_of_a_file_with_their_lines(cli):
    (cli.folder / "c.toml").write_text('task = "tabular"\n[data]\ntrain = "x.csv"\nfold-kind = "time"\n[model]\nhidden = [8, 0]\n'
                                       'droput = 0.1\n[train]\noptimizer = "adma"\nhidden = [3]\n')
    text = cli("config", "check", "c.toml", code=3).stderr
    for part in ("5 problems", "c.toml:4 ", "needs data.folds", "c.toml:6 ", "item 2 must be at least 1", "c.toml:7 ",
                 "did you mean model.dropout?", "c.toml:9 ", "did you mean ada", "c.toml:10", "did you mean model.hidden?"):
        assert part in text, (part, text)


def test_the_schema_knows_every_key(cli):
    schema = json.loads(cli("config", "schema", "tabular").stdout)
    made = tomllib.loads(cli("config", "init", "tabular").stdout)
    for section in ("data", "model", "train", "run"):
        assert made[section].keys() <= schema["properties"][section]["properties"].keys()
    assert schema["properties"]["train"]["properties"]["lr"]["exclusiveMinimum"] == 0
    assert json.loads(cli("config", "schema", "tabular", "--json").stdout) == schema
