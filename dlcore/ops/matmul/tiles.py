"""Register-blocked tiles of a matrix product, as LLVM vectors: what the compiler does not find by itself.

A tile keeps `rows` x `columns` sums in vector registers, walks over K once, and writes its part of `out`:

    c[i, j] (+)= sum over k of a[a_at + i * a_row + k * a_col] * b[b_at + k * b_row + j]

`b` has its columns side by side; `a` may be any strided view: rows as they lie, columns as they lie, or packed panels.
Imported by the build alone.  The element type is that of the arrays, so float64 variants come from the same code.
"""
from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from dlcore.compiler.language import intrinsic

I1, I8, I16, I32, I64 = (ir.IntType(bits) for bits in (1, 8, 16, 32, 64))

ADD, BIAS, RELU = 1, 2, 4           # bits of a tile's `mode`
UNROLL = 4                          # steps of K that a whole tile does without a jump
GROUP = 4                           # rows that are found from one pointer

C_BODY = """
void {name}(int64_t depth, const float *a, int64_t a_at, int64_t a_row, int64_t a_col, const float *b, int64_t b_at,
            int64_t b_row, float *c, int64_t c_at, int64_t ldc, int64_t rows, int64_t n, const float *bias,
            int64_t bias_at, int64_t mode) {{
    for (int64_t i = 0; i < rows; i++) {{
        float sums[{columns}];
        for (int64_t j = 0; j < n; j++) sums[j] = mode & 2 ? bias[bias_at + j] : 0.0f;
        for (int64_t k = 0; k < depth; k++) {{
            float factor = a[a_at + i * a_row + k * a_col];
            for (int64_t j = 0; j < n; j++) sums[j] += factor * b[b_at + k * b_row + j];
        }}
        for (int64_t j = 0; j < n; j++) {{
            float sum = sums[j] + (mode & 1 ? c[c_at + i * ldc + j] : 0.0f);
            c[c_at + i * ldc + j] = mode & 4 && sum < 0.0f ? 0.0f : sum;
        }}
    }}
}}
"""
C_PAIRS = """
void {name}(int64_t depth, const uint16_t *a, int64_t a_at, int64_t a_row, int64_t a_col, const uint16_t *b, int64_t b_at,
            int64_t b_row, float *c, int64_t c_at, int64_t ldc, int64_t rows, int64_t n, const float *bias,
            int64_t bias_at, int64_t mode) {{
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < n; j++) {{
            float sum = mode & 2 ? bias[bias_at + j] : 0.0f;
            for (int64_t k = 0; k < 2 * depth; k++) {{
                uint32_t left = (uint32_t)a[a_at + i * a_row + k / 2 * a_col + k % 2] << 16;
                uint32_t right = (uint32_t)b[b_at + k / 2 * b_row + 2 * j + k % 2] << 16;
                float x, y;
                memcpy(&x, &left, 4);
                memcpy(&y, &right, 4);
                sum += x * y;
            }}
            sum += mode & 1 ? c[c_at + i * ldc + j] : 0.0f;
            c[c_at + i * ldc + j] = mode & 4 && sum < 0.0f ? 0.0f : sum;
        }}
}}
"""
C_TRANSPOSE = """
void {name}(const float *source, int64_t source_at, int64_t source_row, float *out, int64_t out_at, int64_t out_row) {{
    for (int64_t i = 0; i < {lanes}; i++)
        for (int64_t j = 0; j < {rows}; j++) out[out_at + i * out_row + j] = source[source_at + j * source_row + i];
}}
"""


