"""Picture files to arrays: decoded by Pillow, brought to one size by the kernel `resample`.  Needs Pillow.

Turned as EXIF says, 16 bits a pixel reduced to 8, palettes and transparency resolved; what cannot be read is named, and raised or
left out and counted, as the caller chose.
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from dlcore.data.files import similar_path
from dlcore.data.kernels import direct
from dlcore.errors import DataError
from dlcore.ops.resample import scratch

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
MOST_PIXELS = 100_000_000  # a picture with more is taken for one made to fill memory
LEFT_OUT = "train, evaluate and predict leave such files out with --skip-bad"
_GREY = ("1", "L", "LA", "I", "I;16", "I;16B", "F")
_BATCH = 64  # pictures that are resized by one call
_EXIF_TURN = 0x0112


def pillow() -> ModuleType:
    """The module PIL.Image; `DataError` where Pillow is not installed."""
    try:
        from PIL import Image
    except ImportError:
        raise DataError("reading PNG and JPEG files needs Pillow", hint="pip install 'dlcore[image]'") from None
    return Image


class Faults:
    """Turns what Pillow raises on a damaged or huge file into a `DataError` that names the file."""

    def __init__(self, path: Path):
        module = pillow()
        self.kinds = (
            OSError,
            SyntaxError,
            ValueError,
            EOFError,
            IndexError,
            KeyError,
            TypeError,
            OverflowError,
            MemoryError,
            struct.error,
            zlib.error,
        )
        self.bomb = module.DecompressionBombError
        self.path = path
        self._caught = warnings.catch_warnings()

    def __enter__(self) -> None:
        self._caught.__enter__()
        warnings.simplefilter("ignore", pillow().DecompressionBombWarning)  # `_opened` has a limit of its own
        warnings.filterwarnings("ignore", category=UserWarning)  # of metadata that nobody reads

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: Any) -> None:
        self._caught.__exit__(None, None, None)
        if isinstance(error, self.bomb):
            raise too_large(self.path, str(error).partition(",")[0]) from None
        if isinstance(error, self.kinds) and not isinstance(error, DataError):
            if isinstance(error, FileNotFoundError):
                raise DataError("there is no such file", where=str(self.path), hint=similar_path(Path(self.path))) from None
            raise DataError(
                "the image is cut short, damaged or no image",
                where=str(self.path),
                got=str(error).partition(" <_io.")[0][:200],
                hint=LEFT_OUT,
            ) from error


def too_large(path: Path, got: str) -> DataError:
    """The error for a picture with more pixels than are taken."""
    return DataError("the image has too many pixels", where=str(path), expected=f"at most {MOST_PIXELS:,}", got=got, hint=LEFT_OUT)


def _opened(path: Path, data: bytes | None = None) -> Any:
    """The picture's head, its pixels not yet decoded.  To be called within `Faults`."""
    image = pillow().open(path if data is None else io.BytesIO(data))
    if image.size[0] * image.size[1] > MOST_PIXELS:
        raise too_large(path, f"{image.size[0]:,} x {image.size[1]:,}")
    return image


@dataclass
class Head:
    """What a picture's head says.  size: (height, width) as it is seen, after turning."""

    size: tuple[int, int]
    mode: str
    turned: bool


def read_head(path: Path) -> Head:
    """Raises `DataError` naming the file."""
    with Faults(path), _opened(path) as image:
        turned = image.getexif().get(_EXIF_TURN, 1)
        width, height = image.size if turned < 5 else image.size[::-1]
        return Head((height, width), image.mode, turned not in (0, 1))


def decode(path: Path, colour: bool) -> np.ndarray:
    """One picture, u8 (H, W, 1) grey or (H, W, 3).  Raises `DataError` naming the file."""
    from PIL import ImageOps

    with Faults(path):
        data = path.read_bytes()
        # the decoder stops at the last pixel; `verify` reads to the end of a PNG, and checks what it reads
        _opened(path, data).verify()
        image = _opened(path, data)
        turned = ImageOps.exif_transpose(image) if image.getexif().get(_EXIF_TURN, 1) != 1 else image
        if turned.mode.startswith("I"):  # 16 bits a pixel: Pillow's own conversion would clip
            turned = pillow().fromarray((np.asarray(turned).astype(np.int64) >> 8).astype(np.uint8))
        elif turned.mode == "F":
            turned = pillow().fromarray(np.asarray(turned).clip(0, 255).astype(np.uint8))
        elif turned.mode == "P" and "transparency" in turned.info:
            turned = turned.convert("RGBA")
        pixels = np.asarray(turned.convert("RGB" if colour else "L"))
        return pixels.reshape(*pixels.shape[:2], 3 if colour else 1)


