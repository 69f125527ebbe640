"""Products of bf16, two steps of K at a time, by `vdpbf16ps`: what is packed is rounded to nearest, ties to even; sums are f32.

Each 32 bits of a packed row block, or panel, hold the elements of two steps of K (0 behind the last of an odd K).  Blocks and
shares are those of `cpu.py`; DEPTH counts pairs here.
"""
import numpy as np

from dlcore.compiler.language import call, constant, helper, kernel, lowered
from dlcore.ops.matmul import NONE, RELU
from dlcore.ops.matmul.activate import activate
from dlcore.ops.matmul.ahead import COLUMNS, LINE, ROWS, fetch_part
from dlcore.ops.matmul.rounding import rounded_columns, rounded_row, rounded_rows
from dlcore.ops.matmul.tiles import ADD, BIAS, fetch, matrix_tile
from dlcore.ops.matmul.tiles import RELU as AT_LEAST_0

TILE, PANEL, LANES = constant("TILE"), constant("PANEL"), constant("LANES")
VECTORS, MIDDLE, LOW = PANEL // LANES, TILE - TILE // 3, TILE // 3
DEPTH, BLOCK, SHARES = 384, 512 // PANEL, 32
STRIDE = 2 * (DEPTH + LANES)                        # elements from one packed row to the next
NEAR, SLOT = TILE * STRIDE, 2 * PANEL * DEPTH       # elements of a packed row block, of a panel
SHARE = NEAR + SLOT
AHEAD = 16                                          # rows that are asked for before they are packed
ZERO = np.float32(0)
LEVEL = ("v4_bf16",)

pair_tile = matrix_tile("pair_tile", TILE, VECTORS, LANES, pairs=True)
pair_middle = matrix_tile("pair_middle", MIDDLE, VECTORS, LANES, pairs=True)
pair_low = matrix_tile("pair_low", LOW, VECTORS, LANES, pairs=True)
pair_edge = matrix_tile("pair_edge", TILE, VECTORS, LANES, edge=True, pairs=True)
pair_edge_middle = matrix_tile("pair_edge_middle", MIDDLE, VECTORS, LANES, edge=True, pairs=True)
pair_edge_low = matrix_tile("pair_edge_low", LOW, VECTORS, LANES, edge=True, pairs=True)
round_row = rounded_row("round_row", LANES)
round_rows = rounded_rows("round_rows", LANES)
round_columns = rounded_columns("round_columns", LANES)


# ---- packing: `first` is even, `last` too but at the end of K -----------------------------------------------------
@helper
def pair_panels(b, p0, p1, first, last, out, at):
    """Columns of panels p0 to p1 of b[K, N], to element `at` and on: all panels of a row, so that it is read in one piece."""
    N = b.shape[1]
    for k in range(first, last, 2):
        for j in range(p0 * PANEL, p1 * PANEL, LINE):
            fetch(b, (k + AHEAD) * N + j)
            fetch(b, (k + AHEAD + 1) * N + j)
        for p in range(p0, p1):
            to = at + (p - p0) * SLOT + (k - first) * PANEL
            for j in range(p * PANEL, p * PANEL + PANEL, LANES):
                round_rows(b, k * N + j, k * N + N + j, N - j, N - j if k + 1 < last else 0, out, to + 2 * (j - p * PANEL))


@helper
def pair_columns(a, i, first, last, out, at):
    """Columns i * TILE and on of a[K, M]: a row block of the transpose.  What a step writes beyond its TILE pairs, the next one
    overwrites; those of the last lie in the gap between STRIDE and the rows."""
    M, column = a.shape[1], i * TILE
    for k in range(first, last, 2):
        for j in range(0, TILE, LANES):
            n = min(LANES, M - column - j)
            round_rows(a, k * M + column + j, k * M + M + column + j, n, n if k + 1 < last else 0, out,
                       at + (k - first) * TILE + 2 * j)


@helper
def pair_panel_rows(b, p, first, last, out, at):
    """Panel p where b lies transposed, [N, K]."""
    (N, K), column = b.shape, p * PANEL
    for j in range(0, min(PANEL, N - column), LANES):
        for k in range(first, last, 2 * LANES):
            round_columns(b, (column + j) * K + k, K, min(LANES, N - column - j), last - k, out,
                          at + (k - first) * PANEL + 2 * j, 2 * PANEL)


@helper
def pair_rows(a, i, first, last, out, at):
    """Row block i of a[M, K]: pairs lie side by side as they are; rows STRIDE apart."""
    K = a.shape[1]
    for row in range(i * TILE, min((i + 1) * TILE, a.shape[0])):
        to = at + (row - i * TILE) * STRIDE
        for k in range(first, last, 2 * LANES):
            round_row(a, row * K + k, last - k, out, to + k - first)


# ---- multiplying -------------------------------------------------------------------------------------------------
@helper
def one_pair_tile(depth, work, a_at, a_row, a_col, b_at, c, c_at, rows, n, bias, bias_at, mode):
    N, b_row = c.shape[1], 2 * PANEL
    if n == PANEL and rows == TILE:
        pair_tile(depth, work, a_at, a_row, a_col, work, b_at, b_row, c, c_at, N, rows, n, bias, bias_at, mode)
    elif n == PANEL and rows == MIDDLE:
        pair_middle(depth, work, a_at, a_row, a_col, work, b_at, b_row, c, c_at, N, rows, n, bias, bias_at, mode)
    elif n == PANEL and rows == LOW:
        pair_low(depth, work, a_at, a_row, a_col, work, b_at, b_row, c, c_at, N, rows, n, bias, bias_at, mode)
    elif rows > MIDDLE:
        pair_edge(depth, work, a_at, a_row, a_col, work, b_at, b_row, c, c_at, N, rows, n, bias, bias_at, mode)
    elif rows > LOW:
        pair_edge_middle(depth, work, a_at, a_row, a_col, work, b_at, b_row, c, c_at, N, rows, n, bias, bias_at, mode)
    else:
        pair_edge_low(depth, work, a_at, a_row, a_col, work, b_at, b_row, c, c_at, N, rows, n, bias, bias_at, mode)


