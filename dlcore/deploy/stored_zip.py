"""An uncompressed zip that ends in the SHA-256 of its own bytes: what every zip tool opens, and a load can map.

Layout after PKWARE's APPNOTE 6.3, sections 4.3 to 4.5: per part a local header and its bytes; the directory; where a
size needs it the zip64 records; the end record, whose comment is `sha256:` and the digest, in hexadecimal, of every
byte before the digest.  Only what `write` writes is read: stored parts, this comment, nothing before or after.
"""
from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator, Mapping, Sequence
from struct import Struct
from typing import BinaryIO, NamedTuple

from dlcore.errors import ModelFileError

ALIGNMENT = 64
MARK = b"sha256:"
DIGEST_SIZE = 64
_LOCAL = Struct("<4s5H3I2H")                   # magic, version, flags, method, time, date, crc, sizes, name, extra
_ENTRY = Struct("<4s6H3I5H2I")                 # the same in the directory, with attributes and the header's offset
_END = Struct("<4s4H2IH")                      # magic, disks, counts, the directory's size and offset, comment
_END64 = Struct("<4sQ2H2I4Q")
_LOCATOR64 = Struct("<4sIQI")
_VERSION, _UTF8, _STORED, _DATE = 45, 0x800, 0, 0x21              # 1980-01-01: equal contents give equal bytes
_UNIX_FILE = 0o100644 << 16
_ZIP64_FIELD, _ALIGN_FIELD = 0x0001, 0xD935    # the second is what zip tools know as alignment padding
_FULL = 0xFFFFFFFF                             # "see the zip64 field"

Pieces = Sequence[bytes | memoryview]


class _Part(NamedTuple):
    name: bytes
    crc: int
    size: int
    offset: int


def write(file: BinaryIO, parts: Mapping[str, Pieces]) -> None:
    """Write the parts and the digest into an empty file.  Every part begins on a multiple of 64 bytes."""
    digest, at, directory = hashlib.sha256(), 0, []
    for name, pieces in parts.items():
        part = _Part(name.encode(), _crc(pieces), sum(map(len, pieces)), at)
        for piece in (_local_header(part), *pieces):
            digest.update(piece)
            file.write(piece)
            at += len(piece)
        directory.append(part)
    tail = b"".join(_tail(directory, at))
    digest.update(tail)
    file.write(tail + digest.hexdigest().encode())


def _crc(pieces: Pieces) -> int:
    crc = 0
    for piece in pieces:
        crc = zlib.crc32(piece, crc)
    return crc


def _zip64(values: list[int]) -> tuple[list[int], bytes]:
    """Replace what needs more than 32 bits by the mark, and give the field that holds it."""
    large = [value for value in values if value >= _FULL]
    field = Struct(f"<2H{len(large)}Q").pack(_ZIP64_FIELD, 8 * len(large), *large) if large else b""
    return [min(value, _FULL) for value in values], field


def _local_header(part: _Part) -> bytes:
    (size, stored), field = _zip64([part.size, part.size])
    gap = -(part.offset + _LOCAL.size + len(part.name) + len(field) + 4) % ALIGNMENT
    field += Struct("<2H").pack(_ALIGN_FIELD, gap) + bytes(gap)
    return _LOCAL.pack(b"PK\3\4", _VERSION, _UTF8, _STORED, 0, _DATE, part.crc, stored, size,
                       len(part.name), len(field)) + part.name + field


def _tail(directory: list[_Part], at: int) -> Iterator[bytes]:
    size = 0
    for part in directory:
        (length, stored, offset), field = _zip64([part.size, part.size, part.offset])
        entry = _ENTRY.pack(b"PK\1\2", _VERSION | 3 << 8, _VERSION, _UTF8, _STORED, 0, _DATE, part.crc, stored, length,
                            len(part.name), len(field), 0, 0, 0, _UNIX_FILE, offset) + part.name + field
        size += len(entry)
        yield entry
    count = len(directory)
    if at >= _FULL:
        yield _END64.pack(b"PK\6\6", _END64.size - 12, _VERSION | 3 << 8, _VERSION, 0, 0, count, count, size, at)
        yield _LOCATOR64.pack(b"PK\6\7", 0, at + size, 1)
    yield _END.pack(b"PK\5\6", 0, 0, count, count, size, min(at, _FULL), len(MARK) + DIGEST_SIZE) + MARK


def check_digest(file: BinaryIO, size: int, where: str) -> None:
    """Raise `ModelFileError` unless the file of `size` bytes ends in the digest of what stands before."""
    end = size - DIGEST_SIZE
    file.seek(0)
    is_zip = file.read(4) == b"PK\3\4"
    file.seek(max(end - len(MARK), 0))
    if file.read(len(MARK)) != MARK:
        raise ModelFileError("the file is cut short or damaged" if is_zip else "the file is no model of dlcore",
                             where=where, expected="a zip that ends in the digest of its bytes", got=f"{size:,} bytes",
                             hint="a model that was zipped anew can be unpacked and read as a folder" if is_zip else "")
    expected = file.read(DIGEST_SIZE)
    if hex_digest(file, end).encode() != expected:
        raise ModelFileError("the file is damaged: its bytes do not fit its digest", where=where,
                             hint="copy it again from where it came from")


