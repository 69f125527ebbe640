"""Estimators are scikit-learn's: its own checks, its tools on them, its errors; and never imported by them."""
from __future__ import annotations

import copy
import pickle
import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import DataConversionWarning, NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import estimator_checks_generator
from sklearn.utils.validation import check_is_fitted

import dlcore
from dlcore import layers
from dlcore.errors import DataError, UsageError
from dlcore.errors import NotFittedError as OurNotFittedError
from dlcore.tasks import ImageClassifier, TabularClassifier, TabularRegressor

# what no network trained on mini-batches can pass, with the reason
IMPOSSIBLE = {"check_sample_weight_equivalence_on_dense_data":
              "a row that occurs twice falls into two batches of another order; equal only in expectation",
              "check_array_api_input": "scikit-learn itself runs it under SCIPY_ARRAY_API=1 only"}
SMALL = {"hidden": (8,), "epochs": 2}


def checks():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")                         # it warns that ours do not derive from its BaseEstimator
        for estimator in (TabularClassifier(), TabularRegressor()):
            for number, (_, check) in enumerate(estimator_checks_generator(estimator)):
                name = getattr(check, "func", check).__name__
                if name not in IMPOSSIBLE:
                    yield pytest.param(estimator, check, id=f"{type(estimator).__name__}-{number}-{name}")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("estimator", "check"), list(checks()))
def test_scikit_learns_own_checks(estimator, check):
    check(clone(estimator))


@pytest.mark.filterwarnings("ignore")
def test_what_is_left_out_is_what_is_named():
    names = {getattr(check, "func", check).__name__ for _, check in estimator_checks_generator(TabularClassifier())}
    assert names >= IMPOSSIBLE.keys() and len(names) > 40


def test_weights_count_as_repetitions_in_expectation():
    """What stands for the check left out: rows weighted by 3 pull as rows that are there three times."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((400, 3))
    y = (x[:, 0] + 0.8 * rng.standard_normal(400) > 0).astype(int)
    weight = np.where(y == 1, 3, 1)
    options = {"hidden": (8,), "epochs": 30, "dropout": 0.0, "val_split": 0.0}
    weighted = TabularClassifier(**options).fit(x, y, sample_weight=weight).predict_proba(x)[:, 1]
    repeated = TabularClassifier(**options).fit(np.repeat(x, weight, 0), np.repeat(y, weight)).predict_proba(x)[:, 1]
    plain = TabularClassifier(**options).fit(x, y).predict_proba(x)[:, 1]
    assert np.abs(weighted - repeated).mean() < 0.3 * np.abs(plain - repeated).mean()


def test_cross_validation_search_and_pipelines():
    x, y = load_digits(return_X_y=True)
    x, y = x[:600], y[:600]
    assert cross_val_score(TabularClassifier(epochs=15), x, y, cv=3).mean() > 0.8
    search = GridSearchCV(TabularClassifier(**SMALL), {"lr": [1e-4, 1e-2]}, cv=2).fit(x, y)
    assert search.best_params_ == {"lr": 1e-2} and search.best_estimator_.n_features_in_ == 64
    assert make_pipeline(StandardScaler(), TabularRegressor(epochs=15)).fit(x, x[:, 20]).score(x, x[:, 20]) > 0.5
    done = cross_validate(ImageClassifier(hidden=(32,), epochs=20, batch_size=32), x.reshape(-1, 8, 8), y, cv=2,
                          return_estimator=True)
    assert done["test_score"].min() > 0.3
    assert [e.score(x.reshape(-1, 8, 8), y) > 0.3 for e in pickle.loads(pickle.dumps(done["estimator"]))] == [True, True]


def test_not_fitted_is_an_error_of_both():
    for estimator in (TabularClassifier(), TabularRegressor(), ImageClassifier()):
        with pytest.raises(NotFittedError) as caught:
            estimator.predict([[1, 2]])
        for kind in (OurNotFittedError, UsageError, ValueError, AttributeError):
            assert isinstance(caught.value, kind)
        again = pickle.loads(pickle.dumps(caught.value))
        assert type(again) is OurNotFittedError and str(again) == str(caught.value)
        with pytest.raises(NotFittedError):
            check_is_fitted(estimator)
        assert not hasattr(estimator, "classes_") and not hasattr(estimator, "n_features_in_")


def test_sample_weights_that_are_of_no_use():
    x, y = np.eye(4), [0, 1, 0, 1]
    for weight in ([1, 1], np.ones((4, 1)), [0, 0, 0, 0], [1, 1, 1, -1], [1, 1, 1, np.nan], ["a", "b", "c", "d"]):
        with pytest.raises(DataError, match="weight"):
            TabularClassifier(**SMALL).fit(x, y, sample_weight=weight)
        with pytest.raises(DataError, match="weight"):
            TabularRegressor(**SMALL).fit(x, y).score(x, y, sample_weight=weight)


def test_a_column_of_answers_is_taken_with_a_warning():
    x, y = np.random.default_rng(0).random((40, 3)), np.arange(40) % 2
    with pytest.warns(DataConversionWarning, match="column-vector"):
        column = TabularClassifier(**SMALL).fit(x, y[:, None])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plain = TabularClassifier(**SMALL).fit(x, y)
    assert (column.predict_proba(x) == plain.predict_proba(x)).all()


def test_feature_names_are_those_that_were_given():
    x, y = np.random.default_rng(0).random((40, 2)), np.arange(40) % 2
    assert not hasattr(TabularClassifier(**SMALL).fit(x, y), "feature_names_in_")
    rows = [{"size": a, "age": b} for a, b in x]
    fitted = TabularClassifier(**SMALL).fit(rows, y)
    assert fitted.feature_names_in_.tolist() == ["size", "age"] and fitted.n_features_in_ == 2
    turned = [{"age": row["age"], "size": row["size"]} for row in rows]
    assert (fitted.predict_proba(turned) == fitted.predict_proba(rows)).all()         # found by name, not by place


class Doubled(layers.Layer):
    """A layer of the user's own."""

    def call(self, x):
        from dlcore import ops
        return ops.scale(x, 2.0)


def test_models_are_pickled_and_copied_with_their_optimizer():
    x = np.random.default_rng(0).standard_normal((64, 4)).astype(np.float32)
    y = (x[:, 0] > 0).astype(np.int32)
    model = dlcore.Sequential([layers.Dense(8, activation="relu", input_shape=(4,)), Doubled(), layers.Dense(2)], seed=3)
    model.compile("adam", dlcore.training.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(x, y, epochs=2, verbose=0)
    for other in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert other is not model and (other.predict(x) == model.predict(x)).all()
        other.fit(x, y, epochs=1, verbose=0)
    once_more = copy.deepcopy(model)
    model.fit(x, y, epochs=1, verbose=0)
    assert not (once_more.predict(x) == model.predict(x)).all()                       # apart: no memory is shared
