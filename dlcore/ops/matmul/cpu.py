"""Matrix products on the CPU: packed panels or memory as it lies, walked over in register-blocked tiles.

The grid that threads share is one of tiles, TILE rows by PANEL columns of the output; a tile's sums run over K in one order
whoever computes it, so the bits do not depend on the number of threads.  K is walked in blocks of at most DEPTH, so that a
panel's block stays near; the panels (or row blocks) of BLOCK neighbours are kept in the second-level cache while all rows
(or panels) pass by.

    direct   a and b as they lie: small problems, where packing costs as much as it saves
    packed   both copied into panels that are read from front to back: no two lines of a tile compete for a place in the cache
    row      M = 1: the weights stream through once, four panels side by side
"""
import numpy as np

from dlcore.compiler.language import call, constant, helper, kernel, lowered
from dlcore.ops.formulas import elu, gelu, gelu_tanh, leaky_relu, relu, sigmoid, silu, softplus, tanh
from dlcore.ops.matmul import ELU, GELU, GELU_TANH, LEAKY_RELU, NONE, RELU, SIGMOID, SILU, SOFTPLUS, TANH
from dlcore.ops.matmul.tiles import ADD, BIAS, fetch, matrix_tile, transposed_block
from dlcore.ops.matmul.tiles import RELU as AT_LEAST_0

TILE, PANEL, LANES = constant("TILE"), constant("PANEL"), constant("LANES")
VECTORS = PANEL // LANES
MIDDLE, LOW = TILE - TILE // 3, TILE // 3           # rows of the smaller tiles, for what is left at the end
NARROW = (VECTORS + 1) // 2                         # registers of columns of the narrow tiles
DEPTH = 256                                         # rows of a panel that are walked at a time
BLOCK = 512 // PANEL                                # panels, or row blocks, that are near at a time where nothing is packed
HEIGHT = 768 // TILE                                # packed row blocks of `a` that are near at a time
SLOT, SHARES = PANEL * DEPTH, 32                    # elements of a packed panel; shares of a product that is packed
SHARE = 2 * SLOT                                    # elements of `work` for each share: a panel, and at least one row block
ROWS, COLUMNS = 0, 1
LINE = 16                                           # elements of a cache line

full_tile = matrix_tile("full_tile", TILE, VECTORS, LANES)
full_middle = matrix_tile("full_middle", MIDDLE, VECTORS, LANES)
full_low = matrix_tile("full_low", LOW, VECTORS, LANES)
edge_tile = matrix_tile("edge_tile", TILE, VECTORS, LANES, edge=True)
edge_middle = matrix_tile("edge_middle", MIDDLE, VECTORS, LANES, edge=True)
edge_low = matrix_tile("edge_low", LOW, VECTORS, LANES, edge=True)
narrow_tile = matrix_tile("narrow_tile", TILE, NARROW, LANES, edge=True)
narrow_middle = matrix_tile("narrow_middle", MIDDLE, NARROW, LANES, edge=True)
narrow_low = matrix_tile("narrow_low", LOW, NARROW, LANES, edge=True)
row_of_4 = matrix_tile("row_of_4", 1, 4 * VECTORS, LANES)
row_of_2 = matrix_tile("row_of_2", 1, 2 * VECTORS, LANES)
row_of_1 = matrix_tile("row_of_1", 1, VECTORS, LANES)
row_edge = matrix_tile("row_edge", 1, VECTORS, LANES, edge=True)
transposed = transposed_block("transposed", LANES, LANES)
transposed_rows = transposed_block("transposed_rows", min(TILE, LANES), LANES)

ZERO = np.float32(0)

