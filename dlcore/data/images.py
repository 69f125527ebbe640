"""Images wherever they lie: idx files, a folder per class, a table of paths, an `.npz` archive, a cache, one idx or image file."""
from __future__ import annotations

from pathlib import Path

import numpy as np

from dlcore.data.arrays import read_npz
from dlcore.data.dataset import Dataset, Parts
from dlcore.data.detection import is_detection
from dlcore.data.files import bare, similar_path
from dlcore.data.idx import find_idx, read_idx, read_idx_folder
from dlcore.data.image_folder import (
    Listing,
    is_image_folder,
    list_table,
    read_image_files,
    read_image_folder,
    read_listing,
)
from dlcore.data.pictures import SUFFIXES, resize
from dlcore.errors import DataError

_TABLES = (".csv", ".tsv", ".jsonl")


def read_images(source: str | Path, size: tuple[int, int] | None = None, skip_bad: bool = False,
                shape: tuple[int, ...] | None = None, label_col: str = "") -> Parts:
    """Images with answers, in the parts that the source has, brought to `size` or to the `shape` of a model.

    skip_bad: files that cannot be read are left out and counted, not raised.  Raises `DataError`."""
    path = Path(source)
    if path.suffix == ".cache":
        from dlcore.data.cache import open_cache
        return Parts(open_cache(path).dataset())
    if not path.exists():
        raise DataError("there is no such file or folder", where=str(path), hint=similar_path(path))
    if path.is_dir() and is_detection(path):
        raise DataError("the folder holds pictures with boxes, not a folder for each label", where=str(path),
                        hint="dlcore train detect learns to find what is in pictures")
    if path.is_dir() and is_image_folder(path) and not find_idx(path):
        return read_image_folder(path, size, skip_bad, shape)
    if Path(bare(path.name)).suffix in _TABLES:
        return Parts(read_listing(list_table(path, label_col, may_miss=skip_bad), path, "train", size, skip_bad, shape))
    parts = _arrays(path)
    return _of_size(parts, (shape[0], shape[1]) if shape else size)


def _of_size(parts: Parts, size: tuple[int, int] | None) -> Parts:
    if size is None:
        return parts
    return Parts(resized(parts.train, size), None if parts.test is None else resized(parts.test, size))


def read_unlabelled(source: str | Path, size: tuple[int, int] | None = None, skip_bad: bool = False,
                    shape: tuple[int, ...] | None = None, label_col: str = "") -> Parts:
    """The same where answers may be missing: also a folder of pictures that lie in it directly, one picture, an idx file of images,
    and an archive of images alone; `y` is None there.  Answers that are there are kept.  Raises `DataError`."""
    path = Path(source)
    alone = path.is_file() and path.suffix.lower() in SUFFIXES
    if alone or (path.is_dir() and not find_idx(path)):
        files = [path] if alone else sorted(child for child in path.iterdir() if child.suffix.lower() in SUFFIXES)
        if files:
            part = read_listing(Listing(files, [""] * len(files)), path, "train", size, skip_bad, shape)
            return Parts(Dataset(part.x, None, part.source, part.notes))
    if path.suffix.lower() == ".npz" or path.is_file() and Path(bare(path.name)).suffix not in (*_TABLES, ".cache"):
        parts = read_npz(path, labels=False) if path.suffix.lower() == ".npz" else _idx_alone(path)
        return _of_size(parts, (shape[0], shape[1]) if shape else size)
    return read_images(source, size, skip_bad, shape, label_col)


def _idx_alone(path: Path) -> Parts:
    images = read_idx(path)
    if images.ndim not in (3, 4):
        raise DataError("the idx file holds no images", where=str(path), expected="3 or 4 dimensions", got=str(images.shape))
    note = f"train: {len(images):,} images of {'x'.join(map(str, images.shape[1:]))}, {images.dtype}, from {path.name}"
    return Parts(Dataset(images, None, str(path), (note,)))


def _arrays(path: Path) -> Parts:
    if path.is_dir():
        if find_idx(path):
            return read_idx_folder(path)
        raise DataError("the folder holds no images that can be read", where=str(path),
                        expected="idx files as MNIST's, or a folder per class with .png or .jpg files in it")
    if path.suffix.lower() == ".npz":
        return read_npz(path)
    raise DataError("images with answers are read from a folder, a table of paths, an .npz archive or a cache", where=str(path),
                    expected="a folder with idx files or a folder per class, a csv of paths and labels, or an .npz archive")


def resized(part: Dataset, size: tuple[int, int]) -> Dataset:
    """A part whose images are of this size, resized where they are of another.  u8 only: `DataError` for others."""
    x = part.x
    assert isinstance(x, np.ndarray)
    if x.shape[1:3] == tuple(size):
        return part
    if x.dtype != np.uint8:
        raise DataError("only images of bytes can be resized", where=part.source, expected="uint8", got=str(x.dtype))
    images = x.reshape(*x.shape[:3], -1)
    out = np.empty((len(x), *size, images.shape[3]), np.uint8)
    for begin in range(0, len(x), 256):
        resize(list(images[begin:begin + 256]), out[begin:begin + 256])
    note = f"resized from {x.shape[1]}x{x.shape[2]} to {size[0]}x{size[1]}"
    return Dataset(out.reshape(len(x), *size, *x.shape[3:]), part.y, part.source, (*part.notes, note))


def read_inputs(source: str | Path, shape: tuple[int, ...], skip_bad: bool = False) -> Dataset:
    """Images to predict, where answers may be missing, brought to `shape`.

    Also reads one image file, and a folder of image files that lie in it directly; of a table its paths alone.
    skip_bad: files that cannot be read or are missing are left out and named in a note.  Raises `DataError`.
    """
    path = Path(source)
    name = path.name.lower()
    if path.is_dir():
        files = sorted(child for child in path.iterdir() if child.suffix.lower() in SUFFIXES)
        if files:
            return read_image_files(files, shape, path, skip_bad)
        return read_images(path, skip_bad=skip_bad, shape=shape).held_out()
    if name.endswith(SUFFIXES):
        return read_image_files([path], shape, path, skip_bad and path.exists())
    if Path(bare(name)).suffix in _TABLES:
        return read_image_files(list_table(path, labelled=False, may_miss=skip_bad).files, shape, path, skip_bad)
    if name.endswith(".npz"):
        return _to_shape(read_npz(path, labels=False).held_out(), shape)
    images = read_idx(path)
    if images.ndim == len(shape):
        images = images[np.newaxis]
    return _to_shape(Dataset(images, None, str(path)), shape)


def _to_shape(part: Dataset, shape: tuple[int, ...]) -> Dataset:
    """Images of bytes in the height and width of `shape`; the model says what is wrong with others."""
    x = part.x
    assert isinstance(x, np.ndarray)
    fits = x.ndim in (3, 4) and x.dtype == np.uint8 and x.shape[3:] == tuple(shape[2:])
    return resized(part, (shape[0], shape[1])) if fits else part
