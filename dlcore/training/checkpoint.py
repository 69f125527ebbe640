"""A checkpoint: one file in the safetensors layout, with arrays as tensors and all else as JSON in its header.

    __metadata__: {"format": "dlcore-checkpoint-1", "sha256": ..., "state": "{...}"}

The digest is of the whole file with zeros in the digest's place.  A file is there whole or not at all; its bytes are
written and digested side by side, because either takes as long as the other on a quick disk.
"""
from __future__ import annotations

import json
import math
import mmap
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dlcore.deploy import safetensors
from dlcore.deploy.atomic import all_or_nothing, sync_folder
from dlcore.deploy.strict_json import parse_json
from dlcore.errors import ModelFileError, UsageError

FORMAT = "dlcore-checkpoint-1"
BLANK = "0" * 64
_MARK = b'"sha256":"'
_PIECE = 1 << 24
_LARGE = 1 << 25                # bytes from which on digesting has a thread of its own
_STATE_LIMIT = 12 << 20


class Snapshot(NamedTuple):
    """Where a training stands: arrays by name, and the rest as JSON values (NaN and infinities are allowed)."""

    arrays: dict[str, np.ndarray]
    numbers: dict[str, Any]


def write(path: str | os.PathLike[str], snapshot: Snapshot) -> int:
    """Writes a checkpoint, whole or not at all; returns its bytes.  Raises WriteError, and leaves what stood there."""
    path = Path(path)
    state = json.dumps(_encoded(snapshot.numbers), ensure_ascii=False, allow_nan=False)
    pieces = safetensors.pieces(snapshot.arrays, {"format": FORMAT, "sha256": BLANK, "state": state})
    head = bytes(pieces[0])
    place = head.index(_MARK) + len(_MARK)      # the first: quotes inside the state are escaped
    size = sum(map(len, pieces))
    with all_or_nothing(path, "the checkpoint") as temporary:
        with open(temporary, "xb", buffering=0) as file:
            digest = _Digest(pieces, size >= _LARGE)
            try:
                for piece in _cut(pieces):
                    _write(file.fileno(), piece)
                if size >= _LARGE:
                    os.fdatasync(file.fileno())
            finally:
                text = digest.result()
            os.pwrite(file.fileno(), text.encode(), place)
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync_folder(path.parent)
    return size


class _Digest:
    """SHA-256 of pieces, computed in a thread of its own where they are large."""

    def __init__(self, pieces: Sequence[bytes | memoryview], apart: bool):
        import hashlib  # here, because it costs every import of dlcore three milliseconds

        self.pieces, self.hash = pieces, hashlib.sha256()
        self.thread = threading.Thread(target=self._run, name="dlcore-digest") if apart else None
        if self.thread:
            self.thread.start()

    def _run(self) -> None:
        for piece in _cut(self.pieces):
            self.hash.update(piece)

    def result(self) -> str:
        self.thread.join() if self.thread else self._run()
        return self.hash.hexdigest()


def _cut(pieces: Sequence[bytes | memoryview]) -> Iterator[memoryview]:
    for piece in pieces:
        view = memoryview(piece)
        for at in range(0, len(view), _PIECE):
            yield view[at:at + _PIECE]


def _write(descriptor: int, piece: memoryview) -> None:
    while len(piece):
        piece = piece[os.write(descriptor, piece):]


def read(path: str | os.PathLike[str]) -> Snapshot:
    """What `write` wrote, its digest checked.  ModelFileError whatever the bytes are."""
    path = Path(path)
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)) if size else memoryview(b"")
    except OSError as fault:
        raise ModelFileError("the checkpoint cannot be read", where=str(path), got=fault.strerror or str(fault)) from fault
    texts = safetensors.metadata(data, str(path))
    if texts.get("format") != FORMAT:
        raise ModelFileError("this is no checkpoint that this version reads", where=str(path), expected=FORMAT,
                             got=str(texts.get("format"))[:40])
    _check(data, texts.get("sha256", ""), str(path))
    numbers = _decoded(parse_json(texts.get("state", "").encode(), str(path), _STATE_LIMIT))
    if not isinstance(numbers, dict):
        raise ModelFileError("the state of the checkpoint is malformed", where=str(path))
    return Snapshot(safetensors.parse(data, str(path)), numbers)


def _check(data: memoryview, expected: str, where: str) -> None:
    import hashlib
    length = 8 + int.from_bytes(data[:8], "little")
    head = bytes(data[:length])
    digest = hashlib.sha256(head.replace(_MARK + expected.encode(), _MARK + BLANK.encode(), 1))
    for piece in _cut([data[length:]]):
        digest.update(piece)
    if digest.hexdigest() != expected:
        raise ModelFileError("the checkpoint is damaged: its bytes do not fit its digest", where=where)


def _encoded(value: Any) -> Any:
    """JSON has no NaN and no infinities: they become {"float": "nan"}."""
    if isinstance(value, Mapping):
        return {str(key): _encoded(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_encoded(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": repr(value)}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise UsageError("a state holds something that a checkpoint cannot keep", got=type(value).__name__,
                     expected="arrays, numbers, texts, lists and dicts of them")


def _decoded(value: Any) -> Any:
    if isinstance(value, dict):
        if value.keys() == {"float"} and value["float"] in ("nan", "inf", "-inf"):
            return float(value["float"])
        return {key: _decoded(item) for key, item in value.items()}
    return [_decoded(item) for item in value] if isinstance(value, list) else value
