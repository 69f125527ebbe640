"""Float32 to bf16 while it is packed, 32 elements at a time by `vcvtne2ps2bf16`: to nearest, ties to even, subnormals to 0.

What is written are pairs: 32 bits hold two steps of K.  Imported by the build alone.
"""
from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types

from dlcore.compiler.language import intrinsic
from dlcore.ops.matmul.tiles import I16, I32, I64, Vectors, element_pointer, interleave

C_ROW = """
void {name}(const float *source, int64_t at, int64_t n, uint16_t *out, int64_t out_at)
{{
    for (int64_t i = 0; i < {pairs}; i++) {{
        float x = i < n ? source[at + i] : 0.0f;
        uint32_t bits;
        memcpy(&bits, &x, 4);
        out[out_at + i] = x != x ? (uint16_t)(bits >> 16 | 0x40) : (uint16_t)((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
    }}
}}
"""
C_TWO_ROWS = """
void {name}(const float *source, int64_t at, int64_t next_at, int64_t n, int64_t next_n, uint16_t *out, int64_t out_at)
{{
    for (int64_t i = 0; i < {pairs}; i++) {{
        float x = i & 1 ? i / 2 < next_n ? source[next_at + i / 2] : 0.0f : i / 2 < n ? source[at + i / 2] : 0.0f;
        uint32_t bits;
        memcpy(&bits, &x, 4);
        out[out_at + i] = x != x ? (uint16_t)(bits >> 16 | 0x40) : (uint16_t)((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
    }}
}}
"""
C_TURNED = """
void {name}(const float *source, int64_t at, int64_t row, int64_t rows, int64_t n, uint16_t *out, int64_t out_at,
            int64_t out_row)
{{
    for (int64_t j = 0; j < {lanes}; j++)
        for (int64_t k = 0; k < {pairs}; k++) {{
            float x = k < n ? source[at + (j < rows ? j : rows - 1) * row + k] : 0.0f;
            uint32_t bits;
            memcpy(&bits, &x, 4);
            out[out_at + k / 2 * out_row + 2 * j + k % 2] =
                x != x ? (uint16_t)(bits >> 16 | 0x40) : (uint16_t)((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
        }}
}}
"""


class Rounding(Vectors):
    """Vectors of float32, and of twice as many bf16."""

    def __init__(self, builder: Any, lanes: int) -> None:
        super().__init__(builder, ir.FloatType(), lanes)
        self.halves, self.whole = ir.VectorType(I16, 2 * lanes), ir.VectorType(I32, lanes)

    def rounded(self, low: Any, high: Any) -> Any:
        """The bf16 of `low`, then those of `high`."""
        kind = ir.FunctionType(self.halves, [self.kind, self.kind])
        return self.b.asm(kind, "vcvtne2ps2bf16 $1, $2, $0", "=v,v,v", [low, high], side_effect=False)

    def keep(self, value: Any, pointer: Any) -> None:
        """Writes bits, whatever their type."""
        self.b.store(value, self.b.bitcast(pointer, value.type.as_pointer())).align = 2

    def two(self, places: tuple[Any, Any], counts: tuple[Any, Any]) -> list[Any]:
        """What lies at two places, elements from the counts on being 0; masks are made only where something is missing."""
        b, number = self.b, ir.Constant(I64, self.lanes)
        short, full, after = (b.append_basic_block(name) for name in ("short", "full", "after"))
        b.cbranch(b.and_(*(b.icmp_signed(">=", count, number) for count in counts)), full, short)
        b.position_at_end(short)
        cut = [self.load(place, self.inside(count)) for place, count in zip(places, counts)]
        b.branch(after)
        b.position_at_end(full)
        whole = [self.load(place) for place in places]
        b.branch(after)
        b.position_at_end(after)
        loaded = [b.phi(self.kind) for _ in places]
        for phi, x, y in zip(loaded, cut, whole):
            phi.add_incoming(x, short)
            phi.add_incoming(y, full)
        return loaded

    def masks(self, n: Any) -> tuple[Any, Any]:
        """Of the first n of twice `lanes` elements."""
        return self.inside(n), self.inside(self.b.sub(n, ir.Constant(I64, self.lanes)))