# ---- packing -----------------------------------------------------------------------------------------------------
@helper
def pack_columns(a, index, width, first, last, out, at):
    """Columns index * width and on of a[K, N], rows first to last, to element `at` and on; beyond the edge nothing, or 0."""
    N, column = a.shape[1], index * width
    if column + width <= N:
        for k in range(first, last):
            for j in range(width):
                out[at + (k - first) * width + j] = a[k, column + j]
    else:
        for k in range(first, last):
            for j in range(width):
                out[at + (k - first) * width + j] = a[k, column + j] if column + j < N else ZERO


@helper
def pack_panel_rows(b, p, first, last, out, at):
    """Panel p where b lies transposed, [N, K]."""
    (N, K), column = b.shape, p * PANEL
    whole = first + (last - first) // LANES * LANES if column + PANEL <= N else first
    for j in range(0, PANEL, LANES):
        for k in range(first, whole, LANES):
            transposed(b, (column + j) * K + k, K, out, at + (k - first) * PANEL + j, PANEL)
    for k in range(whole, last):
        for j in range(PANEL):
            out[at + (k - first) * PANEL + j] = b[column + j, k] if column + j < N else ZERO


@helper
def pack_tile_rows(a, i, first, last, out, at):
    """Rows of tile i of a[M, K], transposed."""
    (M, K), row = a.shape, i * TILE
    whole = first + (last - first) // LANES * LANES if row + TILE <= M else first
    for k in range(first, whole, LANES):
        transposed_rows(a, row * K + k, K, out, at + (k - first) * TILE, TILE)
    for k in range(whole, last):
        for j in range(TILE):
            out[at + (k - first) * TILE + j] = a[row + j, k] if row + j < M else ZERO


