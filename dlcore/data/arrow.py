"""Tables from any object that has `__arrow_c_stream__` (pyarrow, polars, pandas, duckdb, ...), read with ctypes alone.

The Arrow C data and C stream interfaces, https://arrow.apache.org/docs/format/CDataInterface.html: a schema is a tree of format
strings, an array a tree of buffers, and a stream hands out arrays until one is released.  Every structure that was handed out is
released once, also when reading fails.
"""

from __future__ import annotations

import ctypes
from ctypes import POINTER, Structure, c_char_p, c_int, c_int64, c_void_p
from typing import Any

import numpy as np

from dlcore.data.table import MISSING, Table
from dlcore.errors import DataError


class ArrowSchema(Structure):
    """struct ArrowSchema."""


class ArrowArray(Structure):
    """struct ArrowArray."""


class ArrowStream(Structure):
    """struct ArrowArrayStream."""


_RELEASE_SCHEMA = ctypes.CFUNCTYPE(None, POINTER(ArrowSchema))
_RELEASE_ARRAY = ctypes.CFUNCTYPE(None, POINTER(ArrowArray))
_RELEASE_STREAM = ctypes.CFUNCTYPE(None, POINTER(ArrowStream))
ArrowSchema._fields_ = [
    ("format", c_char_p),
    ("name", c_char_p),
    ("metadata", c_char_p),
    ("flags", c_int64),
    ("n_children", c_int64),
    ("children", POINTER(POINTER(ArrowSchema))),
    ("dictionary", POINTER(ArrowSchema)),
    ("release", _RELEASE_SCHEMA),
    ("private_data", c_void_p),
]
ArrowArray._fields_ = [
    ("length", c_int64),
    ("null_count", c_int64),
    ("offset", c_int64),
    ("n_buffers", c_int64),
    ("n_children", c_int64),
    ("buffers", POINTER(c_void_p)),
    ("children", POINTER(POINTER(ArrowArray))),
    ("dictionary", POINTER(ArrowArray)),
    ("release", _RELEASE_ARRAY),
    ("private_data", c_void_p),
]
ArrowStream._fields_ = [
    ("get_schema", ctypes.CFUNCTYPE(c_int, POINTER(ArrowStream), POINTER(ArrowSchema))),
    ("get_next", ctypes.CFUNCTYPE(c_int, POINTER(ArrowStream), POINTER(ArrowArray))),
    ("get_last_error", ctypes.CFUNCTYPE(c_void_p, POINTER(ArrowStream))),
    ("release", _RELEASE_STREAM),
    ("private_data", c_void_p),
]

_NUMBERS = {
    "c": "i1",
    "C": "u1",
    "s": "i2",
    "S": "u2",
    "i": "i4",
    "I": "u4",
    "l": "i8",
    "L": "u8",
    "e": "f2",
    "f": "f4",
    "g": "f8",
}
_PER_SECOND = {"s": 1, "m": 10**3, "u": 10**6, "n": 10**9}
_EXACT = 1 << 53


def from_stream(value: Any, source: str = "") -> Table:
    """The table of an object with `__arrow_c_stream__`.

    Numbers become float64 columns (whole numbers beyond 2^53 stay Python integers), text, truth values, dates and
    dictionaries lists of cells; nulls are missing.  DataError names the column of any other type."""
    capsule = value.__arrow_c_stream__()
    get = ctypes.pythonapi.PyCapsule_GetPointer
    get.restype, get.argtypes = c_void_p, [ctypes.py_object, c_char_p]
    stream = ctypes.cast(get(capsule, b"arrow_array_stream"), POINTER(ArrowStream))
    try:
        return _read(stream, source)
    finally:
        if stream.contents.release:
            stream.contents.release(stream)


def _read(stream: Any, source: str) -> Table:
    schema = ArrowSchema()
    _check(stream, stream.contents.get_schema(stream, ctypes.byref(schema)), source)
    try:
        if _text(schema.format) != "+s":
            raise DataError(
                "the Arrow stream is no table", where=source, expected="a struct of columns", got=_text(schema.format)
            )
        fields = [schema.children[i].contents for i in range(schema.n_children)]
        names = [_text(field.name) for field in fields]
        parts: list[list[Any]] = [[] for _ in fields]
        count = 0
        while True:
            array = ArrowArray()
            _check(stream, stream.contents.get_next(stream, ctypes.byref(array)), source)
            if not array.release:
                break
            try:
                for field, name, found, i in zip(fields, names, parts, range(len(fields)), strict=True):
                    child = array.children[i].contents
                    found.append(
                        _column(
                            field, child, array.offset + child.offset, array.length, f"{source} column {name!r}".strip()
                        )
                    )
                count += array.length
            finally:
                array.release(ctypes.byref(array))
    finally:
        schema.release(ctypes.byref(schema))
    if len(set(names)) != len(names):
        raise DataError("two columns have the same name", where=source, got=", ".join(names)[:200])
    columns = {name: _joined(found) for name, found in zip(names, parts, strict=True)}
    return Table(columns, range(1, count + 1), source, (f"{count:,} rows, {len(names)} columns of Arrow",))


def _check(stream: Any, code: int, source: str) -> None:
    if code:
        address = stream.contents.get_last_error(stream)
        text = _text(ctypes.string_at(address)) if address else ""
        raise DataError("the Arrow stream failed", where=source, got=text or f"error {code}")


def _text(value: bytes | None) -> str:
    return (value or b"").decode("utf-8", "replace")


def _joined(parts: list[Any]) -> Any:
    if parts and all(isinstance(part, np.ndarray) for part in parts):
        return np.concatenate(parts)
    return [cell for part in parts for cell in (_cells(part) if isinstance(part, np.ndarray) else part)]


