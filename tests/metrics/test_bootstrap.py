"""Confidence intervals: seeded, with the coverage that they promise, and alike however they are drawn."""

import numpy as np
import pytest
from scipy import stats

import dlcore.metrics as m


def test_a_seed_gives_the_same_interval():
    rng = np.random.default_rng(0)
    true, pred = rng.integers(0, 3, 200), rng.integers(0, 3, 200)
    first = m.bootstrap_interval(m.accuracy_score, true, pred, n_resamples=50, seed=3)
    assert first == m.bootstrap_interval(m.accuracy_score, true, pred, n_resamples=50, seed=3)
    assert first != m.bootstrap_interval(m.accuracy_score, true, pred, n_resamples=50, seed=4)
    assert first.value == m.accuracy_score(true, pred) and first.low < first.value < first.high


def test_an_interval_of_rows_is_that_of_scipy():
    values = np.random.default_rng(1).normal(size=100)
    own = m.bootstrap_interval(np.mean, values, n_resamples=4000)
    theirs = stats.bootstrap((values,), np.mean, n_resamples=4000, method="percentile", rng=0).confidence_interval
    spread = theirs.high - theirs.low
    assert abs(own.low - theirs.low) < 0.06 * spread and abs(own.high - theirs.high) < 0.06 * spread


def test_all_ways_of_drawing_agree():
    rng = np.random.default_rng(2)
    hits = rng.random(400) < 0.8
    counts = np.array([[hits.sum(), (~hits).sum()], [0, 0]])
    by_rows = m.bootstrap_interval(np.mean, hits, n_resamples=4000)
    by_mean = m.bootstrap_mean(hits, n_resamples=4000)
    by_counts = m.bootstrap_counts(lambda c: c[:, 0, 0] / c.sum((1, 2)), counts, n_resamples=4000)
    assert by_rows.value == by_mean.value == by_counts.value == hits.mean()
    for other in (by_mean, by_counts):
        assert abs(other.low - by_rows.low) < 0.006 and abs(other.high - by_rows.high) < 0.006
    distinct = rng.normal(size=300)
    assert abs(m.bootstrap_mean(distinct).low - m.bootstrap_interval(np.mean, distinct).low) < 0.03


def test_it_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(5)
    inside = 0
    for seed in range(200):
        interval = m.bootstrap_mean(rng.random(300) < 0.7, n_resamples=400, confidence=0.9, seed=seed)
        inside += interval.low <= 0.7 <= interval.high
    assert 165 <= inside <= 195  # 180 expected, 4 standard deviations are 17


@pytest.mark.filterwarnings("ignore")
def test_resamples_without_a_value_are_left_out():
    interval = m.bootstrap_interval(m.roc_auc_score, [0, 1, 1], [0.1, 0.2, 0.3], n_resamples=100)
    assert interval == (1.0, 1.0, 1.0)
    alone = m.bootstrap_interval(m.roc_auc_score, [1, 1, 1], [0.1, 0.2, 0.3], n_resamples=10)
    assert all(np.isnan(value) for value in alone)


def test_the_calibration_error_by_its_definition():
    rng = np.random.default_rng(0)
    proba = rng.dirichlet(np.ones(3), 500)
    true = rng.integers(0, 3, 500)
    confidence, right = proba.max(1), proba.argmax(1) == true
    expected = 0.0
    for low, high in zip(np.linspace(0, 1, 16)[:-1], np.linspace(0, 1, 16)[1:], strict=True):
        rows = (confidence > low) & (confidence <= high)
        if rows.any():
            expected += rows.mean() * abs(right[rows].mean() - confidence[rows].mean())
    assert abs(m.expected_calibration_error(true, proba) - expected) < 1e-12
    sure = np.array([[0.0, 1.0]] * 4)
    assert m.expected_calibration_error([1, 1, 1, 1], sure, labels=[0, 1]) == 0
    assert m.expected_calibration_error([0, 1, 0, 1], sure) == 0.5