@dataclass
class Chosen:
    """The size that pictures are brought to, and the files that have another or cannot be read."""

    shape: tuple[int, ...]
    others: int = 0
    bad: dict[Path, str] = field(default_factory=dict)


def choose_shape(files: Sequence[Path], size: tuple[int, int] | None = None, skip_bad: bool = False) -> Chosen:
    """`size`, or the commonest one; with three channels if any picture has colour.
    Raises `DataError` for a bad file unless it is to be skipped."""
    sizes: Counter[tuple[int, int]] = Counter()
    grey, bad = True, {}
    for path in files:
        try:
            head = read_head(path)
        except DataError as error:
            if not skip_bad:
                raise
            bad[path] = error.got or error.message
            continue
        sizes[head.size] += 1
        grey = grey and head.mode in _GREY
    if not sizes:
        raise DataError("no picture can be read", where=str(files[0].parent), got=f"{len(files):,} files, all damaged")
    found = size or min(sizes.items(), key=lambda item: (-item[1], item[0]))[0]
    return Chosen(found if grey else (*found, 3), sum(sizes.values()) - sizes[found], bad)


def read_pictures(
    files: Sequence[Path], shape: tuple[int, ...], skip_bad: bool = False, out: np.ndarray | None = None
) -> tuple[np.ndarray, dict[int, str]]:
    """Pictures of any size, brought to `shape`: (H, W) grey or (H, W, C) of u8; and those left out: place in `files` -> why.

    out: u8 (N, *shape) to write into, in memory or mapped.  Without `skip_bad` the first bad file raises `DataError`."""
    colour = len(shape) == 3 and shape[2] == 3
    images = np.empty((len(files), *shape), np.uint8) if out is None else out
    flat = images.reshape(len(files), *shape[:2], 3 if colour else 1)
    bad: dict[int, str] = {}
    done = 0
    for begin in range(0, len(files), _BATCH):
        decoded = []
        for i in range(begin, min(begin + _BATCH, len(files))):
            try:
                decoded.append(decode(files[i], colour))
            except DataError as error:
                if not skip_bad:
                    raise
                bad[i] = error.got or error.message
        if decoded:
            resize(decoded, flat[done : done + len(decoded)])
        done += len(decoded)
    return images[:done], bad


def resize(pictures: Sequence[np.ndarray], out: np.ndarray) -> None:
    """Pictures u8 (H, W, C) of any sizes into out u8 (N, Y, X, C), antialiased, by one call of the kernel."""
    places = np.empty((len(pictures), 3), np.int64)
    at = 0
    for i, picture in enumerate(pictures):
        places[i] = at, *picture.shape[:2]
        at += picture.size
    pixels = np.concatenate([p.reshape(-1) for p in pictures])
    _, _, X, C = out.shape
    sizes = scratch([p.shape[1] for p in pictures], X, C)
    direct("resample")(
        {
            "pixels": pixels,
            "places": places,
            "out": out,
            "line": np.empty(sizes["L"], np.float32),
            "taps": np.empty(sizes["T"], np.float32),
            "first": np.empty(2 * X, np.int64),
        },
        {"rounding": 0.5},
    )


def parse_size(text: str) -> tuple[int, int] | None:
    """`32` or `24x32` (height x width); None for no text.  `UsageError` for anything else."""
    from dlcore.errors import UsageError

    if not text:
        return None
    words = text.lower().split("x")
    if len(words) > 2 or not all(w.isdigit() and 0 < int(w) <= 16384 for w in words):
        raise UsageError("a size is a number of pixels, or height x width", expected="32 or 24x32", got=text)
    return int(words[0]), int(words[-1])
