"""What attention on tensor cores is made of: which keys are seen, rows on their way into shared memory and registers, softmax.

Rows are bf16 in memory, W columns of a head, 64 or 128.  In shared memory 64 columns of a tile lie together, in rows of 128 bytes
whose 16 bytes c are at place c ^ (row % 8): the eight rows that `ldmatrix` reads meet in no bank, and it is the layout that
`wgmma` calls a swizzle of 128 bytes.
"""
import numpy as np

from dlcore.compiler.cuda.intrinsics import FULL, asm_op, cuda, i32, i64, pack_bf16, u32, u64
from dlcore.compiler.cuda.vectors import address_of, copy_4, copy_16, power_of_2, store_2
from dlcore.compiler.language import helper
from dlcore.ops.formulas import log

ZERO, ONE, INF = np.float32(0), np.float32(1), np.float32(np.inf)
LOG2E = np.float32(1.4426950408889634)
FAR = 1 << 30

await_copies = asm_op("await_copies", "cp.async.wait_all;", "", "")
greater = asm_op("greater", "max.f32 $0, $1, $2;", "f", "ff", memory=False)
load_1 = asm_op("load_1", "ld.global.f32 $0, [$1];", "f", "l")
store_1 = asm_op("store_1", "st.global.f32 [$0], $1;", "", "lf")
load_word = asm_op("load_word", "ld.global.b32 $0, [$1];", "r", "l")
load_shared_2 = asm_op("load_shared_2", "ld.shared.v2.f32 {$0,$1}, [$2];", "ff", "r")


# ---- which keys are seen -------------------------------------------------------------------------------------------
@helper
def bounds_of(i, j, T, S, causal, window):
    """For queries i and on and keys j and on, query i + x sees key j + y, padding aside, where y < left and least <= y - x <= most:
    (left, most, least).  In 32 bits, so that a look costs three comparisons with numbers that are known when this is compiled;
    they change with j and i by these."""
    at = j - i - S + T
    most, least = -at if causal else i64(FAR), -i64(FAR)
    if window > 0:
        most, least = min(most, window - 1 - at), max(least, 1 - window - at)
    return i32(S - j), i32(min(most, i64(FAR))), i32(least)


@helper
def sees(x, y, bounds):
    return i32(y) < bounds[0] and i32(y - x) <= bounds[1] and i32(y - x) >= bounds[2]


