"""The small transforms of Winograd's convolutions, on vectors of channels.

A transform applies one linear map to the columns, then to the rows, of a small square whose elements are channels side by side.
Those of F(2 x 2, 3 x 3), as in Lavin, Gray, Fast algorithms for convolutional neural networks, 2015:

    image      d, 4 x 4      B'dB     filter      g, 3 x 3    GgG'     output     m, 4 x 4    A'mA
    arrived    y, 2 x 2      AyA'     gradient    s, 4 x 4    G'sG     (the transposed ones, for the gradient by the weights)

Imported by the build alone.
"""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types

from dlcore.compiler.language import intrinsic
from dlcore.ops.conv2d.moves import either
from dlcore.ops.matmul.tiles import ADD, BIAS, C_BODY, I64, RELU, Tile, Vectors, element_pointer

C_TRANSFORM = """
void {name}(const float *source, int64_t at, int64_t row, int64_t column, int64_t r0, int64_t r1, int64_t c0, int64_t c1,
            int64_t n, float *out, int64_t zeros, int64_t out_at, int64_t out_row, int64_t out_column)
{{
    const float half = 0.5f;
    (void)half;
    (void)zeros;
    for (int64_t k = 0; k < n; k++) {{
        float x[4][4], y[4][4];
        for (int64_t i = 0; i < {size}; i++)
            for (int64_t j = 0; j < {size}; j++)
                x[i][j] = i >= r0 && i < r1 && j >= c0 && j < c1 ? source[at + i * row + j * column + k] : 0.0f;
        for (int64_t j = 0; j < {size}; j++) {{
{columns}
        }}
        for (int64_t i = 0; i < {made}; i++) {{
{rows}
        }}
    }}
}}
"""
C_OUTPUT = """
void {name}(const float *source, int64_t at, int64_t row, int64_t column, int64_t rows, int64_t columns, int64_t n, float *out,
            int64_t zeros, int64_t out_at, int64_t out_row, int64_t out_column, const float *bias, int64_t bias_at,
            const float *more, int64_t mode)
{{
    (void)zeros;
    for (int64_t k = 0; k < n; k++) {{
        float x[4][4], y[4][4], z[2][2];
        for (int64_t i = 0; i < 4; i++)
            for (int64_t j = 0; j < 4; j++) x[i][j] = source[at + i * row + j * column + k];
        for (int64_t j = 0; j < 4; j++) {{
{columns}
        }}
        for (int64_t i = 0; i < 2; i++) {{
{rows}
        }}
        for (int64_t i = 0; i < rows && i < 2; i++)
            for (int64_t j = 0; j < columns && j < 2; j++) {{
                int64_t place = out_at + i * out_row + j * out_column + k;
                float value = z[i][j] + (mode & 2 ? bias[bias_at + k] : 0.0f);
                if (mode & 1) value += more[place];
                out[place] = mode & 4 && value < 0.0f ? 0.0f : value;
            }}
    }}
}}
"""


def image(a, b, c, d):
    return a - c, b + c, c - b, b - d


def output(a, b, c, d):
    return a + b + c, b - c - d


def filter(a, b, c):
    outer, inner = a + c, b
    return a, (outer + inner).halved(), (outer - inner).halved(), c


def arrived(a, b):
    return a, a + b, a - b, -b


def gradient(a, b, c, d):
    return a + (b + c).halved(), (b - c).halved(), (b + c).halved() + d


class Text(str):
    """What the maps above make of names: C."""

    def __add__(self, other: str) -> Text:
        return Text(f"({str(self)} + {str(other)})")

    def __sub__(self, other: str) -> Text:
        return Text(f"({str(self)} - {str(other)})")

    def __neg__(self) -> Text:
        return Text(f"(-{str(self)})")

    def halved(self) -> Text:
        return Text(f"({str(self)} * half)")


class Register:
    """And of vectors: LLVM."""

    def __init__(self, v: Vectors, value: Any) -> None:
        self.v, self.value = v, value

    def __add__(self, other: Register) -> Register:
        return Register(self.v, self.v.b.fadd(self.value, other.value))

    def __sub__(self, other: Register) -> Register:
        return Register(self.v, self.v.b.fsub(self.value, other.value))

    def __neg__(self) -> Register:
        return Register(self.v, self.v.b.fneg(self.value))

    def halved(self) -> Register:
        return Register(self.v, self.v.b.fmul(self.value, self.v.splat(ir.Constant(self.v.element, 0.5))))


Map = Callable[..., Any]
SIZES = {image: (4, 4), output: (4, 2), filter: (3, 4), arrived: (2, 4), gradient: (4, 3)}       # (read, made)


