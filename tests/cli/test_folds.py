"""`dlcore train` with folds, dry runs, learning by heart and a limit of time, in this process."""

import csv
import json
import tomllib

import numpy as np
import pytest

from dlcore.cli.options import Duration


@pytest.fixture
def table(tmp_path):
    """A csv of 120 rows: two numbers, a place of six, a date, a label that the first number gives."""
    rng = np.random.default_rng(0)
    rows = [
        (round(a, 3), round(b, 3), f"p{i % 6}", f"2020-{1 + i // 28:02}-{1 + i % 28:02}", "yes" if a > 0 else "no")
        for i, (a, b) in enumerate(rng.standard_normal((120, 2)).tolist())
    ]
    with (tmp_path / "t.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("a", "b", "place", "day", "label"), *rows])
    return rows


BASE = ("train", "tabular", "--data", "t.csv", "--epochs", "6", "--set", "model.hidden=[16]", "--json")


def test_folds_are_measured_and_their_answers_written(cli, table):
    report = json.loads(cli(*BASE, "--folds", "4", "--jobs", "2", "--out", "r").stdout)
    folds, metrics = report["folds"], report["metrics"]
    assert folds["kind"] == "stratified" and folds["count"] == 4
    scores = folds["metrics"]["accuracy"]
    assert metrics["cv_accuracy"] == scores["mean"] == pytest.approx(np.mean(scores["folds"]))
    assert scores["deviation"] == pytest.approx(np.std(scores["folds"])) and "val_accuracy" in metrics
    rows = list(csv.DictReader((cli.folder / "r" / folds["predictions"]).open()))
    assert [int(row["row"]) for row in rows] == list(range(1, 121)) and {row["fold"] for row in rows} == set("1234")
    assert [row["answer"] for row in rows] == [row[-1] for row in table]
    right = np.mean([row["answer"] == row["prediction"] for row in rows])
    assert right == pytest.approx(scores["mean"])
    assert all(abs(float(row["p_no"]) + float(row["p_yes"]) - 1) < 1e-4 for row in rows)
    assert tomllib.loads((cli.folder / "r" / "config.toml").read_text())["data"]["folds"] == 4
    again = json.loads(cli("train", "r/config.toml", "--jobs", "1", "--out", "again", "--json").stdout)
    assert again["folds"]["metrics"] == folds["metrics"] and again["metrics"] == metrics
    assert (cli.folder / "r" / "out-of-fold.csv").read_bytes() == (cli.folder / "again" / "out-of-fold.csv").read_bytes()
    cli(*BASE, "--folds", "2", "--out", "gate", "--require", "cv_accuracy>=2", code=6)


def test_groups_are_not_learned_from_and_time_goes_forward(cli, table):
    done = cli(*BASE, "--folds", "3", "--group", "place", "--out", "g")
    assert json.loads(done.stdout)["folds"]["kind"] == "stratified-group"
    assert "column place" not in done.stderr and "column day" in done.stderr and "validation data as given" in done.stderr
    fold_of = {}
    for row in csv.DictReader((cli.folder / "g" / "out-of-fold.csv").open()):
        place = table[int(row["row"]) - 1][2]
        assert fold_of.setdefault(place, row["fold"]) == row["fold"]
    assert "accuracy" in cli("evaluate", "g", "t.csv").stdout                      # the column of groups may be there
    done = cli(*BASE, "--folds", "3", "--time-order", "day", "--out", "t")
    assert json.loads(done.stdout)["folds"]["kind"] == "time"
    rows = list(csv.DictReader((cli.folder / "t" / "out-of-fold.csv").open()))
    assert [int(row["row"]) for row in rows] == list(range(31, 121)) and rows[0]["fold"] == "1" and rows[-1]["fold"] == "3"


def test_a_dry_run_tells_what_it_will_take_and_writes_nothing(cli, table):
    report = json.loads(cli(*BASE, "--dry-run").stdout)
    assert report["inputs"] and report["parameters"] > 0 and report["steps_per_epoch"] == 4
    assert report["step_seconds"] > 0 and report["seconds"] >= report["epoch_seconds"] > 0
    assert all(report["memory"][name] > 0 for name in ("weights", "training", "activations", "process"))
    text = cli(*BASE[:-1], "--dry-run")
    assert "weights" in text.stdout and "nothing was written" in text.stderr
    assert [path.name for path in cli.folder.iterdir()] == ["t.csv"]


def test_a_network_that_can_learn_learns_a_batch_by_heart(cli, table):
    report = json.loads(cli("train", "tabular", "--data", "t.csv", "--overfit", "1", "--json").stdout)
    assert report["rows"] == 32 and report["metrics"]["accuracy"] == 1.0
    assert [path.name for path in cli.folder.iterdir()] == ["t.csv"]
    too_little = cli("train", "tabular", "--data", "t.csv", "--overfit", "1", "--lr", "1e-9", "--require", "accuracy>=1", code=6)
    assert "quality was missed" in too_little.stderr


def test_a_limit_of_time_ends_the_training_and_keeps_the_best_weights(cli, table):
    report = json.loads(
        cli(
            "train", "tabular", "--data", "t.csv", "--epochs", "100000", "--set", "train.patience=0", "--max-time", "0.5s",
            "--out", "r", "--json",
        ).stdout
    )
    assert 1 <= report["epochs"] < 100000 and report["seconds"] < 30
    assert tomllib.loads((cli.folder / "r" / "config.toml").read_text())["run"]["max-time"] == 0.5


@pytest.mark.parametrize(
    "text, seconds", [("90", 90), ("90s", 90), ("10m", 600), ("1.5h", 5400), ("1h30m", 5400), ("2m30s", 150), ("0.5", 0.5)]
)
def test_lengths_of_time(text, seconds):
    assert Duration().convert(text, None, None) == seconds


@pytest.mark.parametrize("text", ["", "0", "ten", "5x", "-3", "m", "1m2h", "1..2s", "nan"])
def test_what_is_no_length_of_time(text):
    import click

    with pytest.raises(click.BadParameter, match="length of time"):
        Duration().convert(text, None, None)


def test_a_limit_of_time_holds_over_a_resume():
    from dlcore.callbacks import MaxTime
    from dlcore.errors import UsageError

    limit = MaxTime(100.0)
    limit.set_state({"used": 99.0})
    limit.on_train_begin()
    assert 99.0 <= limit.get_state()["used"] < 100.0 and not limit.reached
    for seconds in (0, -1.0, float("nan")):
        with pytest.raises(UsageError):
            MaxTime(seconds)
