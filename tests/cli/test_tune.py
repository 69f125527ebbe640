"""`dlcore tune`: budgets are kept, the best settings are trained, a search goes on where it ended."""

import csv
import json
import signal
import subprocess
import sys
import time
import tomllib

import numpy as np
import pytest

from dlcore.cli.options import Size
from dlcore.cli.space import Dimension, parse
from dlcore.errors import UsageError


@pytest.fixture
def table(tmp_path):
    """A csv of 90 rows whose label is the sign of a product: a larger network does better."""
    rng = np.random.default_rng(0)
    rows = [(f"{a:.3f}", f"{b:.3f}", "yes" if a * b > 0 else "no") for a, b in rng.standard_normal((90, 2))]
    with (tmp_path / "t.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("a", "b", "label"), *rows])


BASE = ("tune", "tabular", "--data", "t.csv", "--epochs", "4", "--space", "train.batch=none", "--space", "model.hidden=[[8], [16]]")


def test_the_best_settings_are_a_run_that_its_config_repeats(cli, table):
    done = cli(*BASE, "--trials", "4", "--out", "t", "--json")
    report = json.loads(done.stdout)
    rows = list(csv.DictReader((cli.folder / "t" / "trials.csv").open()))
    values = [float(row["val_loss"]) for row in rows if row["state"] == "complete"]
    assert len(rows) == report["trials"] == 4 and report["metrics"]["val_loss"] == min(values)
    config = tomllib.loads((cli.folder / "t" / "config.toml").read_text())
    assert config["train"]["lr"] == report["best"]["train.lr"] and config["model"]["hidden"] == report["best"]["model.hidden"]
    assert "train.batch" not in report["best"] and done.stderr.count("trial  ") == 4
    again = json.loads(cli("train", "t/config.toml", "--out", "again", "--json").stdout)
    assert again["metrics"] == report["metrics"]
    assert "accuracy" in cli("evaluate", "t", "t.csv").stdout
    same = json.loads(cli(*BASE, "--trials", "4", "--out", "s", "--json").stdout)
    assert same["best"] == report["best"]                                     # one worker: the seed decides

    more = json.loads(cli("tune", "t", "--trials", "2", "--workers", "2", "--json").stdout)
    assert more["trials"] == 6 and more["metrics"]["val_loss"] <= min(values) and more["run"] == "t"
    assert "began with" in cli("tune", "t", "--epochs", "9", code=2).stderr


def test_a_search_that_is_stopped_keeps_its_trials(dlcore_command, table, tmp_path):
    words = [*dlcore_command.words, *BASE, "--epochs", "2000", "--trials", "1000", "--out", "t"]
    process = subprocess.Popen(words, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    study, end = tmp_path / "t" / "study.db", time.monotonic() + 120
    while not study.exists() and time.monotonic() < end:
        time.sleep(0.05)
    time.sleep(1.0)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 75 and "Traceback" not in err, err
    assert "the search was stopped" in err and "dlcore tune t" in err


@pytest.mark.parametrize("step", ["set_trial_intermediate_value", "set_trial_state_values"])
def test_a_search_may_be_stopped_inside_optuna(table, tmp_path, step):
    """The signal comes while a step of the study is written: the step is whole, and the search ends after it."""
    code = (
        "import os, signal, sys, optuna\nfrom dlcore.cli.main import main\n"
        "storage = optuna.storages.RDBStorage\n"
        f"written = storage.{step}\n"
        "def interrupted(*args, **kwargs):\n    os.kill(os.getpid(), signal.SIGINT)\n    return written(*args, **kwargs)\n"
        f"storage.{step} = interrupted\n"
        f"sys.argv = ['dlcore', *{[*BASE, '--trials', '50', '--out', 't']!r}]\nmain()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 75 and "Traceback" not in done.stderr, done.stderr
    assert "the search was stopped" in done.stderr and "1 trials are kept" in done.stderr


def test_a_budget_of_size_and_of_time(cli, table):
    small = json.loads(cli(*BASE, "--trials", "4", "--max-size", "6k", "--out", "a", "--json").stdout)
    assert small["best"]["model.hidden"] == [8] and (cli.folder / "a" / "model.dlc").stat().st_size <= 6000
    done = cli(*BASE, "--trials", "2", "--max-size", "1k", "--out", "b", code=2)
    assert "no trial was finished" in done.stderr and "is too large" in done.stderr
    assert "no trial was finished" in cli(*BASE, "--time", "0.001s", "--out", "c", code=2).stderr
    timed = json.loads(cli(*BASE, "--time", "1h", "--trials", "1", "--out", "d", "--json").stdout)
    assert timed["trials"] == 1


def test_other_metrics_and_settings_that_do_not_go_together(cli, table):
    done = json.loads(cli(*BASE, "--trials", "2", "--metric", "val_accuracy", "--out", "a", "--json").stdout)
    rows = [row for row in csv.DictReader((cli.folder / "a" / "trials.csv").open()) if row["state"] == "complete"]
    assert done["metrics"]["val_accuracy"] == max(float(row["val_accuracy"]) for row in rows)
    assert "no metric is called 'f1'" in cli(*BASE, "--trials", "1", "--metric", "f1", "--out", "b", code=2).stderr
    for space, match in (("train.lr=1..0", "empty"), ("train.lr=0..1:log", "above 0"), ("train.lr", "cannot be read"),
                         ("train.lr=a..b", "cannot be read"), ("train.lr=3", "cannot be read"),
                         ("train.lr=1e-3..1:lin", "cannot be read")):
        assert match in cli(*BASE, "--space", space, "--out", "n", code=2).stderr
    assert "did you mean train.lr?" in cli(*BASE, "--space", "train.lrr=1e-4..1e-2", "--out", "n", code=3).stderr
    assert "must be at least 1" in cli(*BASE, "--space", "train.epochs=0..3", "--out", "n", code=3).stderr
    assert not (cli.folder / "n").exists()


def test_spaces_are_read():
    space = parse({"train.lr": "1e-4..1e-2:log", "train.batch": "16, 32"}, ["model.hidden=[[8], [16, 8]]", "train.batch=8..64"])
    assert space["train.lr"] == Dimension("train.lr", 1e-4, 1e-2, log=True)
    assert space["train.batch"] == Dimension("train.batch", 8, 64)
    assert space["model.hidden"].choices == ([8], [16, 8])
    assert Dimension.parse("train.optimizer", "adam, sgd").choices == ("adam", "sgd")
    with pytest.raises(UsageError, match="nothing to search"):
        parse({}, [])


@pytest.mark.parametrize("text, size", [("500", 500), ("2M", 2_000_000), ("1.5k", 1500), ("3GB", 3_000_000_000)])
def test_sizes(text, size):
    assert Size().convert(text, None, None) == size


def test_networks_against_each_other_are_compared_by_their_fid(tmp_path, capsys):
    """Measured after a trial; where nothing measures it, what can be compared is said before any work."""
    from dlcore.cli.main import run

    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (64, 28, 28), dtype=np.uint8), np.arange(64) % 2
    np.savez(tmp_path / "a.npz", x=x // (2 + 3 * y[:, None, None]), y=y)
    np.savez(tmp_path / "plain.npz", x=x)
    base = ["tune", "gan", "--epochs", "1", "--trials", "2", "--set", "model.filters=[4, 8]", "--space", "model.latent=4,8"]
    base += ["--space", "train.lr=none", "--space", "train.beta1=none", "--out", str(tmp_path / "t"), "--data"]
    for more in ([str(tmp_path / "plain.npz")], [str(tmp_path / "a.npz"), "--set", "train.judge="]):
        assert run([*base, *more]) == 2
        said = capsys.readouterr().err
        assert "d_loss, g_loss, real, fake" in said and "--metric NAME" in said and not (tmp_path / "t").exists()
    assert run([*base, str(tmp_path / "a.npz"), "--metric", "fids"]) == 2
    assert "fid, d_loss" in capsys.readouterr().err
    assert run([*base, str(tmp_path / "a.npz"), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    rows = list(csv.DictReader((tmp_path / "t" / "trials.csv").open()))
    assert [row["state"] for row in rows] == ["complete"] * 2
    assert report["best"]["model.latent"] == int(min(rows, key=lambda row: float(row["fid"]))["model.latent"])
    assert run(["tune", str(tmp_path / "t"), "--trials", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["trials"] == 3
