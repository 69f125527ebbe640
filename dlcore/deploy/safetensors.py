"""Tensors in the safetensors layout, written so that a load can map them: each begins on a multiple of 64 bytes.

The layout (https://github.com/huggingface/safetensors#format): the header's length as u64, little endian; the header, a
JSON object `{name: {"dtype", "shape", "data_offsets": [begin, end]}}`; the data, without holes.  As holes are not
allowed, the bytes up to the next multiple of 64 are tensors of their own, called `.padding.0`, `.padding.1`, ...
"""
from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from dlcore.deploy.strict_json import parse_json
from dlcore.errors import ModelFileError, UsageError

ALIGNMENT = 64
HEADER_LIMIT = 16 << 20
_PADDING = ".padding."
_DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "|i1",
           "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "|u1", "BOOL": "|b1"}
_NAMES = {np.dtype(text): name for name, text in _DTYPES.items()}
_READ = {**_DTYPES, "BF16": "<u2"}          # NumPy has no bfloat16: such tensors are read as float32, which holds them exactly


def pieces(tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None = None,
           aligned: bool = True) -> list[bytes | memoryview]:
    """The file's bytes, in order, for arrays of any shape; nothing is copied but what is not contiguous.

    aligned: False leaves out the tensors that pad, for readers that ask what they are."""
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    data: list[bytes | memoryview] = []
    end = 0
    for name, tensor in tensors.items():
        array = np.asarray(tensor)
        # ascontiguousarray makes a scalar one-dimensional, so the shape is the array's own
        flat = np.ascontiguousarray(array, array.dtype.newbyteorder("<")).reshape(-1)
        if flat.dtype not in _NAMES:
            raise UsageError("a tensor of this dtype cannot be saved", where=name, got=str(array.dtype))
        if not valid_name(name):
            raise UsageError("this is no name for a saved tensor", got=repr(name))
        header[name] = {"dtype": _NAMES[flat.dtype], "shape": list(array.shape),
                        "data_offsets": [end, end + flat.nbytes]}
        data.append(flat.view(np.uint8).data)
        end += flat.nbytes
        if aligned and (gap := -end % ALIGNMENT):
            header[f"{_PADDING}{len(header)}"] = {"dtype": "U8", "shape": [gap], "data_offsets": [end, end + gap]}
            data.append(bytes(gap))
            end += gap
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-(8 + len(text)) % ALIGNMENT)
    if len(text) > HEADER_LIMIT:
        raise UsageError("too many tensors for one file", got=f"a header of {len(text):,} bytes")
    return [len(text).to_bytes(8, "little") + text, *data]


def valid_name(name: Any) -> bool:
    """Whether `name` can stand for a tensor in a file."""
    return isinstance(name, str) and 0 < len(name) <= 256 and name.isprintable() and not name.startswith(_PADDING) \
        and name != "__metadata__"


def parse(data: memoryview, where: str) -> dict[str, np.ndarray]:
    """Read-only arrays that lie in `data`; raises `ModelFileError` whatever the bytes are."""
    header, body = _header(data, where)
    header.pop("__metadata__", None)
    entries = [_entry(name, value, where) for name, value in header.items()]
    _check_tiling(entries, len(body), where)
    return {name: _array(body, dtype, shape, begin, end) for name, dtype, shape, begin, end in entries
            if not name.startswith(_PADDING)}


def metadata(data: memoryview, where: str) -> dict[str, str]:
    """The texts that stand beside the tensors; raises `ModelFileError` whatever the bytes are."""
    found = _header(data, where)[0].get("__metadata__", {})
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise ModelFileError("the texts of the tensor file are malformed", where=where)
    return found


def _header(data: memoryview, where: str) -> tuple[dict[str, Any], memoryview]:
    """(header, data behind it)."""
    if len(data) < 8:
        raise ModelFileError("the tensor file is cut short", where=where, got=f"{len(data)} bytes")
    length = int.from_bytes(data[:8], "little")
    most = min(HEADER_LIMIT, len(data) - 8)
    if length > most:
        raise ModelFileError("the tensor file is cut short, or its header is damaged", where=where,
                             expected=f"a header of at most {most:,} bytes", got=f"{length:,}")
    header = parse_json(bytes(data[8:8 + length]), where, HEADER_LIMIT)
    if not isinstance(header, dict):
        raise ModelFileError("the header of the tensor file is not an object", where=where)
    return header, data[8 + length:]


def _array(body: memoryview, dtype: str, shape: tuple[int, ...], begin: int, end: int) -> np.ndarray:
    array = np.frombuffer(body[begin:end], _READ[dtype]).reshape(shape)
    if dtype == "BF16":
        array = (array.astype(np.uint32) << 16).view(np.float32)
    array.flags.writeable = False
    return array


def _entry(name: str, value: Any, where: str) -> tuple[str, str, tuple[int, ...], int, int]:
    """One tensor of the header, its types and its size checked; sizes are Python integers, which cannot overflow."""
    place = f"{where}, tensor {name[:80]!r}"
    if not (valid_name(name) or name.startswith(_PADDING)):
        raise ModelFileError("this is no name for a tensor", where=place)
    if not isinstance(value, dict) or set(value) != {"dtype", "shape", "data_offsets"}:
        raise ModelFileError("the entry of a tensor is malformed", where=place, expected="dtype, shape, data_offsets")
    dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _READ:
        raise ModelFileError("this dtype is not known", where=place, expected=", ".join(_READ), got=str(dtype)[:40])
    # a zero hides what stands beside it from the size in bytes, but not from NumPy
    if not _sizes(shape) or len(shape) > 16 or math.prod(max(size, 1) for size in shape) > 1 << 48:
        raise ModelFileError("this is not a shape", where=place, got=str(shape)[:80])
    if not _sizes(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise ModelFileError("these are not offsets", where=place, got=str(offsets)[:80])
    expected = math.prod(shape) * np.dtype(_READ[dtype]).itemsize
    if offsets[1] - offsets[0] != expected:
        raise ModelFileError("shape and size of a tensor disagree", where=place, expected=f"{expected:,} bytes",
                             got=f"{offsets[1] - offsets[0]:,}")
    return name, dtype, tuple(shape), offsets[0], offsets[1]


def _sizes(values: Any) -> bool:
    return isinstance(values, list) and all(type(value) is int and 0 <= value < 1 << 62 for value in values)


def _check_tiling(entries: Iterable[tuple[str, str, tuple[int, ...], int, int]], size: int, where: str) -> None:
    """The tensors must cover the data exactly: no overlap, no hole, no end beyond the file."""
    reached = 0
    for name, _, _, begin, end in sorted(entries, key=lambda entry: entry[3:]):
        if begin != reached:
            raise ModelFileError("tensors overlap or leave a hole", where=f"{where}, tensor {name[:80]!r}",
                                 expected=f"a beginning at byte {reached:,}", got=f"{begin:,}")
        reached = end
    if reached != size:
        raise ModelFileError("the tensors do not fill the file", where=where, expected=f"{reached:,} bytes of data",
                             got=f"{size:,}")
