"""Asking for what will be packed next, a little of it with each tile, so that packing finds it near."""
from dlcore.compiler.language import constant, helper
from dlcore.ops.matmul.tiles import fetch

TILE = constant("TILE")
ROWS, COLUMNS = 0, 1                                # how a matrix lies: a[M, K], or a[K, M]
LINE = 16                                           # elements of a cache line


@helper
def fetch_part(a, form, i, i1, first, last, part, parts):
    """Asks for one of `parts` parts of row blocks i to i1, steps first to last of K, which will be packed next."""
    if form == ROWS:
        K, rows = a.shape[1], (i1 - i) * TILE
        for row in range(i * TILE + rows * part // parts, i * TILE + rows * (part + 1) // parts):
            for k in range(first, last, LINE):
                fetch(a, row * K + k)
    else:
        M, depth = a.shape[1], last - first
        for k in range(first + depth * part // parts, first + depth * (part + 1) // parts):
            for row in range(i * TILE, i1 * TILE, LINE):
                fetch(a, k * M + row)


@helper
def fetch_lines(array, at, row, rows, size):
    """Asks for `size` elements of each of `rows` rows, `row` elements apart; the first begins with element `at`."""
    for i in range(rows):
        for j in range(0, size, LINE):
            fetch(array, at + i * row + j)
