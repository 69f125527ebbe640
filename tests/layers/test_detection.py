"""Layers of detectors: places and boxes agree, regions go through RoIAlign, the loss finds its parts."""
from __future__ import annotations

import numpy as np
import pytest

from dlcore.errors import ShapeError, UsageError
from dlcore.layers import (
    Conv2D,
    Dense,
    Flatten,
    Input,
    PriorOutput,
    RegionOutput,
    RegionProposals,
    RoIAlign,
    YoloOutput,
)
from dlcore.ops.proposals.ref import propose
from dlcore.ops.roi_align.ref import roi_align
from dlcore.training.detection_losses import DetectionLoss
from dlcore.training.model import Model

SIZES = [[[6, 9], [12, 10]], [[20, 20]]]


def maps(channels):
    return Input((3, 4, 2 * channels)), Input((2, 2, channels))


@pytest.mark.parametrize("kind", [YoloOutput, PriorOutput])
def test_numbers_stand_where_their_boxes_do(kind):
    a, b = maps(7)
    layer = kind([8, 16], SIZES)
    model = Model([a, b], layer([a, b]))
    x, y = np.random.default_rng(0).random((2, 3, 4, 14), np.float32), np.random.default_rng(1).random((2, 2, 2, 7), np.float32)
    out = model.predict([x, y]).reshape(2, -1, 7)
    boxes = layer.get_weights()[0]
    assert out.shape[1] == len(boxes) == 24 + 4
    place = (1 * 4 + 2) * 2 + 1                                     # row 1, column 2, the second box of the first map
    assert np.array_equal(out[:, place], x[:, 1, 2, 7:]) and np.array_equal(out[:, 24 + 3], y[:, 1, 1])
    expected = [2, 1, 8, 12, 10] if kind is YoloOutput else [20 - 6, 12 - 5, 20 + 6, 12 + 5]
    assert boxes[place].tolist() == expected
    assert not model.trainable_variables
    with pytest.raises(ShapeError, match="takes a map"):
        kind([8, 16], SIZES)([a, a, a])
    with pytest.raises(UsageError, match="sizes of boxes"):
        kind([8], SIZES)


def test_regions_are_proposed_and_cut_out():
    said, features = Input((3, 4, 12)), Input((6, 8, 5))
    layer = RegionProposals([8], SIZES[:1], 9, 24, 32)
    regions, z = layer(said)
    model = Model([said, features], [regions, z, RoIAlign(3, 4)([features, regions])])
    x, f = np.random.default_rng(0).standard_normal((2, 3, 4, 12)), np.random.default_rng(1).standard_normal((2, 6, 8, 5))
    x, f = x.astype(np.float32), f.astype(np.float32)
    found, rows, cut = model.predict([x, f])
    anchors = layer.get_weights()[0].astype(np.float64)
    expected = propose(x.reshape(2, 24, 6).astype(np.float64), anchors, 9, 24.0, 32.0)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert np.array_equal(rows, x.reshape(2, 24, 6))
    np.testing.assert_allclose(cut.reshape(2, 9, 3, 3, 5), roi_align(f.astype(np.float64), expected, 3, 0.25), atol=1e-4)


def test_the_loss_of_two_stages_reaches_all_weights():
    x = Input((24, 32, 3))
    features = Conv2D(6, 3, 8, padding="same", activation="relu")(x)
    regions, z = RegionProposals([8], SIZES[:1], 5, 24, 32)(Conv2D(12, 1)(features))
    seen = RoIAlign(2, 8)([features, regions])
    model = Model(x, RegionOutput()([z, regions, Dense(7)(seen)]))
    model.compile("sgd", DetectionLoss())
    boxes = np.array([[[1, 4, 4, 14, 15], [0, 10, 6, 30, 20], [-1, 0, 0, 0, 0]]] * 4, np.float32)
    before = model.get_weights()
    pixels = np.random.default_rng(0).random((4, 24, 32, 3), np.float32)
    losses = [model.train_on_batch(pixels, boxes) for _ in range(12)]
    assert losses[-1] < losses[0]
    changed = [not np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True)]
    assert sum(changed) == len(model.trainable_variables)


def test_a_network_without_boxes_is_refused():
    x = Input((8, 8, 3))
    model = Model(x, Flatten()(x))
    model.compile("sgd", DetectionLoss())
    with pytest.raises(UsageError, match="ends with YoloOutput"):
        model.train_on_batch(np.zeros((2, 8, 8, 3), np.float32), np.zeros((2, 1, 5), np.float32))
