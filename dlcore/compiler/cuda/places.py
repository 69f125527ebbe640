"""Positions: divisions of numbers below 2**32, which take a third of the time of those of 64 bits and call no subroutine."""

from __future__ import annotations

from dlcore.compiler.cuda.intrinsics import i64, u32
from dlcore.compiler.language import helper


@helper
def part_of(a, b):
    """a // b for 0 <= a, b < 2**32."""
    return i64(u32(a) // u32(b))


@helper
def place_in_image(item, H, W, C):
    """(b, h, w, c) of an element of [B, H, W, C]."""
    rest = part_of(item, C)
    row = part_of(rest, W)
    b = part_of(row, H)
    return b, row - b * H, rest - row * W, item - rest * C