def rounded_row(name: str, lanes: int) -> Any:
    """An intrinsic name(source, at, n, out, out_at): 2 * lanes elements, those from n on being 0."""
    @intrinsic(c=C_ROW.format(name=name, pairs=2 * lanes), name=name)
    def row(typing, source, at, n, out, out_at):
        i8 = types.int64

        def generate(context, b, signature, arguments):
            source, at, n, out, out_at = arguments
            v = Rounding(b, lanes)
            source = element_pointer(context, b, signature.args[0], source, at)
            low, high = v.two((source, v.at(source, lanes)), (n, b.sub(n, ir.Constant(I64, lanes))))
            v.keep(v.rounded(low, high), element_pointer(context, b, signature.args[3], out, out_at))
            return context.get_dummy_value()
        return types.void(source, i8, i8, out, i8), generate
    return row


def rounded_rows(name: str, lanes: int) -> Any:
    """An intrinsic name(source, at, next_at, n, next_n, out, out_at): `lanes` pairs of an element of one row and of that
    below it in the next; elements from n, and from next_n, on are 0."""
    @intrinsic(c=C_TWO_ROWS.format(name=name, pairs=2 * lanes), name=name)
    def rows(typing, source, at, next_at, n, next_n, out, out_at):
        i8 = types.int64

        def generate(context, b, signature, arguments):
            source, at, next_at, n, next_n, out, out_at = arguments
            v = Rounding(b, lanes)
            first, second = (v.load(element_pointer(context, b, signature.args[0], source, where), v.inside(count))
                             for where, count in ((at, n), (next_at, next_n)))
            both, order = v.rounded(first, second), [i for j in range(lanes) for i in (j, lanes + j)]
            mixed = b.shuffle_vector(both, ir.Constant(v.halves, ir.Undefined), ir.Constant(ir.VectorType(I32, 2 * lanes), order))
            v.keep(mixed, element_pointer(context, b, signature.args[5], out, out_at))
            return context.get_dummy_value()
        return types.void(source, i8, i8, i8, i8, out, i8), generate
    return rows


def rounded_columns(name: str, lanes: int) -> Any:
    """An intrinsic name(source, at, row, rows, n, out, out_at, out_row): 2 * lanes elements of each of `lanes` rows, `row` apart,
    become `lanes` rows of pairs, `out_row` apart, turned around: pair j of each is of row j.

    Elements from n on are 0; rows from `rows` (at least 1) on repeat the last one that is there."""
    @intrinsic(c=C_TURNED.format(name=name, pairs=2 * lanes, lanes=lanes), name=name)
    def columns(typing, source, at, row, rows, n, out, out_at, out_row):
        i8 = types.int64

        def generate(context, b, signature, arguments):
            source, at, row, rows, n, out, out_at, out_row = arguments
            v = Rounding(b, lanes)
            source = element_pointer(context, b, signature.args[0], source, at)
            out = element_pointer(context, b, signature.args[5], out, out_at)
            masks, last, block = v.masks(n), b.sub(rows, ir.Constant(I64, 1)), []
            for i in range(lanes):
                number = ir.Constant(I64, i)
                number = b.select(b.icmp_signed("<", number, last), number, last)
                place = v.at(source, b.mul(row, number))
                block.append(b.bitcast(v.rounded(*(v.load(v.at(place, j), mask) for j, mask in zip((0, lanes), masks))), v.whole))
            for _ in range(lanes.bit_length() - 1):
                halves = zip(block[:lanes // 2], block[lanes // 2:])
                block = [interleave(b, x, y, lanes, high) for x, y in halves for high in (False, True)]
            for i, value in enumerate(block):
                v.keep(value, v.at(out, b.mul(out_row, ir.Constant(I64, i))))
            return context.get_dummy_value()
        return types.void(source, i8, i8, i8, i8, out, i8, i8), generate
    return columns
