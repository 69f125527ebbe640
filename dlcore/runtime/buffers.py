"""Memory: aligned buffers, dtypes, and the guard zones of the debug mode."""
from __future__ import annotations

import os
import weakref
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from dlcore.errors import DataError, ShapeError

if TYPE_CHECKING:
    from dlcore.runtime.program import Program

ALIGN = 64
GUARD = 4096                # bytes before and behind each buffer in debug mode
PATTERN = 0xA5
DTYPES: dict[str, np.dtype] = {
    "f32": np.dtype(np.float32), "f64": np.dtype(np.float64), "bf16": np.dtype(np.uint16),
    "i8": np.dtype(np.int8), "u8": np.dtype(np.uint8), "i32": np.dtype(np.int32), "i64": np.dtype(np.int64)}

_guarded: dict[int, tuple[weakref.ref, int, int]] = {}     # id of the memory -> it, and where the buffer lies in it


def debug_level() -> int:
    """`DLCORE_DEBUG`: 0 off; 1 guard zones, poison, checked inputs; 2 also looks after every single call."""
    text = os.environ.get("DLCORE_DEBUG", "").strip()
    return int(text) if text.isdigit() else 0


def allocate(size: int) -> np.ndarray:
    """A buffer of `size` zero bytes (u8), aligned to 64; under `DLCORE_DEBUG` between two guard zones."""
    if debug_level():
        return _allocate_guarded(size)
    raw = np.zeros(size + ALIGN, np.uint8)
    start = -address_of(raw) % ALIGN
    return raw[start:start + size]


def return_freed() -> None:
    """Returns to the system what the C library keeps of memory that was freed: after large arrays up to 64 MB (glibc's; other
    libraries lack the function, and nothing is done)."""
    import ctypes
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(ctypes.c_size_t(0))


def _allocate_guarded(size: int) -> np.ndarray:
    raw = np.full(size + 2 * GUARD + ALIGN, PATTERN, np.uint8)
    start = GUARD + -(address_of(raw) + GUARD) % ALIGN
    buffer = raw[start:start + size]
    buffer[:] = 0
    key = id(raw)
    _guarded[key] = weakref.ref(raw, lambda _: _guarded.pop(key, None)), start, start + size
    return buffer


def guards(buffer: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """The guard zones before and behind the buffer that this array is, or views; None where it has none."""
    base = buffer.base
    while isinstance(base, np.ndarray) and id(base) not in _guarded:
        base = base.base
    if not isinstance(base, np.ndarray):
        return None
    _, start, end = _guarded[id(base)]
    return base[:start], base[end:]


def damage(buffer: np.ndarray) -> str:
    """Where the guard zones of a buffer were written: '' if nowhere, else 'before' or 'behind' with the distance."""
    zones = guards(buffer)
    if zones is None:
        return ""
    for zone, name in zip(zones, ("before", "behind"), strict=True):
        hit = np.flatnonzero(zone != PATTERN)
        if len(hit):
            near = len(zone) - int(hit[-1]) if name == "before" else int(hit[0])
            return f"{len(hit)} bytes {near} bytes {name} its {'beginning' if name == 'before' else 'end'}"
    return ""


def mend(buffer: np.ndarray) -> None:
    """Writes the pattern into the guard zones again."""
    for zone in guards(buffer) or ():
        zone[:] = PATTERN


def address_of(array: np.ndarray) -> int:
    return array.__array_interface__["data"][0]


def collect(program: Program, given: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The program's buffers as bytes: the caller's where given, else new ones.  The views keep the arrays alive."""
    buffers = {}
    for name, size in program.sizes.items():
        if name in given:
            buffers[name] = as_bytes(name, given[name], size)
        elif name.startswith("data/"):
            raise DataError(f"the data set {name[5:]!r} is missing", where=f"bind({{{name!r}: array}})",
                            expected=f"{size} bytes", hint="data sets are bound to the caller's arrays, never made")
        else:
            buffers[name] = allocate(size)
    return buffers


def as_bytes(name: str, array: Any, size: int) -> np.ndarray:
    """The memory of `array`, without a copy.  Raises ShapeError where it cannot serve as this buffer."""
    where = f"buffer {name}"
    if not isinstance(array, np.ndarray):
        raise ShapeError("a buffer must be a NumPy array", where=where, got=type(array).__name__)
    if not array.flags.c_contiguous or array.dtype.hasobject or not array.dtype.isnative:
        raise ShapeError("a buffer must lie in memory without gaps, in rows, in native byte order", where=where,
                         got=f"{array.dtype} with strides {array.strides}", hint="pass np.ascontiguousarray(array)")
    if array.nbytes < size:
        raise ShapeError("a buffer is too small", where=where, expected=f"{size} bytes", got=f"{array.nbytes} bytes")
    if not name.startswith("data/") and size and address_of(array) % ALIGN:
        raise ShapeError("a buffer is not aligned", where=where, expected=f"a multiple of {ALIGN}",
                         got=hex(address_of(array)), hint="make it with dlcore.runtime.allocate(bytes)")
    return array.reshape(-1).view(np.uint8)


def put_input(name: str, view: np.ndarray, value: Any) -> None:
    """Copies any array into an input, converting where nothing is lost but precision; else raises ShapeError."""
    array = np.asarray(value)
    expected, got = f"{view.dtype}{list(view.shape)}", f"{array.dtype}{list(array.shape)}"
    if array.shape != view.shape:
        raise ShapeError("an input has the wrong shape", where=name, expected=expected, got=got)
    if not _convertible(array, view.dtype):
        raise ShapeError("an input has the wrong dtype", where=name, expected=expected, got=got,
                         hint=f"convert it yourself: array.astype(np.{view.dtype})")
    np.copyto(view, array, casting="unsafe")


def _convertible(array: np.ndarray, dtype: np.dtype) -> bool:
    """Numbers to floats always; to integers only whole numbers that fit."""
    if array.dtype.kind not in "biuf" or dtype.kind == "f":
        return array.dtype.kind in "biuf"
    if array.dtype.kind == "f":
        return False
    limits = np.iinfo(dtype)
    return not array.size or (int(array.min()) >= limits.min and int(array.max()) <= limits.max)
