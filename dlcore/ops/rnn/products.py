"""What the recurrent kernels share: products with weights that stay in the caches from step to step, and states.

A step's product is rows [B, K] by weights [K, N] with few rows, made in tiles of registers.  From four rows on the weights are
packed into panels once, so that a tile reads them in one piece; fewer rows read them as they lie, in long rows.
"""
import numpy as np

from dlcore.compiler.language import call, constant, helper, kernel
from dlcore.ops.matmul.cpu import one_tile, row_edge, row_of_1, row_of_2, row_of_4

PANEL, TILE = constant("PANEL"), constant("TILE")
LOW = TILE // 3
ZERO = np.float32(0)

call("pack_panels(u: F[K, N] -> panels: F[ceil(N / PANEL) * K * PANEL])", over="1")
call("pack_turned(u: F[N, K] -> panels: F[ceil(N / PANEL) * K * PANEL])", over="1")
call("turn(u: F[N, K] -> turned: F[K, N])", over="1")


@kernel
def pack_panels(u, panels):
    """Panels of PANEL columns of u, one after the other; beyond the edge 0."""
    K, N = u.shape
    for p in range((N + PANEL - 1) // PANEL):
        for k in range(K):
            at = (p * K + k) * PANEL
            for j in range(PANEL):
                panels[at + j] = u[k, p * PANEL + j] if p * PANEL + j < N else ZERO


@kernel
def pack_turned(u, panels):
    """The same of the transpose of u."""
    N, K = u.shape
    for p in range((N + PANEL - 1) // PANEL):
        for k in range(K):
            at = (p * K + k) * PANEL
            for j in range(PANEL):
                panels[at + j] = u[p * PANEL + j, k] if p * PANEL + j < N else ZERO


@kernel
def turn(u, turned):
    for k in range(turned.shape[0]):
        for n in range(turned.shape[1]):
            turned[k, n] = u[n, k]


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
def direct_product(a, u, out, mode):
    """The same for u[K, N] as it lies, row by row of `a`: as many panels side by side as there are."""
    (rows, K), N = a.shape, out.shape[1]
    for i in range(rows):
        j = 0
        while j < N:
            if j + 4 * PANEL <= N:
                row_of_4(K, a, i * K, 0, 1, u, j, N, out, i * N + j, N, 1, 4 * PANEL, out, 0, mode)
                j += 4 * PANEL
            elif j + 2 * PANEL <= N:
                row_of_2(K, a, i * K, 0, 1, u, j, N, out, i * N + j, N, 1, 2 * PANEL, out, 0, mode)
                j += 2 * PANEL
            elif j + PANEL <= N:
                row_of_1(K, a, i * K, 0, 1, u, j, N, out, i * N + j, N, 1, PANEL, out, 0, mode)
                j += PANEL
            else:
                row_edge(K, a, i * K, 0, 1, u, j, N, out, i * N + j, N, 1, N - j, out, 0, mode)
                j = N


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
