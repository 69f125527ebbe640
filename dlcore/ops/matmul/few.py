"""Products of few rows: the matrix streams through once, as fast as memory gives it; `streams.py` has the vectors.

    few_nn, few_dense   b[K, N]: threads share its columns
    few_parts           b[K, N] of short rows: threads share parts of K, so that each reads whole rows; `parts_sum` adds these up
    few_nt              b[N, K]: threads share its rows
    half_*              the same for a matrix that lies in memory as bf16, half as many bytes; a and the sums are float32

One row: a large matrix is read in the order in which it lies, and nothing is asked for; two streams in one page, or lines asked for
ahead, cost up to a third of the bandwidth (`benchmarks/matmul_notes.md`).  More than one row: a piece of b that stays near is used
for each of them before the next is read.  Row m of the result is the same bits whatever stands in the other rows, and however many
there are.
"""
import numpy as np

from dlcore.compiler.language import call, constant, helper, kernel
from dlcore.compiler.simd import ask_to_read, bf16_from_float
from dlcore.ops.matmul import NONE, RELU
from dlcore.ops.matmul.activate import activate
from dlcore.ops.matmul.rows import first_row
from dlcore.ops.matmul.streams import added_stream, column_stream, row_stream

TILE, PANEL, LANES = constant("TILE"), constant("PANEL"), constant("LANES")
VECTORS = PANEL // LANES
WIDE = 4 * VECTORS * (2 if LANES == 16 else 1)      # registers of sums side by side: half of those that there are
DEEP = 4                                            # rows of b[K, N] that are used for every row of a while they are near
ROWS = 4                                            # of b[N, K] at a time
NEAR = 1 << 18                                      # elements of a matrix that may be in the second-level cache
BESIDE = 4096                                       # columns whose sums are in the first-level cache
LINE, AHEAD = 16, 8                                 # elements of a cache line; rows of the parts that are asked for ahead
PARTS = 8                                           # of K, whose sums are kept apart
LEVEL = ("v4_bf16",)
ZERO = np.float32(0)

