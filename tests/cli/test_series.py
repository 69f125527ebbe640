"""`series` as it is typed: train, evaluate, predict, report, and what is refused."""
from __future__ import annotations

import json

import numpy as np
import pytest

from dlcore.cli.main import run

SMALL = ["--input", "24", "--horizon", "6", "--epochs", "2", "--set", "model.width=16", "--set", "model.heads=2"]


def write(path, count=400, begin=0, end=None):
    times = np.datetime64("2021-03-01T00") + np.arange(count).astype("timedelta64[h]")
    values = 100 + 10 * np.sin(2 * np.pi * np.arange(count) / 12)
    lines = [f"{str(t).replace('T', ' ')}:00,{v:.4f},{v / 50:.4f}" for t, v in zip(times, values, strict=True)]
    path.write_text("\n".join(["date,load,other", *lines[begin:end]]) + "\n")
    return str(path)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("series")
    data, out = write(folder / "s.csv"), str(folder / "run")
    given = ["--data", data, "--split", "0.7,0.1,0.2", "--target", "load", "--out", out, "--json", *SMALL]
    assert run(["train", "series", *given]) == 0
    return folder


def test_what_was_measured_and_the_page(trained, capsys):
    result = json.loads((trained / "run/result.json").read_text())
    assert {"test_mse", "test_mae", "test_mse_original", "test_naive_mse", "val_loss"} <= set(result["metrics"])
    page = (trained / "run/report.html").read_text()
    assert "Forecasts on the test part: 80 rows" in page and "forecast from here" in page
    assert run(["evaluate", str(trained / "run"), str(trained / "s.csv"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["rows"] == 80 and found["metrics"]["mse"] == pytest.approx(result["metrics"]["test_mse"])


def test_forecasts_as_csv_and_json(trained, tmp_path, capsys):
    new = write(tmp_path / "new.csv", 400, 300)
    assert run(["predict", str(trained / "run"), new, "-o", str(tmp_path / "out.csv")]) == 0
    lines = (tmp_path / "out.csv").read_text().splitlines()
    assert lines[0] == "date,load" and len(lines) == 7 and lines[1].startswith("2021-03-17 16:00:00,")
    capsys.readouterr()
    assert run(["predict", str(trained / "run"), new, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["columns"] == ["date", "load"] and len(found["predictions"]) == 6
    assert f"{found['predictions'][0][1]:.7g}" == lines[1].split(",")[1]


def test_a_test_file_and_a_dry_run(trained, tmp_path, capsys):
    test, out = write(tmp_path / "t.csv", 200, 100), str(tmp_path / "run")
    given = ["train", "series", "--data", str(trained / "s.csv"), "--arch", "dlinear", *SMALL]
    assert run([*given, "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["inputs"] == [[2, 24]]
    assert run([*given, "--test", test, "--out", out, "--json"]) == 0
    assert "test_mse" in json.loads(capsys.readouterr().out)["metrics"]


def test_c_code_and_learning_by_heart(trained, tmp_path, capsys):
    assert run(["export", str(trained / "run"), "--to", "c", "-o", str(tmp_path / "m.c"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["inputs"], found["outputs"]) == (48, 6)
    assert run(["train", "series", "--data", str(trained / "s.csv"), *SMALL, "--overfit", "2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == 2 * 32 + 24 + 6 - 1


@pytest.mark.parametrize(("options", "code", "said"), [
    (["--target", "lod"], 4, "did you mean 'load'?"),
    (["--input", "396"], 4, "too short"),
    (["--split", "0.9,0.9"], 2, "8640,2880,2880"),
    (["--split", "300,100,100"], 4, "fewer steps"),
    (["--time-col", "none"], 4, "is no number"),
    (["--folds", "3"], 2, "not divided in folds"),
    (["--label-col", "load"], 2, "data.targets"),
    (["--horizon", "0"], 2, "whole number"),
])
def test_what_is_refused(trained, tmp_path, capsys, options, code, said):
    out = tmp_path / "run"
    assert run(["train", "series", "--data", str(trained / "s.csv"), "--out", str(out), *SMALL, *options]) == code
    assert said in capsys.readouterr().err and not out.exists()
