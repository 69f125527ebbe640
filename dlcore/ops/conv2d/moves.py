"""Copying to where tiles read: as it is, or rounded to bf16 where the target holds bf16, by `vcvtne2ps2bf16`.

Rows of one image, whose channels make pairs of K; or of two images, whose equal places do.  No more is written than was asked
for, so threads' shares may lie side by side.  Imported by the build alone.
"""
from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types

from dlcore.compiler.language import intrinsic
from dlcore.ops.matmul.rounding import Rounding
from dlcore.ops.matmul.tiles import I32, I64, Vectors, element_pointer

C_MOVE = """
void {name}(const float *source, int64_t at, int64_t n, float *out, int64_t out_at)
{{
    for (int64_t i = 0; i < n && i < {most}; i++) out[out_at + i] = source[at + i];
}}
"""
C_MOVE_TWO = """
void {name}(const float *source, int64_t at, int64_t next_at, int64_t n, int64_t next_n, float *out, int64_t out_at)
{{
    (void)next_at;
    (void)next_n;
    for (int64_t i = 0; i < n && i < {most}; i++) out[out_at + i] = source[at + i];
}}
"""


class Words(Rounding):
    """Rounded vectors as `lanes` words of two bf16."""

    def put(self, value: Any, pointer: Any, count: Any = None) -> None:
        """The first `count` words, or all."""
        value = self.b.bitcast(value, self.whole)
        if count is None:
            self.keep(value, pointer)
            return
        place = self.b.bitcast(pointer, self.whole.as_pointer())
        store = self.declared(f"llvm.masked.store.v{self.lanes}i32.p0", ir.VoidType(), self.whole, self.whole.as_pointer(), I32,
                              self.mask)
        self.b.call(store, [value, place, ir.Constant(I32, 2), self.inside(count)])

    def mixed(self, value: Any) -> Any:
        """An element of the lower half, one of the higher, and so on."""
        order = [i for j in range(self.lanes) for i in (j, self.lanes + j)]
        return self.b.shuffle_vector(value, ir.Constant(self.halves, ir.Undefined),
                                     ir.Constant(ir.VectorType(I32, 2 * self.lanes), order))


def is_bf16(array: Any) -> bool:
    return array.dtype.bitwidth == 16


def either(b: Any, condition: Any, then: Any, otherwise: Any) -> None:
    """Two blocks of code, one of which runs."""
    yes, no, after = (b.append_basic_block(name) for name in ("whole", "cut", "after"))
    b.cbranch(condition, yes, no)
    for block, emit in ((yes, then), (no, otherwise)):
        b.position_at_end(block)
        emit()
        b.branch(after)
    b.position_at_end(after)


def row_move(name: str, lanes: int) -> Any:
    """An intrinsic name(source, at, n, out, out_at): the first n elements, at most 2 * lanes; n is even where `out` is bf16."""
    @intrinsic(c=C_MOVE.format(name=name, most=2 * lanes), name=name)
    def move(typing, source, at, n, out, out_at):
        i8, rounds = types.int64, is_bf16(out)

        def generate(context, b, signature, arguments):
            source, at, n, out, out_at = arguments
            source = element_pointer(context, b, signature.args[0], source, at)
            out = element_pointer(context, b, signature.args[3], out, out_at)
            v = (Words(b, lanes) if rounds else Vectors(b, context.get_data_type(signature.args[0].dtype), lanes))
            places, rest = (source, v.at(source, lanes)), b.sub(n, ir.Constant(I64, lanes))

            def whole():
                low, high = (v.load(place) for place in places)
                if rounds:
                    v.put(v.rounded(low, high), out)
                else:
                    v.store(low, out)
                    v.store(high, v.at(out, lanes))

            def cut():
                masks = v.inside(n), v.inside(rest)
                low, high = (v.load(place, mask) for place, mask in zip(places, masks))
                if rounds:
                    v.put(v.rounded(low, high), out, b.sdiv(n, ir.Constant(I64, 2)))
                else:
                    v.store(low, out, masks[0])
                    v.store(high, v.at(out, lanes), masks[1])
            either(b, b.icmp_signed(">=", n, ir.Constant(I64, 2 * lanes)), whole, cut)
            return context.get_dummy_value()
        return types.void(source, i8, i8, out, i8), generate
    return move


def two_moves(name: str, lanes: int) -> Any:
    """An intrinsic name(source, at, next_at, n, next_n, out, out_at): n elements, at most `lanes`, from `at` on; where `out` is
    bf16 each is followed by that of the row at `next_at`, of which those from next_n on are 0."""
    @intrinsic(c=C_MOVE_TWO.format(name=name, most=lanes), name=name)
    def move(typing, source, at, next_at, n, next_n, out, out_at):
        i8, rounds = types.int64, is_bf16(out)

        def generate(context, b, signature, arguments):
            source, at, next_at, n, next_n, out, out_at = arguments
            first, second = (element_pointer(context, b, signature.args[0], source, where) for where in (at, next_at))
            out = element_pointer(context, b, signature.args[5], out, out_at)
            v = (Words(b, lanes) if rounds else Vectors(b, context.get_data_type(signature.args[0].dtype), lanes))
            number = ir.Constant(I64, lanes)

            def whole():
                if rounds:
                    v.put(v.mixed(v.rounded(v.load(first), v.load(second))), out)
                else:
                    v.store(v.load(first), out)

            def cut():
                mask = v.inside(n)
                if rounds:
                    v.put(v.mixed(v.rounded(v.load(first, mask), v.load(second, v.inside(next_n)))), out, n)
                else:
                    v.store(v.load(first, mask), out, mask)
            full = b.icmp_signed(">=", n, number)
            either(b, b.and_(full, b.icmp_signed(">=", next_n, number)) if rounds else full, whole, cut)
            return context.get_dummy_value()
        return types.void(source, i8, i8, i8, i8, out, i8), generate
    return move
