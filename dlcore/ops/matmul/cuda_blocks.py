"""bf16 matrices in blocks: how the operands of large products lie in memory, and how they come into shared memory on any GPU.

A matrix of R rows and C columns is made of blocks of 128 rows by 64 columns, row by row of blocks, padded with zeros.  A block is
16 KiB without a gap: its rows are 128 bytes, of which each 16 bytes lie at their number's exclusive or with the last three bits
of the row's number.  So a block, or half of one, is as `wgmma` reads it from shared memory (128-byte swizzle), whether the rows run
along K or across it, and comes there by one bulk copy that needs no map of the tensor.
"""

import numpy as np

from dlcore.compiler.cuda.intrinsics import pack_bf16, u32, u64
from dlcore.compiler.cuda.places import part_of
from dlcore.compiler.cuda.vectors import address_of, copy_16, load_4, store_words
from dlcore.compiler.language import helper
from dlcore.ops.matmul.cuda_panels import DEPTH, place_across, slice_product
from dlcore.ops.matmul.cuda_stages import HALF, place_along, staged

ZERO = np.float32(0)


@helper
def byte_of(blocks, r, chunk):
    """Where the chunk-th 16 bytes of row r lie in a matrix of so many blocks side by side."""
    inside = u32(r & 127) * u32(128) + ((u32(chunk & 7) ^ u32(r & 7)) << u32(4))
    return u64((r >> 7) * blocks + (chunk >> 3)) * u64(16384) + u64(inside)


@helper
def eight_of(x, r, c):
    """Eight neighbours of a row in two tuples, 0 beyond the matrix."""
    R, C = x.shape
    a, b = (ZERO, ZERO, ZERO, ZERO), (ZERO, ZERO, ZERO, ZERO)
    if r < R:
        at = address_of(x) + u64(4) * u64(r * C + c)
        if C & 3 == 0 and address_of(x) & u64(15) == u64(0):
            if c < C:
                a = load_4(at)
            if c + 4 < C:
                b = load_4(at + u64(16))
        else:
            a = (x[r, c] if c < C else ZERO, x[r, c + 1] if c + 1 < C else ZERO,
                 x[r, c + 2] if c + 2 < C else ZERO, x[r, c + 3] if c + 3 < C else ZERO)  # fmt: skip
            b = (x[r, c + 4] if c + 4 < C else ZERO, x[r, c + 5] if c + 5 < C else ZERO,
                 x[r, c + 6] if c + 6 < C else ZERO, x[r, c + 7] if c + 7 < C else ZERO)  # fmt: skip
    return a, b


@helper
def to_blocks(item, x, out):
    """The item-th eight numbers of x, padded to whole blocks, rounded into out [row blocks, blocks of a row, 8192]."""
    blocks = out.shape[1]
    r = part_of(item, 8 * blocks)
    chunk = item - r * 8 * blocks
    a, b = eight_of(x, r, 8 * chunk)
    store_words(address_of(out) + byte_of(blocks, r, chunk), pack_bf16(a[1], a[0]), pack_bf16(a[3], a[2]),
                pack_bf16(b[1], b[0]), pack_bf16(b[3], b[2]))  # fmt: skip


# ---- into the shared memory of `cuda_stages` ---------------------------------------------------------------------
@helper
def bring_along(tile, x, row, k, thread):
    """128 rows, 32 of their columns from k on, rows running along K."""
    for n in range(2):
        r, chunk = (thread >> 2) + 64 * n, thread & 3
        copy_16(tile + place_along(r, chunk), address_of(x) + byte_of(x.shape[1], row + r, (k >> 3) + chunk), u32(16))


@helper
def bring_across(tile, x, column, k, thread):
    """128 columns, 32 of their rows from k on, rows running across K."""
    chunk = thread & 15
    there = (column >> 3) + chunk < 8 * x.shape[1]
    for n in range(2):
        r = (thread >> 4) + 16 * n
        source = address_of(x) + (byte_of(x.shape[1], k + r, (column >> 3) + chunk) if there else u64(0))
        copy_16(tile + place_across(r, chunk), source, u32(16) if there else u32(0))


def blocked_tile(a_along, b_along):
    """`staged` for two matrices in blocks: start and stop are multiples of 64."""
    bring_a, bring_b = bring_along if a_along else bring_across, bring_along if b_along else bring_across

    @helper
    def bring(tile, m0, n0, k, stop, a, b, thread, extra):
        bring_a(tile, a, m0, k, thread)
        bring_b(tile + u32(HALF), b, n0, k, thread)

    return staged(bring, slice_product(a_along, b_along), DEPTH)
