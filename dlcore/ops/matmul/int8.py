"""Products with weights of 8 bits, for programs that leave the weights alone: a quarter of the bytes, exact sums.

Weights are quantized once, each column by its greatest magnitude; what they are multiplied by is quantized where it is, each row by
its own (symmetric, to nearest, 127 steps to either side):

    q = round(w / s),  s = max |w| / 127       out[m, n] = s_row[m] s_column[n] sum over k of q_row[m, k] q_column[k, n]  (+ bias)

The sums are of whole numbers and exact in 32 bits, so that no order matters.  `vpdpbusd` multiplies signed by unsigned bytes: a
weight is stored as q + 128, and 128 times the sum of its row of `a` is taken off again (`offsets`).

A panel holds PANEL columns, four steps of K of each side by side; columns and steps that are not there are weights of 0.  A NaN, or
an infinity, in a row makes the row's scale NaN or infinite, and none of its results is finite.

Source: Jacob et al., Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference (2018), sections
2.1 to 2.3; scales for each column and row: Dettmers et al., LLM.int8() (2022), section 2.2.
"""
import numpy as np

from dlcore.compiler.language import call, constant, formula, helper, kernel, lowered
from dlcore.compiler.simd import bits_from_float, float_from_bits
from dlcore.ops.matmul import NONE, RELU
from dlcore.ops.matmul.activate import activate
from dlcore.ops.matmul.byte_tiles import byte_tile
from dlcore.ops.matmul.rows import LOW
from dlcore.ops.matmul.tiles import ADD, BIAS
from dlcore.ops.matmul.tiles import RELU as AT_LEAST_0

TILE, PANEL, LANES = constant("TILE"), constant("PANEL"), constant("LANES")
VECTORS, MIDDLE = PANEL // LANES, TILE - LOW
WIDTH = 4 * PANEL                                   # bytes of a panel for four steps of K
GREATEST = np.float32(127)
LEVEL = ("v4_bf16",)
ZERO = np.float32(0)

byte_rows = byte_tile("byte_rows", TILE, VECTORS, LANES)
byte_row = byte_tile("byte_row", 1, VECTORS, LANES)
byte_edge = byte_tile("byte_edge", TILE, VECTORS, LANES, edge=True)
byte_edge_middle = byte_tile("byte_edge_middle", MIDDLE, VECTORS, LANES, edge=True)
byte_edge_low = byte_tile("byte_edge_low", LOW, VECTORS, LANES, edge=True)

PANELS, TILES, FLOPS = "ceil(N / PANEL)", "ceil(M / TILE) * ceil(N / PANEL)", "2 * M * N * K"
PACKED = "packed: u8[ceil(N / PANEL), ceil(K / 4), 4 * PANEL], scales: f32[N]"
call(f"quantized_nn(x: f32[K, N] -> {PACKED})", over=PANELS, flops="4 * K * N")
call(f"quantized_nt(x: f32[N, K] -> {PACKED})", over=PANELS, flops="4 * K * N")
ROWS = "codes: i8[M, 4 * ceil(K / 4)], row_scales: f32[M], offsets: i32[M]"
call(f"quantized_rows(x: F[M, K] -> {ROWS})", over="M", flops="4 * M * K")
call(f"int8_product({ROWS}, {PACKED} -> +out: F[M, N])", over=TILES, flops=FLOPS)
call(f"int8_dense({ROWS}, {PACKED}, bias: f32[N]?, activation: i64, parameter: f32 -> out: F[M, N])", over=TILES, flops=FLOPS)


# ---- quantizing --------------------------------------------------------------------------------------------------
@formula
def magnitude(x):
    """The bits of |x|, which grow with it: integer maxima vectorise, and those of a NaN are the greatest."""
    return np.int32(bits_from_float(x) & np.int32(0x7FFFFFFF))


@formula
def inverse(scale):
    """Of a scale; 0 of 0: then there is nothing but zeros."""
    return np.float32(1) / scale if scale != np.float32(0) else np.float32(0)


@formula
def code(x, factor):
    """x * factor, -127 to 127, to the nearest whole number, and 128 more: positive, so that cutting rounds."""
    c = x * factor
    c = c if c > np.float32(-127) else np.float32(-127)             # NaN too: made an integer it would be undefined
    c = c if c < np.float32(127) else np.float32(127)
    return np.int32(c + np.float32(128.5))


@helper
def row_scale(x, i):
    """The greatest magnitude of x[i], in 127 steps."""
    top = np.int32(0)
    for k in range(x.shape[1]):
        top = max(top, magnitude(x[i, k]))
    return float_from_bits(top) / GREATEST


@helper
def empty(packed, p):
    """Weights of 0 in panel p."""
    for q in range(packed.shape[1]):
        for j in range(WIDTH):
            packed[p, q, j] = np.uint8(128)