class Vectors:
    """Vectors of one element type in one function: loads, stores and products as LLVM instructions."""

    def __init__(self, builder: Any, element: Any, lanes: int) -> None:
        self.b, self.element, self.lanes = builder, element, lanes
        self.bytes = 8 if isinstance(element, ir.DoubleType) else 4
        self.kind, self.mask = ir.VectorType(element, lanes), ir.VectorType(I1, lanes)
        self.suffix = f"v{lanes}f{8 * self.bytes}"
        self.zero = ir.Constant(self.kind, None)

    def size_of(self, pointer: Any) -> int:
        element = pointer.type.pointee
        return 8 if isinstance(element, ir.DoubleType) else 4 if isinstance(element, ir.FloatType) else element.width // 8

    def declared(self, name: str, result: Any, *arguments: Any) -> Any:
        return cgutils.get_or_insert_function(self.b.module, ir.FunctionType(result, arguments), name)

    def at(self, base: Any, offset: int | Any) -> Any:
        return self.b.gep(base, [ir.Constant(I64, offset) if isinstance(offset, int) else offset])

    def place(self, pointer: Any) -> Any:
        return self.b.bitcast(pointer, self.kind.as_pointer())

    def splat(self, scalar: Any, kind: Any = None) -> Any:
        kind = kind or self.kind
        undefined = ir.Constant(kind, ir.Undefined)
        one = self.b.insert_element(undefined, scalar, ir.Constant(I32, 0))
        return self.b.shuffle_vector(one, undefined, ir.Constant(ir.VectorType(I32, kind.count), [0] * kind.count))

    def inside(self, n: Any) -> Any:
        """Mask of the lanes below n."""
        numbers = ir.VectorType(I64, self.lanes)
        return self.b.icmp_signed("<", ir.Constant(numbers, list(range(self.lanes))), self.splat(n, numbers))

    def load(self, pointer: Any, mask: Any = None) -> Any:
        place = self.place(pointer)
        if mask is None:
            value = self.b.load(place)
            value.align = self.bytes
            return value
        load = self.declared(f"llvm.masked.load.{self.suffix}.p0", self.kind, self.kind.as_pointer(), I32, self.mask,
                             self.kind)
        return self.b.call(load, [place, ir.Constant(I32, self.bytes), mask, self.zero])

    def store(self, value: Any, pointer: Any, mask: Any = None) -> None:
        place = self.place(pointer)
        if mask is None:
            self.b.store(value, place).align = self.bytes
            return
        store = self.declared(f"llvm.masked.store.{self.suffix}.p0", ir.VoidType(), self.kind, self.kind.as_pointer(),
                              I32, self.mask)
        self.b.call(store, [value, place, ir.Constant(I32, self.bytes), mask])

    def multiply_add(self, x: Any, y: Any, z: Any) -> Any:
        """x * y + z, rounded once where the level has the instruction for it."""
        fused = self.declared("llvm.fmuladd." + self.suffix, self.kind, self.kind, self.kind, self.kind)
        return self.b.call(fused, [x, y, z])

    def prefetch(self, pointer: Any, locality: int = 3, write: bool = False) -> None:
        fetch = self.declared("llvm.prefetch.p0", ir.VoidType(), I8.as_pointer(), I32, I32, I32)
        how = [ir.Constant(I32, v) for v in (int(write), locality, 1)]
        self.b.call(fetch, [self.b.bitcast(pointer, I8.as_pointer()), *how])


def element_pointer(context: Any, builder: Any, kind: Any, array: Any, offset: Any) -> Any:
    """Where element `offset` of an array's memory lies."""
    return builder.gep(cgutils.create_struct_proxy(kind)(context, builder, value=array).data, [offset])


