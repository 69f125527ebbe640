"""Pictures fitted into one size, boxes that move with them, and the way back from a network's output."""
from __future__ import annotations

import numpy as np
import pytest

from dlcore.data.augment import Augment
from dlcore.data.detection.decode import found_in, from_priors, from_regions, from_yolo
from dlcore.data.detection.letterbox import GREY, BoxedImages, letterboxed, moved, packed, shape_for
from dlcore.data.kernels import direct
from dlcore.errors import DataError
from dlcore.layers.detection import corners, grid
from dlcore.metrics.boxes import Boxes
from dlcore.ops.box_loss.ref import meant


def boxes(*rows):
    return Boxes.of([(label, box, ignored) for label, box, ignored in rows])


def test_sizes_follow_the_data():
    assert shape_for(np.array([[480, 640]] * 3 + [[100, 900]]), 320) == (240, 320)
    assert shape_for(np.array([[900, 100]]), 320) == (320, 32)


def test_pictures_lie_undistorted_in_grey():
    wide, tall = np.full((30, 60, 3), 200, np.uint8), np.full((64, 32), 10, np.uint8)
    images, frames = letterboxed([wide, tall], (32, 64))
    assert images.shape == (2, 32, 64, 3) and np.array_equal(frames[1], [0.5, 24, 0])
    assert np.array_equal(np.unique(images[0]), [200]) or (images[0, 16] == 200).all()
    assert (images[1, :, 24:40] == 10).all() and (images[1, :, :24] == GREY).all() and (images[1, :, 40:] == GREY).all()
    given = [boxes((2, (0, 0, 60, 30), False)), boxes((1, (8, 8, 24, 40), False), (0, (1, 1, 2, 2), True))]
    packed_boxes = packed(given, frames, 3)
    assert packed_boxes.shape == (2, 3, 5) and packed_boxes[1, 0].tolist() == [1, 28, 4, 36, 20]
    assert packed_boxes[:, 1:, 0].tolist() == [[-1, -1], [-1, -1]]
    for wrong in (np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3), np.float32)):
        with pytest.raises(DataError, match="no picture"):
            letterboxed([wrong], (32, 32))


def test_boxes_move_with_their_pictures():
    """A bright rectangle on black: after every change its pixels lie in its box, which is tight."""
    rng = np.random.default_rng(0)
    images, rows = np.zeros((20, 40, 60, 3), np.uint8), []
    for i in range(20):
        x, y, w, h = rng.integers(2, 30), rng.integers(2, 20), rng.integers(8, 20), rng.integers(6, 14)
        images[i, y:y + h, x:x + w] = 255
        rows.append([[0, x, y, x + w, y + h], [-1, 0, 0, 0, 0]])
    source = BoxedImages(images, np.array(rows, np.float32), Augment.parse("flip,vflip,zoom=0.3,shift=0.1"))
    x, y = np.empty((20, 40 * 60 * 3), np.float32), np.empty((20, 2, 5), np.float32)
    source.fill(x, y, np.arange(20, dtype=np.int32), 3, 1, 0)
    pixels = x.reshape(20, 40, 60, 3)[..., 0]
    assert pixels.max() == 1 and (y[:, 1, 0] == -1).all()
    kept = np.flatnonzero(y[:, 0, 0] == 0)
    assert len(kept) > 15
    for i in kept:
        rows_seen, columns_seen = np.nonzero(pixels[i] > 0.5)
        # the fill around a picture is grey, below one half
        seen = np.array([columns_seen.min(), rows_seen.min(), columns_seen.max() + 1, rows_seen.max() + 1])
        assert np.abs(y[i, 0, 1:] - seen).max() <= 1.01
    again = np.empty_like(x), np.empty_like(y)
    source.fill(*again, np.arange(20, dtype=np.int32), 3, 1, 0)
    assert np.array_equal(again[0], x) and np.array_equal(again[1], y)
    source.fill(*again, np.arange(20, dtype=np.int32), 3, 2, 0)
    assert not np.array_equal(again[1], y)


