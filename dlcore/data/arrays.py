"""Images in a NumPy archive: `x_train, y_train, x_test, y_test` as in Keras' `mnist.npz`, or `x, y`."""
from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np

from dlcore.data.dataset import Dataset, Parts
from dlcore.errors import DataError

_NAMES = (("x_train", "y_train"), ("train_images", "train_labels"), ("x", "y"), ("images", "labels"),
          ("data", "target"))
_TEST_NAMES = (("x_test", "y_test"), ("test_images", "test_labels"))


def read_npz(path: str | Path, labels: bool = True) -> Parts:
    """The parts of an `.npz` archive; with `labels=False` its answers may be missing.

    Raises `DataError` if it is damaged, holds Python objects, or has none of the names above.
    """
    path = Path(path)
    try:
        opened = np.load(path, allow_pickle=False)
        if not isinstance(opened, np.lib.npyio.NpzFile):
            raise DataError("this is no .npz archive", where=str(path))
        with opened as archive:
            train = _find(archive, _NAMES, path, "train", labels)
            test = _find(archive, _TEST_NAMES, path, "test", labels)
            names = ", ".join(archive.files)
    except FileNotFoundError:
        raise DataError("there is no such file", where=str(path)) from None
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error, NotImplementedError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError("the archive is damaged or holds Python objects", where=str(path), got=str(error),
                        hint="save texts as NumPy's strings: y.astype(str)") from error
    if train is None and test is None:
        raise DataError("the archive has no images under a known name", where=str(path), got=names,
                        expected="; ".join(" and ".join(pair) for pair in (*_NAMES[:1], *_TEST_NAMES[:1], *_NAMES[1:])))
    if train is None:
        assert test is not None
        return Parts(test)
    return Parts(train, test)


def _find(archive: np.lib.npyio.NpzFile, names: tuple[tuple[str, str], ...], path: Path, part: str,
          labels: bool) -> Dataset | None:
    held = {name.lower(): name for name in archive.files}       # X_train is x_train
    for x_name, y_name in names:
        if x_name in held:
            x = archive[held[x_name]]
            y = archive[held[y_name]] if y_name in held else None
            where = f"{path}, {held[x_name]}"
            if x.dtype.kind == "b":
                x = x.astype(np.float32)
            if x.ndim not in (3, 4) or x.dtype.kind not in "uif":
                raise DataError("these are not images", where=where, expected="numbers in 3 or 4 dimensions",
                                got=f"{x.dtype} {x.shape}", hint="rows of pixels become images by x.reshape(-1, height, width)"
                                if x.ndim == 2 else "")
            if x.dtype.kind == "f" and not np.isfinite(x).all():
                row = int(np.flatnonzero(~np.isfinite(x).reshape(len(x), -1).all(axis=1))[0])
                raise DataError("an image has a pixel that is not a finite number", where=f"{where}, image {row + 1}",
                                hint="leave it out, or replace such pixels")
            if y is None and labels:
                raise DataError("the archive has images without answers", where=where, expected=y_name)
            if y is not None:
                y = y.reshape(len(y)) if y.ndim == 2 and y.shape[1] == 1 else y
                if y.ndim != 1 or len(y) != len(x):
                    raise DataError("images and answers do not fit together", where=f"{path}, {held[y_name]}",
                                    expected=f"{len(x):,} answers", got=str(y.shape), hint="one label for each image: one-hot "
                                    "rows become labels by y.argmax(axis=1)" if y.ndim == 2 and len(y) == len(x) else "")
            notes = [f"{part}: {len(x):,} images of {'x'.join(map(str, x.shape[1:]))}, {x.dtype}, from {path.name}"]
            if x.ndim == 4 and x.shape[3] > 4 and x.shape[1] in (1, 3):
                notes.append(f"taken as {x.shape[3]} channels of {x.shape[1]}x{x.shape[2]}; if channels come first, "
                             "np.moveaxis(x, 1, 3) brings them behind")
            return Dataset(x, y, str(path), tuple(notes))
    return None
