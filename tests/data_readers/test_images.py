"""Readers of images: what they read, and that everything else is refused with the file's name."""
from __future__ import annotations

import gzip
import lzma
import shutil
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import DATA
from PIL import Image

from dlcore.data.idx import read_idx
from dlcore.data.images import read_images, read_inputs
from dlcore.errors import DataError


def idx_bytes(array: np.ndarray, code: int = 8) -> bytes:
    return bytes([0, 0, code, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


IMAGES = np.random.default_rng(0).integers(0, 256, (7, 4, 5), dtype=np.uint8)
LABELS = np.array([3, 1, 2, 3, 1, 2, 0], np.uint8)


def write_idx(folder: Path, pack=lambda data: data, end: str = "", test: str = "t10k") -> Path:
    folder.mkdir(exist_ok=True)
    for part, count in (("train", 7), (test, 3)):
        (folder / f"{part}-images-idx3-ubyte{end}").write_bytes(pack(idx_bytes(IMAGES[:count])))
        (folder / f"{part}-labels-idx1-ubyte{end}").write_bytes(pack(idx_bytes(LABELS[:count])))
    return folder


@pytest.mark.parametrize(("pack", "end", "test"), [(bytes, "", "t10k"), (gzip.compress, ".gz", "test"),
                                                   (lzma.compress, ".xz", "t10k")])
def test_idx_folders(tmp_path, pack, end, test):
    parts = read_images(write_idx(tmp_path / "d", pack, end, test))
    np.testing.assert_array_equal(parts.train.x, IMAGES)
    np.testing.assert_array_equal(parts.train.y, LABELS)
    np.testing.assert_array_equal(parts.test.x, IMAGES[:3])
    assert parts.train.x.dtype == np.uint8 and len(parts.held_out()) == 3
    assert "7 images of 4x5" in parts.train.notes[0]


def test_the_mnist_cut(mnist):
    parts = read_images(mnist)
    assert parts.train.x.shape == (3000, 28, 28) and parts.test.x.shape == (1000, 28, 28)
    assert set(parts.test.y.tolist()) == set(range(10))


def test_names_of_other_sets(tmp_path):
    folder = write_idx(tmp_path / "d")
    for path in list(folder.iterdir()):
        path.rename(folder / f"emnist-letters-{path.name.replace('-idx', '.idx')}")
    assert len(read_images(folder).train) == 7


def test_a_folder_without_a_test_part(tmp_path):
    folder = write_idx(tmp_path / "d")
    for path in folder.glob("t10k*"):
        path.unlink()
    parts = read_images(folder)
    assert parts.test is None and len(parts.held_out()) == 7


@pytest.mark.parametrize(("code", "dtype"), [(8, ">u1"), (9, ">i1"), (0x0B, ">i2"), (0x0C, ">i4"), (0x0D, ">f4"), (0x0E, ">f8")])
def test_idx_types(tmp_path, code, dtype):
    want = np.arange(-3, 9).reshape(3, 4).astype(dtype)
    (tmp_path / "x").write_bytes(idx_bytes(want, code))
    got = read_idx(tmp_path / "x")
    np.testing.assert_array_equal(got, want)
    assert got.dtype == want.dtype.newbyteorder("=")


WHOLE = idx_bytes(IMAGES)


@pytest.mark.parametrize("data", [
    b"", b"\0", WHOLE[:10], WHOLE[:-1], WHOLE + b"x", b"PK" + WHOLE[2:], WHOLE[:2] + b"\7" + WHOLE[3:], b"\0\0\x08\0",
    b"\0\0\x08\x04" + b"\xff" * 16, gzip.compress(WHOLE)[:-10], gzip.compress(WHOLE)[:30] + b"x" * 40, lzma.compress(WHOLE)[:-20],
], ids=range(12))
def test_damaged_idx_files_are_refused(tmp_path, data):
    (tmp_path / "x").write_bytes(data)
    with pytest.raises(DataError, match=str(tmp_path)):
        read_idx(tmp_path / "x")


def test_idx_parts_that_do_not_fit_together(tmp_path):
    folder = write_idx(tmp_path / "d")
    (folder / "train-labels-idx1-ubyte").write_bytes(idx_bytes(LABELS[:5]))
    with pytest.raises(DataError, match="do not fit together"):
        read_images(folder)
    (folder / "train-labels-idx1-ubyte").unlink()
    with pytest.raises(DataError, match="no idx file with the labels"):
        read_images(folder)
    (folder / "train-images-idx3-ubyte").write_bytes(idx_bytes(LABELS))
    (folder / "train-labels-idx1-ubyte").write_bytes(idx_bytes(LABELS))
    with pytest.raises(DataError, match="not images"):
        read_images(folder)


def write_folders(root: Path, colour: bool = False, end: str = ".png", part: str = "") -> Path:
    for label in ("cat", "dog"):
        folder = root / part / label
        folder.mkdir(parents=True)
        for i in range(3):
            Image.fromarray(np.stack([IMAGES[i]] * 3, 2) if colour else IMAGES[i]).save(folder / f"{i}{end}")
    return root


def test_a_folder_per_class(tmp_path):
    parts = read_images(write_folders(tmp_path / "d"))
    np.testing.assert_array_equal(parts.train.x, np.concatenate([IMAGES[:3]] * 2))
    assert parts.train.y.tolist() == ["cat"] * 3 + ["dog"] * 3 and parts.test is None


def test_train_and_test_folders_in_colour(tmp_path):
    write_folders(tmp_path / "d", True, ".jpg", "train")
    parts = read_images(write_folders(tmp_path / "d", False, ".png", "test"))
    assert parts.train.x.shape == (6, 4, 5, 3) and parts.test.x.shape == (6, 4, 5, 3)


def test_images_of_other_sizes_are_resized_and_noted(tmp_path):
    root = write_folders(tmp_path / "d")
    Image.new("L", (50, 40), 9).save(root / "cat" / "large.png")
    Image.fromarray(np.full((4, 5), 256 * 77, np.uint16)).save(root / "cat" / "sixteen.png")
    part = read_images(root).train
    assert part.x.shape == (8, 4, 5) and (part.x[3] == 9).all() and (part.x[4] == 77).all()
    assert any("1 image has another size" in note for note in part.notes)


def test_damaged_image_files_are_refused(tmp_path):
    root = write_folders(tmp_path / "d")
    path = root / "dog" / "1.png"
    whole = path.read_bytes()
    for data in (b"", whole[:20], whole[:-20], b"x" * 100, whole[:40] + b"\0\1\2" + whole[43:]):
        path.write_bytes(data)
        with pytest.raises(DataError, match=r"dog/1\.png"):
            read_images(root)


def test_a_missing_picture_is_named_with_its_neighbour(tmp_path):
    Image.fromarray(IMAGES[0]).save(tmp_path / "cat.png")
    with pytest.raises(DataError, match=r"(?s)no such file.*catt\.png.*did you mean '.*cat\.png'"):
        read_inputs(tmp_path / "catt.png", (5, 5))
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(DataError, match="cannot identify image file") as caught:
        read_inputs(tmp_path / "text.png", (5, 5))
    assert "0x" not in str(caught.value)


def test_without_pillow_the_error_says_how_to_install_it(tmp_path, monkeypatch):
    root = write_folders(tmp_path / "d")
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(DataError, match=r"pip install 'dlcore\[image\]'"):
        read_images(root)


def test_npz(tmp_path):
    np.savez(tmp_path / "keras.npz", x_train=IMAGES, y_train=LABELS[:, None], x_test=IMAGES[:2], y_test=LABELS[:2])
    parts = read_images(tmp_path / "keras.npz")
    np.testing.assert_array_equal(parts.train.y, LABELS)
    assert len(parts.test) == 2
    np.savez_compressed(tmp_path / "plain.npz", x=IMAGES / 255, y=LABELS)
    parts = read_images(tmp_path / "plain.npz")
    assert parts.test is None and parts.train.x.dtype == np.float64


def test_names_of_npz_in_capitals_and_truth_values(tmp_path):
    x = np.random.default_rng(0).integers(0, 2, (4, 5, 5)).astype(bool)
    np.savez(tmp_path / "a.npz", X_train=x, y_train=np.arange(4), X_test=x[:2], y_test=np.arange(2))
    parts = read_images(tmp_path / "a.npz")
    assert np.array_equal(parts.train.x, x.astype(np.float32)) and len(parts.test) == 2


def test_npz_that_is_refused(tmp_path):
    path = tmp_path / "x.npz"
    for arrays in ({"a": IMAGES}, {"x": IMAGES}, {"x": IMAGES, "y": LABELS[:3]}, {"x": LABELS, "y": LABELS},
                   {"x": IMAGES, "y": np.array([{}] * 7)}, {"x": IMAGES.astype(str), "y": LABELS}):
        np.savez(path, **arrays)
        with pytest.raises(DataError, match=r"x\.npz"):
            read_images(path)
    np.savez(path, x=IMAGES, y=LABELS)
    whole = path.read_bytes()
    for data in (b"", whole[:50], whole[:-30], b"x" * 99, whole[:80] + b"\1\2\3" + whole[83:]):
        path.write_bytes(data)
        with pytest.raises(DataError, match=r"x\.npz"):
            read_images(path)
    np.save(tmp_path / "y.npy", IMAGES)
    shutil.copy(tmp_path / "y.npy", path)
    with pytest.raises(DataError):
        read_images(path)


def test_sources_that_are_none(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file.bin").write_bytes(b"x")
    for name in ("missing", "empty", "file.bin"):
        with pytest.raises(DataError, match=name):
            read_images(tmp_path / name)


def test_inputs_without_answers(tmp_path):
    shape = (4, 5)
    Image.fromarray(IMAGES[0]).save(tmp_path / "one.png")
    np.testing.assert_array_equal(read_inputs(tmp_path / "one.png", shape).x, IMAGES[:1])
    assert read_inputs(tmp_path, shape).x.shape == (1, 4, 5)
    assert read_inputs(tmp_path / "one.png", (8, 10, 3)).x.shape == (1, 8, 10, 3)
    np.savez(tmp_path / "x.npz", x=IMAGES)
    assert len(read_inputs(tmp_path / "x.npz", shape)) == 7
    (tmp_path / "images").write_bytes(idx_bytes(IMAGES))
    assert len(read_inputs(tmp_path / "images", shape)) == 7
    (tmp_path / "image").write_bytes(idx_bytes(IMAGES[0]))
    assert read_inputs(tmp_path / "image", shape).x.shape == (1, 4, 5)
    assert len(read_inputs(write_idx(tmp_path / "d"), shape)) == 3
    for source in ("x.npz", "images", "image"):
        part = read_inputs(tmp_path / source, (8, 10))
        assert part.x.shape[1:] == (8, 10) and "resized from 4x5 to 8x10" in part.notes[-1]
    (tmp_path / "paths.csv").write_text("path,label\none.png,\none.png,x\n")
    assert read_inputs(tmp_path / "paths.csv", shape).x.shape == (2, 4, 5)
    (tmp_path / "paths.csv").write_text("path\none.png\nnone.png\n")
    with pytest.raises(DataError, match="no such picture"):
        read_inputs(tmp_path / "paths.csv", shape)


def test_pictures_that_a_table_names_and_that_are_not_there(tmp_path):
    write_folders(tmp_path / "d")
    (tmp_path / "t.csv").write_text("image,label\nd/cat/0.png,a\nd/dog/0.png,b\nd/fox/0.png,b\n")
    with pytest.raises(DataError, match="skip-bad"):
        read_images(tmp_path / "t.csv")
    part = read_images(tmp_path / "t.csv", skip_bad=True).train
    assert part.y.tolist() == ["a", "b"] and part.notes[0].startswith("train: 2 images of 4x5 of 2 labels in ")
    assert any("1 image cannot be read and is left out" in note and "fox" in note for note in part.notes)


def test_pictures_with_boxes_are_no_folder_for_each_label():
    with pytest.raises(DataError, match="train detect"):
        read_images(DATA / "detection" / "bccd")


def test_channels_that_seem_to_come_first_are_noted(tmp_path):
    np.savez(tmp_path / "x.npz", x=np.zeros((4, 3, 8, 9), np.uint8), y=[0, 1, 0, 1])
    assert "channels come first" in read_images(tmp_path / "x.npz").train.notes[1]
    np.savez(tmp_path / "y.npz", x=np.zeros((4, 8, 9, 3), np.uint8), y=[0, 1, 0, 1])
    assert len(read_images(tmp_path / "y.npz").train.notes) == 1