def c_lines(line: Map, last: str) -> dict[str, str]:
    """The C text of a map on columns, from x to y, and on rows, from y to `last`, which names row i and column {j}."""
    size, made = SIZES[line]
    down = line(*(Text(f"x[{i}][j]") for i in range(size)))
    along = line(*(Text(f"y[i][{j}]") for j in range(size)))
    return {"columns": "\n".join(f"            y[{i}][j] = {text};" for i, text in enumerate(down)),
            "rows": "\n".join(f"            {last.format(j=j)} = {text};" for j, text in enumerate(along)),
            "size": str(size), "made": str(made)}


def both_ways(line: Map, square: list[list[Register]]) -> list[list[Register]]:
    """The map on the columns of a square, then on its rows."""
    columns = [line(*column) for column in zip(*square, strict=True)]
    return [list(line(*row)) for row in zip(*columns, strict=True)]


def each_vector(b: Any, n: Any, lanes: int, emit: Callable[[Any], None]) -> None:
    """emit(k) for k = 0, lanes, ... below n, which is at least `lanes`."""
    before, loop, after = b.block, b.append_basic_block("channels"), b.append_basic_block("after")
    b.branch(loop)
    b.position_at_end(loop)
    k = b.phi(I64)
    emit(k)
    following = b.add(k, ir.Constant(I64, lanes))
    k.add_incoming(ir.Constant(I64, 0), before)
    k.add_incoming(following, b.block)
    b.cbranch(b.icmp_signed("<", following, n), loop, after)
    b.position_at_end(after)


def number(i: int) -> Any:
    return ir.Constant(I64, i)


def within(b: Any, i: int, low: Any, high: Any) -> Any:
    return b.and_(b.icmp_signed(">=", number(i), low), b.icmp_signed("<", number(i), high))


def square_of(b: Any, v: Vectors, base: Any, row: Any, column: Any, rows: int, columns: int) -> list[list[Any]]:
    """Pointers to the elements of a square."""
    return [[v.at(base, b.add(b.mul(row, number(i)), b.mul(column, number(j)))) for j in range(columns)] for i in range(rows)]


def transform(name: str, line: Map, lanes: int) -> Any:
    """An intrinsic name(source, at, row, column, r0, r1, c0, c1, n, out, zeros, out_at, out_row, out_column) for n channels, a
    multiple of `lanes`: the square at `at`, of which rows r0 to r1 and columns c0 to c1 are there, the others are read from n zeros
    in `out` at `zeros`."""
    size, made = SIZES[line]
    text = C_TRANSFORM.format(name=name, **c_lines(line, "out[out_at + i * out_row + {j} * out_column + k]"))

    @intrinsic(c=text, name=name)
    def code(typing, source, at, row, column, r0, r1, c0, c1, n, out, zeros, out_at, out_row, out_column):
        def generate(context, b, signature, arguments):
            source, at, row, column, r0, r1, c0, c1, n, out, zeros, out_at, out_row, out_column = arguments
            v = Vectors(b, context.get_data_type(signature.args[0].dtype), lanes)
            nothing = element_pointer(context, b, signature.args[9], out, zeros)
            source = square_of(b, v, element_pointer(context, b, signature.args[0], source, at), row, column, size, size)
            out = square_of(b, v, element_pointer(context, b, signature.args[9], out, out_at), out_row, out_column, made, made)

            def run(places):
                def emit(k):
                    square = [[Register(v, v.load(v.at(place, k))) for place in places_of] for places_of in places]
                    for values, targets in zip(both_ways(line, square), out, strict=True):
                        for value, target in zip(values, targets, strict=True):
                            v.store(value.value, v.at(target, k))
                each_vector(b, n, lanes, emit)

            def cut():
                rows, columns = [within(b, i, r0, r1) for i in range(size)], [within(b, j, c0, c1) for j in range(size)]
                run([[b.select(b.and_(rows[i], columns[j]), source[i][j], nothing) for j in range(size)] for i in range(size)])
            whole = [b.icmp_signed("<=", low, number(0)) for low in (r0, c0)]
            whole += [b.icmp_signed(">=", high, number(size)) for high in (r1, c1)]
            either(b, b.and_(b.and_(whole[0], whole[1]), b.and_(whole[2], whole[3])), lambda: run(source), cut)
            return context.get_dummy_value()
        i8 = types.int64
        return types.void(source, i8, i8, i8, i8, i8, i8, i8, i8, out, i8, i8, i8, i8), generate
    return code


class NearTile(Tile):
    """A tile whose sums go to scratch that is near: asking for it ahead would cost more than it gains."""

    def prefetch_out(self) -> None:
        pass