wide_new = column_stream("wide_new", WIDE, LANES)
wide_near = column_stream("wide_near", WIDE, LANES, ask=False)
middle_new = column_stream("middle_new", WIDE // 2, LANES)
panel_new = column_stream("panel_new", VECTORS, LANES, edge=True)
rows_new = row_stream("rows_new", ROWS, LANES)
rows_near = row_stream("rows_near", ROWS, LANES, ask=False)
row_new = row_stream("row_new", 1, LANES, ask=False)
row_added = added_stream("row_added", LANES)
half_wide_new = column_stream("half_wide_new", WIDE, LANES, half=True)
half_wide_near = column_stream("half_wide_near", WIDE, LANES, half=True, ask=False)
half_middle_new = column_stream("half_middle_new", WIDE // 2, LANES, half=True)
half_panel_new = column_stream("half_panel_new", VECTORS, LANES, half=True, edge=True)
half_rows_new = row_stream("half_rows_new", ROWS, LANES, half=True)
half_rows_near = row_stream("half_rows_near", ROWS, LANES, half=True, ask=False)
half_row_new = row_stream("half_row_new", 1, LANES, half=True, ask=False)
half_row_added = added_stream("half_row_added", LANES, half=True)


@helper
def clear(out, j, j1):
    for m in range(out.shape[0]):
        for n in range(j, j1):
            out[m, n] = ZERO


@helper
def begin_dense(out, bias, j, j1):
    """The sums of columns j to j1 begin with the bias, if there is one."""
    if bias.shape[0] == 0:
        clear(out, j, j1)
    else:
        for m in range(out.shape[0]):
            for n in range(j, j1):
                out[m, n] = bias[n]


@helper
def finish(out, j, j1, activation, parameter):
    """The activation of columns j to j1."""
    if activation == RELU:
        for m in range(out.shape[0]):
            for n in range(j, j1):
                out[m, n] = ZERO if out[m, n] < ZERO else out[m, n]
    elif activation != NONE:
        activate(out, 0, out.shape[0], j, j1 - j, activation, parameter)


def columns_helper(added, new, near, middle, panel):
    """helper(k0, k1, j0, j1, a, b, out, at): elements `at` and on of `out`, of row m those m * N further on, += a b, of rows k0 to
    k1 and columns j0 to j1 of b[K, N].

    Whole rows of a large matrix are read for one row of a in the order in which they lie, with the sums in the first-level cache.
    Otherwise some rows at a time are, with sums in registers: a small matrix may be near, and more rows of a find these near."""
    @helper
    def columns(k0, k1, j0, j1, a, b, out, at):
        M, (K, N), wide = a.shape[0], b.shape, WIDE * LANES
        streamed = M == 1 and K * N > NEAR and j1 - j0 == N and N <= BESIDE
        for k in range(k0, k1 if streamed else k0):
            added(N, a, k, b, k * N, out, at)
        for k in range(k1 if streamed else k0, k1, DEEP):
            size, j = min(DEEP, k1 - k), j0
            while j < j1:
                n = wide if j1 - j >= wide else wide // 2 if j1 - j >= wide // 2 else PANEL
                for m in range(M):
                    if n < wide // 2:
                        panel(size, a, m * K + k, b, k * N + j, N, out, at + m * N + j, min(n, j1 - j))
                    elif n < wide:
                        middle(size, a, m * K + k, b, k * N + j, N, out, at + m * N + j, n)
                    elif m > 0:
                        near(size, a, m * K + k, b, k * N + j, N, out, at + m * N + j, n)
                    else:
                        new(size, a, m * K + k, b, k * N + j, N, out, at + m * N + j, n)
                j += n
    return columns


def rows_helper(new, near, single):
    """helper(begin, end, a, b, out): out += a b^T for blocks begin to end of ROWS rows of b[N, K].

    Rows of a large matrix one by one for the first row of a, in the order in which they lie; for what follows they are near."""
    @helper
    def rows(begin, end, a, b, out):
        (M, K), N = a.shape, b.shape[0]
        for n in range(begin * ROWS, min(end * ROWS, N), ROWS):
            first = 0
            if K * N > NEAR and n + ROWS <= N:
                first = 1
                for i in range(n, n + ROWS):
                    single(K, a, 0, b, i * K, out, i)
            for m in range(first, M):
                if n + ROWS > N:
                    for i in range(n, N):
                        single(K, a, m * K, b, i * K, out, m * N + i)
                elif m > 0:
                    near(K, a, m * K, b, n * K, out, m * N + n)
                else:
                    new(K, a, m * K, b, n * K, out, m * N + n)
    return rows


columns = columns_helper(row_added, wide_new, wide_near, middle_new, panel_new)
rows = rows_helper(rows_new, rows_near, row_new)
half_columns = columns_helper(half_row_added, half_wide_new, half_wide_near, half_middle_new, half_panel_new)
half_rows = rows_helper(half_rows_new, half_rows_near, half_row_new)

FLOPS, PANELS, BLOCKS = "2 * M * N * K", "ceil(N / PANEL)", f"ceil(N / {ROWS})"
for kind, dtype in (("few", "f32"), ("half", "bf16")):
    call(f"{kind}_nn(a: F[M, K], b: {dtype}[K, N] -> +out: F[M, N])", over=PANELS, flops=FLOPS)
    call(f"{kind}_nt(a: F[M, K], b: {dtype}[N, K] -> +out: F[M, N])", over=BLOCKS, flops=FLOPS)
    call(f"{kind}_dense(x: F[M, K], weight: {dtype}[K, N], bias: f32[N]?, activation: i64, parameter: f32 -> out: F[M, N])",
         over=PANELS, flops=FLOPS)
    call(f"{kind}_parts(a: F[M, K], b: {dtype}[K, N] -> parts: F[{PARTS}, M, N])", over=str(PARTS), flops=FLOPS)
call("parts_sum(parts: F[P, M, N], bias: f32[N]?, activation: i64, parameter: f32 -> out: F[M, N])",
     over="ceil(M / TILE) * ceil(N / PANEL)", flops="P * M * N")
call("halved(x: f32[K, N] -> out: bf16[K, N])", over="K")


@kernel
def few_nn(a, b, out, begin, end, add_out):
    j, j1 = begin * PANEL, min(end * PANEL, out.shape[1])
    if not add_out:
        clear(out, j, j1)
    columns(0, a.shape[1], j, j1, a, b, out, 0)


@kernel
def few_nt(a, b, out, begin, end, add_out):
    if not add_out:
        clear(out, begin * ROWS, min(end * ROWS, out.shape[1]))
    rows(begin, end, a, b, out)


@kernel
def few_dense(x, weight, bias, activation, parameter, out, begin, end):
    j, j1 = begin * PANEL, min(end * PANEL, out.shape[1])
    begin_dense(out, bias, j, j1)
    columns(0, x.shape[1], j, j1, x, weight, out, 0)
    finish(out, j, j1, activation, parameter)


@kernel
def few_parts(a, b, parts, begin, end):
    (M, K), N = a.shape, b.shape[1]
    for part in range(begin, end):
        clear(parts[part], 0, N)
        columns(K * part // PARTS, K * (part + 1) // PARTS, 0, N, a, b, parts, part * M * N)


@helper
def sum_columns(parts, bias, activation, parameter, out, i, i1, j, j1):
    """Rows i to i1, columns j to j1 of the sum.  Lines are asked for ahead: another core has written some of the parts."""
    P, M, N = parts.shape
    for m in range(i, i1):
        asked = j1 if m + AHEAD < i1 else j             # of one row none: what lies behind is not of these parts
        for part in range(P):
            for n in range(j, asked, LINE):
                ask_to_read(parts, (part * M + m + AHEAD) * N + n)
        for n in range(j, j1):
            out[m, n] = (bias[n] if bias.shape[0] > 0 else ZERO) + parts[0, m, n]
        for part in range(1, P):
            for n in range(j, j1):
                out[m, n] += parts[part, m, n]
        if activation == RELU:
            for n in range(j, j1):
                out[m, n] = ZERO if out[m, n] < ZERO else out[m, n]
    if activation > RELU:
        activate(out, i, i1 - i, j, j1 - j, activation, parameter)


@kernel
def parts_sum(parts, bias, activation, parameter, out, begin, end):
    """Threads share rows or columns as those of a product of this shape do, which made the parts or reads the sum."""
    M, N = out.shape
    blocks, panels = (M + TILE - 1) // TILE, (N + PANEL - 1) // PANEL
    inside = panels if blocks >= panels else blocks
    while begin < end:
        outer, first = begin // inside, begin % inside
        whole = (end - begin) // inside if first == 0 else 0        # side by side, in long rows
        last = inside if whole > 0 else min(inside, first + end - begin)
        outer1 = outer + max(whole, 1)
        if blocks >= panels:
            sum_columns(parts, bias, activation, parameter, out, first_row(outer, M), first_row(outer1, M), first * PANEL,
                        min(last * PANEL, N))
        else:
            sum_columns(parts, bias, activation, parameter, out, first_row(first, M), first_row(last, M), outer * PANEL,
                        min(outer1 * PANEL, N))
        begin += (outer1 - outer - 1) * inside + last - first


@kernel(levels=LEVEL)
def half_nn(a, b, out, begin, end, add_out):
    j, j1 = begin * PANEL, min(end * PANEL, out.shape[1])
    if not add_out:
        clear(out, j, j1)
    half_columns(0, a.shape[1], j, j1, a, b, out, 0)


@kernel(levels=LEVEL)
def half_nt(a, b, out, begin, end, add_out):
    if not add_out:
        clear(out, begin * ROWS, min(end * ROWS, out.shape[1]))
    half_rows(begin, end, a, b, out)


@kernel(levels=LEVEL)
def half_dense(x, weight, bias, activation, parameter, out, begin, end):
    j, j1 = begin * PANEL, min(end * PANEL, out.shape[1])
    begin_dense(out, bias, j, j1)
    half_columns(0, x.shape[1], j, j1, x, weight, out, 0)
    finish(out, j, j1, activation, parameter)


@kernel(levels=LEVEL)
def half_parts(a, b, parts, begin, end):
    (M, K), N = a.shape, b.shape[1]
    for part in range(begin, end):
        clear(parts[part], 0, N)
        half_columns(K * part // PARTS, K * (part + 1) // PARTS, 0, N, a, b, parts, part * M * N)


@kernel(levels=LEVEL)
def halved(x, out):
    """The nearest bf16 of each element."""
    for k in range(x.shape[0]):
        for n in range(x.shape[1]):
            out[k, n] = bf16_from_float(x[k, n])
