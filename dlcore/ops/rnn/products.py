"""What the recurrent kernels share: products with weights that stay in the caches from step to step, and states.

A step's product is rows [B, K] by weights [K, N] with few rows, made in tiles of registers.  From four rows on the weights are
packed into panels once, so that a tile reads them in one piece; fewer rows read groups of four panels side by side.
"""
import numpy as np

from dlcore.compiler.language import call, constant, helper, kernel
from dlcore.ops.matmul.cpu import LINE, one_tile, row_edge, row_of_1, row_of_2, row_of_4
from dlcore.ops.matmul.tiles import fetch

PANEL, TILE = constant("PANEL"), constant("TILE")
WIDE = 4 * PANEL
LOW = TILE // 3
ZERO = np.float32(0)

call("pack_panels(u: F[K, N] -> panels: F[ceil(N / PANEL) * K * PANEL])", over="1")
call("pack_turned(u: F[N, K] -> panels: F[ceil(N / PANEL) * K * PANEL])", over="1")
call("pack_wide(u: F[K, N] -> wide: F[ceil(N / (4 * PANEL)) * K * 4 * PANEL])", over="1")
call("turn_wide(u: F[N, K] -> wide: F[ceil(N / (4 * PANEL)) * K * 4 * PANEL])", over="1")


@helper
def pack(u, width, packed):
    """Columns of u in groups of `width`, one after the other; beyond the edge 0."""
    K, N = u.shape
    for p in range((N + width - 1) // width):
        for k in range(K):
            at = (p * K + k) * width
            for j in range(width):
                packed[at + j] = u[k, p * width + j] if p * width + j < N else ZERO


@helper
def turn(u, width, packed):
    """The same of the transpose of u."""
    N, K = u.shape
    for p in range((N + width - 1) // width):
        for k in range(K):
            at = (p * K + k) * width
            for j in range(width):
                packed[at + j] = u[p * width + j, k] if p * width + j < N else ZERO


@kernel
def pack_panels(u, panels):
    pack(u, PANEL, panels)


@kernel
def pack_turned(u, panels):
    turn(u, PANEL, panels)


@kernel
def pack_wide(u, wide):
    pack(u, WIDE, wide)


@kernel
def turn_wide(u, wide):
    turn(u, WIDE, wide)


@helper
def packed_product(a, panels, out, mode):
    """out[rows, N] = a[rows, K] u, for packed u; mode ADD: added to what is there.  Rows are cut into tiles as even as possible."""
    (rows, K), N = a.shape, out.shape[1]
    for p in range((N + PANEL - 1) // PANEL):
        n, i = min(PANEL, N - p * PANEL), 0
        while i < rows:
            left = rows - i
            tiles = (left + TILE - 1) // TILE
            take = min(((left + tiles - 1) // tiles + LOW - 1) // LOW * LOW, left)
            one_tile(K, a, i * K, K, 1, panels, p * K * PANEL, PANEL, out, i * N + p * PANEL, N, take, n, out, 0, mode)
            i += take


@helper
def direct_product(a, u, out, mode, down):
    """The same for weights packed by `pack_wide`, row by row of `a`, from the last group of columns to the first if `down`: what
    was read last is read first in the next step, while it still is in the first-level cache."""
    (rows, K), N = a.shape, out.shape[1]
    groups = (N + WIDE - 1) // WIDE
    for i in range(rows):
        for g in range(groups):
            first = (groups - 1 - g if down else g) * WIDE
            at, to, n = first * K, i * N + first, min(WIDE, N - first)
            if n == WIDE:
                row_of_4(K, a, i * K, 0, 1, u, at, WIDE, out, to, N, 1, WIDE, out, 0, mode)
            else:
                j = 0
                while j < n:
                    if j + 2 * PANEL <= n:
                        row_of_2(K, a, i * K, 0, 1, u, at + j, WIDE, out, to + j, N, 1, 2 * PANEL, out, 0, mode)
                        j += 2 * PANEL
                    elif j + PANEL <= n:
                        row_of_1(K, a, i * K, 0, 1, u, at + j, WIDE, out, to + j, N, 1, PANEL, out, 0, mode)
                        j += PANEL
                    else:
                        row_edge(K, a, i * K, 0, 1, u, at + j, WIDE, out, to + j, N, 1, n - j, out, 0, mode)
                        j = n


@helper
def start_state(first, state):
    """state = first, or zeros where `first` is absent."""
    for b in range(state.shape[0]):
        for j in range(state.shape[1]):
            state[b, j] = first[b, j] if first.shape[0] > 0 else ZERO


@helper
def present(mask, b, t):
    """Whether step t of sequence b is there: always without a mask."""
    return mask.shape[0] == 0 or mask[b, t] != ZERO


@helper
def gather_state(first, steps, b, t, at_start, before, out):
    """out[b, t] = the state before step t: that after step `before`, or the first one, zeros if absent."""
    H = out.shape[2]
    if not at_start:
        for j in range(H):
            out[b, t, j] = steps[b, before, j]
    elif first.shape[0] > 0:
        for j in range(H):
            out[b, t, j] = first[b, j]
    else:
        for j in range(H):
            out[b, t, j] = ZERO


@helper
def add_step(dout, b, t, dh):
    """dh[b] += dout[b, t], where there is one."""
    if dout.shape[0] > 0:
        for j in range(dh.shape[1]):
            dh[b, j] += dout[b, t, j]


@helper
def fetch_step(array, b, t):
    """Asks for array[b, t], which is read one step later: the rows of a step lie too far apart to be foreseen."""
    T, N = array.shape[1], array.shape[2]
    if array.shape[0] > 0:
        for j in range(0, N, LINE):
            fetch(array, (b * T + t) * N + j)
