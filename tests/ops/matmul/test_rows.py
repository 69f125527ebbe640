"""Rows of a product in blocks: all of them, once, no more than a tile has, and equal shares of blocks are equal shares of rows."""
import pytest

from dlcore.ops.matmul.rows import LOW, TILE, first_row


@pytest.mark.parametrize("M", [1, 2, 3, 4, 5, 7, 8, 9, 64, 67, 783, 784])
def test_blocks_cover_the_rows_evenly(M):
    blocks = -(-M // TILE)
    starts = [first_row(i, M) for i in range(blocks + 1)]
    sizes = [b - a for a, b in zip(starts, starts[1:])]
    assert starts[0] == 0 and starts[-1] == M and all(0 < size <= TILE for size in sizes)
    assert max(sizes) - min(sizes[:-1] or sizes) <= LOW
    assert abs(first_row(blocks // 2, M) - M * (blocks // 2) / blocks) <= LOW
