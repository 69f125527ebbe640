"""C99 names of Numba's types, and what Python operators and functions are in C: the tables of the translation."""

from __future__ import annotations

import ast
import math
import operator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import types

from dlcore.compiler.gate import CompileError

C_TYPES: dict[Any, str] = {
    types.float32: "float",
    types.float64: "double",
    types.int8: "int8_t",
    types.uint8: "uint8_t",
    types.int16: "int16_t",
    types.uint16: "uint16_t",
    types.int32: "int32_t",
    types.uint32: "uint32_t",
    types.int64: "int64_t",
    types.uint64: "uint64_t",
    types.boolean: "int",
}
SHORT: dict[Any, str] = {
    types.float32: "f32",
    types.float64: "f64",
    types.int8: "i8",
    types.uint8: "u8",
    types.int16: "i16",
    types.uint16: "u16",
    types.int32: "i32",
    types.uint32: "u32",
    types.int64: "i64",
    types.uint64: "u64",
    types.boolean: "bool",
}
CASTS: dict[Any, Any] = {
    np.float32: types.float32,
    np.float64: types.float64,
    float: types.float64,
    np.int8: types.int8,
    np.uint8: types.uint8,
    np.int16: types.int16,
    np.uint16: types.uint16,
    np.int32: types.int32,
    np.uint32: types.uint32,
    np.int64: types.int64,
    np.uint64: types.uint64,
    np.bool_: types.boolean,
    bool: types.boolean,
    int: types.int64,
}

# C's precedence, higher binds tighter; operators of one level are kept apart by brackets where C's compilers warn.
ATOM, UNARY, PRODUCT, SUM, SHIFT, RELATION, EQUALITY, BITS, AND, OR, CONDITIONAL = range(15, 4, -1)

BINARY = {
    ast.Add: (operator.add, "+", SUM),
    ast.Sub: (operator.sub, "-", SUM),
    ast.Mult: (operator.mul, "*", PRODUCT),
    ast.Div: (operator.truediv, "/", PRODUCT),
    ast.FloorDiv: (operator.floordiv, "/", PRODUCT),
    ast.Mod: (operator.mod, "%", PRODUCT),
    ast.LShift: (operator.lshift, "<<", SHIFT),
    ast.RShift: (operator.rshift, ">>", SHIFT),
    ast.BitAnd: (operator.and_, "&", BITS),
    ast.BitOr: (operator.or_, "|", BITS),
    ast.BitXor: (operator.xor, "^", BITS),
    ast.Pow: (operator.pow, "", ATOM),
}
COMPARE = {
    ast.Lt: (operator.lt, "<", RELATION),
    ast.LtE: (operator.le, "<=", RELATION),
    ast.Gt: (operator.gt, ">", RELATION),
    ast.GtE: (operator.ge, ">=", RELATION),
    ast.Eq: (operator.eq, "==", EQUALITY),
    ast.NotEq: (operator.ne, "!=", EQUALITY),
}

# Functions of math and NumPy that libm has; an `f` is added for float.
_SAME = (
    "acos acosh asin asinh atan atanh cos cosh erf erfc exp expm1 log log10 log1p log2 sin sinh sqrt tan tanh copysign "
    "atan2 fmod hypot pow ldexp"
).split()
LIBM: dict[Any, str] = {getattr(math, n): n for n in _SAME}
LIBM |= {math.fabs: "fabs", math.gamma: "tgamma", math.lgamma: "lgamma", math.exp2: "exp2"}
LIBM |= {
    getattr(np, n): n
    for n in ("sqrt", "exp", "expm1", "log", "log1p", "log2", "sin", "cos", "tanh", "floor", "ceil", "fabs")
}
ROUNDED = {math.floor: "floor", math.ceil: "ceil", math.trunc: "trunc"}  # their result is an integer
CLASSIFY = {
    math.isnan: "isnan",
    math.isinf: "isinf",
    math.isfinite: "isfinite",
    np.isnan: "isnan",
    np.isinf: "isinf",
    np.isfinite: "isfinite",
}

RESERVED = frozenset(
    "auto break case char const continue default do double else enum extern float for goto if inline int long "
    "register restrict return short signed sizeof static struct switch typedef union unsigned void volatile while "
    "_Bool _Complex main "
    "NAN INFINITY NULL I j0 j1 jn y0 y1 yn gamma signgam index time rand".split()
) | frozenset(LIBM.values())


@dataclass(frozen=True)
class Value:
    """An expression in C: its text, its Numba type, how tightly it binds; `constant`: its value, if Python knows it.

    An array's text is a pointer; `shape` are the C texts of its extents."""

    text: str
    type: Any
    level: int = ATOM
    constant: Any = None
    shape: tuple[str, ...] = ()

    def at(self, level: int) -> str:
        """The text for a place that needs something that binds as tightly as `level`."""
        return self.text if self.level >= level else f"({self.text})"


def literal(constant: Any) -> Value:
    """A number that Python knows."""
    if isinstance(constant, (bool, np.bool_)):
        return Value(str(int(constant)), types.boolean, constant=constant)
    if isinstance(constant, int):
        return Value(
            _digits(constant),
            types.literal(constant) if constant < 2**63 else types.uint64,
            ATOM if constant >= 0 else UNARY,
            constant,
        )
    if isinstance(constant, np.integer):
        kind, number = CASTS[type(constant)], int(constant)
        text = _digits(number) if kind.signed else f"UINT{max(32, kind.bitwidth)}_C({number})"
        return Value(text, kind, ATOM if number >= 0 else UNARY, constant)
    if isinstance(constant, (float, np.floating)):
        return _float(constant)
    raise CompileError(f"a constant that C has no word for: {constant!r}")


def _digits(number: int) -> str:
    if number >= 2**63:
        return f"UINT64_C({number})"
    return str(number) if abs(number) < 2**31 else f"INT64_C({number})"


def _float(constant: Any) -> Value:
    kind, suffix = (types.float32, "f") if isinstance(constant, np.float32) else (types.float64, "")
    number = float(constant)
    if math.isnan(number):
        return Value("NAN" if suffix else "(double)NAN", kind, ATOM if suffix else UNARY, constant)
    if math.isinf(number):
        text = ("-" if number < 0 else "") + ("INFINITY" if suffix else "(double)INFINITY")
        return Value(text, kind, UNARY, constant)
    text = str(constant) if suffix else repr(number)
    if not any(c in text for c in ".e"):
        text += ".0"
    return Value(text + suffix, kind, UNARY if number < 0 or text.startswith("-") else ATOM, constant)
