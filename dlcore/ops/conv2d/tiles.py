"""Tiles of a convolution: those of a matrix product whose K is walked in pieces, `outer` pieces of `depth` steps each.

    c[i, j] (+)= sum over o, k of a[a_at + o * a_jump + i * a_row + k * a_col] * b[b_at + o * b_jump + k * b_row + j]

A piece of a filter's row of taps lies in one piece of a packed image row, so no patch is ever copied out.
"""
from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types

from dlcore.compiler.language import intrinsic
from dlcore.ops.matmul.tiles import I64, PairTile, Tile

C_BODY = """
void {name}(int64_t depth, const float *a, int64_t a_at, int64_t a_row, int64_t a_col, const float *b, int64_t b_at,
            int64_t b_row, float *c, int64_t c_at, int64_t ldc, int64_t rows, int64_t n, const float *bias,
            int64_t bias_at, int64_t mode, int64_t outer, int64_t a_jump, int64_t b_jump) {{
    for (int64_t i = 0; i < rows; i++) {{
        float sums[{columns}];
        for (int64_t j = 0; j < n; j++) sums[j] = mode & 2 ? bias[bias_at + j] : 0.0f;
        for (int64_t o = 0; o < outer; o++)
            for (int64_t k = 0; k < depth; k++) {{
                float factor = a[a_at + o * a_jump + i * a_row + k * a_col];
                for (int64_t j = 0; j < n; j++) sums[j] += factor * b[b_at + o * b_jump + k * b_row + j];
            }}
        for (int64_t j = 0; j < n; j++) {{
            float sum = sums[j] + (mode & 1 ? c[c_at + i * ldc + j] : 0.0f);
            c[c_at + i * ldc + j] = mode & 4 && sum < 0.0f ? 0.0f : sum;
        }}
    }}
}}
"""


class PieceTile(Tile):
    """A tile whose sums run over `outer` pieces of K; outer >= 1, depth >= 1."""

    def __init__(self, context: Any, builder: Any, signature: Any, arguments: Any, rows: int, vectors: int, lanes: int,
                 edge: bool) -> None:
        super().__init__(context, builder, signature, arguments[:16], rows, vectors, lanes, edge)
        self.outer, self.a_jump, self.b_jump = arguments[16:]

    def multiply(self) -> list[Any]:
        """The loops over pieces and K; returns the sums, row by row."""
        b, v, starts, first = self.b, self.v, self.row_starts(), self.first_sums()
        zero, one = ir.Constant(I64, 0), ir.Constant(I64, 1)
        before, head, loop, tail, after = b.block, *(b.append_basic_block(n) for n in ("o", "k", "next", "write"))
        b.branch(head)
        b.position_at_end(head)
        o = b.phi(I64)
        outside = [b.phi(v.kind) for _ in range(self.rows * len(self.columns))]
        shift, panel = b.mul(o, self.a_jump), v.at(self.panel, b.mul(o, self.b_jump))
        b.branch(loop)
        b.position_at_end(loop)
        k, sums = b.phi(I64), [b.phi(v.kind) for _ in outside]
        at, column, new = v.at(panel, b.mul(k, self.b_row)), b.add(shift, b.mul(k, self.a_col)), []
        loaded = [self.load_columns(at, j, mask) for j, mask in zip(self.columns, self.masks, strict=True)]
        for i, start in enumerate(starts):
            factor = self.load_factor(v.at(start, column))
            new += [self.product(factor, x, sums[i * len(loaded) + j]) for j, x in enumerate(loaded)]
        following = b.add(k, one)
        b.cbranch(b.icmp_signed("<", following, self.depth), loop, tail)
        b.position_at_end(tail)
        later = b.add(o, one)
        b.cbranch(b.icmp_signed("<", later, self.outer), head, after)
        for phi, start, last in [(k, zero, following), *zip(sums, outside, new, strict=True)]:
            phi.add_incoming(start, head)
            phi.add_incoming(last, loop)
        for phi, start, last in [(o, zero, later), *zip(outside, first * self.rows, new, strict=True)]:
            phi.add_incoming(start, before)
            phi.add_incoming(last, tail)
        b.position_at_end(after)
        return new


class PiecePairTile(PieceTile, PairTile):
    """Of bf16: see `PairTile`."""


def piece_tile(name: str, rows: int, vectors: int, lanes: int, edge: bool = False) -> Any:
    """An intrinsic with the parameters of `matrix_tile`, then outer, a_jump, b_jump; of pairs where `a` and `b` are bf16."""
    @intrinsic(c=C_BODY.format(name=name, columns=vectors * lanes), name=name)
    def tile(typing, depth, a, a_at, a_row, a_col, b, b_at, b_row, c, c_at, ldc, valid, n, bias, bias_at, mode, outer,
             a_jump, b_jump):
        i8, code = types.int64, PiecePairTile if a.dtype.bitwidth == 16 else PieceTile
        signature = types.void(i8, a, i8, i8, i8, b, i8, i8, c, i8, i8, i8, i8, bias, i8, i8, i8, i8, i8)

        def generate(context, builder, signature, arguments):
            code(context, builder, signature, arguments, rows, vectors, lanes, edge).emit()
            return context.get_dummy_value()
        return signature, generate
    return tile
