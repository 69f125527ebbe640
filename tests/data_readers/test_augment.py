"""Augmentation: against Pillow and SciPy, what the user writes, what is drawn, and what is refused."""
from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageEnhance
from scipy import ndimage

from dlcore.data.augment import OPTIONS, Augment, AugmentedImages
from dlcore.data.kernels import direct
from dlcore.errors import DataError, ShapeError, UsageError

RNG = np.random.default_rng(0)
PHOTO = np.clip(ndimage.gaussian_filter(RNG.normal(128, 300, (37, 53, 3)), (2, 2, 0)), 0, 255).astype(np.uint8)
STAY = (1, 0, 0, 0, 1, 0)


def apply(image, move=STAY, colour=(1, 1, 1, 0), hole=(0, 0, 0, 0), fill=0.0, gain=1.0, offset=0.0):
    """One image through the kernel, values from 0 to 255."""
    H, W, C = image.shape
    out = np.empty((1, H, W, C), np.float32)
    direct("augment")({"data": image[None], "rows": np.zeros(1, np.int32), "moves": np.array([move], np.float32),
                       "colours": np.array([colour], np.float32), "holes": np.array([hole], np.int32),
                       "gain": np.full(C, gain, np.float32), "offset": np.full(C, offset, np.float32), "out": out},
                      {"fill": fill, "peak": 255.0})
    return out[0]


@pytest.mark.parametrize("angle", [0, 7.5, -33, 90, 180])
def test_turned_as_pillow_turns(angle):
    a = np.radians(angle)
    c, s = np.cos(a), np.sin(a)
    centre = np.array([53 / 2, 37 / 2])
    m = np.array([[c, -s], [s, c]])
    t = centre - m @ centre
    move = np.array([*m[0], t[0], *m[1], t[1]], np.float32).astype(float)
    floats = [Image.fromarray(PHOTO[..., k].astype(np.float32)) for k in range(3)]
    want = np.stack([np.asarray(f.transform(f.size, Image.Transform.AFFINE, tuple(move), Image.Resampling.BILINEAR))
                     for f in floats], 2)
    got = apply(PHOTO, move)
    # at the very edge the last bits decide whether a place is inside
    assert (abs(got - want).max(2) > 1e-3).mean() < 2e-3
    assert np.median(abs(got - want)) == 0


def test_shifted_and_enlarged_as_scipy_does():
    move = (0.8, 0, 5.3, 0, 0.7, 4.1)
    got = apply(PHOTO, move)
    for k in range(3):
        y, x = np.meshgrid(np.arange(37) + 0.5, np.arange(53) + 0.5, indexing="ij")
        at = [0.7 * y + 4.1 - 0.5, 0.8 * x + 5.3 - 0.5]
        want = ndimage.map_coordinates(PHOTO[..., k].astype(float), at, order=1, mode="nearest")
        np.testing.assert_allclose(got[..., k], want, atol=1e-3)


@pytest.mark.parametrize("name, place", [("Brightness", 0), ("Contrast", 1), ("Color", 2)])
@pytest.mark.parametrize("factor", [0.0, 0.6, 1.7])
def test_colours_are_pillows(name, place, factor):
    want = np.asarray(getattr(ImageEnhance, name)(Image.fromarray(PHOTO)).enhance(factor)).astype(float)
    colour = [1, 1, 1, 0]
    colour[place] = factor
    # Pillow rounds the grey and the result to bytes
    assert abs(apply(PHOTO, colour=colour) - want).max() <= 2.0


def test_hue_is_pillows():
    hsv = np.asarray(Image.fromarray(PHOTO).convert("HSV")).copy()
    hsv[..., 0] += np.uint8(64)
    want = np.asarray(Image.fromarray(hsv, "HSV").convert("RGB")).astype(float)
    got = apply(PHOTO, colour=(1, 1, 1, 64 / 255))
    # Pillow holds H, S and V in 8 bits and cuts fractions off: a step of H is 6 values, the reference of the room is exact
    assert abs(got - want).max() <= 10 and abs(got - want).mean() < 2