# ---- from memory ---------------------------------------------------------------------------------------------------
def bringer(W, rows, threads):
    """(place_of, begun, stride_of, bring): copies of `rows` rows of a head at a time into shared memory, 0 beyond the last.

        place, stride, (at, left) = place_of(thread), stride_of(source), begun(source, b, row, head, thread)
        at, left = bring(tile + place, at, left, stride)            # the next ones"""
    CHUNKS = W // 8                                     # of 16 bytes in a row
    STEP = threads // CHUNKS                            # rows between two pieces of a thread, a multiple of 8

    @helper
    def place_of(thread):
        chunk, r = thread & (CHUNKS - 1), thread // CHUNKS
        return u32((chunk >> 3) * (128 * rows) + r * 128 + (((chunk & 7) ^ (r & 7)) << 4))

    @helper
    def begun(source, b, row, head, thread):
        """(where this thread reads, how many rows there are from there)"""
        length, heads, first = source.shape[1], source.shape[2], row + thread // CHUNKS
        at = address_of(source) + u64(2) * u64(((b * length + first) * heads + head) * W + 8 * (thread & (CHUNKS - 1)))
        return at, i32(length - first)

    @helper
    def stride_of(source):
        return u64(u32(2 * W * STEP) * u32(source.shape[2]))

    @helper
    def bring(place, at, left, stride):
        for p in range(rows // STEP):
            there = i32(STEP * p) < left
            copy_16(place + u32(128 * STEP * p), at if there else u64(0), u32(16) if there else u32(0))
            at += stride
        return at, i32(left - i32(rows))

    return place_of, begun, stride_of, bring


def own_rows_of(W):
    """own_rows(own, source, b, row, head, thread): the left side of products, 16 rows of a warp in registers, own[W / 16, 4]."""

    @helper
    def own_rows(own, source, b, row, head, thread):
        length, heads = source.shape[1], source.shape[2]
        first = row + (thread >> 5) * 16 + ((thread & 31) >> 2)
        at = address_of(source) + u64(2) * u64(((b * length + first) * heads + head) * W + 2 * (thread & 3))
        below = at + u64(16 * W) * u64(heads)
        for k in range(W // 16):
            for c in range(2):
                upper = lower = u32(0)
                if first < length:
                    upper = load_word(at + u64(32 * k + 16 * c))
                if first + 8 < length:
                    lower = load_word(below + u64(32 * k + 16 * c))
                own[k, 2 * c], own[k, 2 * c + 1] = upper, lower

    return own_rows


@helper
def begun_numbers(x, y, b, h, row, rows, thread):
    """As `begun`, of x[b, h, row:] for the first `rows` threads, of y for as many behind them."""
    n = thread & (rows - 1)
    at = (address_of(x) if thread < rows else address_of(y)) + u64(4) * u64((b * x.shape[1] + h) * x.shape[2] + row + n)
    return at, i32(x.shape[2] - row - n)


@helper
def bring_numbers(place, at, left, rows, thread):
    there = left > i32(0)
    if thread < 2 * rows:
        copy_4(place + u32(4) * u32(thread), at if there else u64(0), u32(4) if there else u32(0))
    return at + u64(4 * rows), i32(left - i32(rows))


# ---- in registers --------------------------------------------------------------------------------------------------
@helper
def clear(acc):
    for j in range(acc.shape[0]):
        for r in range(4):
            acc[j, r] = ZERO


@helper
def packed(p, s):
    """p = s in bf16: the places of sums of a product are those of the left side of the next."""
    for k in range(p.shape[0]):
        p[k, 0], p[k, 1] = pack_bf16(s[2 * k, 1], s[2 * k, 0]), pack_bf16(s[2 * k, 3], s[2 * k, 2])
        p[k, 2], p[k, 3] = pack_bf16(s[2 * k + 1, 1], s[2 * k + 1, 0]), pack_bf16(s[2 * k + 1, 3], s[2 * k + 1, 2])


@helper
def over_four(x):
    """The sum over the four lanes that share a row."""
    x += cuda.shfl_xor_sync(FULL, x, i32(1))
    return x + cuda.shfl_xor_sync(FULL, x, i32(2))


@helper
def greatest_of_four(x):
    x = greater(x, cuda.shfl_xor_sync(FULL, x, i32(1)))
    return greater(x, cuda.shfl_xor_sync(FULL, x, i32(2)))


@helper
def hide(s, value, bounds, kept, column):
    """Scores of keys that are not seen become `value`; kept: which of the tile's keys are no padding, a bit for each in two words;
    column: this thread's first."""
    low, high = kept[0] >> u32(column), kept[1] >> u32(column)
    for n in range(s.shape[0]):
        for r in range(4):
            bit = u32(1 << (8 * n + (r & 1)) % 32)
            there = (low & bit if n < 4 else high & bit) != u32(0)
            s[n, r] = s[n, r] if there and sees(8 if r > 1 else 0, 8 * n + (r & 1), bounds) else value


@helper
def kept_keys(mask, b, k0, S, lane):
    """Of 64 keys, which are no padding: a bit for each.  A whole warp comes here together."""
    if mask.shape[0] == 0:
        return u32(FULL), u32(FULL)
    first, second = k0 + lane, k0 + 32 + lane
    low = cuda.ballot_sync(FULL, first < S and mask[b, min(first, S - 1)] != ZERO)
    return u32(low), u32(cuda.ballot_sync(FULL, second < S and mask[b, min(second, S - 1)] != ZERO))


@helper
def plain_end(begin, first, S, T, causal, window, mask):
    """Up to where tiles of 64 keys from `begin` are seen whole by the queries `first` and on, without a look at each."""
    if window > 0 or mask.shape[0] > 0:
        return begin
    return max(begin, (min(first + S - T + 1, S) if causal else S) // 64 * 64)


@helper
def soften(s, acc, row, top, total, factor):
    """Row 0 or 1 of a thread: scores become 2^(factor (s - top)); returns the new (top, total).  A NaN stays one: the greatest of
    others is taken from it."""
    most = top
    for j in range(s.shape[0]):
        most = greater(most, greater(s[j, 2 * row], s[j, 2 * row + 1]))
    most = greatest_of_four(most)
    shift = most * factor if most > -INF else ZERO
    old = power_of_2(top * factor - shift)
    total *= old
    for j in range(s.shape[0]):
        x, y = power_of_2(s[j, 2 * row] * factor - shift), power_of_2(s[j, 2 * row + 1] * factor - shift)
        s[j, 2 * row], s[j, 2 * row + 1] = x, y
        total += x + y
    for j in range(acc.shape[0]):
        acc[j, 2 * row] *= old
        acc[j, 2 * row + 1] *= old
    return most, total


# ---- into memory ---------------------------------------------------------------------------------------------------
@helper
def pairs_written(out, b, row, head, column, x, y, add):
    """Two neighbours of out[b, row, head], or onto what is there.  An array that is part of another may begin anywhere."""
    rows, heads, width = out.shape[1], out.shape[2], out.shape[3]
    if row < rows and column < width:
        at = address_of(out) + u64(4) * u64(((b * rows + row) * heads + head) * width + column)
        if add:
            x, y = x + load_1(at), y + load_1(at + u64(4))
        if at & u64(7) == u64(0):
            store_2(at, x, y)
        else:
            store_1(at, x)
            store_1(at + u64(4), y)


@helper
def finish(acc, row, top, total, scale, out, lse, b, i, h, lane):
    """Row 0 or 1 of a thread into out and lse."""
    total = over_four(total)
    seen = total != ZERO
    factor = ONE / total if seen else ZERO
    for j in range(acc.shape[0]):
        pairs_written(out, b, i, h, 8 * j + (lane & 3) * 2, acc[j, 2 * row] * factor, acc[j, 2 * row + 1] * factor, False)
    if i < out.shape[1] and lane & 3 == 0:
        lse[b, h, i] = top * scale + log(total) if seen else ZERO


@helper
def write(acc, factor, out, b, row, head, thread, add):
    """16 rows of each warp, times a factor."""
    i = row + (thread >> 5) * 16 + ((thread & 31) >> 2)
    for j in range(acc.shape[0]):
        column = 8 * j + (thread & 3) * 2
        pairs_written(out, b, i, head, column, acc[j, 0] * factor, acc[j, 1] * factor, add)
        pairs_written(out, b, i + 8, head, column, acc[j, 2] * factor, acc[j, 3] * factor, add)
