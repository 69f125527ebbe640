"""Opening data files: plain, gzip or xz, told apart by their first bytes; `-` is standard input."""
from __future__ import annotations

import gzip
import io
import lzma
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from dlcore.errors import DataError

_GZIP, _XZ = b"\x1f\x8b", b"\xfd7zXZ\x00"


@contextmanager
def open_data(source: str | Path) -> Iterator[BinaryIO]:
    """The file's bytes, decompressed while they are read.

    Raises `DataError` for a file that is missing or cannot be read, here or while it is read: a compressed file that
    is cut short or damaged shows it late.
    """
    try:
        if str(source) == "-":
            yield _decompressed(cast(BinaryIO, sys.stdin.buffer))
        else:
            with open(source, "rb") as file:
                yield _decompressed(file)
    except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
        raise DataError("the compressed file is cut short or damaged", where=str(source), got=str(error)) from error
    except FileNotFoundError:
        raise DataError("there is no such file", where=str(source)) from None
    except (OSError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        reason = getattr(error, "strerror", None) or str(error)
        raise DataError("the file cannot be read", where=str(source), got=reason) from error


def _decompressed(file: BinaryIO) -> BinaryIO:
    buffered = file if isinstance(file, io.BufferedReader) else io.BufferedReader(cast(io.RawIOBase, file))
    head = buffered.peek(6)[:6]
    if head.startswith(_GZIP):
        return cast(BinaryIO, gzip.GzipFile(fileobj=buffered))
    if head.startswith(_XZ):
        return cast(BinaryIO, lzma.LZMAFile(buffered))
    return buffered