def test_crop_and_flip_copy_pixels():
    padded = np.pad(PHOTO, ((4, 4), (4, 4), (0, 0)), constant_values=9)
    np.testing.assert_array_equal(apply(PHOTO, (1, 0, 3, 0, 1, -4), fill=9), padded[0:37, 7:60])
    np.testing.assert_array_equal(apply(PHOTO, (-1, 0, 53 - 3, 0, 1, 2)), np.pad(PHOTO[2:, ::-1][:, 3:], ((0, 2), (0, 3), (0, 0))))


def test_hole_and_normalisation():
    out = apply(PHOTO, hole=(-2, 3, 5, 9), gain=0.5, offset=-1)
    want = PHOTO * 0.5 - 1.0
    want[0:5, 3:9] = 0
    np.testing.assert_allclose(out, want, rtol=1e-6)


def test_a_mosaic_is_four_pictures_as_pillow_joins_them():
    moves = np.float32([(1.25, 0, 3, 0, 1.25, 2), (-1.5, 0, 60, 0, 1.5, -9), (1, 0, 2, 0, 1, -5), (1.1, -0.2, 4, 0.2, 1.1, -8)])
    cy, cx, fill = 15, 30, 114
    images = np.stack([PHOTO, PHOTO[::-1], PHOTO[:, ::-1], 255 - PHOTO])
    out = np.empty((1, 37, 53, 3), np.float32)
    direct("mosaic")({"data": images, "images": np.array([[2, 0, 3, 1]], np.int32), "moves": moves.reshape(1, 24),
                      "crosses": np.array([[cy, cx]], np.int32), "colours": np.array([[1, 1, 1, 0]], np.float32),
                      "gain": np.ones(3, np.float32), "offset": np.zeros(3, np.float32), "out": out}, {"fill": fill, "peak": 255.0})
    want = np.empty((37, 53, 3))
    for t, (image, box) in enumerate(zip([2, 0, 3, 1], [(0, 0, cx, cy), (cx, 0, 53, cy), (0, cy, cx, 37), (cx, cy, 53, 37)],
                                         strict=True)):
        for k in range(3):
            whole = Image.fromarray(images[image, ..., k].astype(np.float32)).transform(
                (53, 37), Image.Transform.AFFINE, tuple(moves[t].astype(float)), Image.Resampling.BILINEAR, fillcolor=fill)
            want[box[1]:box[3], box[0]:box[2], k] = np.asarray(whole.crop(box))
    assert (abs(out[0] - want).max(2) > 1e-3).mean() < 4e-3         # the last bits decide at the very edge of an image
    assert np.median(abs(out[0] - want)) == 0


def batch(augment, x, rows, seed=1, epoch=0, position=0, y=None, **options):
    source = AugmentedImages(x, np.zeros(len(x), np.int32) if y is None else y, augment, **options)
    out = np.empty((len(rows), *x.shape[1:]), np.float32)
    labels = np.empty((len(rows), *np.shape(source.y)[1:]), source.y.dtype)
    source.fill(out, labels, np.asarray(rows, np.int32), seed, epoch, position)
    return out, labels


MANY = RNG.integers(0, 256, (64, 12, 10, 3), dtype=np.uint8)
EVERYTHING = Augment.parse("crop=2,flip,vflip,rotate,shift,zoom,shear,color,cutout=4")


def test_a_samples_changes_depend_on_seed_epoch_and_row_alone():
    whole, _ = batch(EVERYTHING, MANY, range(64))
    some, _ = batch(EVERYTHING, MANY, [40, 3, 17], position=5)
    np.testing.assert_array_equal(some, whole[[40, 3, 17]])
    for other in ({"seed": 2}, {"epoch": 1}):
        again, _ = batch(EVERYTHING, MANY, range(64), **other)
        assert (again != whole).any((1, 2, 3)).all()


