"""Slices of K in shared memory, float32, each copied by one warp: 16 of K of 16 or 32 rows or columns of an operand.

Operands are copied by `cp.async` as they lie in memory, 16 bytes a lane where all rows begin at multiples of 16 bytes, else 4.
Rows along K have 64 bytes, the place of 16 bytes in them an exclusive or with half the row's number, so that eight lanes' rows
meet in no bank; rows across K are as wide as the tile.
"""

from dlcore.compiler.cuda.intrinsics import u32, u64
from dlcore.compiler.cuda.vectors import address_of, copy_4, copy_16
from dlcore.compiler.language import helper

DEPTH = 16


@helper
def beginning(x, row, column, r, c):
    """The address of an element, r rows and c columns away from where a slice begins."""
    return address_of(x) + u64(4) * (u64(row + r) * u64(x.shape[1]) + u64(column + c))


def slices_along(side):
    """(first, bring) for an operand whose rows run along K: `side` rows, 16 columns.

    first(x, wide, row, k, lane): the address of what a lane copies first.  bring(tile, source, pitch, wide, rows, columns, lane)
    copies from there on, as far as there are rows and columns; the rest becomes 0.  pitch: bytes between rows."""

    @helper
    def first(x, wide, row, k, lane):
        return beginning(x, row, k, lane >> 2, (lane & 3) * 4) if wide else beginning(x, row, k, lane >> 4, lane & 15)

    @helper
    def bring(tile, source, pitch, wide, rows, columns, lane):
        if wide:
            r, chunk = lane >> u32(2), lane & u32(3)
            at, there = tile + r * u32(64) + ((chunk ^ ((r >> u32(1)) & u32(3))) << u32(4)), u32(u32(4) * chunk) < columns
            for n in range(side // 8):
                size = u32(16) if there and u32(r + u32(8 * n)) < rows else u32(0)
                copy_16(at + u32(512) * u32(n), source + pitch * u64(8) * u64(n), size)
        else:
            r, c = u32(lane >> u32(4)), u32(lane & u32(15))
            at, there = tile + r * u32(64) + (c & u32(3)) * u32(4), c < columns
            for n in range(side // 2):
                size = u32(4) if there and u32(r + u32(2 * n)) < rows else u32(0)
                place = u32(128) * u32(n) + (((c >> u32(2)) ^ (u32(n) & u32(3))) << u32(4))
                copy_4(at + place, source + pitch * u64(2) * u64(n), size)

    return first, bring


def slices_across(side, mixed):
    """The same for an operand whose rows run across K: 16 rows, `side` columns.  mixed: the place of 16 bytes in their row is an
    exclusive or with twice the number of the row's pair: the 8 columns of 4 pairs that tensor cores want meet in no bank."""
    bits, mix = {16: 4, 32: 5}[side], 2 if mixed else 0
    wide_rows, rows_at_once, fours, columns_of = bits - 2, 32 >> bits, side // 4 - 1, side - 1

    @helper
    def first(x, wide, column, k, lane):
        if wide:
            return beginning(x, k, column, lane >> wide_rows, (lane & fours) * 4)
        return beginning(x, k, column, lane >> bits, lane & columns_of)

    @helper
    def bring(tile, source, pitch, wide, rows, columns, lane):
        if wide:
            r, c = u32(lane >> u32(wide_rows)), u32((lane & u32(fours)) * u32(4))
            for n in range(side // 8):
                row = u32(r + u32(4 * rows_at_once * n))
                size = u32(16) if c < columns and row < rows else u32(0)
                place = row * u32(4 * side) + ((c << u32(2)) ^ (((row >> u32(1)) & u32(3)) * u32(16 * mix)))
                copy_16(tile + place, source + pitch * u64(4 * rows_at_once) * u64(n), size)
        else:
            r, c = u32(lane >> u32(bits)), u32(lane & u32(columns_of))
            for n in range(side // 2):
                row = u32(r + u32(rows_at_once * n))
                size = u32(4) if c < columns and row < rows else u32(0)
                place = row * u32(4 * side) + ((c << u32(2)) ^ (((row >> u32(1)) & u32(3)) * u32(16 * mix)))
                copy_4(tile + place, source + pitch * u64(rows_at_once) * u64(n), size)

    return first, bring


def operand(side, along, warps, mixed):
    """(start, bring) of one operand of a tile.

    start(x, wide, at, k, lane): (address, bytes from a slice of this warp to its next one, bytes between rows, rows or columns that
    there are from `at` on).  bring(tile, source, pitch, wide, there, left, lane): a slice, of which `left` of K are there."""
    first, copied = slices_along(side) if along else slices_across(side, mixed)

    @helper
    def start(x, wide, at, k, lane):
        pitch = u64(4) * u64(x.shape[1])
        step = u64(4 * DEPTH * warps) if along else u64(DEPTH * warps) * pitch
        return first(x, wide, at, k, lane), step, pitch, u32(max(min(x.shape[0 if along else 1] - at, side), 0))

    @helper
    def bring(tile, source, pitch, wide, there, left, lane):
        copied(tile, source, pitch, wide, there if along else left, left if along else there, lane)

    return start, bring
