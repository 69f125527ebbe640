"""Matrix products on the CPU, walked over in register-blocked tiles of TILE rows by PANEL columns.

    direct   a and b as they lie: what fits the second-level cache loses more by packing than it gains
    blocked  a block of panels of b (DEPTH rows, BLOCK panels) and a few row blocks of a are copied side by side, and used
             while they are near: no two lines of a tile compete for a place in the cache
    few      M = 1, or few: the matrix streams through once (`few.py`)

A tile's sums run over K in one order whoever computes it, in the same blocks of at most DEPTH, so the bits do not depend on the
number of threads.  `benchmarks/matmul_notes.md` says what else was tried.
"""
import numpy as np

from dlcore.compiler.language import call, constant, helper, kernel, lowered
from dlcore.compiler.simd import ask_to_write
from dlcore.ops.matmul import NONE, RELU, bf16, few, int8  # noqa: F401  (these register their kernels)
from dlcore.ops.matmul.activate import activate
from dlcore.ops.matmul.ahead import COLUMNS, LINE, ROWS, fetch_lines, fetch_part
from dlcore.ops.matmul.rows import LOW, first_row
from dlcore.ops.matmul.tiles import ADD, BIAS, fetch, matrix_tile, transposed_block
from dlcore.ops.matmul.tiles import RELU as AT_LEAST_0

TILE, PANEL, LANES = constant("TILE"), constant("PANEL"), constant("LANES")
VECTORS = PANEL // LANES
MIDDLE = TILE - LOW                                 # rows of a tile between a whole one and one of LOW
NARROW = (VECTORS + 1) // 2                         # registers of columns of the narrow tiles
DEPTH = 384                                         # of K at a time
BLOCK = 512 // PANEL                                # panels that are near at a time
STRIDE = DEPTH + LANES                              # of packed rows: no power of two, so that they do not meet in the caches
GROUP = 4                                           # row blocks that are packed at a time, at most
NEAR, SLOT = GROUP * TILE * STRIDE, PANEL * DEPTH   # elements of these, of a panel's block
SHARES, SHARE = 32, NEAR + SLOT                     # of a product whose threads pack; elements of `work` for each
AHEAD = 8                                           # rows that are asked for before they are packed

full_tile = matrix_tile("full_tile", TILE, VECTORS, LANES)
full_middle = matrix_tile("full_middle", MIDDLE, VECTORS, LANES)
full_low = matrix_tile("full_low", LOW, VECTORS, LANES)
edge_tile = matrix_tile("edge_tile", TILE, VECTORS, LANES, edge=True)
edge_middle = matrix_tile("edge_middle", MIDDLE, VECTORS, LANES, edge=True)
edge_low = matrix_tile("edge_low", LOW, VECTORS, LANES, edge=True)
narrow_tile = matrix_tile("narrow_tile", TILE, NARROW, LANES, edge=True)
narrow_middle = matrix_tile("narrow_middle", MIDDLE, NARROW, LANES, edge=True)
narrow_low = matrix_tile("narrow_low", LOW, NARROW, LANES, edge=True)
row_of_4 = matrix_tile("row_of_4", 1, 4 * VECTORS, LANES)        # these for the recurrences of `ops/rnn`
row_of_2 = matrix_tile("row_of_2", 1, 2 * VECTORS, LANES)
row_of_1 = matrix_tile("row_of_1", 1, VECTORS, LANES)
row_edge = matrix_tile("row_edge", 1, VECTORS, LANES, edge=True)
transposed = transposed_block("transposed", LANES, LANES)

ZERO = np.float32(0)

# ---- packing -----------------------------------------------------------------------------------------------------
@helper
def pack_columns(b, p0, p1, first, last, panels, at):
    """Columns of panels p0 to p1 of b[K, N], rows first to last, to element `at` and on; beyond the edge 0.

    All panels at a time, so that rows are read in long pieces."""
    N = b.shape[1]
    whole = p1 if p1 * PANEL <= N else p1 - 1
    for k in range(first, last):
        for j in range(p0 * PANEL, p1 * PANEL, LINE):
            fetch(b, (k + AHEAD) * N + j)
        for p in range(p0, whole):
            to = at + (p - p0) * SLOT + (k - first) * PANEL
            for j in range(PANEL):
                panels[to + j] = b[k, p * PANEL + j]
        for p in range(whole, p1):
            to = at + (p - p0) * SLOT + (k - first) * PANEL
            for j in range(PANEL):
                panels[to + j] = b[k, p * PANEL + j] if p * PANEL + j < N else ZERO