def near_tile(name: str, rows: int, vectors: int, lanes: int) -> Any:
    """An intrinsic name(depth, a, a_at, a_row, a_col, b, b_at, b_row, c, c_at, ldc, mode): as `matrix_tile`, whole."""
    body = C_BODY.format(name=f"{name}_all", columns=vectors * lanes).strip()
    text = f"""
void {name}(int64_t depth, const float *a, int64_t a_at, int64_t a_row, int64_t a_col, const float *b, int64_t b_at,
            int64_t b_row, float *c, int64_t c_at, int64_t ldc, int64_t mode)
{body[body.index("{"):]}
"""
    text = text.replace("i < rows", f"i < {rows}").replace("j < n", f"j < {vectors * lanes}")
    text = text.replace("mode & 2 ? bias[bias_at + j] : 0.0f", "0.0f")

    @intrinsic(c=text, name=name)
    def tile(typing, depth, a, a_at, a_row, a_col, b, b_at, b_row, c, c_at, ldc, mode):
        i8 = types.int64
        signature = types.void(i8, a, i8, i8, i8, b, i8, i8, c, i8, i8, i8)

        def generate(context, builder, signature, arguments):
            *given, mode = arguments
            whole = [number(rows), number(vectors * lanes), arguments[8], number(0)]        # no bias: any array
            full = types.void(*signature.args[:11], i8, i8, c, i8, i8)
            NearTile(context, builder, full, [*given, *whole, mode], rows, vectors, lanes, False).emit()
            return context.get_dummy_value()
        return signature, generate
    return tile


def output_transform(name: str, lanes: int) -> Any:
    """An intrinsic name(source, at, row, column, rows, columns, n, out, zeros, out_at, out_row, out_column, bias, bias_at, more,
    mode): the 2 x 2 places of `out`, of which the first `rows` and `columns` are there.

    mode: bits; ADD: of what lies in `more` at the same places, BIAS: of n channels, RELU: what is written is at least 0 (a NaN
    stays).  zeros: of n zeros in `source`."""
    text = C_OUTPUT.format(name=name, **c_lines(output, "z[i][{j}]"))

    @intrinsic(c=text, name=name)
    def code(typing, source, at, row, column, rows, columns, n, out, zeros, out_at, out_row, out_column, bias, bias_at, more, mode):
        def generate(context, b, signature, arguments):
            (source, at, row, column, rows, columns, n, out, zeros, out_at, out_row, out_column, bias, bias_at, more,
             mode) = arguments
            v = Vectors(b, context.get_data_type(signature.args[0].dtype), lanes)
            has = {bit: b.icmp_signed("!=", b.and_(mode, number(bit)), number(0)) for bit in (ADD, BIAS, RELU)}
            nothing = element_pointer(context, b, signature.args[0], source, zeros)
            shift = b.select(has[BIAS], element_pointer(context, b, signature.args[12], bias, bias_at), nothing)
            base = element_pointer(context, b, signature.args[14], more, out_at)
            source = square_of(b, v, element_pointer(context, b, signature.args[0], source, at), row, column, 4, 4)
            out = square_of(b, v, element_pointer(context, b, signature.args[7], out, out_at), out_row, out_column, 2, 2)
            base = square_of(b, v, base, out_row, out_column, 2, 2)
            least = v.splat(b.select(has[RELU], ir.Constant(v.element, 0.0), ir.Constant(v.element, float("-inf"))))

            def put(value, i, j, k, adds):
                if adds:
                    value = b.fadd(value, v.load(v.at(base[i][j], k)))
                low = b.fcmp_ordered("<", value, least)             # false for a NaN, which so stays visible
                v.store(b.select(low, least, value), v.at(out[i][j], k))

            def run(adds, whole):
                def emit(k):
                    square = [[Register(v, v.load(v.at(place, k))) for place in places] for places in source]
                    bias = v.load(v.at(shift, k))
                    for i, values in enumerate(both_ways(output, square)):
                        for j, value in enumerate(values):
                            value = b.fadd(value.value, bias)
                            if whole or i + j == 0:
                                put(value, i, j, k, adds)
                            else:
                                there = b.and_(b.icmp_signed("<", number(i), rows), b.icmp_signed("<", number(j), columns))
                                with b.if_then(there):
                                    put(value, i, j, k, adds)
                each_vector(b, n, lanes, emit)

            whole = b.and_(b.icmp_signed(">=", rows, number(2)), b.icmp_signed(">=", columns, number(2)))
            either(b, whole, lambda: either(b, has[ADD], lambda: run(True, True), lambda: run(False, True)),
                   lambda: either(b, has[ADD], lambda: run(True, False), lambda: run(False, False)))
            return context.get_dummy_value()
        i8 = types.int64
        return types.void(source, i8, i8, i8, i8, i8, i8, out, i8, i8, i8, i8, bias, i8, more, i8), generate
    return code
