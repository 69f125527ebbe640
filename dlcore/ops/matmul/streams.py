"""Products of few rows, as LLVM vectors: what is read once, from memory, is the matrix; so what counts is how it streams.

    columns of b[K, N]   c[j] += sum over k of a[k] * b[k, j]     rows of b are read in long pieces, and asked for some rows ahead
    rows of b[N, K]      the dot products of a with some neighbouring rows; the next rows are asked for meanwhile

Elements of `b` are those of `a`, or bf16 as 16 bits, which a shift makes float32 in registers.  A sum goes through K in an order
that K alone fixes, whatever the number of rows of `a`, or of threads.  Imported by the build alone.
"""
from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types

from dlcore.compiler.language import intrinsic
from dlcore.ops.matmul.tiles import I16, I32, I64, Vectors, element_pointer

AHEAD = 4                           # rows of b[K, N] that are asked for before they are read
UNROLL = 8                          # vectors of a row that are added without a jump
LINE = 64                           # bytes of a cache line
LONG, STEP = 4096, 1024             # of rows of b[N, K] longer than LONG not the next rows, but what is STEP elements further on

C_COLUMNS = """
void {name}(int64_t depth, const float *a, int64_t a_at, const {type} *b, int64_t b_at, int64_t b_row, float *c, int64_t c_at,
            int64_t n)
{{
    for (int64_t k = 0; k < depth; k++)
        for (int64_t j = 0; j < n; j++) {{
            {read}
            c[c_at + j] += a[a_at + k] * x;
        }}
}}
"""
C_ADDED = """
void {name}(int64_t n, const float *a, int64_t a_at, const {type} *b, int64_t b_at, float *c, int64_t c_at)
{{
    for (int64_t j = 0; j < n; j++) {{
        {read}
        c[c_at + j] += a[a_at] * x;
    }}
}}
"""
C_ROWS = """
void {name}(int64_t depth, const float *a, int64_t a_at, const {type} *b, int64_t b_at, float *c, int64_t c_at)
{{
    for (int64_t i = 0; i < {rows}; i++)
        for (int64_t k = 0; k < depth; k++) {{
            {read}
            c[c_at + i] += a[a_at + k] * x;
        }}
}}
"""
READ = "float x = b[{at}];"
READ_HALF = "uint32_t bits = (uint32_t)b[{at}] << 16; float x; memcpy(&x, &bits, 4);"


def c_text(text: str, at: str, half: bool, **names: Any) -> str:
    """The portable body of an intrinsic."""
    read = (READ_HALF if half else READ).format(at=at)
    return text.format(read=read, type="uint16_t" if half else "float", **names)


class Stream(Vectors):
    """Vectors of the sums' type; those of the matrix may be halves, which become float32."""

    def columns(self, pointer: Any, mask: Any = None) -> Any:
        """A vector of the matrix."""
        if pointer.type.pointee != I16:
            return self.load(pointer, mask)
        b, halves = self.b, ir.VectorType(I16, self.lanes)
        place = b.bitcast(pointer, halves.as_pointer())
        if mask is None:
            bits = b.load(place)
            bits.align = 2
        else:
            load = self.declared(f"llvm.masked.load.v{self.lanes}i16.p0", halves, halves.as_pointer(), I32, self.mask, halves)
            bits = b.call(load, [place, ir.Constant(I32, 2), mask, ir.Constant(halves, None)])
        whole = ir.VectorType(I32, self.lanes)
        return b.bitcast(b.shl(b.zext(bits, whole), ir.Constant(whole, [16] * self.lanes)), self.kind)

    def repeated(self, count: Any, state: list[Any], step: Any) -> list[Any]:
        """What `step` makes of the state, `count` times over (it may be none)."""
        b, before = self.b, self.b.block
        loop, after = b.append_basic_block("loop"), b.append_basic_block("after")
        b.cbranch(b.icmp_signed(">", count, ir.Constant(I64, 0)), loop, after)
        b.position_at_end(loop)
        left, phis = b.phi(I64), [b.phi(value.type) for value in state]
        following, end = b.sub(left, ir.Constant(I64, 1)), step(phis)
        for phi, first, last in [(left, count, following), *zip(phis, state, end)]:
            phi.add_incoming(first, before)
            phi.add_incoming(last, b.block)
        b.cbranch(b.icmp_signed(">", following, ir.Constant(I64, 0)), loop, after)
        ended = b.block
        b.position_at_end(after)
        results = [b.phi(value.type) for value in state]
        for phi, first, last in zip(results, state, end):
            phi.add_incoming(first, before)
            phi.add_incoming(last, ended)
        return results

    def total(self, value: Any) -> Any:
        """The sum of a vector's elements, halves upon halves."""
        lanes, empty = self.lanes, ir.Constant(self.kind, ir.Undefined)
        while lanes > 1:
            lanes //= 2
            order = [lanes + i if i < lanes else 0 for i in range(self.lanes)]
            upper = self.b.shuffle_vector(value, empty, ir.Constant(ir.VectorType(I32, self.lanes), order))
            value = self.b.fadd(value, upper)
        return self.b.extract_element(value, ir.Constant(I32, 0))


