"""MNIST's file format: two zero bytes, a type, the number of dimensions, the sizes and the data, all big-endian.

Source: http://yann.lecun.com/exdb/mnist, "the IDX file format".
"""
from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np

from dlcore.data.dataset import Dataset, Parts
from dlcore.data.files import open_data
from dlcore.errors import DataError

_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_MOST_BYTES = 1 << 36                           # a header that asks for more is taken for damage
_NAME = re.compile(r"(.*[-_.])?(?P<part>train|t10k|test)[-_.](?P<kind>images|labels)[-_.]idx\d[-_.]ubyte(\.(gz|xz))?",
                   re.IGNORECASE)


def read_idx(path: str | Path) -> np.ndarray:
    """The array of an idx file, plain, gz or xz, in the machine's byte order.

    Raises `DataError` if it is no idx file, is cut short, or is longer than its header says.
    """
    with open_data(path) as file:
        head = file.read(4)
        if len(head) < 4 or head[:2] != b"\0\0" or head[2] not in _TYPES or not 1 <= head[3] <= 8:
            raise DataError("this is no idx file", where=str(path), expected="0 0, a type, a number of dimensions",
                            got=head.hex(" ") or "an empty file")
        dtype = np.dtype(_TYPES[head[2]])
        sizes = file.read(4 * head[3])
        shape = tuple(int.from_bytes(sizes[i:i + 4], "big") for i in range(0, len(sizes), 4))
        size = math.prod(shape) * dtype.itemsize
        if len(sizes) < 4 * head[3] or size > _MOST_BYTES:
            raise DataError("the header of the idx file is damaged", where=str(path), got=f"sizes {shape}")
        data = file.read(size)
        if len(data) < size or file.read(1):
            short = len(data) < size
            raise DataError("the idx file is cut short" if short else "the idx file is longer than its header says",
                            where=str(path), expected=f"{size:,} bytes for sizes {shape}",
                            got=f"{len(data):,}" if short else "more")
    array = np.frombuffer(data, dtype).reshape(shape)
    return array if dtype.itemsize == 1 else array.astype(dtype.newbyteorder("="))


def find_idx(folder: Path) -> dict[tuple[str, str], Path]:
    """The idx files of a folder by (part, kind): ("train" | "test", "images" | "labels").

    The part and the kind are read from the name, as in `train-images-idx3-ubyte.gz` and `t10k-labels.idx1-ubyte`;
    of a plain and a compressed copy the plain one is taken.
    """
    found: dict[tuple[str, str], Path] = {}
    for path in sorted(folder.iterdir(), key=lambda path: (len(path.suffix), path.name)):
        match = _NAME.fullmatch(path.name)
        if match and path.is_file():
            part = "train" if match["part"].lower() == "train" else "test"
            found.setdefault((part, match["kind"].lower()), path)
    return found


def read_idx_folder(folder: str | Path) -> Parts:
    """The train part and, if its files are there, the test part of a folder of idx files.  Raises `DataError`."""
    folder = Path(folder)
    found = find_idx(folder)
    parts = {part: _part(found, part, folder) for part in sorted({part for part, _ in found})}
    if not parts:
        raise DataError("the folder holds no idx files", where=str(folder),
                        expected="train-images-idx3-ubyte and the like")
    if "train" not in parts:
        return Parts(parts["test"])
    return Parts(parts["train"], parts.get("test"))


def _part(found: dict[tuple[str, str], Path], part: str, folder: Path) -> Dataset:
    for kind, name in (("images", "images-idx3-ubyte"), ("labels", "labels-idx1-ubyte")):
        if (part, kind) not in found:
            raise DataError(f"the folder has no idx file with the {kind} of its {part} part", where=str(folder),
                            expected=f"{'train' if part == 'train' else 't10k'}-{name}")
    images, labels = read_idx(found[part, "images"]), read_idx(found[part, "labels"])
    if images.ndim not in (3, 4):
        raise DataError("these are not images", where=str(found[part, "images"]), expected="3 or 4 dimensions",
                        got=str(images.shape))
    if labels.ndim != 1 or len(labels) != len(images):
        raise DataError("images and labels do not fit together", where=str(found[part, "labels"]),
                        expected=f"{len(images):,} labels", got=str(labels.shape))
    note = f"{part}: {len(images):,} images of {'x'.join(map(str, images.shape[1:]))} from {found[part, 'images'].name}"
    return Dataset(images, labels, str(found[part, "images"]), (note,))
