"""Forecasts as an estimator: what is learned, which steps are looked at, files, bad input."""
from __future__ import annotations

import numpy as np
import pytest

import dlcore as dl
from dlcore.data.series import as_series, divide
from dlcore.data.table import Table
from dlcore.errors import DataError, ModelFileError, UsageError
from dlcore.tasks import TASKS, SeriesForecaster
from dlcore.tasks.series_windows import Scaling, Windows

SMALL = {"input": 24, "horizon": 6, "width": 16, "layers": 1, "heads": 2, "epochs": 6, "lr": 3e-3, "window": 5, "patience": 0}


def waves(count=600, seed=0):
    """Two columns: a wave on a slope, and another with noise; far from standard units."""
    t, rng = np.arange(count), np.random.default_rng(seed)
    wave, other = np.sin(2 * np.pi * t / 12), np.cos(2 * np.pi * t / 8)
    return np.stack([500 + 80 * wave + 0.05 * t, 3 + other + 0.05 * rng.normal(size=count)], 1)


@pytest.fixture(scope="module")
def fitted():
    return SeriesForecaster(**SMALL).fit(divide(as_series(waves()), "0.7,0.1,0.2").train)


@pytest.mark.parametrize("params", [{}, {"mix": False}, {"arch": "lstm"}, {"arch": "lstm", "mix": True},
                                    {"arch": "dlinear", "lr": 0.02}, {"arch": "dlinear", "normalize": True, "lr": 0.02}])
def test_every_architecture_beats_the_last_value(params):
    parts = divide(as_series(waves()), "0.7,0.1,0.2")
    model = SeriesForecaster(**{**SMALL, **params}).fit(parts.train)
    found = model.evaluate(parts.test)
    assert found["mse"] < 0.5 * found["naive_mse"] and found["mae"] > 0
    assert model.predict(parts.test).shape == (6, 2)


def test_scores_by_their_definition(fitted):
    """Window by window from raw values: forecasts of the test part see what came before it, and every window counts."""
    raw, test = waves(), divide(as_series(waves()), "0.7,0.1,0.2").test
    mean, scale = raw[:420].mean(0), raw[:420].std(0)
    z = (raw - mean) / scale
    made, came, last = [], [], []
    for at in range(480, 600 - 6 + 1):
        made.append(fitted.model.predict(z[at - 24:at].T[None].astype(np.float32))[0].T)
        came.append(z[at:at + 6])
        last.append(np.repeat(z[at - 1:at], 6, 0))
    error = np.array(made) - came
    found = fitted.evaluate(test)
    assert found["mse"] == pytest.approx(np.square(error).mean(), rel=1e-4)
    assert found["mae"] == pytest.approx(np.abs(error).mean(), rel=1e-4)
    assert found["naive_mse"] == pytest.approx(np.square(np.array(last) - came).mean(), rel=1e-4)
    assert found["mse_original"] == pytest.approx(np.square(error * scale).mean(), rel=1e-4)
    assert found["mae_original"] == pytest.approx(np.abs(error * scale).mean(), rel=1e-4)
    assert found["mae_original c1"] == pytest.approx(np.abs(error[..., 0] * scale[0]).mean(), rel=1e-4)
    assert fitted.score(test) == -found["mse"]


def test_forecasts_go_on_after_the_end(fitted):
    raw = waves()
    np.testing.assert_allclose(fitted.predict(raw[:500])[:, 0], raw[500:506, 0], rtol=0.1)
    np.testing.assert_array_equal(fitted.predict(raw[:500]), fitted.predict(raw[476:500]))
    assert fitted.table(raw[:500])[0] == ["step", "c1", "c2"] and fitted.table(raw[:500])[1][5][0] == "6"


def test_windows_lie_where_they_should():
    matrix = np.arange(40, dtype=np.float32).reshape(2, 20)
    windows = Windows(matrix, 3, 10, 4, 2, 1, 4)
    batches = list(windows)
    assert [len(x) for x, _ in batches] == [4, 4, 2] and len(windows) == 3
    np.testing.assert_array_equal(batches[0][0][1], [[4, 5, 6, 7], [24, 25, 26, 27]])
    np.testing.assert_array_equal(batches[0][1][1], [[8, 9]])
    assert np.shares_memory(windows.x, matrix) and np.shares_memory(windows.y, matrix)
    drawn = Windows(matrix, 3, 10, 4, 2, 1, 4, seed=1)
    first, again = (np.concatenate([x[:, 0, 0] for x, _ in drawn]) for _ in range(2))
    drawn.on_epoch_begin(1)
    later = np.concatenate([x[:, 0, 0] for x, _ in drawn])
    assert np.array_equal(first, again) and not np.array_equal(first, later)
    assert sorted(first) == sorted(later) == list(range(3, 13))


