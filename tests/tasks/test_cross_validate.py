"""Cross-validation: equal to scikit-learn's on the same folds, equal on any number of processes, no row on both sides."""
from __future__ import annotations

import os
import signal
import time

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.model_selection import cross_val_predict, cross_val_score

import dlcore
from dlcore.data.dataset import Dataset
from dlcore.data.folds import KFold, StratifiedKFold
from dlcore.errors import DataError, DlcoreError, UsageError
from dlcore.tasks import TabularClassifier, TabularRegressor
from dlcore.tasks.cross_validate import Rows, cross_validate, fit_part, summary
from dlcore.tasks.processes import check_jobs, cores, in_processes

SMALL = {"hidden": (16,), "epochs": 4}


@pytest.fixture(scope="module")
def digits():
    x, y = load_digits(return_X_y=True)
    return x[:400], y[:400]


def test_scores_and_predictions_are_those_of_scikit_learn_on_the_same_folds(digits):
    x, y = digits
    folds = StratifiedKFold(4)
    found = cross_validate(TabularClassifier(**SMALL), x, y, folds=folds)
    scores = cross_val_score(TabularClassifier(**SMALL), x, y, cv=folds)
    assert [fold["accuracy"] for fold in found.folds] == scores.tolist()
    assert found.mean["accuracy"] == pytest.approx(scores.mean()) and found.deviation["accuracy"] == pytest.approx(scores.std())
    np.testing.assert_array_equal(found.predictions, cross_val_predict(TabularClassifier(**SMALL), x, y, cv=folds))
    np.testing.assert_array_equal(found.probabilities,
                                  cross_val_predict(TabularClassifier(**SMALL), x, y, cv=folds, method="predict_proba"))
    assert np.mean(found.predictions == y) == pytest.approx(np.average(scores, weights=np.bincount(found.fold)))
    assert summary(found)["accuracy"]["folds"] == scores.tolist()


@pytest.mark.parametrize("estimator", [TabularClassifier(**SMALL), TabularRegressor(**SMALL)])
def test_processes_change_nothing(digits, estimator, monkeypatch):
    monkeypatch.setattr("dlcore.tasks.processes.cores", lambda: 3)
    x, y = digits
    lines: list[str] = []
    one = cross_validate(estimator, x[:200], y[:200], folds=3)
    many = cross_validate(estimator, x[:200], y[:200], folds=3, jobs=0, log=lines.append)
    assert one.folds == many.folds and np.array_equal(one.fold, many.fold)
    assert one.predictions.tobytes() == many.predictions.tobytes()
    if one.probabilities is not None:
        assert one.probabilities.tobytes() == many.probabilities.tobytes()
    assert "3 processes at once" in lines[0] and sorted(line[:11] for line in lines[1:]) == [f"fold {n} of 3" for n in (1, 2, 3)]


def test_kinds_are_chosen_by_what_is_known():
    y = np.arange(12) % 3
    labels, numbers = TabularClassifier(), TabularRegressor()
    groups, order = np.arange(12) // 2, np.arange(12)[::-1]
    assert Rows(labels, y).kind("auto") == "stratified" and Rows(numbers, y).kind("auto") == "plain"
    assert Rows(labels, y, groups).kind("auto") == "stratified-group" and Rows(numbers, y, groups).kind("auto") == "group"
    assert Rows(labels, y, None, order).kind("auto") == "time"
    for rows, kind in ((Rows(numbers, y), "stratified"), (Rows(labels, y), "group"), (Rows(labels, y, groups), "stratified"),
                       (Rows(labels, y, None, order), "plain"), (Rows(labels, y), "leave-one-out")):
        with pytest.raises(UsageError):
            rows.kind(kind)


def test_groups_are_never_on_both_sides_nor_split_for_validation(digits):
    x, y = digits
    groups = np.arange(len(x)) // 10
    given = Rows(TabularClassifier(), y, groups)
    for train, test in given.folds("auto", 4):
        assert not set(groups[train]) & set(groups[test])
        fit, val = given.held_back(train, "stratified-group")
        assert len(val) and not set(groups[fit]) & set(groups[val])
        assert sorted([*fit, *val]) == sorted(train)
    found = cross_validate(TabularClassifier(**SMALL), x, y, folds=3, groups=groups)
    assert found.kind == "stratified-group" and (found.fold >= 0).all()


