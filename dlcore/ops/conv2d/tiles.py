"""Tiles of a convolution: those of a matrix product whose K is walked in pieces, `outer` pieces of `depth` steps each.

    c[i, j] (+)= sum over o, k of a[a_at + o * a_jump + i * a_row + k * a_col] * b[b_at + o * b_jump + k * b_row + j]

A piece of a filter's row of taps lies in one piece of a packed image row, so no patch is ever copied out.
"""
from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types

from dlcore.compiler.language import intrinsic
from dlcore.ops.matmul.tiles import GROUP, I64, PairTile, Tile

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
C_SLIDE = """
void {name}(int64_t depth, const float *a, int64_t a_at, int64_t a_row, int64_t a_col, const float *b, int64_t b_at,
            int64_t b_row, float *c, int64_t c_at, int64_t ldc, int64_t rows, int64_t n, const float *bias,
            int64_t bias_at, int64_t mode, int64_t outer, int64_t a_jump, int64_t b_jump) {{
    for (int64_t i = 0; i < rows; i++) {{
        float sums[{columns}];
        for (int64_t j = 0; j < n; j++) sums[j] = mode & 2 ? bias[bias_at + j] : 0.0f;
        for (int64_t o = 0; o < outer; o++)
            for (int64_t k = 0; k < depth; k++)
                for (int64_t t = 0; t < {taps}; t++) {{
                    float factor = a[a_at + o * a_jump + (i + t) * a_row + k * a_col];
                    for (int64_t j = 0; j < n; j++) sums[j] += factor * b[b_at + o * b_jump + (t * depth + k) * b_row + j];
                }}
        for (int64_t j = 0; j < n; j++) {{
            float sum = sums[j] + (mode & 1 ? c[c_at + i * ldc + j] : 0.0f);
            c[c_at + i * ldc + j] = mode & 4 && sum < 0.0f ? 0.0f : sum;
        }}
    }}
}}
"""
TAPS = 3                            # side by side, of a sliding tile


class PieceTile(Tile):
    """A tile whose sums run over `outer` pieces of K; outer >= 1, depth >= 1."""

    def __init__(self, context: Any, builder: Any, signature: Any, arguments: Any, rows: int, vectors: int, lanes: int,
                 edge: bool) -> None:
        super().__init__(context, builder, signature, arguments[:16], rows, vectors, lanes, edge)
        self.outer, self.a_jump, self.b_jump = arguments[16:]

    def multiply(self) -> list[Any]:
        """The loops over pieces and K; returns the sums, row by row."""
        b, v, starts, first = self.b, self.v, self.row_starts(), self.bias_or_zeros()
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


class SlidingTile(PieceTile):
    """For taps side by side whose places are a row of the tile apart: each element of `a` is loaded once for all of them.

    Where columns fill one register, loading is what limits a tile.  `depth` steps of each tap; the taps' parts of a panel follow
    each other."""

    def multiply(self) -> list[Any]:
        b, v = self.b, self.v
        first, starts = self.bias_or_zeros(), self.row_groups()
        apart = b.mul(self.depth, self.b_row)
        apart = [ir.Constant(I64, 0), *(self.hidden(b.mul(apart, ir.Constant(I64, t))) for t in range(1, TAPS))]
        zero, one = ir.Constant(I64, 0), ir.Constant(I64, 1)
        before, head, loop, tail, after = b.block, *(b.append_basic_block(n) for n in ("o", "k", "next", "write"))
        b.branch(head)
        b.position_at_end(head)
        o = b.phi(I64)
        outside = [b.phi(v.kind) for _ in range(self.rows * len(self.columns))]
        shift, panel = b.mul(o, self.a_jump), v.at(self.panel, b.mul(o, self.b_jump))
        entering = [*(v.at(start, shift) for start in starts), panel, self.depth, *outside]
        b.branch(loop)
        b.position_at_end(loop)
        state = [b.phi(value.type) for value in entering]
        panel, left, sums = state[len(starts)], state[len(starts) + 1], state[len(starts) + 2:]
        pointers = [self.hidden(pointer) for pointer in state[:len(starts)]]
        sums = self.slide(pointers, [v.at(panel, place) for place in apart], sums)
        following = b.sub(left, one)
        going = [*(v.at(p, self.a_col) for p in pointers), v.at(panel, self.b_row), following, *sums]
        b.cbranch(b.icmp_signed(">", following, zero), loop, tail)
        for phi, start, last in zip(state, entering, going, strict=True):
            phi.add_incoming(start, head)
            phi.add_incoming(last, loop)
        b.position_at_end(tail)
        later = b.add(o, one)
        b.cbranch(b.icmp_signed("<", later, self.outer), head, after)
        for phi, start, last in [(o, zero, later), *zip(outside, first * self.rows, sums, strict=True)]:
            phi.add_incoming(start, before)
            phi.add_incoming(last, tail)
        b.position_at_end(after)
        return sums

    def row_groups(self) -> list[Any]:
        """Those of the places that the last rows see through the last taps, too."""
        starts = super().row_groups()
        return starts + [self.v.at(self.a, self.b.mul(self.a_row, ir.Constant(I64, i)))
                         for i in range(len(starts) * GROUP, self.rows + TAPS - 1, GROUP)]

    def slide(self, pointers: list[Any], panels: list[Any], sums: list[Any]) -> list[Any]:
        """One step of K."""
        sums, width = list(sums), len(self.columns)
        loaded = [[self.load_columns(panel, j, None) for j in self.columns] for panel in panels]
        for place in range(self.rows + TAPS - 1):
            factor = self.load_factor(self.row(pointers, place))
            for tap in range(TAPS):
                i = place - tap
                for j in range(width if 0 <= i < self.rows else 0):
                    sums[i * width + j] = self.product(factor, loaded[tap][j], sums[i * width + j])
        return sums


class PiecePairTile(PieceTile, PairTile):
    """Of bf16: see `PairTile`."""


class SlidingPairTile(SlidingTile, PairTile):
    """Of bf16."""


def piece_tile(name: str, rows: int, vectors: int, lanes: int, edge: bool = False) -> Any:
    """An intrinsic with the parameters of `matrix_tile`, then outer, a_jump, b_jump; of pairs where `a` and `b` are bf16."""
    return _tile(C_BODY.format(name=name, columns=vectors * lanes), name, PieceTile, PiecePairTile, rows, vectors, lanes, edge)


def sliding_tile(name: str, rows: int, vectors: int, lanes: int) -> Any:
    """The same of `TAPS` taps side by side, see `SlidingTile`; all rows and columns are there."""
    text = C_SLIDE.format(name=name, columns=vectors * lanes, taps=TAPS)
    return _tile(text, name, SlidingTile, SlidingPairTile, rows, vectors, lanes, False)


def _tile(text: str, name: str, single: Any, paired: Any, rows: int, vectors: int, lanes: int, edge: bool) -> Any:
    @intrinsic(c=text, name=name)
    def tile(typing, depth, a, a_at, a_row, a_col, b, b_at, b_row, c, c_at, ldc, valid, n, bias, bias_at, mode, outer,
             a_jump, b_jump):
        i8, code = types.int64, paired if a.dtype.bitwidth == 16 else single
        signature = types.void(i8, a, i8, i8, i8, b, i8, i8, c, i8, i8, i8, i8, bias, i8, i8, i8, i8, i8)

        def generate(context, builder, signature, arguments):
            code(context, builder, signature, arguments, rows, vectors, lanes, edge).emit()
            return context.get_dummy_value()
        return signature, generate
    return tile
