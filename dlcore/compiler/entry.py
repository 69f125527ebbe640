"""The C entry of a kernel, made as LLVM IR around the function that Numba compiled:

    void dl_<name>(int64_t begin, int64_t end, const int64_t *dims, void **pointers, const Scalar *scalars)

dims      the spec's size symbols in order of first appearance, without the level's constants
pointers  its arrays in order; an absent `?` array is NULL and reaches the kernel with length 0
scalars   its scalars in order, in slots of 8 bytes (f32 in the first four, integers as i64; wide: f64), then one i64
per `+`
          output: does it add?

Arrays led by `over` are sliced to begin..end.  For "N in CHUNKS" the kernel is called for each chunk of begin..end with
its rows c * N // CHUNKS to (c + 1) * N // CHUNKS; its `begin` and `end` are these rows.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.np import arrayobj

from dlcore.compiler.language import Kernel
from dlcore.errors import SpecError
from dlcore.graph.spec import Item, Spec

# dtype of a spec -> element type in a kernel; bf16 is handled as its bits
ELEMENTS = {
    "f32": types.float32,
    "f64": types.float64,
    "bf16": types.uint16,
    "i8": types.int8,
    "u8": types.uint8,
    "i32": types.int32,
    "i64": types.int64,
}
INT64 = ir.IntType(64)
SLOT = 8  # bytes of a scalar


@dataclass(frozen=True)
class Signature:
    """What a kernel is called with: its spec for one choice of dtypes, and its parameters."""

    spec: Spec
    parameters: tuple[str, ...]
    bound: Mapping[str, str]
    constants: Mapping[str, int]
    wide: bool

    @classmethod
    def of(
        cls, kernel: Kernel, spec: Spec, bound: Mapping[str, str], constants: Mapping[str, int], wide: bool
    ) -> Signature:
        parameters = tuple(inspect.signature(kernel.python).parameters)
        known = [i.name for i in spec.items] + [f"add_{i.name}" for i in spec.added] + ["begin", "end", *spec.sizes]
        if unknown := [p for p in parameters if p not in known]:
            raise SpecError(
                f"kernel {kernel.name}: parameter {unknown[0]!r} is not in its spec",
                where=spec.text,
                expected="names and sizes of the spec, begin, end, add_<output>",
            )
        unused = [i.name for i in spec.items if i.kind != "read" and i.name not in parameters]
        unused += [f"add_{i.name}" for i in spec.added if f"add_{i.name}" not in parameters]
        if unused:
            raise SpecError(
                f"kernel {kernel.name} takes no {unused[0]!r}",
                where=spec.text,
                hint="every output is written; what a `+` output adds to is told by add_<output>",
            )
        return cls(spec, parameters, bound, constants, wide)

    def part(self, item: Item) -> bool:
        """Does the kernel get one row of this array, the part of a chunk?"""
        return bool(self.spec.chunked) and item.sizes[0] == "CHUNKS"

    def rank(self, item: Item) -> int:
        """Axes that reach the kernel.  The part of a chunk has one less, but at least one."""
        return max(1, len(item.sizes) - 1) if self.part(item) else len(item.sizes)

    def element(self, item: Item) -> Any:
        return ELEMENTS[self.spec.dtype(item, self.bound, self.wide)]

    def item(self, name: str) -> Item | None:
        return next((i for i in self.spec.items if i.name == name), None)

    def type(self, parameter: str) -> Any:
        """The Numba type of a parameter."""
        if item := self.item(parameter):
            return self.element(item) if item.scalar else types.Array(self.element(item), self.rank(item), "C")
        return types.boolean if parameter.startswith("add_") else types.int64

    def types(self) -> tuple[Any, ...]:
        return tuple(self.type(p) for p in self.parameters)


def build(context: Any, library: Any, kernel: Any, signature: Signature, symbol: str) -> ir.Module:
    """The module with the entry `symbol`, which calls the compiled `kernel` (Numba's function descriptor)."""
    module = library.create_ir_module(symbol)
    pointer = cgutils.voidptr_t
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [INT64, INT64, pointer, pointer, pointer]), symbol)
    builder = ir.IRBuilder(function.append_basic_block())
    made = _Entry(context, builder, signature, *function.args)
    target = context.declare_function(module, kernel)
    if signature.spec.chunked:
        made.each_chunk(target)
    else:
        made.call(target, made.begin, made.end)
    builder.ret_void()
    return module


