"""Expressions of a kernel in C99.  Every type is what Numba's typing rules say, and every conversion is written out."""

from __future__ import annotations

import ast
import operator
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
from numba import types
from numba.core.registry import cpu_target

from dlcore.compiler.c99_types import (
    AND,
    ATOM,
    BINARY,
    BITS,
    C_TYPES,
    CASTS,
    CLASSIFY,
    COMPARE,
    CONDITIONAL,
    LIBM,
    OR,
    PRODUCT,
    ROUNDED,
    SHIFT,
    SHORT,
    SUM,
    UNARY,
    Value,
    literal,
)
from dlcore.compiler.gate import CompileError
from dlcore.compiler.language import INTRINSICS, Function, Kernel

_MISSING = object()


class Library(Protocol):
    """Where functions come from: translated when they are first called."""

    def function(self, function: Function, arguments: tuple[Any, ...]) -> Any: ...
    def intrinsic(self, intrinsic: Any) -> str: ...
    def support(self, name: str, text: str) -> str: ...


def resolve(function: Any, arguments: tuple[Any, ...], where: str) -> Any:
    """The signature that Numba chooses."""
    found = cpu_target.typing_context.resolve_function_type(function, arguments, {})
    if found is None:
        raise CompileError(f"{where}: no {getattr(function, '__name__', function)} of {', '.join(map(str, arguments))}")
    return found


def unify(where: str, *kinds: Any) -> Any:
    kinds = tuple(plain(k) for k in kinds)
    found = kinds[0] if all(k == kinds[0] for k in kinds) else cpu_target.typing_context.unify_types(*kinds)
    if found is None:
        raise CompileError(f"{where}: {' and '.join(map(str, kinds))} have no common type")
    return found


def plain(kind: Any) -> Any:
    """int64 of the type of the literal 1."""
    return types.unliteral(kind)


def convert(value: Value, kind: Any) -> Value:
    """The value as another scalar type, by a cast only where C needs to be told."""
    if plain(value.type) == kind:
        return value
    if value.constant is not None and isinstance(kind, types.Float) and not isinstance(value.constant, np.floating):
        return literal(np.float32(value.constant) if kind == types.float32 else float(value.constant))
    if value.constant is not None and isinstance(kind, types.Integer) and isinstance(value.constant, (int, np.integer)):
        return replace(literal(int(value.constant)), type=kind)  # C widens it by itself
    if kind == types.boolean:
        return truth(value)
    return Value(f"({C_TYPES[kind]}){value.at(UNARY)}", kind, UNARY)


def truth(value: Value) -> Value:
    """The value as a condition."""
    if value.type == types.boolean:
        return value
    return Value(f"{value.at(SUM)} != 0", types.boolean, COMPARE[ast.NotEq][2])


