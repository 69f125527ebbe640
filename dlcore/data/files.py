"""Opening data files: plain, gzip, xz or zstandard, told apart by their first bytes; `-` is standard input."""
from __future__ import annotations

import difflib
import gzip
import io
import lzma
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

from dlcore.errors import DataError

_GZIP, _XZ, _ZST = b"\x1f\x8b", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd"
PACKED = (".gz", ".xz", ".zst")


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
        raise DataError("the compressed file is cut short or damaged", where=str(source), got=str(error),
                        hint="copy it again from where it came from") from error
    except FileNotFoundError:
        raise DataError("there is no such file", where=str(source), hint=similar_path(Path(source))) from None
    except IsADirectoryError:
        raise DataError("this is a folder, and a file is read here", where=str(source), expected="a file") from None
    except (OSError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        reason = getattr(error, "strerror", None) or str(error)
        raise DataError("the file cannot be read", where=str(source), got=reason) from error


def similar_path(path: Path) -> str:
    """What a file that is not there was probably meant to be."""
    try:
        names = [entry.name for entry in path.parent.iterdir()]
    except OSError:
        return f"there is no folder {str(path.parent)!r}, seen from {Path.cwd()}"
    found = difflib.get_close_matches(path.name, names, n=1)
    return f"did you mean {str(path.with_name(found[0]))!r}?" if found else f"paths are seen from {Path.cwd()}"


def _decompressed(file: BinaryIO) -> BinaryIO:
    buffered = file if isinstance(file, io.BufferedReader) else io.BufferedReader(cast(io.RawIOBase, file))
    head = buffered.peek(6)[:6]
    if head.startswith(_GZIP):
        return cast(BinaryIO, gzip.GzipFile(fileobj=buffered))
    if head.startswith(_XZ):
        return cast(BinaryIO, lzma.LZMAFile(buffered))
    return _zstandard(buffered) if head.startswith(_ZST) else buffered


def _zstandard(file: BinaryIO) -> BinaryIO:
    """By Python's own module (from 3.14 on), else by the package `zstandard`."""
    try:
        from compression import zstd  # type: ignore[import-not-found,unused-ignore]
        return cast(BinaryIO, io.BufferedReader(_Frames(file, zstd.ZstdDecompressor, zstd.ZstdError)))
    except ImportError:
        pass
    try:
        import zstandard
    except ImportError:
        raise DataError("reading .zst files needs Python 3.14 or the package zstandard",
                        hint="pip install 'dlcore[arrow]'") from None
    return cast(BinaryIO, io.BufferedReader(_Frames(file, zstandard.ZstdDecompressor().decompressobj, zstandard.ZstdError)))


class _Frames(io.RawIOBase):
    """One compressed frame after the other.  EOFError where the last is cut short or one is damaged."""

    PIECE = 1 << 16

    def __init__(self, file: BinaryIO, make: Callable[[], Any], error: type[Exception]):
        self.file, self.make, self.error = file, make, error
        self.frame = make()
        self.rest = self.out = b""
        self.whole = True                   # nothing of a frame has been read yet

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self.out and self._more():
            pass
        count = min(len(buffer), len(self.out))
        buffer[:count], self.out = self.out[:count], self.out[count:]
        return count

    def _more(self) -> bool:
        """Decompresses the next piece; False at the end of the file."""
        data = self.rest or self.file.read(self.PIECE)
        if not data:
            if not self.whole:
                raise EOFError("the last frame is cut short")
            return False
        try:
            self.out = self.frame.decompress(data)
        except self.error as fault:
            raise EOFError(str(fault)) from fault
        self.whole, self.rest = self.frame.eof, self.frame.unused_data if self.frame.eof else b""
        if self.whole:
            self.frame = self.make()
        return True


def bare(name: str) -> str:
    """A file's name in small letters without the ending of a packed file."""
    name = name.lower()
    return next((name.removesuffix(end) for end in PACKED if name.endswith(end)), name)
