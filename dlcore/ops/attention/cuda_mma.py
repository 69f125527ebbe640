"""Products of a warp's 16 rows with rows in shared memory, by `mma.sync`: for every GPU."""

from dlcore.compiler.cuda.intrinsics import load_matrices, load_matrices_turned, mma_bf16, u32
from dlcore.compiler.language import helper
from dlcore.ops.attention.cuda_pieces import clear


@helper
def multiply(acc, j, a0, a1, a2, a3, b0, b1):
    d = mma_bf16(a0, a1, a2, a3, b0, b1, acc[j, 0], acc[j, 1], acc[j, 2], acc[j, 3])
    acc[j, 0], acc[j, 1], acc[j, 2], acc[j, 3] = d[0], d[1], d[2], d[3]


@helper
def shown():
    """What was copied needs no more than the barrier."""


def readers(rows):
    """(left_rows, other_rows, turned_rows): fragments of a tile of `rows` rows.

    A row's bytes begin at a multiple of their number, so the place of 16 bytes is an exclusive or with it: one instruction for
    each address in the place of a register."""
    HALF = 128 * rows                                   # bytes of 64 columns

    @helper
    def left_rows(tile, row, k, lane):
        """16 rows, columns 16 k and on: the left side of a product."""
        r, half = row + (lane & u32(15)), lane >> u32(4)
        at = (tile + r * u32(128) + ((half ^ (r & u32(7))) << u32(4))) ^ u32((k & 3) << 5)
        return load_matrices(at + u32((k >> 2) * HALF))

    @helper
    def other_rows(tile, row, k, lane):
        """16 rows, columns 16 k and on, of which the products are made: two right sides."""
        r, half = row + (lane & u32(7)) + ((lane >> u32(4)) << u32(3)), (lane >> u32(3)) & u32(1)
        at = (tile + r * u32(128) + ((half ^ (r & u32(7))) << u32(4))) ^ u32((k & 3) << 5)
        return load_matrices(at + u32((k >> 2) * HALF))

    @helper
    def turned_rows(tile, row, j, lane):
        """16 rows to sum over, columns 16 j and on: two right sides."""
        r, half = row + (lane & u32(15)), lane >> u32(4)
        at = (tile + r * u32(128) + ((half ^ (r & u32(7))) << u32(4))) ^ u32((j & 3) << 5)
        return load_matrices_turned(at + u32((j >> 2) * HALF))

    return left_rows, other_rows, turned_rows


def products(W, rows):
    """(shown, scores, two_scores, weigh, weigh_two): with tiles of `rows` rows of W columns."""
    _, other_rows, turned_rows = readers(rows)

    @helper
    def scores(s, own, tile, thread):
        """s = own rows times those of the tile."""
        lane = u32(thread & 31)
        clear(s)
        for k in range(W // 16):
            for j in range(rows // 16):
                b = other_rows(tile, u32(16 * j), k, lane)
                multiply(s, 2 * j, own[k, 0], own[k, 1], own[k, 2], own[k, 3], b[0], b[1])
                multiply(s, 2 * j + 1, own[k, 0], own[k, 1], own[k, 2], own[k, 3], b[2], b[3])

    @helper
    def two_scores(s, own, tile, d, other_own, other_tile, thread):
        scores(s, own, tile, thread)
        scores(d, other_own, other_tile, thread)

    @helper
    def weigh(acc, p, tile, thread):
        """acc += the sum over the tile's rows of p times these rows."""
        lane = u32(thread & 31)
        for k in range(rows // 16):
            for j in range(W // 16):
                b = turned_rows(tile, u32(16 * k), j, lane)
                multiply(acc, 2 * j, p[k, 0], p[k, 1], p[k, 2], p[k, 3], b[0], b[1])
                multiply(acc, 2 * j + 1, p[k, 0], p[k, 1], p[k, 2], p[k, 3], b[2], b[3])

    @helper
    def weigh_two(acc, p, tile, other_acc, other_p, other_tile, thread):
        weigh(acc, p, tile, thread)
        weigh(other_acc, other_p, other_tile, thread)

    return shown, scores, two_scores, weigh, weigh_two
