"""A folder per class, with PNG or JPEG files in it; or `train` and `test` folders of such folders.  Needs Pillow."""
from __future__ import annotations

import io
import struct
import zlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import numpy as np

from dlcore.data.dataset import Dataset, Parts
from dlcore.errors import DataError

SUFFIXES = (".png", ".jpg", ".jpeg")
_TRAIN, _TEST = ("train", "training"), ("test", "testing")


def is_image_folder(folder: Path) -> bool:
    """Whether some folder in `folder`, or two levels down, holds an image file."""
    return any(path.suffix.lower() in SUFFIXES for pattern in ("*/*", "*/*/*") for path in folder.glob(pattern))


def read_image_folder(folder: str | Path) -> Parts:
    """Images (N, H, W) or (N, H, W, 3) of u8 and their folders' names as answers.

    Images of another size than most are resized to the size of most, which is noted.  Raises `DataError`.
    """
    folder = Path(folder)
    children = {child.name.lower(): child for child in folder.iterdir() if child.is_dir()}
    train = next((children[name] for name in _TRAIN if name in children), None)
    test = next((children[name] for name in _TEST if name in children), None)
    if train is None or not any(child.is_dir() for child in train.iterdir()):
        return Parts(_read_part(folder, "train", None))
    part = _read_part(train, "train", None)
    assert isinstance(part.x, np.ndarray)
    return Parts(part, None if test is None else _read_part(test, "test", part.x.shape[1:]))


def read_image_files(paths: Sequence[Path], shape: tuple[int, ...]) -> np.ndarray:
    """Images of any size, brought to `shape`: (H, W) grey or (H, W, 3) colour, u8.  Raises `DataError`."""
    pillow = _pillow()
    images = np.empty((len(paths), *shape), np.uint8)
    for i, path in enumerate(paths):
        images[i] = _load(pillow, path, "L" if len(shape) == 2 else "RGB", (shape[1], shape[0]))
    return images


def _read_part(folder: Path, part: str, shape: tuple[int, ...] | None) -> Dataset:
    files: list[Path] = []
    labels: list[str] = []
    for child in sorted(child for child in folder.iterdir() if child.is_dir()):
        found = sorted(path for path in child.iterdir() if path.suffix.lower() in SUFFIXES)
        files += found
        labels += [child.name] * len(found)
    if not files:
        raise DataError("the folder holds no images", where=str(folder),
                        expected="a folder per class with .png or .jpg files in it")
    others = 0
    if shape is None:
        shape, others = _common_shape(_pillow(), files)
    note = f"{part}: {len(files):,} images of {'x'.join(map(str, shape))} in {len(set(labels))} folders of {folder}"
    notes = (note, f"{others:,} images have another size and are resized") if others else (note,)
    return Dataset(read_image_files(files, shape), np.array(labels), str(folder), notes)


def _pillow() -> ModuleType:
    try:
        from PIL import Image
    except ImportError:
        raise DataError("reading PNG and JPEG files needs Pillow", hint="pip install 'dlcore[image]'") from None
    return Image


def _common_shape(pillow: ModuleType, files: Sequence[Path]) -> tuple[tuple[int, ...], int]:
    """The commonest size, with three channels if any image has colour, and how many images have another size."""
    sizes: Counter[tuple[int, int]] = Counter()
    grey = True
    for path in files:
        with _Faults(pillow, path), pillow.open(path) as image:
            sizes[image.size] += 1
            grey = grey and image.mode in ("1", "L", "LA", "I", "I;16")
    (width, height), count = min(sizes.items(), key=lambda item: (-item[1], item[0]))
    return ((height, width) if grey else (height, width, 3)), len(files) - count


def _load(pillow: ModuleType, path: Path, mode: str, size: tuple[int, int]) -> np.ndarray:
    with _Faults(pillow, path):
        data = path.read_bytes()
        # the decoder stops at the last pixel; `verify` reads to the end of a PNG, and checks what it reads
        pillow.open(io.BytesIO(data)).verify()
        image = pillow.open(io.BytesIO(data))
        if image.mode.startswith("I"):                     # 16 bits a pixel: Pillow's own conversion would clip
            image = pillow.fromarray((np.asarray(image).astype(np.int64) >> 8).astype(np.uint8))
        converted = image.convert(mode)
        return np.asarray(converted if converted.size == size else converted.resize(size, pillow.Resampling.BILINEAR))


class _Faults:
    """Turns what Pillow raises on a damaged file into a `DataError` that names the file."""

    def __init__(self, pillow: ModuleType, path: Path):
        self.kinds = (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, OverflowError,
                      MemoryError, struct.error, zlib.error, pillow.DecompressionBombError)
        self.path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, self.kinds) and not isinstance(error, DataError):
            raise DataError("the image is cut short, damaged or no image", where=str(self.path),
                            got=str(error)) from error