def _cells(array: np.ndarray) -> list[Any]:
    return [None if np.isnan(v) else v for v in array.tolist()]


def _column(field: ArrowSchema, array: ArrowArray, offset: int, length: int, where: str) -> Any:
    """The cells offset .. offset + length of an array: float64, or a list."""
    format = _text(field.format)
    if field.dictionary:
        keys = _numbers(format, array, offset, length)
        inner = array.dictionary.contents
        values = _column(field.dictionary.contents, inner, inner.offset, inner.length, where)
        values = _cells(values) if isinstance(values, np.ndarray) else values
        return [
            values[k] if good else None
            for k, good in zip(keys.tolist(), _valid(array, offset, length).tolist(), strict=True)
        ]
    valid = _valid(array, offset, length)
    if format == "n":
        return [None] * length
    if format in _NUMBERS:
        return _as_numbers(_numbers(format, array, offset, length), valid)
    if format == "b":
        bits = _bits(array.buffers[1], offset, length)
        return [bool(bit) if good else None for bit, good in zip(bits, valid, strict=True)]
    if format in ("u", "U", "vu"):
        found = (
            _views(array, offset, length)
            if format == "vu"
            else _strings(array, offset, length, "i4" if format == "u" else "i8")
        )
        return [_cell(value) if good else None for value, good in zip(found, valid.tolist(), strict=True)]
    if format.startswith("t"):
        return _times(format, array, offset, length, valid, where)
    raise DataError(
        "a column has a type that cannot be read",
        where=where,
        got=f"Arrow format {format!r}",
        expected="numbers, text, truth values, dates or dictionaries of these",
    )


def _memory(address: int | None, dtype: str, count: int) -> np.ndarray:
    """A copy: the buffer is its owner's, and goes with it."""
    if not address or not count:
        return np.zeros(count, dtype)
    return np.frombuffer(ctypes.string_at(address, count * np.dtype(dtype).itemsize), dtype)


def _bits(address: int | None, offset: int, length: int) -> np.ndarray:
    data = _memory(address, "u1", (offset + length + 7) // 8)
    return np.unpackbits(data, bitorder="little")[offset : offset + length].astype(bool)


def _valid(array: ArrowArray, offset: int, length: int) -> np.ndarray:
    if array.null_count == 0 or not array.n_buffers or not array.buffers[0]:
        return np.ones(length, bool)
    return _bits(array.buffers[0], offset, length)


def _numbers(format: str, array: ArrowArray, offset: int, length: int) -> np.ndarray:
    dtype = _NUMBERS.get(format, "i8")
    return _memory(
        (array.buffers[1] or 0) + offset * np.dtype(dtype).itemsize if array.buffers[1] else None, dtype, length
    )


def _as_numbers(values: np.ndarray, valid: np.ndarray) -> Any:
    if (
        values.dtype.kind in "iu"
        and values.itemsize == 8
        and len(values)
        and (values.max() > _EXACT or values.min() < -_EXACT)
    ):
        return [v if good else None for v, good in zip(values.tolist(), valid.tolist(), strict=True)]
    return np.where(valid, values.astype(np.float64), np.nan)


def _strings(array: ArrowArray, offset: int, length: int, dtype: str) -> list[str]:
    at = _memory(
        (array.buffers[1] or 0) + offset * np.dtype(dtype).itemsize if array.buffers[1] else None, dtype, length + 1
    ).tolist()
    if not array.buffers[2]:
        return [""] * length
    data = ctypes.string_at(array.buffers[2] + at[0], at[-1] - at[0])
    return [
        data[begin - at[0] : end - at[0]].decode("utf-8", "replace") for begin, end in zip(at[:-1], at[1:], strict=True)
    ]


def _views(array: ArrowArray, offset: int, length: int) -> list[str]:
    """Strings of 16 bytes each: a length, and up to 12 bytes or a place in one of the further buffers."""
    found = []
    base = array.buffers[1]
    for i in range(offset, offset + length):
        head = ctypes.string_at(base + 16 * i, 16) if base else b"\0" * 16
        size = int.from_bytes(head[:4], "little")
        if size <= 12:
            found.append(head[4 : 4 + size].decode("utf-8", "replace"))
        else:
            buffer, place = int.from_bytes(head[8:12], "little"), int.from_bytes(head[12:16], "little")
            found.append(ctypes.string_at(array.buffers[2 + buffer] + place, size).decode("utf-8", "replace"))
    return found


def _cell(value: str) -> str | None:
    value = value.strip()
    return None if value in MISSING else value


def _times(format: str, array: ArrowArray, offset: int, length: int, valid: np.ndarray, where: str) -> list[Any]:
    """Dates and timestamps as ISO text; other times are refused."""
    if format in ("tdD", "tdm"):
        per_second, dtype = (None, "i4") if format == "tdD" else (1000, "i8")
    elif format[:2] == "ts" and format[2:3] in _PER_SECOND:
        per_second, dtype = _PER_SECOND[format[2]], "i8"
    else:
        raise DataError(
            "a column has a type that cannot be read",
            where=where,
            got=f"Arrow format {format!r}",
            expected="dates or timestamps",
        )
    code = {"i4": "i", "i8": "l"}[dtype]
    unit = "D" if per_second is None else {1: "s", 10**3: "ms", 10**6: "us", 10**9: "ns"}[per_second]
    stamps = _numbers(code, array, offset, length).astype("i8").astype(f"M8[{unit}]")
    texts = np.datetime_as_string(stamps.astype("M8[D]") if format.startswith("td") else stamps).tolist()
    return [text if good else None for text, good in zip(texts, valid.tolist(), strict=True)]