def column_stream(name: str, vectors: int, lanes: int, half: bool = False, edge: bool = False, ask: bool = True) -> Any:
    """An intrinsic name(depth, a, a_at, b, b_at, b_row, c, c_at, n): c[c_at + j] += sum of a[a_at + k] b[b_at + k * b_row + j].

    vectors * lanes columns; of an edge the first n.  ask: the rows of `b` are new, and those AHEAD are asked for."""
    @intrinsic(c=c_text(C_COLUMNS, "b_at + k * b_row + j", half, name=name), name=name)
    def stream(typing, depth, a, a_at, b, b_at, b_row, c, c_at, n):
        i8 = types.int64

        def generate(context, builder, signature, arguments):
            depth, a, a_at, b, b_at, b_row, c, c_at, n = arguments
            v = Stream(builder, context.get_data_type(signature.args[6].dtype), lanes)
            a, b, c = (element_pointer(context, builder, signature.args[i], array, at)
                       for i, array, at in ((1, a, a_at), (3, b, b_at), (6, c, c_at)))
            places = [j * lanes for j in range(vectors)]
            masks = [v.inside(builder.sub(n, ir.Constant(I64, j))) if edge else None for j in places]
            ahead, line = builder.mul(b_row, ir.Constant(I64, AHEAD)), LINE // v.size_of(b)

            def step(state):
                a, b, *sums = state
                for j in range(0, vectors * lanes if ask else 0, line):
                    v.prefetch(v.at(v.at(b, ahead), j))
                factor = v.splat(builder.load(a))
                sums = [v.multiply_add(factor, v.columns(v.at(b, j), mask), total)
                        for j, mask, total in zip(places, masks, sums)]
                return [v.at(a, 1), v.at(b, b_row), *sums]

            state = [a, b, *(v.load(v.at(c, j), mask) for j, mask in zip(places, masks))]
            for j, mask, total in zip(places, masks, v.repeated(depth, state, step)[2:]):
                v.store(total, v.at(c, j), mask)
            return context.get_dummy_value()
        return types.void(i8, a, i8, b, i8, i8, c, i8, i8), generate
    return stream


def added_stream(name: str, lanes: int, half: bool = False) -> Any:
    """An intrinsic name(n, a, a_at, b, b_at, c, c_at): c[c_at + j] += a[a_at] b[b_at + j] for j below n.

    So a matrix is read in the order in which it lies, which the processor sees by itself: nothing is asked for."""
    @intrinsic(c=c_text(C_ADDED, "b_at + j", half, name=name), name=name)
    def stream(typing, n, a, a_at, b, b_at, c, c_at):
        i8 = types.int64

        def generate(context, builder, signature, arguments):
            n, a, a_at, b, b_at, c, c_at = arguments
            v = Stream(builder, context.get_data_type(signature.args[5].dtype), lanes)
            a, b, c = (element_pointer(context, builder, signature.args[i], array, at)
                       for i, array, at in ((1, a, a_at), (3, b, b_at), (5, c, c_at)))
            factor = v.splat(builder.load(a))

            def some(vectors, mask=None):
                def step(state):
                    b, c = state
                    sums = [v.multiply_add(factor, v.columns(v.at(b, j), mask), v.load(v.at(c, j), mask))
                            for j in range(0, vectors * lanes, lanes)]
                    for j, total in enumerate(sums):
                        v.store(total, v.at(c, j * lanes), mask)
                    return [v.at(b, vectors * lanes), v.at(c, vectors * lanes)]
                return step

            number, block = ir.Constant(I64, lanes), ir.Constant(I64, UNROLL * lanes)
            state = v.repeated(builder.sdiv(n, block), [b, c], some(UNROLL))
            state = v.repeated(builder.sdiv(builder.srem(n, block), number), state, some(1))
            some(1, v.inside(builder.srem(n, number)))(state)
            return context.get_dummy_value()
        return types.void(i8, a, i8, b, i8, c, i8), generate
    return stream


def row_stream(name: str, rows: int, lanes: int, half: bool = False, ask: bool = True) -> Any:
    """An intrinsic name(depth, a, a_at, b, b_at, c, c_at): c[c_at + i] += the dot product of a[a_at:] with row i of `rows` rows of
    `b`, which lie behind each other from b_at on, `depth` elements each.  ask: they are new, and those behind are asked for."""
    @intrinsic(c=c_text(C_ROWS, "b_at + i * depth + k", half, name=name, rows=rows), name=name)
    def stream(typing, depth, a, a_at, b, b_at, c, c_at):
        i8 = types.int64

        def generate(context, builder, signature, arguments):
            depth, a, a_at, b, b_at, c, c_at = arguments
            v = Stream(builder, context.get_data_type(signature.args[5].dtype), lanes)
            a, b, c = (element_pointer(context, builder, signature.args[i], array, at)
                       for i, array, at in ((1, a, a_at), (3, b, b_at), (5, c, c_at)))
            starts = [v.at(b, builder.mul(depth, ir.Constant(I64, i))) for i in range(rows)]
            number, block = ir.Constant(I64, lanes), builder.mul(depth, ir.Constant(I64, rows))
            long = builder.icmp_signed(">", depth, ir.Constant(I64, LONG))
            ahead = builder.select(long, ir.Constant(I64, STEP), block)

            def added(a, rows_at, sums, mask=None):
                factor = v.load(a, mask)
                return [v.multiply_add(factor, v.columns(at, mask), total) for at, total in zip(rows_at, sums)]

            def step(state):
                a, rows_at, sums = state[0], state[1:1 + rows], state[1 + rows:]
                for at in rows_at if ask else ():
                    v.prefetch(v.at(at, ahead))
                sums = added(a, rows_at, sums)
                return [v.at(a, lanes), *(v.at(at, lanes) for at in rows_at), *sums]

            state = v.repeated(builder.sdiv(depth, number), [a, *starts, *[v.zero] * rows], step)
            left = v.inside(builder.srem(depth, number))
            sums = added(state[0], state[1:1 + rows], state[1 + rows:], left)
            for i, total in enumerate(sums):
                place = v.at(c, i)
                builder.store(builder.fadd(builder.load(place), v.total(total)), place)
            return context.get_dummy_value()
        return types.void(i8, a, i8, b, i8, c, i8), generate
    return stream
