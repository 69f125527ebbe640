"""Register-blocked tiles of a product of bytes, exact in 32 bits, by `vpdpbusd`: four steps of K in each 32 bits.

    c[i, j] = scales[j] * row_scales[i] * (offsets[i] + sum over k of a[i, k] b[k, j]) + bias[j]

`a` holds signed bytes, rows as they lie; a panel of `b` unsigned ones, four steps of K of each column side by side.  The
instruction multiplies unsigned by signed bytes, and the signed factor is the one that it reads from memory, for all columns.
Imported by the build alone.
"""
from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types

from dlcore.compiler.language import intrinsic
from dlcore.ops.matmul.tiles import I32, I64, Tile, Vectors, element_pointer

STEP = 4                            # of K, in one element of a vector

C_BODY = """
void {name}(int64_t depth, const int8_t *a, int64_t a_at, int64_t a_row, const uint8_t *b, int64_t b_at, float *c, int64_t c_at,
            int64_t ldc, int64_t rows, int64_t n, const float *row_scales, const int32_t *offsets, int64_t row, const float *scales,
            const float *bias, int64_t column, int64_t mode) {{
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < n; j++) {{
            int32_t sum = offsets[row + i];
            for (int64_t k = 0; k < 4 * depth; k++)
                sum += a[a_at + i * a_row + k] * b[b_at + k / 4 * {panel} + 4 * j + k % 4];
            float value = (float)sum * (row_scales[row + i] * scales[column + j]) + (mode & 2 ? bias[column + j] : 0.0f);
            value += mode & 1 ? c[c_at + i * ldc + j] : 0.0f;
            c[c_at + i * ldc + j] = mode & 4 && value < 0.0f ? 0.0f : value;
        }}
}}
"""


class ByteTile(Tile):
    """`depth` counts steps of four; an edge may have fewer rows and columns, but its panel is whole."""

    def __init__(self, context: Any, builder: Any, signature: Any, arguments: Any, rows: int, vectors: int, lanes: int,
                 edge: bool) -> None:
        self.b, self.rows, self.edge = builder, rows, edge
        (self.depth, a, a_at, self.a_row, b, b_at, c, c_at, self.ldc, self.valid, n, row_scales, offsets, row, scales, bias, column,
         self.mode) = arguments
        self.v = Vectors(builder, context.get_data_type(signature.args[6].dtype), lanes)
        places = ((1, a, a_at), (4, b, b_at), (6, c, c_at), (11, row_scales, row), (12, offsets, row), (14, scales, column),
                  (15, bias, column))
        self.a, self.panel, self.c, self.row_scales, self.offsets, self.scales, self.bias = (
            element_pointer(context, builder, signature.args[i], array, at) for i, array, at in places)
        self.a_col, self.b_row = ir.Constant(I64, STEP), ir.Constant(I64, STEP * vectors * lanes)
        self.columns = [j * lanes for j in range(vectors)]
        self.masks = [self.v.inside(builder.sub(n, ir.Constant(I64, j))) if edge else None for j in self.columns]
        self.whole = ir.VectorType(I32, lanes)

    def number(self, base: Any, i: int) -> Any:
        """Element i of the tile's rows; at an edge the last one for those that are not there."""
        at = ir.Constant(I64, i)
        if self.edge:
            last = self.b.sub(self.valid, ir.Constant(I64, 1))
            at = self.b.select(self.b.icmp_signed("<", at, last), at, last)
        return self.b.load(self.v.at(base, at))

    def multiply(self) -> list[Any]:
        sums = [self.v.splat(self.number(self.offsets, i), self.whole) for i in range(self.rows) for _ in self.columns]
        return self.steps(sums)

    def load_columns(self, panel: Any, column: int, mask: Any) -> Any:
        value = self.b.load(self.b.bitcast(self.v.at(panel, STEP * column), self.whole.as_pointer()))
        value.align = 1
        return value

    def load_factor(self, pointer: Any) -> Any:
        one = self.b.load(self.b.bitcast(pointer, I32.as_pointer()))
        one.align = 1
        return self.v.splat(one, self.whole)

    def product(self, factor: Any, columns: Any, sums: Any) -> Any:
        name = f"llvm.x86.avx512.vpdpbusd.{32 * self.v.lanes}"
        return self.b.call(self.v.declared(name, self.whole, *[self.whole] * 3), [sums, columns, factor])

    def write(self, sums: list[Any]) -> None:
        b, v = self.b, self.v
        scales = [v.load(v.at(self.scales, j), mask) for j, mask in zip(self.columns, self.masks)]
        bias = self.bias_or_zeros()
        values = []
        for i in range(self.rows):
            factor = v.splat(self.number(self.row_scales, i))
            for scale, constant, total in zip(scales, bias, sums[i * len(scales):]):
                values.append(v.multiply_add(b.sitofp(total, v.kind), b.fmul(factor, scale), constant))
        super().write(values)


def byte_tile(name: str, rows: int, vectors: int, lanes: int, edge: bool = False) -> Any:
    """An intrinsic name(depth, a, a_at, a_row, b, b_at, c, c_at, ldc, rows, n, row_scales, offsets, row, scales, bias, column,
    mode).

    rows x (vectors * lanes) sums of 4 * depth products; row, column: the tile's first in `row_scales` and `offsets`, in `scales`
    and `bias`.  mode and edges as in `matrix_tile`."""
    @intrinsic(c=C_BODY.format(name=name, panel=STEP * vectors * lanes), name=name)
    def tile(typing, depth, a, a_at, a_row, b, b_at, c, c_at, ldc, valid, n, row_scales, offsets, row, scales, bias, column, mode):
        i8 = types.int64
        signature = types.void(i8, a, i8, i8, b, i8, c, i8, i8, i8, i8, row_scales, offsets, i8, scales, bias, i8, i8)

        def generate(context, builder, signature, arguments):
            ByteTile(context, builder, signature, arguments, rows, vectors, lanes, edge).emit()
            return context.get_dummy_value()
        return signature, generate
    return tile