@helper
def pack_rows(b, p, first, last, panels, at):
    """The same panel where b lies transposed, [N, K]."""
    (N, K), j0 = b.shape, p * PANEL
    whole = first + (last - first) // LANES * LANES if j0 + PANEL <= N else first
    for j in range(0, PANEL, LANES):
        for k in range(first, whole, LANES):
            transposed(b, (j0 + j) * K + k, K, panels, at + (k - first) * PANEL + j, PANEL)
    for k in range(whole, last):
        for j in range(PANEL):
            panels[at + (k - first) * PANEL + j] = b[j0 + j, k] if j0 + j < N else ZERO


@helper
def copy_rows(a, i, i1, first, last, near, at):
    """Row blocks i to i1 of a[M, K], columns first to last: each row whole, rows STRIDE apart."""
    for row in range(i * TILE, min(i1 * TILE, a.shape[0])):
        to = at + (row - i * TILE) * STRIDE
        for k in range(first, last):
            near[to + k - first] = a[row, k]


@helper
def copy_columns(a, i, i1, first, last, near, at):
    """Row blocks i to i1 of the transpose of a[K, M], rows first to last: TILE elements side by side; as far apart as above."""
    M = a.shape[1]
    whole = i1 if i1 * TILE <= M else i1 - 1
    for k in range(first, last):
        for block in range(i, whole):
            to = at + (block - i) * TILE * STRIDE + (k - first) * TILE
            for row in range(TILE):
                near[to + row] = a[k, block * TILE + row]
        for block in range(whole, i1):
            to = at + (block - i) * TILE * STRIDE + (k - first) * TILE
            for row in range(M - block * TILE):
                near[to + row] = a[k, block * TILE + row]


call("transposed_copy(b: F[N, K] -> out: F[K, N])", over="ceil(N / LANES)")


@kernel
def transposed_copy(b, out, begin, end):
    """Threads share b's rows, which are the columns of a product with `out`: each reads there what it wrote here.

    Lines of `out` are asked for ahead: another core may have them, of what stood there before."""
    N, K = b.shape
    last = min(end * LANES, N)
    for n in range(begin * LANES, last, LANES):
        whole = K - K % LANES if n + LANES <= N else 0
        for k in range(0, whole, LANES):
            for row in range(k + LANES, k + 2 * LANES):
                ask_to_write(out, row * N + n)
            transposed(b, n * K + k, K, out, k * N + n, N)
        for row in range(n, min(n + LANES, last)):
            for k in range(whole, K):
                out[k, row] = b[row, k]


# ---- multiplying -------------------------------------------------------------------------------------------------
@helper
def one_tile(depth, a, a_at, a_row, a_col, b, b_at, b_row, c, c_at, ldc, rows, n, bias, bias_at, mode):
    """The tile that fits: whole, or an edge as small as possible."""
    if n == PANEL and rows == TILE:
        full_tile(depth, a, a_at, a_row, a_col, b, b_at, b_row, c, c_at, ldc, rows, n, bias, bias_at, mode)
    elif n == PANEL and rows == MIDDLE:
        full_middle(depth, a, a_at, a_row, a_col, b, b_at, b_row, c, c_at, ldc, rows, n, bias, bias_at, mode)
    elif n == PANEL and rows == LOW:
        full_low(depth, a, a_at, a_row, a_col, b, b_at, b_row, c, c_at, ldc, rows, n, bias, bias_at, mode)
    elif n > NARROW * LANES:
        if rows > MIDDLE:
            edge_tile(depth, a, a_at, a_row, a_col, b, b_at, b_row, c, c_at, ldc, rows, n, bias, bias_at, mode)
        elif rows > LOW:
            edge_middle(depth, a, a_at, a_row, a_col, b, b_at, b_row, c, c_at, ldc, rows, n, bias, bias_at, mode)
        else:
            edge_low(depth, a, a_at, a_row, a_col, b, b_at, b_row, c, c_at, ldc, rows, n, bias, bias_at, mode)
    elif rows > MIDDLE:
        narrow_tile(depth, a, a_at, a_row, a_col, b, b_at, b_row, c, c_at, ldc, rows, n, bias, bias_at, mode)
    elif rows > LOW:
        narrow_middle(depth, a, a_at, a_row, a_col, b, b_at, b_row, c, c_at, ldc, rows, n, bias, bias_at, mode)
    else:
        narrow_low(depth, a, a_at, a_row, a_col, b, b_at, b_row, c, c_at, ldc, rows, n, bias, bias_at, mode)


