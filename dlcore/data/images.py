"""Images wherever they lie: a folder of idx files, a folder per class, an `.npz` archive, one idx or image file."""
from __future__ import annotations

from pathlib import Path

import numpy as np

from dlcore.data.arrays import read_npz
from dlcore.data.dataset import Dataset, Parts
from dlcore.data.idx import find_idx, read_idx, read_idx_folder
from dlcore.data.image_folder import SUFFIXES, is_image_folder, read_image_files, read_image_folder
from dlcore.errors import DataError


def read_images(source: str | Path) -> Parts:
    """Images with answers, in the parts that the source has.  Raises `DataError`."""
    path = Path(source)
    if path.is_dir():
        if find_idx(path):
            return read_idx_folder(path)
        if is_image_folder(path):
            return read_image_folder(path)
        raise DataError("the folder holds no images that can be read", where=str(path),
                        expected="idx files as MNIST's, or a folder per class with .png or .jpg files in it")
    if not path.exists():
        raise DataError("there is no such file or folder", where=str(path))
    if path.suffix.lower() == ".npz":
        return read_npz(path)
    raise DataError("images with answers are read from a folder or an .npz archive", where=str(path))


def read_inputs(source: str | Path, shape: tuple[int, ...]) -> Dataset:
    """Images to predict, where answers may be missing; image files are brought to `shape`.

    Also reads one image file, and a folder of image files that lie in it directly.  Raises `DataError`.
    """
    path = Path(source)
    name = path.name.lower()
    if path.is_dir():
        files = sorted(child for child in path.iterdir() if child.suffix.lower() in SUFFIXES)
        if files:
            return Dataset(read_image_files(files, shape), None, str(path), (f"{len(files):,} images of {path}",))
        return read_images(path).held_out()
    if name.endswith(SUFFIXES):
        return Dataset(read_image_files([path], shape), None, str(path))
    if name.endswith(".npz"):
        return read_npz(path, labels=False).held_out()
    images = read_idx(path)
    if images.ndim == len(shape):
        images = images[np.newaxis]
    return Dataset(images, None, str(path))
