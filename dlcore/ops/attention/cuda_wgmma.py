"""The same products on Hopper (sm_90a), by `wgmma`: 64 rows of a warpgroup, whose left side is in registers, with a tile in shared
memory that it reads by a descriptor, once for 128 threads.

Products that wait for one another are `run_of_products`.  The places of sums and of the left side are those of `mma.sync`.

Source: NVIDIA, Parallel Thread Execution ISA, chapter Asynchronous Warpgroup Level Matrix Instructions.
"""

from dlcore.compiler.cuda.hopper import run_of_products, show_to_products
from dlcore.compiler.cuda.intrinsics import u32, u64
from dlcore.compiler.language import helper


@helper
def shown():
    show_to_products()


# ---- descriptors: a swizzle of 128 bytes, 1,024 bytes from 8 rows to the next -----------------------------------------------
@helper
def described(at, far):
    """far: from 64 columns to the next, in 16 bytes, where these are across the sum."""
    return (u64(1) << u64(62)) | (u64(64) << u64(32)) | (u64(far) << u64(16)) | u64((at & u32(0x3FFFF)) >> u32(4))


def products(W, rows):
    """(shown, scores, two_scores, weigh, weigh_two): as those of `cuda_mma`."""
    FAR = 8 * rows                                      # 64 columns of the tile, in 16 bytes
    along = rows, W // 16, 4, 2, FAR, False, False, False
    score, two = run_of_products("score", [along]), run_of_products("two", [along, along])
    across = W, rows // 16, rows // 16, 128, 0, True, True, False
    add, add_two = run_of_products("add", [across]), run_of_products("add_two", [across, across])

    @helper
    def scores(s, own, tile, thread):
        score(s, own, described(tile, 1))

    @helper
    def two_scores(s, own, tile, d, other_own, other_tile, thread):
        two(s, own, described(tile, 1), d, other_own, described(other_tile, 1))

    @helper
    def weigh(acc, p, tile, thread):
        add(acc, p, described(tile, FAR))

    @helper
    def weigh_two(acc, p, tile, other_acc, other_p, other_tile, thread):
        add_two(acc, p, described(tile, FAR), other_acc, other_p, described(other_tile, FAR))

    return shown, scores, two_scores, weigh, weigh_two


def scores_of_tiles(W, rows):
    """two_scores(s, own, tile, d, other_own, other_tile): 64 rows of one tile times those of another, twice."""
    along = rows, W // 16, 4, 2, 8 * rows, False, False, True
    two = run_of_products("two", [along, along])

    @helper
    def two_scores(s, own, tile, d, other_own, other_tile):
        two(s, described(own, 1), described(tile, 1), d, described(other_own, 1), described(other_tile, 1))

    return two_scores


def paired(W, rows):
    """pair(s, own, tile, acc, p, values): `scores` with one tile and `weigh` with another, side by side."""
    FAR = 8 * rows
    score, add = (rows, W // 16, 4, 2, FAR, False, False, False), (W, rows // 16, rows // 16, 128, 0, True, True, False)
    both = run_of_products("both", [score, add])

    @helper
    def pair(s, own, tile, acc, p, values):
        both(s, own, described(tile, 1), acc, p, described(values, FAR))

    return pair