class Expressions:
    """Translates expressions of one function: `variables` are its locals, `scope` the values of other names."""

    def __init__(self, name: str, library: Library, scope: dict[str, Any]) -> None:
        self.name, self.library, self.scope = name, library, scope
        self.variables: dict[str, Value] = {}
        self.shapes_read: set[str] = set()

    def fail(self, node: ast.AST, message: str) -> CompileError:
        return CompileError(
            f"{self.name}, line {getattr(node, 'lineno', 0)}: {message}",
            where=ast.unparse(node),
            hint="kernels keep to the subset that dlcore/compiler/language.py names",
        )

    def where(self, node: ast.AST) -> str:
        return f"{self.name}: {ast.unparse(node)}"

    # ---- what Python knows
    # --------------------------------------------------------------------------------------------
    def static(self, node: ast.expr) -> Any:
        """The value of an expression that names no local: a constant, a function, a module; else `_MISSING`."""
        if isinstance(node, ast.Constant):
            return node.value
        if isinstance(node, ast.Name):
            if node.id in self.variables:
                return _MISSING
            builtin = __builtins__ if isinstance(__builtins__, dict) else vars(__builtins__)
            return self.scope.get(node.id, builtin.get(node.id, _MISSING))
        if isinstance(node, ast.Attribute):
            base = self.static(node.value)
            return _MISSING if base is _MISSING else getattr(base, node.attr, _MISSING)
        if isinstance(node, (ast.UnaryOp, ast.BinOp)) or isinstance(node, ast.Call) and self.static(node.func) in CASTS:
            parts = [n for n in ast.iter_child_nodes(node) if isinstance(n, ast.expr)]
            if all(self._known(n) for n in parts):
                names = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
                with np.errstate(all="ignore"):
                    return eval(
                        compile(ast.Expression(node), self.name, "eval"), {n: self.static(ast.Name(n)) for n in names}
                    )
        return _MISSING

    def _known(self, node: ast.expr) -> bool:
        value = self.static(node)
        return value is not _MISSING

    # ---- expressions
    # --------------------------------------------------------------------------------------------------
    def expression(self, node: ast.expr) -> Value:
        constant = self.static(node)
        if isinstance(constant, (bool, int, float, np.number, np.bool_)):
            return literal(constant)
        method = getattr(self, f"on_{type(node).__name__.lower()}", None)
        if method is None:
            raise self.fail(node, f"{type(node).__name__} is not in the language")
        return method(node)

    def condition(self, node: ast.expr) -> Value:
        return truth(self.expression(node))

    def on_name(self, node: ast.Name) -> Value:
        if node.id not in self.variables:
            raise self.fail(node, f"{node.id!r} is read before it has a value, or is no number")
        return self.variables[node.id]

    def on_attribute(self, node: ast.Attribute) -> Value:
        array = self.expression(node.value)
        if node.attr == "size" and array.shape:
            text = " * ".join(self.extent(array, axis).at(PRODUCT) for axis in range(len(array.shape)))
            return Value(text, types.int64, PRODUCT if len(array.shape) > 1 else ATOM)
        if node.attr == "ndim":
            return literal(len(array.shape))
        raise self.fail(node, f"no attribute {node.attr!r}")

    def extent(self, array: Value, axis: int) -> Value:
        self.shapes_read.add(array.shape[axis])
        return Value(array.shape[axis], types.int64, ATOM if array.shape[axis].isidentifier() else SUM)

    def on_unaryop(self, node: ast.UnaryOp) -> Value:
        if isinstance(node.op, ast.Not):
            return Value(f"!{self.condition(node.operand).at(UNARY)}", types.boolean, UNARY)
        operand = self.expression(node.operand)
        sign, function = {ast.USub: ("-", "neg"), ast.Invert: ("~", "invert"), ast.UAdd: ("+", "pos")}[type(node.op)]
        signature = resolve(getattr(operator, function), (operand.type,), self.where(node))
        operand = convert(operand, plain(signature.args[0]))
        text = operand.at(ATOM) if operand.text.startswith("-") else operand.at(UNARY)
        return self.narrowed(Value(sign + text, plain(signature.return_type), UNARY))

    def narrowed(self, value: Value) -> Value:
        """C computes small integers as int: cut back."""
        if value.type in (types.int8, types.uint8, types.int16, types.uint16):
            return Value(f"({C_TYPES[value.type]}){value.at(ATOM)}", value.type, UNARY)
        return value

    def on_binop(self, node: ast.BinOp) -> Value:
        return self.binary(node, type(node.op), self.expression(node.left), self.expression(node.right))

    def binary(self, node: ast.AST, kind: type[ast.operator], left: Value, right: Value) -> Value:
        if kind not in BINARY:
            raise self.fail(node, f"operator {kind.__name__} is not in the language")
        if kind in (ast.FloorDiv, ast.Mod) and any(isinstance(plain(v.type), types.Float) for v in (left, right)):
            raise self.fail(node, "// and % are for integers")
        function, sign, level = BINARY[kind]
        signature = resolve(function, (left.type, right.type), self.where(node))
        left, right = (convert(v, plain(k)) for v, k in zip((left, right), signature.args, strict=True))
        result = plain(signature.return_type)
        if kind is ast.Pow:
            return self.power(node, left, right, result)
        if kind in (ast.FloorDiv, ast.Mod):
            return self.divided(node, kind, left, right, result)
        if level == SHIFT or level == BITS:
            return self.bits(kind, sign, level, left, right, result)
        right_text = right.at(level + 1)
        if right_text.startswith("-"):
            right_text = f"({right_text})"
        return self.narrowed(Value(f"{left.at(level)} {sign} {right_text}", result, level))

    def bits(self, kind: type[ast.operator], sign: str, level: int, left: Value, right: Value, result: Any) -> Value:
        if kind is ast.LShift and result.signed:  # of a negative number: C99 leaves it open
            wide = C_TYPES[result]
            return Value(f"({wide})((u{wide}){left.at(UNARY)} << {right.at(ATOM)})", result, UNARY)
        return self.narrowed(Value(f"{left.at(ATOM)} {sign} {right.at(ATOM)}", result, level))

    def power(self, node: ast.AST, base: Value, exponent: Value, result: Any) -> Value:
        if isinstance(exponent.constant, int) and 1 < exponent.constant < 5 and base.text.isidentifier():
            base = convert(base, result)
            return Value(" * ".join([base.at(PRODUCT)] * exponent.constant), result, PRODUCT)
        if not isinstance(result, types.Float):
            raise self.fail(node, "a power of integers")
        return self.libm("pow", [convert(base, result), convert(exponent, result)], result)

    def divided(self, node: ast.AST, kind: type[ast.operator], left: Value, right: Value, result: Any) -> Value:
        """Python rounds quotients down, C towards zero."""
        sign = BINARY[kind][1]
        if not result.signed or isinstance(left.constant, int) and isinstance(right.constant, int):
            return Value(f"{left.at(PRODUCT)} {sign} {right.at(UNARY)}", result, PRODUCT)
        wide, short = C_TYPES[result], SHORT[result]
        body = (
            "a / b - ((a % b != 0) & ((a % b < 0) != (b < 0)))"
            if kind is ast.FloorDiv
            else "a % b + (((a % b != 0) & ((a % b < 0) != (b < 0))) ? b : 0)"
        )
        name = f"dl_{'quotient' if kind is ast.FloorDiv else 'remainder'}_{short}"
        self.library.support(name, f"static inline {wide} {name}({wide} a, {wide} b)\n{{\n    return {body};\n}}\n")
        return Value(f"{name}({left.text}, {right.text})", result)

    def on_boolop(self, node: ast.BoolOp) -> Value:
        sign, level = ("&&", AND) if isinstance(node.op, ast.And) else ("||", OR)
        parts = [
            self.condition(v) for v in node.values
        ]  # `and` of numbers has their value: only its truth is asked for
        bracketed = [f"({p.text})" if p.level in (AND, OR) else p.at(level + 1) for p in parts]
        return Value(f" {sign} ".join(bracketed), types.boolean, level)

    def on_compare(self, node: ast.Compare) -> Value:
        operands = [self.expression(n) for n in (node.left, *node.comparators)]
        parts = [self.compared(node, op, a, b) for op, a, b in zip(node.ops, operands[:-1], operands[1:], strict=True)]
        return parts[0] if len(parts) == 1 else Value(" && ".join(p.at(AND + 1) for p in parts), types.boolean, AND)

    def compared(self, node: ast.AST, op: ast.cmpop, left: Value, right: Value) -> Value:
        if type(op) not in COMPARE:
            raise self.fail(node, f"{type(op).__name__} is not in the language")
        function, sign, level = COMPARE[type(op)]
        signature = resolve(function, (left.type, right.type), self.where(node))
        left, right = (convert(v, plain(k)) for v, k in zip((left, right), signature.args, strict=True))
        return Value(f"{left.at(SUM)} {sign} {right.at(SUM)}", types.boolean, level)

    def on_ifexp(self, node: ast.IfExp) -> Value:
        test, yes, no = self.condition(node.test), self.expression(node.body), self.expression(node.orelse)
        kind = unify(self.where(node), yes.type, no.type)
        yes, no = convert(yes, kind), convert(no, kind)
        return Value(
            f"{test.at(CONDITIONAL + 1)} ? {yes.at(CONDITIONAL + 1)} : {no.at(CONDITIONAL)}", kind, CONDITIONAL
        )

    # ---- arrays
    # -------------------------------------------------------------------------------------------------------
    def on_subscript(self, node: ast.Subscript) -> Value:
        if isinstance(node.value, ast.Attribute) and node.value.attr == "shape":
            axis = self.static(node.slice)
            if not isinstance(axis, int):
                raise self.fail(node, "an axis that is no number")
            array = self.expression(node.value.value)
            return self.extent(array, axis % len(array.shape))
        return self.element(node)

    def element(self, node: ast.Subscript) -> Value:
        """x[i, j], or the rows that x[i] and x[a:b] are."""
        array = self.expression(node.value)
        if not array.shape:
            raise self.fail(node, "only arrays are indexed")
        indices = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        rank = len(array.shape)
        if isinstance(indices[0], ast.Slice):
            return self.rows(node, array, indices)
        at = self.offset(node, array, [self.expression(i) for i in indices])
        if len(indices) == rank:
            return Value(f"{array.at(ATOM)}[{at.text}]", array.type.dtype)
        rest = array.shape[len(indices) :]
        return Value(
            f"{array.at(SUM)} + {at.at(SUM + 1)}", types.Array(array.type.dtype, len(rest), "C"), SUM, shape=rest
        )

    def offset(self, node: ast.AST, array: Value, indices: list[Value]) -> Value:
        """Elements from the beginning of the array to the first with these indices."""
        if len(indices) > len(array.shape):
            raise self.fail(node, "too many indices")
        at = Value("0", types.int64, constant=0)
        for axis in range(len(array.shape)):
            index = indices[axis] if axis < len(indices) else None
            if index is not None and not isinstance(plain(index.type), types.Integer):
                raise self.fail(node, "an index that is no integer")
            if at.constant != 0:
                at = Value(f"{at.at(PRODUCT)} * {self.extent(array, axis).at(UNARY)}", types.int64, PRODUCT)
            if index is not None and index.constant != 0:
                at = index if at.constant == 0 else Value(f"{at.at(SUM)} + {index.at(SUM + 1)}", types.int64, SUM)
        return at

    def rows(self, node: ast.AST, array: Value, indices: list[ast.expr]) -> Value:
        cut = indices[0]
        assert isinstance(cut, ast.Slice)
        if len(indices) > 1 or cut.step is not None:
            raise self.fail(node, "a slice other than x[a:b]")
        low = self.expression(cut.lower) if cut.lower else literal(0)
        high = self.expression(cut.upper) if cut.upper else self.extent(array, 0)
        length = high.text if low.constant == 0 else f"{high.at(SUM)} - {low.at(SUM + 1)}"
        at = self.offset(node, array, [low])
        text = array.text if at.constant == 0 else f"{array.at(SUM)} + {at.at(SUM + 1)}"
        return Value(text, array.type, ATOM if at.constant == 0 else SUM, shape=(length, *array.shape[1:]))

    # ---- calls
    # --------------------------------------------------------------------------------------------------------
    def on_call(self, node: ast.Call) -> Value:
        function = self.static(node.func)
        if node.keywords or function is _MISSING:
            raise self.fail(node, "a call of something that is not known here, or with keywords")
        own = isinstance(function, (Function, Kernel)) or self.is_intrinsic(function)
        if not own and not any(function in known for known in (CASTS, LIBM, ROUNDED, CLASSIFY, (min, max, len, abs))):
            raise self.fail(node, f"{getattr(function, '__name__', function)} has no counterpart in C")
        values = [self.expression(a) for a in node.args]
        if isinstance(function, (Function, Kernel)):
            return self.call_function(node, function, values)
        if own:
            return self.call_intrinsic(function, values)
        if function in CASTS:
            return convert(values[0], CASTS[function])
        if function in (min, max):
            return self.extreme(node, function, values)
        if function is len:
            return self.extent(values[0], 0)
        return self.call_libm(node, function, values)

    @staticmethod
    def is_intrinsic(function: Any) -> bool:
        try:
            return function in INTRINSICS
        except TypeError:
            return False

    def call_libm(self, node: ast.AST, function: Any, values: list[Value]) -> Value:
        kinds = tuple(v.type for v in values)
        if function in CLASSIFY:
            return Value(f"{CLASSIFY[function]}({values[0].text})", types.boolean)
        if function is abs:
            return self.absolute(node, values[0])
        name = LIBM.get(function) or ROUNDED[function]
        signature = resolve(function, kinds, self.where(node))
        values = [convert(v, plain(k)) for v, k in zip(values, signature.args, strict=True)]
        result = plain(signature.return_type)
        if function in ROUNDED:
            return convert(self.libm(name, values, values[0].type), result)
        return self.libm(name, values, result)

    def libm(self, name: str, values: list[Value], result: Any) -> Value:
        return Value(f"{name}{'f' if result == types.float32 else ''}({', '.join(v.text for v in values)})", result)

    def absolute(self, node: ast.AST, value: Value) -> Value:
        result = plain(resolve(abs, (value.type,), self.where(node)).return_type)
        if isinstance(result, types.Float):
            return self.libm("fabs", [convert(value, result)], result)
        wide, name = C_TYPES[result], f"dl_absolute_{SHORT[result]}"
        self.library.support(name, f"static inline {wide} {name}({wide} a)\n{{\n    return a < 0 ? -a : a;\n}}\n")
        return Value(f"{name}({convert(value, result).text})", result)

    def extreme(self, node: ast.AST, function: Any, values: list[Value]) -> Value:
        """min and max keep the first of equals, and a NaN that comes first, as Python's do."""
        if len(values) < 2:
            raise self.fail(node, "min and max of several numbers")
        kind = plain(resolve(function, tuple(v.type for v in values), self.where(node)).return_type)
        wide, sign, name = C_TYPES[kind], "<" if function is min else ">", f"dl_{function.__name__}_{SHORT[kind]}"
        self.library.support(
            name, f"static inline {wide} {name}({wide} a, {wide} b)\n{{\n    return b {sign} a ? b : a;\n}}\n"
        )
        result = convert(values[0], kind)
        for v in values[1:]:
            result = Value(f"{name}({result.text}, {convert(v, kind).text})", kind)
        return result

    def call_function(self, node: ast.AST, function: Any, values: list[Value]) -> Value:
        made = self.library.function(function, tuple(plain(v.type) for v in values))
        words = []
        for (name, kind, needed), value in zip(made.parameters, values, strict=True):
            words.append(value.text)
            if isinstance(kind, types.Array):
                words += [self.extent(value, axis).text for axis in needed]
                if name in made.written:
                    self.note_written(value)
        return Value(f"{made.name}({', '.join(words)})", made.result)

    def call_intrinsic(self, function: Any, values: list[Value]) -> Value:
        signature = function._defn(cpu_target.typing_context, *(v.type for v in values))[0]
        name = self.library.intrinsic(function)
        words = []
        for value, kind in zip(values, signature.args, strict=True):
            if isinstance(kind, types.Array):
                self.note_written(value)
                words.append(value.text)
            else:
                words.append(convert(value, plain(kind)).text)
        return Value(f"{name}({', '.join(words)})", plain(signature.return_type))

    def note_written(self, array: Value) -> None:
        """Somebody may write to this array: it cannot be const."""
        raise NotImplementedError