@helper
def fetch_panel(b, form, p, first, last, part, parts):
    """Asks for one of `parts` parts of what packing panel p will read."""
    if form == ROWS:
        K = b.shape[1]
        for row in range(p * PANEL + PANEL * part // parts, p * PANEL + PANEL * (part + 1) // parts):
            for k in range(first, last, LINE):
                fetch(b, row * K + k)
    else:
        N, depth = b.shape[1], last - first
        for k in range(first + depth * part // parts, first + depth * (part + 1) // parts):
            for j in range(0, PANEL, LINE):
                fetch(b, k * N + p * PANEL + j)


call("transposed_copy(b: F[N, K] -> out: F[K, N])", over="ceil(K / LANES)")


@kernel
def transposed_copy(b, out, begin, end):
    N, K = b.shape
    last = min(end * LANES, K)
    for k in range(begin * LANES, last, LANES):
        whole = N - N % LANES if k + LANES <= K else 0
        for n in range(0, whole, LANES):
            transposed(b, n * K + k, K, out, k * N + n, N)
        for row in range(k, min(k + LANES, last)):
            for n in range(whole, N):
                out[row, n] = b[n, row]


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
def activate(out, row, rows, column, n, activation, parameter):
    """The activations that are not a comparison, on a tile that has just been written."""
    for i in range(row, row + rows):
        if activation == LEAKY_RELU:
            for j in range(column, column + n):
                out[i, j] = leaky_relu(out[i, j], parameter)
        elif activation == ELU:
            for j in range(column, column + n):
                out[i, j] = elu(out[i, j], parameter)
        elif activation == SIGMOID:
            for j in range(column, column + n):
                out[i, j] = sigmoid(out[i, j])
        elif activation == TANH:
            for j in range(column, column + n):
                out[i, j] = tanh(out[i, j])
        elif activation == GELU:
            for j in range(column, column + n):
                out[i, j] = gelu(out[i, j])
        elif activation == GELU_TANH:
            for j in range(column, column + n):
                out[i, j] = gelu_tanh(out[i, j])
        elif activation == SILU:
            for j in range(column, column + n):
                out[i, j] = silu(out[i, j])
        elif activation == SOFTPLUS:
            for j in range(column, column + n):
                out[i, j] = softplus(out[i, j])


@helper
def multiply(begin, end, K, a, a_block, a_row, a_col, b, b_block, b_row, out, add, bias, biased, activation, parameter):
    """Tiles begin to end of  out (+)= a b, then bias and activation.

    Row block i of a starts at element i * a_block, panel p of b at p * b_block; see `tiles.py` for the other strides.  The longer
    of the two axes is the outer one, which threads share.  `bias` is any array where `biased` is 0."""
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
                    rows, n = min(TILE, M - i * TILE), min(PANEL, N - p * PANEL)
                    one_tile(stop - start, a, i * a_block + start * a_col, a_row, a_col, b, p * b_block + start * b_row, b_row,
                             out, i * TILE * N + p * PANEL, N, rows, n, bias, p * PANEL, mode)
                    if activation > RELU and part == parts - 1:
                        activate(out, i * TILE, rows, p * PANEL, n, activation, parameter)


@helper
def blocked(begin, end, K, a, a_form, b, b_form, work, out, add, bias, biased, activation, parameter):
    """Shares begin to end, of SHARES, of the same product, for what does not fit the second-level cache (Goto and van de Geijn,
    Anatomy of high-performance matrix multiplication, 2008): a block of rows of `a` is packed into these shares' part of
    `work` and stays in the second-level cache, one panel of `b` at a time is packed and stays in the first.  While a panel is
    used, the next is asked for.

    Forms: ROWS as in a[M, K] and b[N, K], COLUMNS as in a[K, M] and b[K, N]."""
    M, N = out.shape
    rows, panels = (M + TILE - 1) // TILE, (N + PANEL - 1) // PANEL
    by_rows = rows * TILE >= panels * PANEL
    inside, parts = (panels if by_rows else rows), (K + DEPTH - 1) // DEPTH
    here, near = begin * SHARE, begin * SHARE + SLOT                    # the panel of b, the rows of a
    height = min(HEIGHT, ((end - begin) * SHARE - SLOT) // (TILE * DEPTH))
    begin, end = rows * panels * begin // SHARES, rows * panels * end // SHARES
    outer0, outer1 = begin // inside, (end + inside - 1) // inside if begin < end else begin // inside
    i_first, i_last = (outer0, outer1) if by_rows else (0, rows)
    p_first, p_last = (0, panels) if by_rows else (outer0, outer1)
    blocks = (i_last - i_first + height - 1) // height
    for block in range(blocks):
        i0 = i_first + (i_last - i_first) * block // blocks
        i1 = i_first + (i_last - i_first) * (block + 1) // blocks
        for part in range(parts):
            start, stop = K * part // parts, K * (part + 1) // parts
            mode = (ADD if add or part > 0 else 0) | (BIAS if biased and part == 0 else 0)
            mode |= AT_LEAST_0 if activation == RELU and part == parts - 1 else 0
            for i in range(i0, i1):
                if a_form == ROWS:
                    pack_tile_rows(a, i, start, stop, work, near + (i - i0) * TILE * DEPTH)
                else:
                    pack_columns(a, i, TILE, start, stop, work, near + (i - i0) * TILE * DEPTH)
            for p in range(p_first, p_last):
                if b_form == ROWS:
                    pack_panel_rows(b, p, start, stop, work, here)
                else:
                    pack_columns(b, p, PANEL, start, stop, work, here)
                n = min(PANEL, N - p * PANEL)
                for i in range(i0, i1):
                    index = i * panels + p if by_rows else p * rows + i
                    if begin <= index and index < end:
                        if p + 1 < p_last:
                            fetch_panel(b, b_form, p + 1, start, stop, i - i0, i1 - i0)
                        m = min(TILE, M - i * TILE)
                        one_tile(stop - start, work, near + (i - i0) * TILE * DEPTH, 1, TILE, work, here, PANEL,
                                 out, i * TILE * N + p * PANEL, N, m, n, bias, p * PANEL, mode)
                        if activation > RELU and part == parts - 1:
                            activate(out, i * TILE, m, p * PANEL, n, activation, parameter)


TILES, FLOPS = "ceil(M / TILE) * ceil(N / PANEL)", "2 * M * N * K"
WORK = f"work: F[{2 * SHARES * DEPTH} * PANEL]"         # SHARES * SHARE, at every level
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
    multiply(begin, end, K, a, TILE * K, K, 1, b, PANEL, N, out, add_out, out, False, NONE, ZERO)


@kernel
def multiply_tn(a, b, out, begin, end, add_out):
    K, M = a.shape
    multiply(begin, end, K, a, TILE, 1, M, b, PANEL, b.shape[1], out, add_out, out, False, NONE, ZERO)


@kernel
def dense_direct(x, weight, bias, activation, parameter, out, begin, end):
    K, N = weight.shape
    multiply(begin, end, K, x, TILE * K, K, 1, weight, PANEL, N, out, False, bias, bias.shape[0] > 0, activation, parameter)


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


# ---- one row -----------------------------------------------------------------------------------------------------
call("multiply_row(a: F[1, K], b: F[K, N] -> +out: F[1, N])", over="ceil(N / PANEL)", flops="2 * N * K")
call("dense_row(x: F[1, K], weight: f32[K, N], bias: f32[N]?, activation: i64, parameter: f32 -> out: F[1, N])",
     over="ceil(N / PANEL)", flops="2 * N * K")


@helper
def row_product(begin, end, a, b, out, mode, bias):
    """Columns of out (+)= a b for one row: as many panels side by side as there are, for longer reads of `b`."""
    (K, N), p = b.shape, begin
    while p < end:
        j = p * PANEL
        if p + 4 <= end and j + 4 * PANEL <= N:
            row_of_4(K, a, 0, 0, 1, b, j, N, out, j, N, 1, 4 * PANEL, bias, j, mode)
            p += 4
        elif p + 2 <= end and j + 2 * PANEL <= N:
            row_of_2(K, a, 0, 0, 1, b, j, N, out, j, N, 1, 2 * PANEL, bias, j, mode)
            p += 2
        elif j + PANEL <= N:
            row_of_1(K, a, 0, 0, 1, b, j, N, out, j, N, 1, PANEL, bias, j, mode)
            p += 1
        else:
            row_edge(K, a, 0, 0, 1, b, j, N, out, j, N, 1, N - j, bias, j, mode)
            p += 1


@kernel
def multiply_row(a, b, out, begin, end, add_out):
    row_product(begin, end, a, b, out, ADD if add_out else 0, out)


@kernel
def dense_row(x, weight, bias, activation, parameter, out, begin, end):
    mode = (BIAS if bias.shape[0] > 0 else 0) | (AT_LEAST_0 if activation == RELU else 0)
    row_product(begin, end, x, weight, out, mode, bias)
    if activation > RELU:
        first = begin * PANEL
        activate(out, 0, 1, first, min(end * PANEL, out.shape[1]) - first, activation, parameter)


# ---- which of them -----------------------------------------------------------------------------------------------
lowered("matmul_nn", "multiply_row(a, b -> out)", when="M == 1")
lowered("matmul_nn", "multiply_nn(a, b -> out)", when="M <= 96 or K * N <= 131072")
lowered("matmul_nn", "blocked_nn(a, b -> out)")
lowered("matmul_nt", "transposed_copy(b -> turned)", "multiply_nn(a, turned -> out)", when="M <= 96 or K * N <= 131072")
lowered("matmul_nt", "blocked_nt(a, b -> out)")
lowered("matmul_tn", "multiply_tn(a, b -> out)", when="K <= 96 or K * N <= 131072")
lowered("matmul_tn", "blocked_tn(a, b -> out)")
lowered("dense_forward", "dense_row(x, weight, bias, activation, parameter -> out)", when="M == 1")
lowered("dense_forward", "dense_direct(x, weight, bias, activation, parameter -> out)", when="M <= 96 or K * N <= 131072")
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