def rectangles(count, seed=0, size=(40, 60)):
    """Black pictures, each with a rectangle of its own brightness, and the boxes around them, of class 0 to count - 1."""
    rng, images, rows = np.random.default_rng(seed), np.zeros((count, *size, 3), np.uint8), []
    for i in range(count):
        x, y, w, h = rng.integers(2, 30), rng.integers(2, 20), rng.integers(12, 28), rng.integers(10, 18)
        images[i, y:y + h, x:x + w] = 150 + 5 * i
        rows.append([[i, x, y, x + w, y + h], [-1, 0, 0, 0, 0]])
    return images, np.array(rows, np.float32)


def mosaics(augment, rows, seed=3, epoch=1, count=20):
    """The batch of these rows, with where its four pictures meet."""
    images, given = rectangles(count)
    source, rows = BoxedImages(images, given, Augment.parse(augment)), np.asarray(rows, np.int32)
    x, y = np.empty((len(rows), 40 * 60 * 3), np.float32), np.empty((len(rows), 8, 5), np.float32)
    source.fill(x, y, rows, seed, epoch, 0)
    drawn = {"images": np.empty((len(rows), 4), np.int32), "moves": np.empty((len(rows), 24), np.float32),
             "crosses": np.empty((len(rows), 2), np.int32)}
    direct("mosaic_draw")({"rows": rows, "settings": source.settings, **drawn},
                          {"seed": seed, "epoch": epoch, "chance": source.augment.mosaic, "total": count})
    return x.reshape(-1, 40, 60, 3), y, drawn


@pytest.mark.parametrize("augment", ["mosaic=1", "mosaic=1,flip,vflip,zoom=0.3,shift=0.1"])
def test_boxes_of_a_mosaic_are_those_of_what_shows(augment):
    """In each tile the pixels as bright as a picture's rectangle lie in its box, which is tight; a sliver has none."""
    pixels, boxes, drawn = mosaics(augment, range(20))
    slivers = 0
    for i, (cy, cx) in enumerate(drawn["crosses"]):
        assert 10 <= cy <= 30 and 15 <= cx <= 45 and drawn["images"][i, 0] == i
        wanted = []
        for t, image in enumerate(drawn["images"][i]):
            at = slice(0, cy) if t < 2 else slice(cy, 40), slice(0, cx) if t % 2 == 0 else slice(cx, 60)
            # black or brighter than the grey fill: half the brightness is where the edge of the rectangle is
            rows, columns = np.nonzero(pixels[i, at[0], at[1], 0] * 255 > 0.5 * (150 + 5 * image) + 60)
            if len(rows):
                wanted.append((image, columns.min() + at[1].start, rows.min() + at[0].start, columns.max() + 1 + at[1].start,
                               rows.max() + 1 + at[0].start))
        there = boxes[i, boxes[i, :, 0] >= 0]
        assert (boxes[i, len(there):, 0] == -1).all() and len(there) <= len(wanted)
        slivers += len(wanted) - len(there)
        for found in there:
            same = [w for w in wanted if w[0] == found[0] and np.abs(found[1:] - w[1:]).max() <= 1.51]
            assert same, (found, wanted)
    assert 0 < slivers < 20 and (boxes[..., 0] >= 0).sum() > 45


