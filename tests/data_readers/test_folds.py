"""Folds: the rows of scikit-learn's splitters, and what no splitter may do."""
from __future__ import annotations

import numpy as np
import pytest
from sklearn import model_selection as theirs
from sklearn.model_selection import cross_val_score
from sklearn.neighbors import KNeighborsClassifier

from dlcore.data import folds as ours
from dlcore.errors import DataError, UsageError


def data(seed):
    """Rows, labels of uneven frequency, groups of uneven size."""
    rng = np.random.default_rng(seed)
    count = int(rng.integers(60, 300))
    y = rng.choice([7, 1, 3, 2], count, p=[0.4, 0.3, 0.2, 0.1])
    groups = rng.choice(np.array(["d", "a", "q", "b", "x", "k", "m"]), count) if seed % 2 else rng.integers(0, 40, count)
    return np.zeros((count, 1)), y, groups


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["KFold", "StratifiedKFold", "GroupKFold", "StratifiedGroupKFold", "TimeSeriesSplit"])
@pytest.mark.parametrize("seed", range(6))
def test_the_folds_are_those_of_scikit_learn(name, seed):
    x, y, groups = data(seed)
    given = groups if "Group" in name else None
    for count in (2, 3, 5, 7):
        mine, other = (getattr(module, name)(count) for module in (ours, theirs))
        for (a, b), (c, d) in zip(mine.split(x, y, given), other.split(x, y, given), strict=True):
            np.testing.assert_array_equal(a, c)
            np.testing.assert_array_equal(b, d)
        assert mine.get_n_splits() == count


@pytest.mark.parametrize("options", [{"gap": 3}, {"test_size": 7}, {"max_train_size": 20},
                                     {"gap": 2, "test_size": 5, "max_train_size": 9}])
def test_options_of_time(options):
    x = np.zeros(80)
    mine = [[part.tolist() for part in fold] for fold in ours.TimeSeriesSplit(4, **options).split(x)]
    assert mine == [[part.tolist() for part in fold] for fold in theirs.TimeSeriesSplit(4, **options).split(x)]


@pytest.mark.parametrize("kind", ours.KINDS)
@pytest.mark.parametrize("seed", range(4))
def test_shuffled_folds_keep_every_promise_and_follow_the_seed(kind, seed):
    x, y, groups = data(seed)
    make = ours.KINDS[kind]
    folds = list(make(5, shuffle=True, random_state=seed).split(x, y, groups))
    assert np.array_equal(np.sort(np.concatenate([test for _, test in folds])), np.arange(len(x)))
    for train, test in folds:
        assert np.array_equal(np.union1d(train, test), np.arange(len(x))) and not np.intersect1d(train, test).size
        if "group" in kind:
            assert not set(groups[train]) & set(groups[test])
    if kind == "stratified":
        counts = np.array([[np.sum(y[test] == label) for label in (1, 2, 3, 7)] for _, test in folds])
        assert (counts.max(0) - counts.min(0) <= 1).all()
    if kind == "plain":
        sizes = [len(test) for _, test in folds]
        assert max(sizes) - min(sizes) <= 1
    again = list(make(5, shuffle=True, random_state=seed).split(x, y, groups))
    assert all(np.array_equal(a[1], b[1]) for a, b in zip(folds, again, strict=True))
    if "group" not in kind or seed % 2 == 0:                     # seven groups of different sizes leave no choice
        other = list(make(5, shuffle=True, random_state=seed + 100).split(x, y, groups))
        assert not all(np.array_equal(a[1], b[1]) for a, b in zip(folds, other, strict=True))


def test_scikit_learn_takes_them_as_its_own():
    x, y, groups = data(0)
    x = np.random.default_rng(0).standard_normal((len(x), 3))
    for mine, other in ((ours.StratifiedKFold(4), theirs.StratifiedKFold(4)), (ours.GroupKFold(4), theirs.GroupKFold(4))):
        scores = [cross_val_score(KNeighborsClassifier(3), x, y, cv=cv, groups=groups) for cv in (mine, other)]
        np.testing.assert_array_equal(*scores)


def test_rows_that_do_not_suffice_are_refused():
    x, y = np.zeros(4), np.array([0, 0, 1, 1])
    for make, arguments in ((ours.KFold(5), ()), (ours.StratifiedKFold(3), (y,)), (ours.TimeSeriesSplit(4), ()),
                            (ours.GroupKFold(3), (None, [1, 1, 2, 2])), (ours.StratifiedGroupKFold(2), (y, [1, 1, 1, 1])),
                            (ours.StratifiedKFold(2), (y[:3],)), (ours.StratifiedKFold(2), (y + 0.5,))):
        with pytest.raises(DataError):
            list(make.split(x, *arguments))
    with pytest.raises(UsageError, match="labels"):
        list(ours.StratifiedKFold(2).split(x))
    with pytest.raises(UsageError, match="group"):
        list(ours.GroupKFold(2).split(x))
    for wrong in (1, 0, True, 2.5, "5"):
        with pytest.raises(UsageError):
            ours.KFold(wrong)


def test_the_order_of_time():
    assert ours.order_of(["3", "20", "1"]).tolist() == [2, 0, 1]
    assert ours.order_of(["2011-02-01", "2010-12-31", "2011-01-01 12:00"]).tolist() == [1, 2, 0]
    assert ours.order_of(np.array([2.0, 1.0, 2.0, 1.0])).tolist() == [1, 3, 0, 2]
    for missing in (None, float("nan")):
        with pytest.raises(DataError, match="missing"):
            ours.order_of([1.0, missing])