def test_time_is_trained_on_before_and_tested_on_after():
    rng = np.random.default_rng(0)
    order = rng.permutation(240)                               # row numbers from first to last
    x = rng.standard_normal((240, 3))
    y = np.zeros(240)
    y[order] = np.arange(240) + rng.random(240)
    given = Rows(TabularRegressor(), y, None, order)
    for train, test in given.folds("auto", 3):
        fit, val = given.held_back(train, "time")
        assert y[fit].max() < y[val].min() <= y[val].max() < y[test].min()
    found = cross_validate(TabularRegressor(**SMALL), x, y, folds=3, order=order)
    assert found.kind == "time" and (found.fold[order[:60]] == -1).all() and found.fold[order[-1]] == 2
    labels = cross_validate(TabularClassifier(**SMALL), x, np.arange(240) % 2, folds=3, kind="time")
    assert np.isnan(labels.probabilities[:60]).all() and not np.isnan(labels.probabilities[60:]).any()


def test_labels_that_validation_alone_would_see_are_trained_on():
    y = np.array(["a", "b"] * 45 + ["c"] * 10)                  # the last label comes late
    given = Rows(TabularClassifier(**SMALL), y, None, np.arange(100))
    fit, val = given.held_back(np.arange(100), "time")
    assert len(val) == 0 and len(fit) == 100                    # the latest ten are all of label c
    fitted = fit_part(TabularClassifier(**SMALL), np.random.default_rng(0).random((100, 2)), given, np.arange(100), "time")
    assert fitted.classes_.tolist() == ["a", "b", "c"] and fitted.val_split == 0.1
    assert "val_loss" not in fitted.history_.history


def test_what_cannot_be_measured_is_refused_before_training(digits):
    x, y = digits
    estimator = TabularClassifier(**SMALL)
    late = np.where(np.arange(len(y)) < 300, y % 2, 2)
    for arguments, match in (({"y": late, "kind": "time", "folds": 3}, "in the test part of a fold"),
                             ({"y": y[:-1]}, "fit together"), ({"y": y, "groups": y[:-1]}, "one per row"),
                             ({"y": y, "order": y}, "row numbers"), ({"y": None}, "no answers")):
        with pytest.raises(DataError, match=match):
            cross_validate(estimator, x, **arguments)
    for options in ({"folds": 1}, {"jobs": -1}, {"kind": "grouped"}):
        with pytest.raises(UsageError):
            cross_validate(estimator, x, y, **options)
    assert not hasattr(estimator, "_network")


def test_rows_in_any_form_and_data_sets():
    rows = [{"size": float(i % 9), "colour": "red" if i % 2 else "green"} for i in range(90)]
    labels = np.array(["big" if row["size"] > 4 else "small" for row in rows])
    one = dlcore.cross_validate(TabularClassifier(**SMALL), rows, labels, folds=3)
    two = dlcore.cross_validate(TabularClassifier(**SMALL), Dataset(rows, labels), folds=KFold(3))
    assert set(one.predictions) <= {"big", "small"} and two.kind == "KFold" and one.classes.tolist() == ["big", "small"]


# ---- processes -------------------------------------------------------------------------------------------------------

def test_what_a_process_meets_comes_back():
    def work(number):
        if number == 1:
            raise DataError("the second is wrong", where="here")
        time.sleep(5 * number)
        return number

    begin = time.monotonic()
    with pytest.raises(DataError, match="the second is wrong") as caught:
        list(in_processes(work, 3, 3))
    assert caught.value.where == "here" and time.monotonic() - begin < 5               # the others were ended

    def dies(number):
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(DlcoreError, match="ended without an answer"):
        list(in_processes(dies, 2, 2))

    class Odd(Exception):
        def __init__(self, a, b):
            super().__init__(f"{a} and {b}")

    def odd(number):
        raise Odd(1, 2)

    with pytest.raises(DlcoreError, match="Odd: 1 and 2"):
        list(in_processes(odd, 2, 2))


def test_no_more_processes_run_at_once_than_asked_for(tmp_path):
    def work(number):
        (tmp_path / str(number)).touch()
        time.sleep(0.1)
        seen = len(list(tmp_path.iterdir()))
        (tmp_path / str(number)).unlink()
        return seen

    assert max(seen for _, seen in in_processes(work, 6, 2)) <= 2
    assert check_jobs(0) == check_jobs(None) == cores() and check_jobs(10_000) == cores() and check_jobs(1) == 1
