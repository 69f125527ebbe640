"""How the rows of a product are cut into blocks, so that equal shares of the blocks are equal shares of the rows."""
from dlcore.compiler.language import constant, helper

TILE = constant("TILE")
LOW = TILE // 3                                     # rows of the smallest tile; it divides TILE at every level


@helper
def first_row(i, M):
    """Where row block i of M rows begins, of as many as whole tiles would need; i may be the number of blocks.

    What is missing in the last tile is left out of several, a LOW at a time: half of the blocks has half of the rows."""
    blocks, pieces = (M + TILE - 1) // TILE, (M + LOW - 1) // LOW
    return min(pieces * i // blocks * LOW, M)