@helper
def multiply(begin, end, K, a, a_row, a_col, b, b_row, out, add, bias, biased, activation, parameter):
    """Tiles begin to end of  out (+)= a b, then bias and activation.

    Panel p of b starts at element p * PANEL; see `tiles.py` for the strides.  The longer of the two axes is the outer one,
    which threads share.  `bias` is any array where `biased` is 0.  In the first round what the next tile reads is asked
    for: another core may have written it."""
    M, N = out.shape
    blocks, panels = (M + TILE - 1) // TILE, (N + PANEL - 1) // PANEL
    by_rows = blocks >= panels
    inside = panels if by_rows else blocks
    parts = (K + DEPTH - 1) // DEPTH
    for first in range(0, inside, BLOCK):
        for part in range(parts):
            start, stop = K * part // parts, K * (part + 1) // parts
            mode = (ADD if add or part > 0 else 0) | (BIAS if biased and part == 0 else 0)
            mode |= AT_LEAST_0 if activation == RELU and part == parts - 1 else 0
            for outer in range(begin // inside, (end - 1) // inside + 1):
                left = max(first, begin - outer * inside)
                right = min(min(first + BLOCK, inside), end - outer * inside)
                for inner in range(left, right):
                    i, p = (outer, inner) if by_rows else (inner, outer)
                    row, n = first_row(i, M), min(PANEL, N - p * PANEL)
                    rows = first_row(i + 1, M) - row
                    if outer == begin // inside and inner + 1 < right:
                        if by_rows:
                            fetch_lines(b, start * b_row + (p + 1) * PANEL, b_row, stop - start, PANEL)
                        elif a_col == 1:
                            fetch_lines(a, (row + rows) * a_row + start, a_row, TILE, stop - start)
                        else:
                            fetch_lines(a, row + rows + start * a_col, a_col, stop - start, TILE)
                    one_tile(stop - start, a, row * a_row + start * a_col, a_row, a_col, b, p * PANEL + start * b_row, b_row,
                             out, row * N + p * PANEL, N, rows, n, bias, p * PANEL, mode)
                    if activation > RELU and part == parts - 1:
                        activate(out, row, rows, p * PANEL, n, activation, parameter)


@helper
def blocked(begin, end, K, a, a_form, b, b_form, work, out, add, bias, biased, activation, parameter):
    """Shares begin to end, of SHARES, of the same product, for what does not fit the second-level cache: a block of panels
    of b, and row blocks of a, are packed into these shares' part of `work`, and are used there while they are near.

    Forms: ROWS as in a[M, K] and b[N, K], COLUMNS as in a[K, M] and b[K, N].  Panels are the outer axis."""
    M, N = out.shape
    blocks, panels = (M + TILE - 1) // TILE, (N + PANEL - 1) // PANEL
    width = min(BLOCK, ((end - begin) * SHARE - NEAR) // SLOT)
    near, here = begin * SHARE, begin * SHARE + NEAR            # the row blocks of a, the panels of b
    begin, end = blocks * panels * begin // SHARES, blocks * panels * end // SHARES
    a_row, a_col, group = (STRIDE, 1, 1) if a_form == ROWS else (1, TILE, GROUP)
    parts, last = (K + DEPTH - 1) // DEPTH, (end - 1) // blocks + 1 if begin < end else 0
    for p0 in range(begin // blocks, last, width):
        p1 = min(p0 + width, last)
        for part in range(parts):
            start, stop = K * part // parts, K * (part + 1) // parts
            mode = (ADD if add or part > 0 else 0) | (BIAS if biased and part == 0 else 0)
            mode |= AT_LEAST_0 if activation == RELU and part == parts - 1 else 0
            if b_form == ROWS:
                for p in range(p0, p1):
                    pack_rows(b, p, start, stop, work, here + (p - p0) * SLOT)
            else:
                pack_columns(b, p0, p1, start, stop, work, here)
            for i0 in range(0, blocks, group):
                i1, i2 = min(i0 + group, blocks), min(i0 + 2 * group, blocks)
                if a_form == ROWS:
                    copy_rows(a, i0, i1, start, stop, work, near)
                else:
                    copy_columns(a, i0, i1, start, stop, work, near)
                for i in range(i0, i1):
                    left = p0 if p0 * blocks + i >= begin else p0 + 1
                    right = p1 if (p1 - 1) * blocks + i < end else p1 - 1
                    rows, a_at = min(TILE, M - i * TILE), near + (i - i0) * TILE * STRIDE
                    for p in range(left, right):
                        fetch_part(a, a_form, i1, i2, start, stop, (i - i0) * (p1 - p0) + p - p0,
                                   group * (p1 - p0))
                        n = min(PANEL, N - p * PANEL)
                        one_tile(stop - start, work, a_at, a_row, a_col, work, here + (p - p0) * SLOT, PANEL,
                                 out, i * TILE * N + p * PANEL, N, rows, n, bias, p * PANEL, mode)
                        if activation > RELU and part == parts - 1:
                            activate(out, i * TILE, rows, p * PANEL, n, activation, parameter)


TILES, FLOPS = "ceil(M / TILE) * ceil(N / PANEL)", "2 * M * N * K"
WORK = f"work: F[{SHARES} * ({GROUP} * TILE * ({DEPTH} + LANES) + PANEL * {DEPTH})]"      # SHARES * SHARE, at every level
for form, a_shape, b_shape in (("nn", "M, K", "K, N"), ("nt", "M, K", "N, K"), ("tn", "K, M", "K, N")):
    if form != "nt":
        call(f"multiply_{form}(a: F[{a_shape}], b: F[{b_shape}] -> +out: F[M, N])", over=TILES, flops=FLOPS)
    call(f"blocked_{form}(a: F[{a_shape}], b: F[{b_shape}] -> +out: F[M, N]; {WORK})", over=str(SHARES), flops=FLOPS)
DENSE = "x: F[M, K], weight: f32[K, N], bias: f32[N]?, activation: i64, parameter: f32 -> out: F[M, N]"
call(f"dense_direct({DENSE})", over=TILES, flops=FLOPS)
call(f"dense_blocked({DENSE}; {WORK})", over=str(SHARES), flops=FLOPS)


@kernel
def multiply_nn(a, b, out, begin, end, add_out):
    K, N = b.shape
    multiply(begin, end, K, a, K, 1, b, N, out, add_out, out, False, NONE, ZERO)


@kernel
def multiply_tn(a, b, out, begin, end, add_out):
    K, M = a.shape
    multiply(begin, end, K, a, 1, M, b, b.shape[1], out, add_out, out, False, NONE, ZERO)


@kernel
def dense_direct(x, weight, bias, activation, parameter, out, begin, end):
    K, N = weight.shape
    multiply(begin, end, K, x, K, 1, weight, N, out, False, bias, bias.shape[0] > 0, activation, parameter)


@kernel
def blocked_nn(a, b, work, out, begin, end, add_out):
    blocked(begin, end, a.shape[1], a, ROWS, b, COLUMNS, work, out, add_out, out, False, NONE, ZERO)


@kernel
def blocked_nt(a, b, work, out, begin, end, add_out):
    blocked(begin, end, a.shape[1], a, ROWS, b, ROWS, work, out, add_out, out, False, NONE, ZERO)


@kernel
def blocked_tn(a, b, work, out, begin, end, add_out):
    blocked(begin, end, a.shape[0], a, COLUMNS, b, COLUMNS, work, out, add_out, out, False, NONE, ZERO)


@kernel
def dense_blocked(x, weight, bias, activation, parameter, work, out, begin, end):
    blocked(begin, end, x.shape[1], x, ROWS, weight, COLUMNS, work, out, False, bias, bias.shape[0] > 0, activation,
            parameter)


# ---- dense, K in halves ------------------------------------------------------------------------------------------
# Two threads then read halves of the weights' rows: those that each of them updates.  Where both read all, every line lies
# in both cores' caches, and the update has to call it back from the other (two cores of Zen 4, 200,000 weights: Adam's pass
# takes 58 us in the place of 38).
call("dense_halves(x: F[M, K], weight: f32[K, N] -> halves: F[2, M, N])", over=f"2 * {TILES}", flops=FLOPS)


@kernel
def dense_halves(x, weight, halves, begin, end):
    (K, N), M = weight.shape, x.shape[0]
    blocks, panels = (M + TILE - 1) // TILE, (N + PANEL - 1) // PANEL
    tiles = blocks * panels
    for half in range(begin // tiles, (end - 1) // tiles + 1):
        first, last = K * half // 2, K * (half + 1) // 2
        left, right = max(begin - half * tiles, 0), min(end - half * tiles, tiles)
        parts = (last - first + DEPTH - 1) // DEPTH
        for part in range(parts):
            start, stop = first + (last - first) * part // parts, first + (last - first) * (part + 1) // parts
            for tile in range(left, right):
                p, row, row1 = tile // blocks, first_row(tile % blocks, M), first_row(tile % blocks + 1, M)
                one_tile(stop - start, x, row * K + start, K, 1, weight, p * PANEL + start * N, N, halves,
                         (half * M + row) * N + p * PANEL, N, row1 - row, min(PANEL, N - p * PANEL), x, 0,
                         ADD if part > 0 else 0)


# ---- which of them -----------------------------------------------------------------------------------------------
DIRECT = "M <= 8 or K * N <= 131072 or (N <= 256 and K * N <= 262144)"      # rows of b that are long lie badly for a tile
FEW = "M == 1 or (M <= 16 and K * N > 262144)"                               # the matrix, read once, is what takes the time
HALVED = "8 < M and 8 * M <= K and K * N >= 131072"                         # where the weights are most of what is read
TRAINED = "8 < M and 2 * M <= K and K * N >= 16384"                         # where the update writes what was read
lowered("matmul_nn", "few_nn(a, b -> out)", when=FEW)
lowered("matmul_nn", "multiply_nn(a, b -> out)", when=DIRECT)
lowered("matmul_nn", "blocked_nn(a, b -> out)")
lowered("matmul_nt", "few_nt(a, b -> out)", when=FEW)
lowered("matmul_nt", "transposed_copy(b -> turned)", "multiply_nn(a, turned -> out)", when=DIRECT)
lowered("matmul_nt", "blocked_nt(a, b -> out)")
lowered("matmul_tn", "multiply_tn(a, b -> out)", when="K <= 96 or K * N <= 65536")
lowered("matmul_tn", "blocked_tn(a, b -> out)")
lowered("dense_forward", "few_parts(x, weight -> parts)", "parts_sum(parts, bias, activation, parameter -> out)",
        when="M <= 16 and N <= 4096 and K * N > 262144")
lowered("dense_forward", "few_dense(x, weight, bias, activation, parameter -> out)", when=FEW)
lowered("dense_forward", "dense_halves(x, weight -> halves)", "parts_sum(halves, bias, activation, parameter -> out)",
        when=f"({DIRECT}) and {HALVED}")
lowered("dense_forward", "dense_direct(x, weight, bias, activation, parameter -> out)", when=DIRECT, held="weight")
lowered("dense_forward", "dense_halves(x, weight -> halves)", "parts_sum(halves, bias, activation, parameter -> out)",
        when=f"({DIRECT}) and {TRAINED}")
lowered("dense_forward", "dense_direct(x, weight, bias, activation, parameter -> out)", when=DIRECT)
lowered("dense_forward", "dense_blocked(x, weight, bias, activation, parameter -> out)")


# ---- norms of the samples' gradients -----------------------------------------------------------------------------
@kernel
def dense_sample_norms(x, dout, biased, norms2, add_norms2):
    """(|x|**2 + [there is a bias]) |dout|**2"""
    for n in range(norms2.shape[0]):
        inputs = outputs = ZERO
        for k in range(x.shape[1]):
            inputs += x[n, k] * x[n, k]
        for c in range(dout.shape[1]):
            outputs += dout[n, c] * dout[n, c]
        if biased > 0:
            inputs += np.float32(1)
        norms2[n] = inputs * outputs + (norms2[n] if add_norms2 else ZERO)