@kernel(levels=LEVEL)
def quantized_nn(x, packed, scales, begin, end):
    K, N = x.shape
    for p in range(begin, end):
        j0, j1 = p * PANEL, min((p + 1) * PANEL, N)
        if j1 - j0 < PANEL or K % 4 > 0:
            empty(packed, p)
        for j in range(j0, j1):
            scales[j] = ZERO
        for k in range(K):
            for j in range(j0, j1):
                scales[j] = float_from_bits(max(magnitude(scales[j]), magnitude(x[k, j])))
        for j in range(j0, j1):
            scales[j] = scales[j] / GREATEST
        for k in range(K):
            for j in range(j0, j1):
                packed[p, k // 4, 4 * (j - j0) + k % 4] = np.uint8(code(x[k, j], inverse(scales[j])))


@kernel(levels=LEVEL)
def quantized_nt(x, packed, scales, begin, end):
    N, K = x.shape
    for p in range(begin, end):
        j0, j1 = p * PANEL, min((p + 1) * PANEL, N)
        if j1 - j0 < PANEL or K % 4 > 0:
            empty(packed, p)
        for j in range(j0, j1):
            scales[j] = row_scale(x, j)
            factor = inverse(scales[j])
            for k in range(K):
                packed[p, k // 4, 4 * (j - j0) + k % 4] = np.uint8(code(x[j, k], factor))


@kernel(levels=LEVEL)
def quantized_rows(x, codes, row_scales, offsets):
    K = x.shape[1]
    for m in range(x.shape[0]):
        row_scales[m], total = row_scale(x, m), np.int32(0)
        factor = inverse(row_scales[m])
        for k in range(K):
            c = np.int32(code(x[m, k], factor) - np.int32(128))
            codes[m, k] = np.int8(c)
            total += c
        for k in range(K, codes.shape[1]):
            codes[m, k] = np.int8(0)
        offsets[m] = np.int32(-128) * total


# ---- multiplying -------------------------------------------------------------------------------------------------
@helper
def one_byte_tile(codes, m, rows, packed, p, out, n, row_scales, offsets, scales, bias, mode):
    N, depth, width = out.shape[1], packed.shape[1], codes.shape[1]
    a, b, c, j = m * width, p * depth * WIDTH, m * N + p * PANEL, p * PANEL
    if n == PANEL and rows == TILE:
        byte_rows(depth, codes, a, width, packed, b, out, c, N, rows, n, row_scales, offsets, m, scales, bias, j, mode)
    elif n == PANEL and rows == 1:
        byte_row(depth, codes, a, width, packed, b, out, c, N, rows, n, row_scales, offsets, m, scales, bias, j, mode)
    elif rows > MIDDLE:
        byte_edge(depth, codes, a, width, packed, b, out, c, N, rows, n, row_scales, offsets, m, scales, bias, j, mode)
    elif rows > LOW:
        byte_edge_middle(depth, codes, a, width, packed, b, out, c, N, rows, n, row_scales, offsets, m, scales, bias, j, mode)
    else:
        byte_edge_low(depth, codes, a, width, packed, b, out, c, N, rows, n, row_scales, offsets, m, scales, bias, j, mode)


@helper
def multiply_bytes(begin, end, codes, row_scales, offsets, packed, scales, out, mode, bias, activation, parameter):
    """Tiles begin to end, panel by panel: one is read from memory once, and lies in the second-level cache for all rows."""
    M, N = out.shape
    blocks = (M + TILE - 1) // TILE
    for tile in range(begin, end):
        p, m = tile // blocks, tile % blocks * TILE
        rows, n = min(TILE, M - m), min(PANEL, N - p * PANEL)
        one_byte_tile(codes, m, rows, packed, p, out, n, row_scales, offsets, scales, bias,
                      mode | (AT_LEAST_0 if activation == RELU else 0))
        if activation > RELU:
            activate(out, m, rows, p * PANEL, n, activation, parameter)


@kernel(levels=LEVEL)
def int8_product(codes, row_scales, offsets, packed, scales, out, begin, end, add_out):
    multiply_bytes(begin, end, codes, row_scales, offsets, packed, scales, out, ADD if add_out else 0, scales, NONE, ZERO)


@kernel(levels=LEVEL)
def int8_dense(codes, row_scales, offsets, packed, scales, bias, activation, parameter, out, begin, end):
    mode = BIAS if bias.shape[0] > 0 else 0
    multiply_bytes(begin, end, codes, row_scales, offsets, packed, scales, out, mode, bias, activation, parameter)


SOME = "16 <= K and K <= 65536 and K * N >= 1024"   # more steps of K might not be exact; of fewer weights float32 costs nothing
for form in ("nn", "nt"):
    lowered(f"matmul_{form}", f"quantized_{form}(b -> packed, scales)", "quantized_rows(a -> codes, row_scales, offsets)",
            "int8_product(codes, row_scales, offsets, packed, scales -> out)", when=SOME, product="i8", held="b")
lowered("dense_forward", "quantized_nn(weight -> packed, scales)", "quantized_rows(x -> codes, row_scales, offsets)",
        "int8_dense(codes, row_scales, offsets, packed, scales, bias, activation, parameter -> out)", when=SOME, product="i8",
        held="weight")