class Tile:
    """The code of one tile: `rows` rows, `vectors` registers of columns; `edge`: fewer rows and columns may be there."""

    def __init__(self, context: Any, builder: Any, signature: Any, arguments: Any, rows: int, vectors: int, lanes: int,
                 edge: bool) -> None:
        self.b, self.rows, self.edge = builder, rows, edge
        (self.depth, a, a_at, self.a_row, self.a_col, b, b_at, self.b_row, c, c_at, self.ldc, self.valid, n, bias,
         bias_at, self.mode) = arguments
        self.v = Vectors(builder, context.get_data_type(signature.args[8].dtype), lanes)
        self.a = element_pointer(context, builder, signature.args[1], a, a_at)
        self.panel = element_pointer(context, builder, signature.args[5], b, b_at)
        self.c = element_pointer(context, builder, signature.args[8], c, c_at)
        self.bias = element_pointer(context, builder, signature.args[13], bias, bias_at)
        self.columns = [j * lanes for j in range(vectors)]
        self.masks = [self.v.inside(builder.sub(n, ir.Constant(I64, j))) if edge else None for j in self.columns]

    def emit(self) -> None:
        self.prefetch_out()
        self.write(self.multiply())

    def out(self, i: int, column: int) -> Any:
        row = self.v.at(self.c, self.b.mul(self.ldc, ir.Constant(I64, i)))
        return self.v.at(row, column)

    def has(self, bit: int) -> Any:
        return self.b.icmp_signed("!=", self.b.and_(self.mode, ir.Constant(I64, bit)), ir.Constant(I64, 0))

    def bias_or_zeros(self) -> list[Any]:
        """One vector for each register of columns."""
        b, v = self.b, self.v
        before, biased, ready = b.block, b.append_basic_block("biased"), b.append_basic_block("ready")
        b.cbranch(self.has(BIAS), biased, ready)
        b.position_at_end(biased)
        loaded = [v.load(v.at(self.bias, j), mask) for j, mask in zip(self.columns, self.masks)]
        biased = b.block
        b.branch(ready)
        b.position_at_end(ready)
        sums = [b.phi(v.kind) for _ in loaded]
        for phi, value in zip(sums, loaded):
            phi.add_incoming(v.zero, before)
            phi.add_incoming(value, biased)
        return sums

    def prefetch_out(self) -> None:
        """So that the loads and stores at the end find their lines: they would wait for memory, all at once."""
        if not self.edge:
            for i in range(self.rows):
                for column in self.columns:
                    self.v.prefetch(self.out(i, column), write=True)

    def row_starts(self) -> list[Any]:
        """Rows of `a`; at an edge those that are not there read the last one that is."""
        last, starts = self.b.sub(self.valid, ir.Constant(I64, 1)), []
        for i in range(self.rows):
            number = ir.Constant(I64, i)
            if self.edge:
                number = self.b.select(self.b.icmp_signed("<", number, last), number, last)
            starts.append(self.v.at(self.a, self.b.mul(number, self.a_row)))
        return starts

    def multiply(self) -> list[Any]:
        """The sums, row by row."""
        return self.steps(self.bias_or_zeros() * self.rows)

    def steps(self, sums: list[Any]) -> list[Any]:
        """What the walk over K makes of the first sums."""
        if self.edge:
            return self.walk("k", self.depth, 1, self.row_starts(), self.panel, sums)[2]
        b, unroll = self.b, ir.Constant(I64, UNROLL)
        rounds = b.sdiv(self.depth, unroll)
        pointers, panel, sums = self.walk("rounds", rounds, UNROLL, self.row_groups(), self.panel, sums)
        return self.walk("rest", b.srem(self.depth, unroll), 1, pointers, panel, sums)[2]

    def row_groups(self) -> list[Any]:
        """Where every GROUP-th row of `a` starts; the others are found from these by `self.strides`.

        Both are hidden from the optimizer, which otherwise finds each row from the one before, by an addition of its own:
        half as many instructions as there are products, and beside a busy hyper-thread these are what limits a tile."""
        b = self.b
        size = ir.Constant(I64, self.v.size_of(self.a))
        self.strides = [None, *(self.hidden(b.mul(b.mul(self.a_row, size), ir.Constant(I64, i))) for i in range(1, GROUP))]
        return [self.v.at(self.a, b.mul(self.a_row, ir.Constant(I64, i))) for i in range(0, self.rows, GROUP)]

    def hidden(self, value: Any) -> Any:
        return self.b.asm(ir.FunctionType(value.type, [value.type]), "", "=r,0", [value], side_effect=False)

    def row(self, pointers: list[Any], i: int) -> Any:
        """Where row i is, at the current k."""
        if self.edge:
            return pointers[i]
        base, stride = pointers[i // GROUP], self.strides[i % GROUP]
        if stride is None:
            return base
        near = self.b.gep(self.b.bitcast(base, I8.as_pointer()), [stride])
        return self.b.bitcast(near, base.type)

    def walk(self, name: str, count: Any, unroll: int, pointers: list[Any], panel: Any, sums: list[Any]) -> Any:
        """`count` times `unroll` steps of K (count may be 0); returns where pointers and panel then are, and the sums."""
        b, v, start = self.b, self.v, [*pointers, panel, *sums]
        before, loop, after = b.block, b.append_basic_block(name), b.append_basic_block("after")
        b.cbranch(b.icmp_signed(">", count, ir.Constant(I64, 0)), loop, after)
        b.position_at_end(loop)
        left, state = b.phi(I64), [b.phi(value.type) for value in start]
        pointers, panel, sums = state[:len(pointers)], state[len(pointers)], state[len(pointers) + 1:]
        if not self.edge:
            pointers = [self.hidden(pointer) for pointer in pointers]
        for _ in range(unroll):
            loaded = [self.load_columns(panel, j, mask) for j, mask in zip(self.columns, self.masks)]
            for i in range(self.rows):
                factor, at = self.load_factor(self.row(pointers, i)), i * len(loaded)
                sums = [*sums[:at], *(self.product(factor, x, sums[at + j]) for j, x in enumerate(loaded)),
                        *sums[at + len(loaded):]]
            pointers, panel = [v.at(p, self.a_col) for p in pointers], v.at(panel, self.b_row)
        following, end = b.sub(left, ir.Constant(I64, 1)), [*pointers, panel, *sums]
        for phi, first, last in [(left, count, following), *zip(state, start, end)]:
            phi.add_incoming(first, before)
            phi.add_incoming(last, loop)
        b.cbranch(b.icmp_signed(">", following, ir.Constant(I64, 0)), loop, after)
        b.position_at_end(after)
        results = [b.phi(value.type) for value in start]
        for phi, first, last in zip(results, start, end):
            phi.add_incoming(first, before)
            phi.add_incoming(last, loop)
        return results[:len(pointers)], results[len(pointers)], results[len(pointers) + 1:]

    def load_columns(self, panel: Any, column: int, mask: Any) -> Any:
        return self.v.load(self.v.at(panel, column), mask)

    def load_factor(self, pointer: Any) -> Any:
        return self.v.splat(self.b.load(pointer))

    def product(self, factor: Any, columns: Any, sums: Any) -> Any:
        return self.v.multiply_add(factor, columns, sums)

    def write(self, sums: list[Any]) -> None:
        b, v = self.b, self.v
        least = v.splat(b.select(self.has(RELU), ir.Constant(v.element, 0.0), ir.Constant(v.element, float("-inf"))))
        adding, plain, done = (b.append_basic_block(name) for name in ("adding", "plain", "done"))
        b.cbranch(self.has(ADD), adding, plain)
        for block, adds in ((adding, True), (plain, False)):
            b.position_at_end(block)
            for i in range(self.rows):
                self.write_row(i, sums, adds, least)
                if self.edge and i + 1 < self.rows:
                    following = b.append_basic_block("row")
                    b.cbranch(b.icmp_signed(">", self.valid, ir.Constant(I64, i + 1)), following, done)
                    b.position_at_end(following)
            b.branch(done)
        b.position_at_end(done)

    def write_row(self, i: int, sums: list[Any], adds: bool, least: Any) -> None:
        for j, (column, mask) in enumerate(zip(self.columns, self.masks)):
            value, place = sums[i * len(self.columns) + j], self.out(i, column)
            if adds:
                value = self.b.fadd(value, self.v.load(place, mask))
            low = self.b.fcmp_ordered("<", value, least)            # false for a NaN, which so stays visible
            self.v.store(self.b.select(low, least, value), place, mask)


class PairTile(Tile):
    """Of bf16: two steps of K in each 32 bits of `a` and of a panel, which is filled up with zeros; `depth` counts pairs."""

    def load_columns(self, panel: Any, column: int, mask: Any) -> Any:
        pairs = ir.VectorType(I32, self.v.lanes)
        value = self.b.load(self.b.bitcast(self.v.at(panel, 2 * column), pairs.as_pointer()))
        value.align = 4
        return value

    def load_factor(self, pointer: Any) -> Any:
        one = self.b.load(self.b.bitcast(pointer, I32.as_pointer()))
        return self.v.splat(one, ir.VectorType(I32, self.v.lanes))

    def product(self, factor: Any, columns: Any, sums: Any) -> Any:
        kind = ir.FunctionType(self.v.kind, [self.v.kind, columns.type, columns.type])
        return self.b.asm(kind, "vdpbf16ps $3, $2, $0", "=v,0,v,v", [sums, factor, columns], side_effect=False)


def matrix_tile(name: str, rows: int, vectors: int, lanes: int, edge: bool = False, pairs: bool = False) -> Any:
    """An intrinsic name(depth, a, a_at, a_row, a_col, b, b_at, b_row, c, c_at, ldc, rows, n, bias, bias_at, mode).

    rows x (vectors * lanes) sums; depth >= 1.  mode: bits; ADD: what stood in `c` is added to, BIAS: the sums begin with
    bias[bias_at:], RELU: what is written is at least 0 (a NaN stays).  An edge tile writes the first `rows` (1 to its own)
    rows and the first `n` columns, and reads no more of `b` and `bias`; others write all.  pairs: see `PairTile`."""
    code = PairTile if pairs else Tile

    @intrinsic(c=(C_PAIRS if pairs else C_BODY).format(name=name, columns=vectors * lanes), name=name)
    def tile(typing, depth, a, a_at, a_row, a_col, b, b_at, b_row, c, c_at, ldc, valid, n, bias, bias_at, mode):
        i8 = types.int64
        signature = types.void(i8, a, i8, i8, i8, b, i8, i8, c, i8, i8, i8, i8, bias, i8, i8)

        def generate(context, builder, signature, arguments):
            code(context, builder, signature, arguments, rows, vectors, lanes, edge).emit()
            return context.get_dummy_value()
        return signature, generate
    return tile


@intrinsic(c="void fetch(const float *array, int64_t at) { (void)array; (void)at; }")
def fetch(typing, array, at):
    """Asks for the cache line of element `at`, for the second-level cache; any address may be asked for."""
    def generate(context, builder, signature, arguments):
        v = Vectors(builder, context.get_data_type(signature.args[0].dtype), 1)
        v.prefetch(element_pointer(context, builder, signature.args[0], *arguments), locality=2)
        return context.get_dummy_value()
    return types.void(array, types.int64), generate


def interleave(builder: Any, x: Any, y: Any, lanes: int, high: bool) -> Any:
    """x0 y0 x1 y1 ... of the lower or the upper halves."""
    start = lanes // 2 if high else 0
    order = [index for i in range(start, start + lanes // 2) for index in (i, lanes + i)]
    return builder.shuffle_vector(x, y, ir.Constant(ir.VectorType(I32, lanes), order))


def transposed_block(name: str, rows: int, lanes: int) -> Any:
    """An intrinsic name(source, source_at, source_row, out, out_at, out_row): transposes `rows` rows of `lanes` elements.

    rows <= lanes, a power of two.  log2(lanes) rounds of interleaving row i with row i + lanes / 2."""
    @intrinsic(c=C_TRANSPOSE.format(name=name, rows=rows, lanes=lanes), name=name)
    def transpose(typing, source, source_at, source_row, out, out_at, out_row):
        i8 = types.int64
        signature = types.void(source, i8, i8, out, i8, i8)

        def generate(context, b, signature, arguments):
            source, source_at, source_row, out, out_at, out_row = arguments
            v = Vectors(b, context.get_data_type(signature.args[0].dtype), lanes)
            source = element_pointer(context, b, signature.args[0], source, source_at)
            out = element_pointer(context, b, signature.args[3], out, out_at)
            block = [v.load(v.at(source, b.mul(source_row, ir.Constant(I64, i)))) for i in range(rows)]
            block += [ir.Constant(v.kind, ir.Undefined)] * (lanes - rows)
            for _ in range(lanes.bit_length() - 1):
                pairs = zip(block[:lanes // 2], block[lanes // 2:])
                block = [interleave(b, x, y, lanes, high) for x, y in pairs for high in (False, True)]
            kept = ir.Constant(ir.VectorType(I32, rows), list(range(rows)))
            for i, column in enumerate(block):
                value = b.shuffle_vector(column, ir.Constant(v.kind, ir.Undefined), kept)
                place = v.at(out, b.mul(out_row, ir.Constant(I64, i)))
                b.store(value, b.bitcast(place, value.type.as_pointer())).align = v.bytes
            return context.get_dummy_value()
        return signature, generate
    return transpose
