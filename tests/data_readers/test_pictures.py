"""Pictures: sizes, turns, depths, palettes, damage; tables of paths; resizing as Pillow resizes."""
from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from dlcore.data import pictures
from dlcore.data.images import read_images, read_inputs
from dlcore.data.pictures import decode, parse_size, read_head, resize
from dlcore.errors import DataError, UsageError

RNG = np.random.default_rng(0)
PHOTO = np.clip(ndimage.gaussian_filter(RNG.normal(128, 300, (61, 83, 3)), (2, 2, 0)), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("size", [(20, 30), (61, 83), (7, 100), (128, 128), (1, 1), (150, 9)])
@pytest.mark.parametrize("channels", [1, 3])
def test_resized_as_pillow_resizes(size, channels):
    images = [PHOTO[..., :channels].copy(), PHOTO[5:40, 9:30, :channels].copy(), PHOTO[::-1, ::3, :channels].copy()]
    out = np.empty((3, *size, channels), np.uint8)
    resize(images, out)
    for image, got in zip(images, out, strict=True):
        picture = Image.fromarray(image if channels == 3 else image[..., 0])
        want = np.asarray(picture.resize(size[::-1], Image.Resampling.BILINEAR)).reshape(got.shape)
        assert abs(got.astype(int) - want).max() <= 1


def test_turned_by_exif(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(PHOTO).save(tmp_path / "a.png", exif=exif)
    assert read_head(tmp_path / "a.png").size == (83, 61) and read_head(tmp_path / "a.png").turned
    np.testing.assert_array_equal(decode(tmp_path / "a.png", True), np.rot90(PHOTO, -1))


def test_depths_and_palettes(tmp_path):
    grey = PHOTO[..., 0]
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "sixteen.png")
    np.testing.assert_array_equal(decode(tmp_path / "sixteen.png", False)[..., 0], grey)
    flat = Image.fromarray(PHOTO).quantize(32)
    flat.save(tmp_path / "palette.png")
    np.testing.assert_array_equal(decode(tmp_path / "palette.png", True), np.asarray(flat.convert("RGB")))
    Image.fromarray(np.dstack([PHOTO, np.full((61, 83), 255, np.uint8)])).save(tmp_path / "alpha.png")
    np.testing.assert_array_equal(decode(tmp_path / "alpha.png", True), PHOTO)
    Image.fromarray(grey > 99).save(tmp_path / "bits.png")
    np.testing.assert_array_equal(decode(tmp_path / "bits.png", False)[..., 0], (grey > 99) * 255)
    Image.fromarray(PHOTO).convert("CMYK").save(tmp_path / "print.jpg")
    assert decode(tmp_path / "print.jpg", True).shape == (61, 83, 3)


def test_a_picture_made_to_fill_memory(tmp_path, monkeypatch):
    Image.fromarray(PHOTO).save(tmp_path / "bomb.png")
    monkeypatch.setattr(pictures, "MOST_PIXELS", 1000)
    for read in (read_head, lambda path: decode(path, True)):
        with pytest.raises(DataError, match="too many pixels"):
            read(tmp_path / "bomb.png")


def folder(root, bad=0):
    for label in ("cat", "dog"):
        (root / label).mkdir(parents=True)
        for i in range(4):
            Image.fromarray(PHOTO[i:i + 30, :40]).save(root / label / f"{i}.png")
    for i in range(bad):
        (root / "dog" / f"bad{i}.png").write_bytes((root / "dog" / "0.png").read_bytes()[:-30 - i])
    return root


@pytest.mark.parametrize("side, refused", [(9_800, False), (10_200, True), (60_000, True)])
def test_more_pixels_than_are_taken(tmp_path, side, refused):
    """Heads of one-bit pictures: below our limit and above Pillow's warning, above ours, above Pillow's error."""
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(bytes(100 if refused else (side // 8 + 1) * side), 1))
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + head + pixels + chunk(b"IEND", b""))
    if not refused:
        assert read_head(tmp_path / "a.png").size == (side, side)
        return
    for read in (read_head, lambda path: decode(path, True)):
        with pytest.raises(DataError, match="too many pixels") as caught:
            read(tmp_path / "a.png")
        assert caught.value.expected == "at most 100,000,000" and "--skip-bad" in caught.value.hint


def test_bad_pictures_are_named_or_left_out_and_counted(tmp_path):
    root = folder(tmp_path / "d", 2)
    (root / "fox").mkdir()
    with pytest.raises(DataError, match="--skip-bad"):
        read_images(root)
    part = read_images(root, skip_bad=True).train
    assert len(part) == 8 and part.y.tolist() == ["cat"] * 4 + ["dog"] * 4
    assert any("2 images cannot be read and are left out" in note and "bad0.png" in note for note in part.notes)
    assert any("1 folder holds no images: fox" in note for note in part.notes)
    for path in root.glob("*/?.png"):
        path.write_bytes(b"none")
    with pytest.raises(DataError, match="no picture can be read"):
        read_images(root, skip_bad=True)


def test_a_size_is_asked_for(tmp_path, mnist):
    part = read_images(folder(tmp_path / "d"), (10, 12)).train
    assert part.x.shape == (8, 10, 12, 3) and any("8 images have another size" in note for note in part.notes)
    digits = read_images(mnist, (14, 14))
    assert digits.train.x.shape == (3000, 14, 14) and digits.test.x.shape == (1000, 14, 14)
    assert "resized from 28x28 to 14x14" in digits.train.notes[-1]
    assert read_inputs(tmp_path / "d" / "cat", (5, 6, 3)).x.shape == (4, 5, 6, 3)


@pytest.mark.parametrize(("text", "size"), [("", None), ("32", (32, 32)), ("24x32", (24, 32)), ("24X32", (24, 32))])
def test_sizes(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["0", "a", "3x", "3x4x5", "-3", "99999", "3.5"])
def test_sizes_that_are_none(text):
    with pytest.raises(UsageError, match="a size is"):
        parse_size(text)


def test_a_table_of_paths(tmp_path):
    root = folder(tmp_path / "d")
    (root / "list.csv").write_text("image,label\ncat/1.png,tabby\ndog/2.png,collie\ncat/0.png,tabby\n")
    part = read_images(root / "list.csv").train
    assert part.y.tolist() == ["tabby", "collie", "tabby"] and part.x.shape == (3, 30, 40, 3)
    (root / "list.csv").write_text("image,label\ncat/1.png,tabby\ncat/9.png,tabby\n")
    with pytest.raises(DataError, match="row 3"):
        read_images(root / "list.csv")
    (root / "list.csv").write_text("size,label\n1,tabby\n2,tabby\n")
    with pytest.raises(DataError, match="names no pictures"):
        read_images(root / "list.csv")