def hex_digest(file: BinaryIO, size: int) -> str:
    """The SHA-256 of the first `size` bytes; read in pieces, so that a large file takes no memory."""
    digest = hashlib.sha256()
    file.seek(0)
    while size > 0 and (piece := file.read(min(size, 1 << 20))):
        digest.update(piece)
        size -= len(piece)
    return digest.hexdigest()


def read(data: memoryview, where: str, most: int) -> dict[str, memoryview]:
    """The parts, at most `most` of them, as slices of `data`.  Raises `ModelFileError` whatever the bytes are."""
    try:
        count, size, begin, stop = _directory(data)
        _require(0 < count <= most, f"{count} parts")
        _require(begin + size == stop, "the directory does not end where the end record begins")
        parts: dict[str, memoryview] = {}
        at = reached = 0
        directory = data[begin:stop]
        for _ in range(count):
            part, at = _entry(directory, at)
            name = part.name.decode("ascii")
            _require(name not in parts, f"{name!r} occurs twice")
            _require(part.offset == reached, f"{name!r} overlaps or leaves a hole")
            first = _data_begin(data[:begin], part)
            reached = first + part.size
            _require(reached <= begin, f"{name!r} ends outside the file")
            parts[name] = data[first:reached]
        _require(at == size and reached == begin, "bytes that belong to no part")
    except (_Malformed, UnicodeDecodeError) as error:
        raise ModelFileError("the zip structure of the model file is malformed", where=where,
                             got=str(error)[:200]) from None
    return parts


class _Malformed(Exception):
    """A fault inside the zip structure; never leaves this module."""


def _require(condition: bool, reason: str) -> None:
    if not condition:
        raise _Malformed(reason)


def _unpack(layout: Struct, data: memoryview, at: int, magic: bytes) -> tuple[int, ...]:
    inside = 0 <= at <= len(data) - layout.size
    _require(inside and bytes(data[at:at + 4]) == magic, f"no record {magic!r} at byte {at}")
    return layout.unpack_from(data, at)[1:]


def _directory(data: memoryview) -> tuple[int, int, int, int]:
    """The directory's number of parts, size, beginning and the byte where the records after it begin."""
    stop = len(data) - DIGEST_SIZE - len(MARK) - _END.size
    disk, first, here, count, size, begin, comment = _unpack(_END, data, stop, b"PK\5\6")
    _require((disk, first, here, comment) == (0, 0, count, len(MARK) + DIGEST_SIZE), "an unusual end record")
    if begin == _FULL:
        at = _unpack(_LOCATOR64, data, stop - _LOCATOR64.size, b"PK\6\7")[1]
        stop = stop - _LOCATOR64.size - _END64.size
        _require(at == stop, "the zip64 record is not where it should be")
        *_, count, size, begin = _unpack(_END64, data, stop, b"PK\6\6")
    return count, size, begin, stop


def _entry(directory: memoryview, at: int) -> tuple[_Part, int]:
    """The part whose entry begins at `at`, and where the next entry begins."""
    values = _unpack(_ENTRY, directory, at, b"PK\1\2")
    flags, method, crc, stored, size, name, field, comment = *values[2:4], *values[6:12]
    offset = values[-1]
    _require(flags & ~_UTF8 == 0 and method == _STORED, "a part is compressed or encrypted")
    name_at = at + _ENTRY.size
    stop = name_at + name + field + comment
    _require(stop <= len(directory), "an entry ends outside the directory")
    stored, size, offset = _large([stored, size, offset], directory[name_at + name:name_at + name + field])
    _require(stored == size, "a part is compressed")
    return _Part(bytes(directory[name_at:name_at + name]), crc, size, offset), stop


def _large(values: list[int], field: memoryview) -> list[int]:
    """Put the 64-bit values of a zip64 field in the places that are marked."""
    marked = [i for i, value in enumerate(values) if value == _FULL]
    if marked:
        layout = Struct(f"<2H{len(marked)}Q")
        _require(len(field) >= layout.size, "a zip64 field is missing")
        kind, _, *large = layout.unpack_from(field)
        _require(kind == _ZIP64_FIELD, "a zip64 field is missing")
        for i, value in zip(marked, large, strict=True):
            values[i] = value
    return values


def _data_begin(data: memoryview, part: _Part) -> int:
    """Where the part's bytes begin, after a local header that must agree with the directory."""
    *_, name, field = _unpack(_LOCAL, data, part.offset, b"PK\3\4")
    name_at = part.offset + _LOCAL.size
    _require(bytes(data[name_at:name_at + name]) == part.name, "a header and the directory differ in a name")
    return name_at + name + field
