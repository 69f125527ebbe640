"""The gate: what an object may ask of others.  Kernels never allocate, and call nothing but libm and three functions of
libc."""

from __future__ import annotations

import struct

from dlcore.errors import DlcoreError

_LIBM = (
    "acos acosh asin asinh atan atan2 atanh cbrt ceil copysign cos cosh erf erfc exp exp2 expm1 fabs floor "
    "fma fmax fmin fmod hypot ldexp lgamma log log10 log1p log2 nearbyint pow rint round sin sinh sqrt "
    "tan tanh tgamma trunc"
).split()
ALLOWED = frozenset(_LIBM) | {f"{name}f" for name in _LIBM} | {"memcpy", "memmove", "memset"}

_SYMBOL_TABLE, _UNDEFINED, _LOCAL = 2, 0, 0


class CompileError(DlcoreError):
    """A kernel, a room or a lowering that cannot be built."""

    code = "DL-K01"


def symbols(data: bytes) -> tuple[set[str], set[str]]:
    """The names that a 64-bit little-endian ELF object leaves undefined, and those that it shows to others."""
    if data[:6] != b"\x7fELF\x02\x01":
        raise CompileError("not a 64-bit little-endian ELF object", got=repr(data[:6]))
    (start,) = struct.unpack_from("<Q", data, 40)
    size, count = struct.unpack_from("<HH", data, 58)
    sections = [struct.unpack_from("<IIQQQQIIQQ", data, start + i * size) for i in range(count)]
    undefined, shown = set(), set()
    for _, kind, _, _, at, length, link, _, _, entry in sections:
        if kind != _SYMBOL_TABLE:
            continue
        names = sections[link][4]
        for place in range(at + entry, at + length, entry):
            name_at, info, _, section = struct.unpack_from("<IBBH", data, place)
            name = data[names + name_at : data.index(b"\0", names + name_at)].decode()
            if section == _UNDEFINED:
                undefined.add(name)
            elif info >> 4 != _LOCAL:
                shown.add(name)
    return undefined, shown


def check(data: bytes, entry: str) -> None:
    """CompileError where an object needs a symbol that is not allowed, or shows more than its entry."""
    undefined, shown = symbols(data)
    if refused := sorted(undefined - ALLOWED):
        raise CompileError(
            f"{entry} needs {', '.join(refused)}",
            expected="libm, memcpy, memmove, memset",
            hint="kernels do not allocate, raise or call other libraries",
        )
    if shown != {entry}:
        raise CompileError(f"{entry}: the object shows other symbols", expected=entry, got=", ".join(sorted(shown)))
