"""The loop of large products on tensor cores: slices of K copied into shared memory beside the products, in three stages.

A block of 256 threads makes 128 by 128 of the result.  A slice of K is 64 bytes of each operand's rows, 8 KiB an operand; while
one is multiplied, the next two are on their way by `cp.async`, 16 bytes a thread.  Whose rows run along K lies in shared memory
in rows of 64 bytes, the others in rows of a tile's width; the place of 16 bytes in their row is an exclusive or with the row's
number, so that the eight rows of a matrix that `ldmatrix` reads meet in no bank.
"""

from dlcore.compiler.cuda.intrinsics import cuda, i64, load_matrices, shared_address, u32
from dlcore.compiler.cuda.vectors import await_copies_but_1, close_copies
from dlcore.compiler.language import helper

SIDE = 128
HALF = 8192                             # bytes of an operand's slice
GROUP = 8                               # rows of tiles that follow one another: what they read stays in the cache


@helper
def corner(item, M, N):
    """The first row and column of a tile, tiles in groups of GROUP rows."""
    rows, columns = (M + SIDE - 1) // SIDE, (N + SIDE - 1) // SIDE
    first = item // (GROUP * columns) * GROUP
    height, place = min(rows - first, i64(GROUP)), item % (GROUP * columns)
    return (first + place % height) * SIDE, place // height * SIDE


@helper
def place_along(r, chunk):
    """The byte of 16 bytes of row r in a slice whose rows run along K."""
    return u32(r) * u32(64) + ((u32(chunk) ^ (u32(r >> 1) & u32(3))) << u32(4))


@helper
def left_along(tile, row, half, lane):
    """16 rows, half a slice, as mma wants its left operand: 16 of K in bf16, 8 in tf32."""
    r, chunk = row + (lane & u32(15)), u32(2) * half + (lane >> u32(4))
    return load_matrices(tile + r * u32(64) + ((chunk ^ ((r >> u32(1)) & u32(3))) << u32(4)))


@helper
def right_along(tile, column, half, lane):
    """16 columns of the right operand."""
    r, chunk = column + (lane & u32(7)) + ((lane >> u32(4)) << u32(3)), u32(2) * half + ((lane >> u32(3)) & u32(1))
    return load_matrices(tile + r * u32(64) + ((chunk ^ ((r >> u32(1)) & u32(3))) << u32(4)))


def staged(bring, multiply, depth):
    """sums(acc, thread, m0, n0, start, stop, a, b, extra): acc += the product over K from start to stop, `depth` at a time.

    bring(tile, m0, n0, k, stop, a, b, thread, extra) begins to copy a slice; what lies beyond stop must become 0.
    multiply(acc, tile, row, column, lane): the warp's 64 by 32, from `row` and `column` of the tile on, += a slice."""

    @helper
    def brought(tile, m0, n0, k, stop, a, b, thread, extra):
        """The slice of K from k on, if there is one; every thread closes a group of copies."""
        if k < stop:
            bring(tile, m0, n0, k, stop, a, b, thread, extra)
        close_copies()

    @helper
    def sums(acc, thread, m0, n0, start, stop, a, b, extra):
        shared = cuda.shared.array(12288, u32, alignment=256)       # three stages
        base, lane, warp = shared_address(shared), u32(thread & 31), u32(thread >> 5)
        row, column = (warp >> u32(2)) * u32(64), (warp & u32(3)) * u32(32)
        brought(base, m0, n0, start, stop, a, b, thread, extra)
        brought(base + u32(2 * HALF), m0, n0, start + depth, stop, a, b, thread, extra)
        tile, free = base, base + u32(4 * HALF)         # the stage that is multiplied, and that which was before it
        for k in range(start, stop, depth):
            await_copies_but_1()
            cuda.syncthreads()
            brought(free, m0, n0, k + 2 * depth, stop, a, b, thread, extra)
            multiply(acc, tile, row, column, lane)
            free = tile
            tile = tile + u32(2 * HALF) if tile - base < u32(4 * HALF) else base

    return sums
