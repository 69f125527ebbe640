"""What a warp makes of a slice of K in shared memory (`cuda_slices`): sums of 16 by 16 or 32 by 32 in its lanes' registers, in
float32 or, of operands rounded to bf16 on their way from shared memory, on tensor cores.

In float32 a lane has side / 8 by side / 4 sums and takes four of K at a time, 8 or 16 bytes a load.
"""

from dlcore.compiler.cuda.intrinsics import asm_op, cuda, f32, mma_bf16, pack_bf16, u32
from dlcore.compiler.cuda.vectors import load_shared_4, store_shared_f32
from dlcore.compiler.language import helper

load_shared_2 = asm_op("load_shared_2", "ld.shared.v2.f32 {$0,$1}, [$2];", "ff", "r")
load_shared_f32 = asm_op("load_shared_f32", "ld.shared.f32 $0, [$1];", "f", "r")


# ---- shared memory to registers: values[i, k] for the q-th four of K --------------------------------------------------
def take_left(side, along):
    """A lane's rows: lane // 4 + 8 i along K, side / 8 neighbours across it."""
    rows = side // 8

    @helper
    def take_along(values, tile, q, lane):
        r = lane >> u32(2)
        at = tile + r * u32(64) + ((q ^ ((r >> u32(1)) & u32(3))) << u32(4))
        for i in range(rows):
            x = load_shared_4(at + u32(512) * u32(i))
            values[i, 0], values[i, 1], values[i, 2], values[i, 3] = x[0], x[1], x[2], x[3]

    @helper
    def take_two(values, tile, q, lane):
        at = tile + q * u32(16 * side) + (lane >> u32(2)) * u32(8)
        for k in range(4):
            x = load_shared_2(at + u32(4 * side) * u32(k))
            values[0, k], values[1, k] = x[0], x[1]

    @helper
    def take_four(values, tile, q, lane):
        at = tile + q * u32(16 * side) + (lane >> u32(2)) * u32(16)
        for k in range(4):
            x = load_shared_4(at + u32(4 * side) * u32(k))
            values[0, k], values[1, k], values[2, k], values[3, k] = x[0], x[1], x[2], x[3]

    return take_along if along else {2: take_two, 4: take_four}[rows]