def test_only_steps_trained_on_are_learned_from():
    """What lies behind the training part changes neither the scaling nor the weights."""
    raw, other = waves(), waves()
    other[480:] += 1000
    models = [SeriesForecaster(**{**SMALL, "epochs": 1}).fit(divide(as_series(x), "0.7,0.1,0.2").train) for x in (raw, other)]
    for a, b in zip(*(m.get_weights() for m in models), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_allclose(models[0]._scaling.mean, raw[:420].mean(0))


def test_targets_stand_first_and_others_are_seen(tmp_path):
    raw = waves()
    table = Table({"wave": raw[:, 0], "other": raw[:, 1]}, range(1, 601))
    model = SeriesForecaster(**SMALL, targets=["other"]).fit(table)
    assert model.targets_ == ("other",) and model._scaling.names == ("other", "wave") and model.predict(table).shape == (6, 1)
    changed = Table({"wave": raw[::-1, 0].copy(), "other": raw[:, 1]}, range(1, 601))
    assert not np.allclose(model.predict(table), model.predict(changed))
    with pytest.raises(DataError, match="there is no column 'othr'") as caught:
        SeriesForecaster(**SMALL, targets=["othr"]).fit(table)
    assert "did you mean 'other'?" in caught.value.hint
    with pytest.raises(DataError, match="there is no column 'wave'"):
        model.predict(Table({"other": raw[:, 1]}, range(1, 601)))
    said = []
    SeriesForecaster(**{**SMALL, "epochs": 1}, arch="lstm", targets=["other"]).fit(table, log=said.append)
    assert any("not looked at" in line for line in said)


def test_a_file_holds_everything(fitted, tmp_path):
    fitted.save(tmp_path / "m.dlc")
    again = dl.load(tmp_path / "m.dlc")
    assert isinstance(again, SeriesForecaster) and again.targets_ == ("c1", "c2")
    np.testing.assert_array_equal(again.predict(waves()), fitted.predict(waves()))


def test_the_same_seed_gives_the_same():
    a, b, c = (SeriesForecaster(**{**SMALL, "epochs": 1}, random_state=seed).fit(waves()) for seed in (1, 1, 2))
    assert np.array_equal(a.predict(waves()), b.predict(waves())) and not np.array_equal(a.predict(waves()), c.predict(waves()))


@pytest.mark.parametrize(("params", "expected"), [
    ({"arch": "arima"}, "transformer"), ({"input": 0}, "whole number"), ({"horizon": 1.5}, "whole number"), ({"window": 4}, "odd"),
    ({"patch": 5}, "divisor"), ({"width": 15}, "multiple"), ({"targets": "c1"}, "list"), ({"targets": ["c1", "c1"]}, "once"),
    ({"mix": 1}, "true or false"), ({"dropout": 1.0}, "dropout < 1")])
def test_parameters_of_no_use(params, expected):
    with pytest.raises(UsageError) as caught:
        SeriesForecaster(**{**SMALL, **params}).fit(waves())
    assert expected in caught.value.expected


def test_what_is_too_short(fitted):
    with pytest.raises(DataError, match="too short") as caught:
        SeriesForecaster(**SMALL).fit(waves(29))
    assert "at least 30 steps" in caught.value.expected and caught.value.got == "29"
    with pytest.raises(DataError, match="too short to forecast"):
        fitted.predict(waves(23))
    with pytest.raises(DataError, match="too short"):
        fitted.evaluate(waves(29))
    with pytest.raises(DataError, match="too few steps to validate on"):
        SeriesForecaster(**SMALL).fit(divide(as_series(waves()), "0.9,0.005").train)
    with pytest.raises(UsageError, match="neither answers"):
        SeriesForecaster(**SMALL).fit(waves(), np.zeros(600))
    said = []
    SeriesForecaster(**{**SMALL, "epochs": 1}).fit(waves(40), log=said.append)
    assert "none kept for validation" in said[0]


def test_constant_columns_and_scalings_of_files():
    raw = waves()
    raw[:, 1] = 7
    model = SeriesForecaster(**{**SMALL, "epochs": 1}).fit(raw)
    assert np.isfinite(model.predict(raw)).all() and np.isfinite(model.evaluate(raw)["mse"])
    good = model._scaling.to_json()
    for bad in ({"targets": 3}, {"scale": [1.0, 0.0]}, {"names": ["a", "a"]}, {"mean": [0.0]}, {"scale": [1.0, "x"]}):
        with pytest.raises(ModelFileError):
            Scaling.from_json({**good, **bad}, "m.dlc")


def test_the_task_reads_a_file_again_as_it_was_divided(tmp_path):
    task, path, new = TASKS["series"], tmp_path / "s.csv", tmp_path / "new.csv"
    lines = [f"{i},{a:.6f},{b:.6f}" for i, (a, b) in enumerate(waves())]
    path.write_text("\n".join(["n,a,b", *lines]) + "\n")
    new.write_text("\n".join(["n,a,b", *lines[300:]]) + "\n")
    parts = task.read(str(path), time_col="n", split="400,100,100")
    model = task.create(parts.train, "dlinear", input=24, horizon=6, epochs=1).fit(parts.train)
    again = task.read(str(path), like=model)
    assert again.test.x.begin == 500 and model.evaluate(again.test) == model.evaluate(parts.test)
    assert task.read(str(new), like=model).test is None                 # another file: all of it
    whole = task.read(str(path), labelled=False, like=model)
    assert whole.test is None and model.table(whole.train)[1][0][0] == "600"
    for bad in ({"label_col": "a"}, {"split": "1"}):
        with pytest.raises(UsageError):
            task.read(str(path), **bad)