@helper
def blocked_pairs(begin, end, K, a, a_form, b, b_form, work, out, add, bias, biased, activation, parameter):
    """Shares begin to end, of SHARES, of out (+)= a b; see `blocked` in `cpu.py`."""
    M, N = out.shape
    blocks, panels = (M + TILE - 1) // TILE, (N + PANEL - 1) // PANEL
    width = min(BLOCK, ((end - begin) * SHARE - NEAR) // SLOT)
    near, here = begin * SHARE, begin * SHARE + NEAR
    begin, end = blocks * panels * begin // SHARES, blocks * panels * end // SHARES
    a_row, a_col = (STRIDE, 2) if a_form == ROWS else (2, 2 * TILE)
    pairs, last = (K + 1) // 2, (end - 1) // blocks + 1 if begin < end else 0
    parts = (pairs + DEPTH - 1) // DEPTH
    for p0 in range(begin // blocks, last, width):
        p1 = min(p0 + width, last)
        for part in range(parts):
            start, stop = 2 * (pairs * part // parts), min(K, 2 * (pairs * (part + 1) // parts))
            mode = (ADD if add or part > 0 else 0) | (BIAS if biased and part == 0 else 0)
            mode |= AT_LEAST_0 if activation == RELU and part == parts - 1 else 0
            if b_form == ROWS:
                for p in range(p0, p1):
                    pair_panel_rows(b, p, start, stop, work, here + (p - p0) * SLOT)
            else:
                pair_panels(b, p0, p1, start, stop, work, here)
            for i in range(blocks):
                if a_form == ROWS:
                    pair_rows(a, i, start, stop, work, near)
                else:
                    pair_columns(a, i, start, stop, work, near)
                left = p0 if p0 * blocks + i >= begin else p0 + 1
                right = p1 if (p1 - 1) * blocks + i < end else p1 - 1
                rows = min(TILE, M - i * TILE)
                for p in range(left, right):
                    if a_form == ROWS:
                        fetch_part(a, ROWS, i + 1, min(i + 2, blocks), start, stop, p - p0, p1 - p0)
                    n = min(PANEL, N - p * PANEL)
                    one_pair_tile((stop - start + 1) // 2, work, near, a_row, a_col, here + (p - p0) * SLOT,
                                  out, i * TILE * N + p * PANEL, rows, n, bias, p * PANEL, mode)
                    if activation > RELU and part == parts - 1:
                        activate(out, i * TILE, rows, p * PANEL, n, activation, parameter)


WORK = f"work: bf16[{SHARES} * (TILE * 2 * ({DEPTH} + LANES) + 2 * PANEL * {DEPTH})]"
for form, shapes in (("nn", ("M, K", "K, N")), ("nt", ("M, K", "N, K")), ("tn", ("K, M", "K, N"))):
    call(f"bf16_{form}(a: F[{shapes[0]}], b: F[{shapes[1]}] -> +out: F[M, N]; {WORK})", over=str(SHARES),
         flops="2 * M * N * K")
call("dense_bf16(x: F[M, K], weight: f32[K, N], bias: f32[N]?, activation: i64, parameter: f32 -> out: F[M, N]; "
     f"{WORK})", over=str(SHARES), flops="2 * M * N * K")


@kernel(levels=LEVEL)
def bf16_nn(a, b, work, out, begin, end, add_out):
    blocked_pairs(begin, end, a.shape[1], a, ROWS, b, COLUMNS, work, out, add_out, out, False, NONE, ZERO)


@kernel(levels=LEVEL)
def bf16_nt(a, b, work, out, begin, end, add_out):
    blocked_pairs(begin, end, a.shape[1], a, ROWS, b, ROWS, work, out, add_out, out, False, NONE, ZERO)


@kernel(levels=LEVEL)
def bf16_tn(a, b, work, out, begin, end, add_out):
    blocked_pairs(begin, end, a.shape[0], a, COLUMNS, b, COLUMNS, work, out, add_out, out, False, NONE, ZERO)


@kernel(levels=LEVEL)
def dense_bf16(x, weight, bias, activation, parameter, work, out, begin, end):
    blocked_pairs(begin, end, x.shape[1], x, ROWS, weight, COLUMNS, work, out, False, bias, bias.shape[0] > 0, activation,
                  parameter)


# Few rows: the matrix is what takes the time, and a copy of a weight that was rounded once is half as much to read.
for form in ("nn", "nt"):
    lowered(f"matmul_{form}", "halved(b -> half)", f"half_{form}(a, half -> out)", when="M <= 16", product="bf16", held="b")
lowered("dense_forward", "halved(weight -> half)", "half_parts(x, half -> parts)",
        "parts_sum(parts, bias, activation, parameter -> out)", when="M <= 16 and N <= 4096 and K * N > 262144", product="bf16",
        held="weight")
lowered("dense_forward", "halved(weight -> half)", "half_dense(x, half, bias, activation, parameter -> out)", when="M <= 16",
        product="bf16", held="weight")
# One row reads other matrices once, as they lie: rounding them first would be more to read and write.
for form in ("nn", "nt", "tn"):
    lowered(f"matmul_{form}", f"bf16_{form}(a, b -> out)", when="M > 1", product="bf16")
lowered("dense_forward", "dense_bf16(x, weight, bias, activation, parameter -> out)", when="M > 1", product="bf16")