def take_right(side, along):
    """A lane's columns: lane % 4 + 4 j along K; across it four neighbours, and those 16 further on."""
    columns = side // 4

    @helper
    def take_along(values, tile, q, lane):
        for j in range(columns):
            r = (lane & u32(3)) + u32(4) * u32(j)
            x = load_shared_4(tile + r * u32(64) + ((q ^ ((r >> u32(1)) & u32(3))) << u32(4)))
            values[j, 0], values[j, 1], values[j, 2], values[j, 3] = x[0], x[1], x[2], x[3]

    @helper
    def take_across(values, tile, q, lane):
        at = tile + q * u32(16 * side) + (lane & u32(3)) * u32(16)
        for k in range(4):
            for h in range(columns // 4):
                x = load_shared_4(at + u32(4 * side) * u32(k) + u32(64) * u32(h))
                values[4 * h, k], values[4 * h + 1, k], values[4 * h + 2, k], values[4 * h + 3, k] = x[0], x[1], x[2], x[3]

    return take_along if along else take_across


def float_product(side, a_along, b_along):
    """(shape, multiply, put, mixed) in float32.  shape: of a lane's sums;  multiply(acc, left, right, lane) adds a slice to them;
    put(acc, at, pitch, lane) stores them into shared memory, rows `pitch` bytes apart;  mixed: see `slices_across`."""
    rows, columns = side // 8, side // 4
    of_left, of_right = (rows, 4), (columns, 4)
    take_a, take_b = take_left(side, a_along), take_right(side, b_along)

    @helper
    def multiply_four(acc, x, y):
        for k in range(4):
            for i in range(rows):
                for j in range(columns):
                    acc[i, j] += x[i, k] * y[j, k]

    @helper
    def multiply(acc, left, right, lane):
        """Spelt out: the next four of K are loaded before the last are multiplied."""
        x, y = cuda.local.array(of_left, f32), cuda.local.array(of_right, f32)
        z, w = cuda.local.array(of_left, f32), cuda.local.array(of_right, f32)
        take_a(x, left, u32(0), lane)
        take_b(y, right, u32(0), lane)
        take_a(z, left, u32(1), lane)
        take_b(w, right, u32(1), lane)
        multiply_four(acc, x, y)
        take_a(x, left, u32(2), lane)
        take_b(y, right, u32(2), lane)
        multiply_four(acc, z, w)
        take_a(z, left, u32(3), lane)
        take_b(w, right, u32(3), lane)
        multiply_four(acc, x, y)
        multiply_four(acc, z, w)

    @helper
    def put(acc, at, pitch, lane):
        y, x = lane >> u32(2), lane & u32(3)
        for i in range(rows):
            m = y + u32(8) * u32(i) if a_along else y * u32(rows) + u32(i)
            for j in range(columns):
                n = x + u32(4) * u32(j) if b_along else x * u32(4) + u32(j & 3) + u32(16) * u32(j >> 2)
                store_shared_f32(at + m * u32(pitch) + n * u32(4), acc[i, j])

    return (rows, columns), multiply, put, False


# ---- the same on tensor cores: 32 by 32, operands rounded to bf16 on their way from shared memory -----------------------
@helper
def pair_along(tile, row, k):
    """Two neighbours along k of a row, as a word of bf16."""
    x = load_shared_2(tile + row * u32(64) + (((k >> u32(2)) ^ ((row >> u32(1)) & u32(3))) << u32(4)) + (k & u32(3)) * u32(4))
    return pack_bf16(x[1], x[0])


@helper
def pair_across(tile, row, k):
    at = tile + k * u32(128) + ((row << u32(2)) ^ (((k >> u32(1)) & u32(3)) << u32(5)))
    low, high = load_shared_f32(at), load_shared_f32(at + u32(128))
    return pack_bf16(high, low)


def bf16_product(side, a_along, b_along):
    """As `float_product`; of 2 by 4 products m16n8k16 the sums of the i-th and j-th are acc[4 i + j] (PTX's `mma.sync`)."""
    pair_a, pair_b = pair_along if a_along else pair_across, pair_along if b_along else pair_across

    @helper
    def sixteen(tile, m, k):
        return (pair_a(tile, m, k), pair_a(tile, m + u32(8), k),
                pair_a(tile, m, k + u32(8)), pair_a(tile, m + u32(8), k + u32(8)))  # fmt: skip

    @helper
    def multiply(acc, left, right, lane):
        g, k = lane >> u32(2), (lane & u32(3)) * u32(2)
        x, y = sixteen(left, g, k), sixteen(left, g + u32(16), k)
        for j in range(4):
            n = g + u32(8) * u32(j)
            z, w = pair_b(right, n, k), pair_b(right, n, k + u32(8))
            c = acc[j]
            d = mma_bf16(x[0], x[1], x[2], x[3], z, w, c[0], c[1], c[2], c[3])
            c[0], c[1], c[2], c[3] = d[0], d[1], d[2], d[3]
            c = acc[4 + j]
            d = mma_bf16(y[0], y[1], y[2], y[3], z, w, c[0], c[1], c[2], c[3])
            c[0], c[1], c[2], c[3] = d[0], d[1], d[2], d[3]

    @helper
    def put(acc, at, pitch, lane):
        m, n = lane >> u32(2), (lane & u32(3)) * u32(2)
        for t in range(8):
            for r in range(4):
                row, column = m + u32(16) * u32(t >> 2) + u32(8) * u32(r >> 1), n + u32(8) * u32(t & 3) + u32(r & 1)
                store_shared_f32(at + row * u32(pitch) + column * u32(4), acc[t, r])

    return (8, 4), multiply, put, True