class _Entry:
    """Writes the body of one entry."""

    def __init__(
        self,
        context: Any,
        builder: Any,
        signature: Signature,
        begin: Any,
        end: Any,
        dims: Any,
        pointers: Any,
        scalars: Any,
    ) -> None:
        self.context, self.builder, self.signature, self.spec = context, builder, signature, signature.spec
        self.begin, self.end, self.pointers, self.scalars = begin, end, pointers, scalars
        self.sizes = {s: ir.Constant(INT64, n) for s, n in signature.constants.items()}
        for i, symbol in enumerate(self.spec.symbols(signature.constants)):
            self.sizes[symbol] = self.load(dims, i, INT64)
        if self.spec.chunked and "CHUNKS" not in self.sizes:
            raise SpecError(
                f"{self.spec.name}: over={self.spec.over!r}, but no array shows CHUNKS", where=self.spec.text
            )

    def load(self, base: Any, slot: int, kind: ir.Type) -> Any:
        """Slot `slot` of an array of 8-byte slots."""
        place = self.builder.gep(base, [ir.Constant(INT64, slot * SLOT)], source_etype=ir.IntType(8))
        return self.builder.load(self.builder.bitcast(place, kind.as_pointer()), typ=kind)

    def size(self, expression: str) -> Any:
        """The value of a size expression of the spec."""
        return self.evaluate(ast.parse(expression, mode="eval").body)

    def evaluate(self, node: ast.expr) -> Any:
        b = self.builder
        if isinstance(node, ast.Constant):
            return ir.Constant(INT64, node.value)
        if isinstance(node, ast.Name):
            return self.sizes[node.id]
        if isinstance(node, ast.Call):  # ceil(a, b)
            over, by = (self.evaluate(a) for a in node.args)
            return b.sdiv(b.sub(b.add(over, by), ir.Constant(INT64, 1)), by)
        assert isinstance(node, ast.BinOp), ast.dump(node)
        make = {ast.Add: b.add, ast.Sub: b.sub, ast.Mult: b.mul}[type(node.op)]
        return make(self.evaluate(node.left), self.evaluate(node.right))

    def each_chunk(self, target: Any) -> None:
        rows, parts, b = self.sizes[self.spec.chunked], self.sizes["CHUNKS"], self.builder
        with cgutils.for_range_slice(b, self.begin, self.end, ir.Constant(INT64, 1), inc=True) as (chunk, _):
            following = b.add(chunk, ir.Constant(INT64, 1))
            self.call(target, b.sdiv(b.mul(chunk, rows), parts), b.sdiv(b.mul(following, rows), parts), chunk)

    def call(self, target: Any, begin: Any, end: Any, chunk: Any = None) -> None:
        """Calls the kernel with its arrays cut to the rows begin..end, or to the part of a chunk."""
        values = [self.value(p, begin, end, chunk) for p in self.signature.parameters]
        self.context.call_conv.call_function(self.builder, target, types.none, self.signature.types(), values)

    def value(self, parameter: str, begin: Any, end: Any, chunk: Any) -> Any:
        item = self.signature.item(parameter)
        if item is not None:
            return self.scalar(item) if item.scalar else self.array(item, begin, end, chunk)
        if parameter.startswith("add_"):
            place = len(self.spec.scalars) + [f"add_{i.name}" for i in self.spec.added].index(parameter)
            return self.builder.icmp_signed("!=", self.load(self.scalars, place, INT64), ir.Constant(INT64, 0))
        return {"begin": begin, "end": end}.get(parameter) or self.sizes[parameter]

    def scalar(self, item: Item) -> Any:
        slot, kind = self.spec.scalars.index(item), self.signature.element(item)
        if isinstance(kind, types.Float):
            return self.load(self.scalars, slot, self.context.get_value_type(kind))
        return self.builder.trunc(self.load(self.scalars, slot, INT64), self.context.get_value_type(kind))

    def array(self, item: Item, begin: Any, end: Any, chunk: Any) -> Any:
        """Numba's array structure over the memory of an array."""
        b, kind = self.builder, types.Array(self.signature.element(item), self.signature.rank(item), "C")
        element = self.context.get_data_type(kind.dtype)
        width = self.context.get_abi_sizeof(element)
        data = self.load(self.pointers, self.spec.arrays.index(item), cgutils.voidptr_t)
        shape = [self.size(s) for s in item.sizes]
        if item.optional:
            absent = b.icmp_unsigned("==", b.ptrtoint(data, INT64), ir.Constant(INT64, 0))
            shape[0] = b.select(absent, ir.Constant(INT64, 0), shape[0])
        first = None
        if self.signature.part(item):
            first, shape = chunk, shape[1:] or [ir.Constant(INT64, 1)]
            row = shape if len(item.sizes) > 1 else []
        elif self.spec.sliced and item.sizes[0] == self.spec.sliced:
            length = b.sub(end, begin)
            first, row = begin, shape[1:]
            shape = [b.select(absent, shape[0], length) if item.optional else length, *shape[1:]]
        if first is not None:
            offset = self.product([first, *row], width)
            data = b.gep(data, [offset], source_etype=ir.IntType(8))
        array = arrayobj.make_array(kind)(self.context, b)
        strides = [self.product(shape[axis + 1 :], width) for axis in range(len(shape))]
        arrayobj.populate_array(array, b.bitcast(data, element.as_pointer()), shape, strides, width, None)
        return array._getvalue()

    def product(self, factors: list[Any], width: int) -> Any:
        total = ir.Constant(INT64, width)
        for f in factors:
            total = self.builder.mul(total, f, flags=["nsw"])
        return total