def test_draws_cover_their_range():
    x = np.arange(12 * 10, dtype=np.uint8).reshape(1, 12, 10).repeat(4000, 0)
    out, _ = batch(Augment(crop=2, flip=0.25), x, range(4000), scale=1.0)
    firsts, mirrored = [], 0
    for image in out.astype(int):
        row = image[6]
        inside = row[3:6]
        mirrored += inside[1] < inside[0]
        firsts.append(image[6, 5])
    assert 0.22 < mirrored / 4000 < 0.28
    assert len(set(firsts)) >= 25                    # all 5x5 windows, and their mirrors


def test_mixing_makes_shares_of_two_images_and_their_targets():
    x = np.eye(16, dtype=np.uint8).reshape(16, 4, 4) * 255
    y = np.eye(16, dtype=np.float32)
    out, targets = batch(Augment(mixup=0.5), x, range(16), y=y)
    np.testing.assert_allclose(out.reshape(16, 16), targets, atol=1e-6)
    np.testing.assert_allclose(targets.sum(1), 1, rtol=1e-6)
    assert ((targets > 0.01) & (targets < 0.99)).any()
    with pytest.raises(UsageError, match="mixup mixes targets"):
        AugmentedImages(x, np.arange(16), Augment(mixup=0.5))


def test_normalisation_by_channel():
    out, _ = batch(Augment(), MANY, range(5), mean=[0.1, 0.2, 0.3], std=[0.5, 1, 2])
    want = (MANY[:5] / 255 - np.array([0.1, 0.2, 0.3])) / np.array([0.5, 1, 2])
    np.testing.assert_allclose(out, want, atol=1e-6)


def test_what_the_user_writes():
    assert Augment.parse("crop,flip,rotate=10") == Augment(crop=0.125, flip=0.5, rotate=10)
    assert Augment.parse(" color , cutout=8 ") == Augment(brightness=0.2, contrast=0.2, saturation=0.2, hue=0.05, cutout=8)
    assert str(Augment.parse("flip,crop=4")) == "crop=4,flip=0.5"
    assert Augment.parse(str(EVERYTHING)) == EVERYTHING
    assert Augment(flip=True) == Augment(flip=0.5) and not Augment() and Augment(flip=0.1)
    assert all(getattr(Augment.parse(name), name) == option.bare for name, option in OPTIONS.items())


@pytest.mark.parametrize("text, message", [
    ("flop", "did you mean 'flip'"), ("rotate=fast", "rotate needs a number"), ("rotate=nan", "needs a number"),
    ("rotate=999", "of no use"), ("flip,flip", "twice"), ("", "name is missing"), ("crop,,flip", "name is missing"),
    ("crop=2.5", "neither pixels nor a share"), ("color=2", "takes no number"), ("color,hue=0.1", "twice"),
    ("flip=-1", "of no use"),
])
def test_mistakes(text, message):
    with pytest.raises(UsageError, match=message):
        Augment.parse(text)


def test_images_that_do_not_fit():
    small = np.zeros((4, 6, 6), np.uint8)
    with pytest.raises(UsageError, match="smaller than the margin"):
        Augment(crop=7)(small, np.zeros(4))
    with pytest.raises(UsageError, match="covers any image"):
        Augment(cutout=30)(small, np.zeros(4))
    with pytest.raises(UsageError, match="pictures with boxes"):
        Augment(mosaic=1)(small, np.zeros(4))
    with pytest.raises(UsageError, match="colour images"):
        Augment(hue=0.1)(small, np.zeros(4))
    with pytest.raises(DataError, match="takes images"):
        Augment(flip=1)(np.zeros((4, 6)), np.zeros(4))
    with pytest.raises(DataError, match="different numbers of rows"):
        Augment(flip=1)(small, np.zeros(3))


def test_direct_kernels_check_what_they_are_given():
    arrays = {"x": np.zeros((4, 3), np.float32), "partners": np.zeros(4, np.int32), "shares": np.zeros(4, np.float32),
              "out": np.zeros((4, 3), np.float32)}
    direct("mix_rows")(arrays)
    for name, wrong in (("x", np.zeros((4, 2), np.float32)), ("shares", np.zeros(4)), ("out", np.zeros((3, 4), np.float32).T)):
        with pytest.raises(ShapeError, match="mix_rows"):
            direct("mix_rows")({**arrays, name: wrong})
