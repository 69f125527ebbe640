"""The archive of CUDA kernels: the code of many kernels in pieces of some megabytes, each compressed as a whole.

Kernels are much alike, so a piece takes a third less than its kernels one by one would.  It is unpacked when the first of them is
asked for.  In a piece code of one kind lies together: all PTX, then all cubins of one architecture, and so on.
"""

from __future__ import annotations

import hashlib
import lzma
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

PIECE = 8 << 20  # bytes before they are compressed, at most, but for one kernel that is larger
# an instruction is 16 bytes, whose place in them says more about a byte than the one before it
FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "lc": 2, "lp": 2, "pb": 4}]


@dataclass(frozen=True)
class Place:
    """Where a kernel's code is: its piece (begin and length in the archive), and in what is unpacked the parts by name."""

    piece: list[int]
    parts: dict[str, list[int]]


def pack(codes: Sequence[Mapping[str, bytes]], cache: Path, workers: int = 1) -> tuple[bytes, list[Place]]:
    """(archive, place of each kernel).  codes: the parts of each kernel by name, kernels that are alike near each other.  Pieces
    that are known are taken from the folder `cache`."""
    laid = [_laid(group) for group in _groups(codes)]
    with ThreadPoolExecutor(max(1, workers)) as pool:
        packed = list(pool.map(lambda piece: _compressed(piece[0], cache), laid))
    archive, places = bytearray(), []
    for (_, parts), data in zip(laid, packed, strict=True):
        places += [Place([len(archive), len(data)], found) for found in parts]
        archive += data
    return bytes(archive), places


def _groups(codes: Sequence[Mapping[str, bytes]]) -> list[list[Mapping[str, bytes]]]:
    groups: list[list[Mapping[str, bytes]]] = []
    size = PIECE
    for code in codes:
        own = sum(map(len, code.values()))
        if size + own > PIECE:
            groups.append([])
            size = 0
        groups[-1].append(code)
        size += own
    return groups


def _laid(group: Sequence[Mapping[str, bytes]]) -> tuple[bytes, list[dict[str, list[int]]]]:
    """(a piece before it is compressed, the parts of each of its kernels)"""
    raw, parts = bytearray(), [dict[str, list[int]]() for _ in group]
    for name in sorted({name for code in group for name in code}):
        for code, own in zip(group, parts, strict=True):
            if name in code:
                own[name] = [len(raw), len(code[name])]
                raw += code[name]
    return bytes(raw), parts


def _compressed(raw: bytes, cache: Path) -> bytes:
    kept = cache / f"{hashlib.sha256(raw).hexdigest()[:32]}.xz"
    if not kept.exists():
        unfinished = kept.with_suffix(f".{os.getpid()}")
        unfinished.write_bytes(lzma.compress(raw, check=lzma.CHECK_CRC32, filters=FILTERS))
        unfinished.rename(kept)
    return kept.read_bytes()