def test_mosaics_depend_on_seed_epoch_and_row_alone():
    every = "mosaic,flip,zoom=0.3,shift=0.1,color"
    whole, boxes, drawn = mosaics(every, range(20))
    some, their, _ = mosaics(every, [11, 3, 17])
    assert np.array_equal(some, whole[[11, 3, 17]]) and np.array_equal(their, boxes[[11, 3, 17]])
    joined = (drawn["crosses"] < (40, 60)).all(1)
    assert 5 <= joined.sum() <= 15                                     # half of them
    alone, simple, _ = mosaics(every.removeprefix("mosaic,") + ",mosaic=1e-9", range(20))
    assert np.array_equal(alone[~joined], whole[~joined]) and not (alone[joined] == whole[joined]).all((1, 2, 3)).any()
    for other in ({"seed": 4}, {"epoch": 2}):
        assert not np.array_equal(mosaics(every, range(20), **other)[2]["images"], drawn["images"])
    without = BoxedImages(*rectangles(20), Augment.parse(every.removeprefix("mosaic,")))
    x, y = np.empty((20, 40 * 60 * 3), np.float32), np.empty((20, 2, 5), np.float32)
    without.fill(x, y, np.arange(20, dtype=np.int32), 3, 1, 0)
    assert np.array_equal(alone.reshape(20, -1), x) and np.array_equal(simple[:, :2], y)


def test_what_is_hardly_seen_is_dropped():
    given = np.array([[[1, 0, 0, 10, 10], [2, 12, 12, 30, 30]]], np.float32)
    shifted = moved(given, np.array([[1, 0, 8, 0, 1, 8]], np.float32), 20, 20)      # the window begins at (8, 8)
    assert shifted[0].tolist() == [[-1, 0, 0, 0, 0], [2, 4, 4, 20, 20]]
    turned = moved(given, np.array([[0, 1, 0, -1, 0, 20]], np.float32), 40, 20)     # a quarter turn
    assert turned[0, 0].tolist() == [1, 10, 0, 20, 10]


def test_decoding_is_the_opposite_of_the_losses():
    cells, rng = grid(3, 4, 8, [(6, 9), (12, 10)]), np.random.default_rng(1)
    assert cells.shape == (24, 5) and cells[2].tolist() == [1, 0, 8, 6, 9] and cells[9].tolist() == [0, 1, 8, 12, 10]
    z = rng.standard_normal((24, 8)).astype(np.float32)
    found, scores = from_yolo(z, cells)
    for p in range(24):
        (x, y, w, h), _ = meant(z[p].astype(np.float64), cells[p].astype(np.float64))
        np.testing.assert_allclose(found[p], [x - w / 2, y - h / 2, x + w / 2, y + h / 2], rtol=1e-4, atol=1e-4)
    s = 1 / (1 + np.exp(-z.astype(np.float64)))
    np.testing.assert_allclose(scores, s[:, 4:5] * s[:, 5:], rtol=1e-5)
    priors = corners(cells)
    truth = np.array([3.0, 4.0, 15.0, 11.0])
    size, centre = priors[:, 2:] - priors[:, :2], (priors[:, :2] + priors[:, 2:]) / 2
    offsets = np.concatenate([((truth[:2] + truth[2:]) / 2 - centre) / size / 0.1, np.log((truth[2:] - truth[:2]) / size) / 0.2], 1)
    found, scores = from_priors(np.concatenate([offsets, np.zeros((24, 3))], 1), priors)
    np.testing.assert_allclose(found, np.broadcast_to(truth, (24, 4)), atol=1e-4)
    np.testing.assert_allclose(scores, 1 / 3)
    regions = np.array([[2, 2, 10, 10], [0, 0, 0, 0]], np.float32)
    flat = np.concatenate([np.zeros(6 * 5), regions.reshape(-1), np.zeros(2 * 7)])
    found, scores = from_regions(flat, 5, 2)
    assert found.tolist() == [[2, 2, 10, 10]] and scores.shape == (1, 2)


def test_of_one_place_the_best_is_kept():
    found = np.array([[10, 10, 30, 30], [11, 10, 31, 30], [50, 50, 90, 70], [-9, -9, -1, -1]], np.float64)
    scores = np.array([[0.9, 0.1], [0.8, 0.0], [0.0, 0.6], [0.7, 0.0]])
    got = found_in(found, scores, 0.3, 0.5, np.array([0.5, 4, 2]), (100, 120))
    assert got.labels.tolist() == [0, 1] and got.scores.tolist() == [0.9, 0.6]
    assert got.xyxy.tolist() == [[12, 16, 52, 56], [92, 96, 120, 100]]
