"""Average precision equals pycocotools'; suppression and anchors by their definitions."""

from pathlib import Path

import numpy as np
import pytest

from dlcore.data.detection.anchors import anchors_of
from dlcore.errors import DataError
from dlcore.metrics.boxes import Boxes, overlaps, suppressed
from dlcore.metrics.detection import Detected, detection_scores

FIXTURE = Path(__file__).with_name("detection_coco.npz")  # made by make_detection_fixture.py


def of_pictures(truth, found, count=30):
    there = [Boxes(r[:, 1].astype(int), r[:, 2:6], r[:, 6] > 0) for p in range(count) for r in [truth[truth[:, 0] == p]]]
    guesses = [Detected(r[:, 1].astype(int), r[:, 6], r[:, 2:6]) for p in range(count) for r in [found[found[:, 0] == p]]]
    return there, guesses


@pytest.mark.parametrize("seed", range(3))
def test_scores_equal_pycocotools(seed):
    frozen = np.load(FIXTURE)
    there, guesses = of_pictures(frozen[f"truth{seed}"], frozen[f"found{seed}"])
    scores = detection_scores(there, guesses, ["a", "b", "c", "d"])
    np.testing.assert_allclose(scores.precision, frozen[f"precision{seed}"], atol=1e-9)
    np.testing.assert_allclose(scores.recall, frozen[f"recall{seed}"], atol=1e-9)
    stats, found = frozen[f"stats{seed}"], scores.metrics()
    sizes = [f"map50_95_{size}" for size in ("small", "medium", "large")]
    names = ["map50_95", "map50", "map75", *sizes, "recall_1", "recall_10", "recall_100"]
    np.testing.assert_allclose([found[name] for name in names], stats[:9], atol=1e-9)
    assert "map50_d" not in found  # nothing of this class is to be found


def test_nothing_found_scores_nothing():
    there = [Boxes.taken([[0, 1, 1, 9, 9]])]
    empty = Detected(np.zeros(0, int), np.zeros(0), np.zeros((0, 4)))
    assert detection_scores(there, [empty], ["a"]).metrics()["map50"] == 0
    assert detection_scores([Boxes.taken(np.zeros((0, 5)))], [empty], ["a"]).metrics() == {}
    with pytest.raises(DataError, match="of different number"):
        detection_scores(there, [], ["a"])


def test_suppression_keeps_the_best_of_each_place():
    xyxy = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [30, 30, 40, 40], [0, 0, 10, 10], [0, 0, 10, 4]], float)
    scores, labels = np.array([0.5, 0.9, 0.7, 0.8, 0.6]), np.array([0, 0, 0, 1, 0])
    assert suppressed(xyxy, scores, labels, 0.5).tolist() == [1, 3, 2, 4]
    assert suppressed(xyxy, scores, labels, 0.5, most=2).tolist() == [1, 3]
    assert suppressed(xyxy, scores, labels, 0.2).tolist() == [1, 3, 2]
    assert suppressed(xyxy[:0], scores[:0], labels[:0]).tolist() == []
    # by the definition: kept boxes of a label overlap little, and every other overlaps with a better one that is kept
    rng = np.random.default_rng(0)
    corner = rng.uniform(0, 50, (200, 2))
    xyxy = np.concatenate([corner, corner + rng.uniform(5, 25, (200, 2))], 1)
    scores, labels = rng.random(200), rng.integers(0, 2, 200)
    kept = suppressed(xyxy, scores, labels, 0.4)
    beside = overlaps(xyxy, xyxy[kept]) * (labels[:, None] == labels[kept]) * (scores[:, None] < scores[kept])
    assert np.array_equal(np.flatnonzero(beside.max(1) <= 0.4), np.sort(kept))


def test_anchors_are_the_middles_of_clusters():
    rng = np.random.default_rng(1)
    middles = np.array([[10, 12], [40, 30], [90, 120]], float)
    sizes = np.concatenate([m * rng.uniform(0.95, 1.05, (50, 2)) for m in middles])
    np.testing.assert_allclose(anchors_of(sizes, 3), middles, rtol=0.05)
    assert np.array_equal(anchors_of(sizes, 3), anchors_of(sizes, 3))
    few = anchors_of(np.array([[10.0, 20.0]] * 4), 3)
    assert few.shape == (3, 2) and np.allclose(few[1], [10, 20]) and (np.diff(few[:, 0]) > 0).all()
