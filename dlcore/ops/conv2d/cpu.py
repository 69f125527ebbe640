"""Convolutions on the CPU: an implicit matrix product, tile by tile, whose patches are never copied out.

A strip of image rows is copied side by side, with its padding to the left and right; a row of taps is then one piece of such a
row, so a tile (TILE places of an output row by PANEL channels) walks over `kh` pieces of `kw` times C_in elements.  Rows of
taps above or below the image, and those that a stride steps over, are left out of the walk.  Filters are packed to
panels; `turn_filters` packs what the gradient by the image needs.  A stride of the gradient, `uh` and `uw`, is a convolution
for each of the `uw` phases of a row.

Each place is summed in one order whoever computes it; the gradient by the weights is summed in PARTS that the shape fixes.
"""
import numpy as np

from dlcore.compiler.language import call, constant, helper, kernel, lowered
from dlcore.ops.conv2d.tiles import piece_tile
from dlcore.ops.matmul import NONE, RELU
from dlcore.ops.matmul.activate import activate
from dlcore.ops.matmul.tiles import ADD, BIAS
from dlcore.ops.matmul.tiles import RELU as AT_LEAST_0

TILE, PANEL, LANES = constant("TILE"), constant("PANEL"), constant("LANES")
VECTORS = PANEL // LANES
MIDDLE, LOW = TILE - TILE // 3, TILE // 3
NARROW = (VECTORS + 1) // 2
SHARES = 32                     # of the output rows, each with room for a strip
EXTRA = 8                       # rows that a strip has beyond those of one output row, at most
STRIP = 16384                   # elements of a strip, if that is at least one output row's
GRADIENT_STRIP = 12288          # the same for the gradient by the weights, together with the rows that arrived
ZERO = np.float32(0)

full_tile = piece_tile("piece_tile", TILE, VECTORS, LANES)
full_middle = piece_tile("piece_middle", MIDDLE, VECTORS, LANES)
full_low = piece_tile("piece_low", LOW, VECTORS, LANES)
half_tile = piece_tile("piece_half", TILE, NARROW, LANES)
half_middle = piece_tile("piece_half_middle", MIDDLE, NARROW, LANES)
half_low = piece_tile("piece_half_low", LOW, NARROW, LANES)
edge_tile = piece_tile("piece_edge", TILE, VECTORS, LANES, edge=True)
edge_middle = piece_tile("piece_edge_middle", MIDDLE, VECTORS, LANES, edge=True)
edge_low = piece_tile("piece_edge_low", LOW, VECTORS, LANES, edge=True)
narrow_tile = piece_tile("piece_narrow", TILE, NARROW, LANES, edge=True)
narrow_middle = piece_tile("piece_narrow_middle", MIDDLE, NARROW, LANES, edge=True)
narrow_low = piece_tile("piece_narrow_low", LOW, NARROW, LANES, edge=True)


@helper
def one_tile(depth, a, a_at, a_row, a_col, b, b_at, b_row, c, c_at, ldc, rows, n, bias, bias_at, mode, outer, a_jump, b_jump):
    """The tile that fits: whole, or an edge as small as possible."""
    whole = rows == TILE or rows == MIDDLE or rows == LOW
    if n == PANEL and whole:
        if rows == TILE:
            full_tile(depth, a, a_at, a_row, a_col, b, b_at, b_row, c, c_at, ldc, rows, n, bias, bias_at, mode, outer,
                      a_jump, b_jump)
        elif rows == MIDDLE:
            full_middle(depth, a, a_at, a_row, a_col, b, b_at, b_row, c, c_at, ldc, rows, n, bias, bias_at, mode, outer,
                        a_jump, b_jump)
        else:
            full_low(depth, a, a_at, a_row, a_col, b, b_at, b_row, c, c_at, ldc, rows, n, bias, bias_at, mode, outer,
                     a_jump, b_jump)
    elif n == NARROW * LANES and whole:
        if rows == TILE:
            half_tile(depth, a, a_at, a_row, a_col, b, b_at, b_row, c, c_at, ldc, rows, n, bias, bias_at, mode, outer,
                      a_jump, b_jump)
        elif rows == MIDDLE:
            half_middle(depth, a, a_at, a_row, a_col, b, b_at, b_row, c, c_at, ldc, rows, n, bias, bias_at, mode, outer,
                        a_jump, b_jump)
        else:
            half_low(depth, a, a_at, a_row, a_col, b, b_at, b_row, c, c_at, ldc, rows, n, bias, bias_at, mode, outer,
                     a_jump, b_jump)
    elif n > NARROW * LANES:
        if rows > MIDDLE:
            edge_tile(depth, a, a_at, a_row, a_col, b, b_at, b_row, c, c_at, ldc, rows, n, bias, bias_at, mode, outer,
                      a_jump, b_jump)
        elif rows > LOW:
            edge_middle(depth, a, a_at, a_row, a_col, b, b_at, b_row, c, c_at, ldc, rows, n, bias, bias_at, mode, outer,
                        a_jump, b_jump)
        else:
            edge_low(depth, a, a_at, a_row, a_col, b, b_at, b_row, c, c_at, ldc, rows, n, bias, bias_at, mode, outer,
                     a_jump, b_jump)
    elif rows > MIDDLE:
        narrow_tile(depth, a, a_at, a_row, a_col, b, b_at, b_row, c, c_at, ldc, rows, n, bias, bias_at, mode, outer,
                    a_jump, b_jump)
    elif rows > LOW:
        narrow_middle(depth, a, a_at, a_row, a_col, b, b_at, b_row, c, c_at, ldc, rows, n, bias, bias_at, mode, outer,
                      a_jump, b_jump)
    else:
        narrow_low(depth, a, a_at, a_row, a_col, b, b_at, b_row, c, c_at, ldc, rows, n, bias, bias_at, mode, outer,
                   a_jump, b_jump)


# ---- taps --------------------------------------------------------------------------------------------------------
@helper
def first_tap(at, taps, d, u, size, start):
    """The first k >= start whose place, at + k d in an image spread out by u, lies in the image; else `taps`."""
    k = start
    while k < taps and (at + k * d < 0 or (at + k * d) % u != 0 or (at + k * d) // u >= size):
        k += 1
    return k


@helper
def tap_count(at, taps, d, u, size):
    """How many do."""
    count = 0
    for k in range(taps):
        if at + k * d >= 0 and (at + k * d) % u == 0 and (at + k * d) // u < size:
            count += 1
    return count


@helper
def taps_before(k, taps, d, u):
    """Where tap k stands in a panel: taps of one phase lie side by side."""
    count = 0
    for other in range(taps):
        mine, its = k * d % u, other * d % u
        if its < mine or (its == mine and other < k):
            count += 1
    return count


# ---- packing -----------------------------------------------------------------------------------------------------
call("pack_filters(weight: f32[KH, KW, J, G, N], u: i64, d: i64 -> panels: F[G * ceil(N / PANEL), KH, KW, J, PANEL])",
     over="G * ceil(N / PANEL)")
call("turn_filters(weight: f32[KH, KW, N, G, J], u: i64, d: i64 -> panels: F[G * ceil(N / PANEL), KH, KW, J, PANEL])",
     over="G * ceil(N / PANEL)")


@kernel
def pack_filters(weight, u, d, panels, begin, end):
    KH, KW, J, G, N = weight.shape
    groups = (N + PANEL - 1) // PANEL
    for item in range(begin, end):
        g, n0 = item // groups, item % groups * PANEL
        n1 = min(PANEL, N - n0)
        for kh in range(KH):
            for kw in range(KW):
                place = taps_before(kw, KW, d, u)
                for j in range(J):
                    for n in range(n1):
                        panels[item, kh, place, j, n] = weight[kh, kw, j, g, n0 + n]
                    for n in range(n1, PANEL):
                        panels[item, kh, place, j, n] = ZERO


@kernel
def turn_filters(weight, u, d, panels, begin, end):
    """Turned by half a turn, channels in and out exchanged."""
    KH, KW, N, G, J = weight.shape
    groups = (N + PANEL - 1) // PANEL
    for item in range(begin, end):
        g, n0 = item // groups, item % groups * PANEL
        n1 = min(PANEL, N - n0)
        for kh in range(KH):
            for kw in range(KW):
                place = taps_before(kw, KW, d, u)
                for n in range(n1):
                    for j in range(J):
                        panels[item, kh, place, j, n] = weight[KH - 1 - kh, KW - 1 - kw, n0 + n, g, j]
                for j in range(J):
                    for n in range(n1, PANEL):
                        panels[item, kh, place, j, n] = ZERO


@helper
def pack_strip(x, image, low, high, columns, first, width, groups, g, J, work, at):
    """Rows low to high of an image, columns first to first + width of one group, 0 beyond the edges, to `at` and on."""
    left = min(max(-first, 0), width)
    right = min(max(columns - first, left), width)
    for row in range(low, high):
        to = at + (row - low) * width * J
        for i in range(left * J):
            work[to + i] = ZERO
        if groups == 1:
            start = (first + left) * J
            for i in range((right - left) * J):
                work[to + left * J + i] = x[image, row, start + i]
        else:
            for column in range(left, right):
                start = ((first + column) * groups + g) * J
                for j in range(J):
                    work[to + column * J + j] = x[image, row, start + j]
        for i in range(right * J, width * J):
            work[to + i] = ZERO


# ---- forward, and backward by the image --------------------------------------------------------------------------
@helper
def blank(out, row, step, count, column, n, bias, biased, add):
    """Places that no tap reaches."""
    for i in range(count):
        for j in range(column, column + n):
            value = bias[j] if biased else ZERO
            out[row + i * step, j] = value + (out[row + i * step, j] if add else ZERO)


@helper
def finish(out, row, rows, column, n, residual, has_residual, activation, parameter):
    """What the tiles did not do, while it is near."""
    if has_residual:
        for i in range(row, row + rows):
            for j in range(column, column + n):
                out[i, j] += residual[i, j]
        if activation == RELU:
            for i in range(row, row + rows):
                for j in range(column, column + n):
                    out[i, j] = ZERO if out[i, j] < ZERO else out[i, j]
    if activation > RELU:
        activate(out, row, rows, column, n, activation, parameter)


@helper
def out_row(p, q0, step, count, columns, width, rows_at, high, panels, item, work, at, sh, sw, uh, dh, dw, top, row0, out, row,
            column, n, k0, kn, run, k_columns, col0, place, add, bias, biased, at_least_0):
    """One row of one phase: `count` places, every `step`-th, from `row` on, of channels column to column + n."""
    _, KH, KW, J, _ = panels.shape
    start = p * sh - top
    r0 = first_tap(start, KH, dh, uh, high, 0)
    if k0 == KW or r0 == KH:
        blank(out, row, step, count, column, n, bias, biased, add)
        return
    outer = tap_count(start, KH, dh, uh, high)
    r1 = first_tap(start, KH, dh, uh, high, r0 + 1)
    jump = ((start + r1 * dh) // uh - (start + r0 * dh) // uh) * width * J if r1 < KH else 0
    a_at = at + (((start + r0 * dh) // uh - row0) * width + col0) * J
    b_at = ((item * KH + r0) * KW + place) * J * PANEL
    b_jump = (r1 - r0) * KW * J * PANEL
    ldc = step * out.shape[1]
    for t in range(0, count, TILE):
        rows = min(TILE, count - t)
        c_at = (row + t * step) * out.shape[1] + column
        for k in range(0, kn, run):
            mode = (ADD if add or k > 0 else 0) | (BIAS if biased and k == 0 else 0)
            mode |= AT_LEAST_0 if at_least_0 and k + run >= kn else 0
            one_tile(run * J, work, a_at + (t * sw + k * k_columns) * J, sw * J, 1, panels, b_at + k * J * PANEL, PANEL,
                     out, c_at, ldc, rows, n, bias, column, mode, outer, jump, b_jump)


@helper
def strip_rows(sh, u, reach, elements, budget):
    """How many output rows a strip serves; `elements` in each of its rows."""
    return 1 + (max(1, min(EXTRA, budget // elements - reach)) - 1) * u // sh


@helper
def correlation(begin, end, x, panels, work, height, width, columns, groups, reach, row_width, sh, sw, uh, uw, dh, dw, top,
                left, out, add, bias, biased, residual, has_residual, activation, parameter):
    """Shares begin to end, of SHARES, of the output rows."""
    B, H, _ = x.shape
    _, KH, KW, J, _ = panels.shape
    C = out.shape[1]
    N = C // groups
    per_group = (N + PANEL - 1) // PANEL
    r, last = B * height * begin // SHARES, B * height * end // SHARES
    at = begin * (reach + EXTRA) * row_width * J
    most = strip_rows(sh, uh, reach, row_width * J, STRIP)
    first = (-left) // uw                                   # the column of x that a strip's first column is
    at_least_0 = activation == RELU and not has_residual
    while r < last:
        image, p0 = r // height, r % height
        p1 = min(min(height, p0 + most), p0 + last - r)
        low = max(0, (p0 * sh - top) // uh)
        high = min(H, ((p1 - 1) * sh + (KH - 1) * dh - top) // uh + 1)
        for g in range(groups):
            pack_strip(x, image, low, high, columns, first, row_width, groups, g, J, work, at)
            for panel in range(per_group):
                n, column = min(PANEL, N - panel * PANEL), g * N + panel * PANEL
                for phase in range(min(uw, width)):
                    start = phase - left - uw * first
                    k0 = first_tap(start, KW, dw, uw, row_width, 0)
                    kn = tap_count(start, KW, dw, uw, row_width)
                    k1 = first_tap(start, KW, dw, uw, row_width, k0 + 1)
                    col0 = (start + k0 * dw) // uw
                    k_columns = (start + k1 * dw) // uw - col0
                    run = kn if k_columns == 1 or kn < 2 else 1
                    place = taps_before(k0, KW, dw, uw)
                    for p in range(p0, p1):
                        row = (image * height + p) * width + phase
                        out_row(p, 0, uw, (width - phase + uw - 1) // uw, columns, row_width, 0, H, panels,
                                g * per_group + panel, work, at, sh, sw, uh, dh, dw, top, low, out, row, column, n, k0,
                                kn, run, k_columns, col0, place, add, bias, biased, at_least_0)
                if has_residual or activation > RELU:
                    finish(out, (image * height + p0) * width, (p1 - p0) * width, column, n, residual, has_residual,
                           activation, parameter)
        r += p1 - p0


GEOMETRY = ("height: i64, width: i64, columns: i64, groups: i64, reach: i64, row_width: i64, sh: i64, sw: i64, uh: i64,"
            " uw: i64, dh: i64, dw: i64, top: i64, left: i64")
ROOM = f"work: F[{SHARES} * (U + {EXTRA}) * V * J]"
READ = "x: F[B, H, W * G * J], panels: F[G * ceil(N / PANEL), KH, KW, J, PANEL]"
FLOPS = "2 * M * KH * KW * J * G * N"
call(f"correlate({READ}, {GEOMETRY} -> +out: F[M, G * N]; {ROOM})", over=str(SHARES), flops=FLOPS)
call(f"correlate_data({READ}, {GEOMETRY} -> +out: F[M, G * N]; {ROOM})", over=str(SHARES),
     flops="2 * B * H * W * KH * KW * J * G * N")
call(f"correlate_all({READ}, bias: f32[G * N]?, residual: F[M, G * N]?, {GEOMETRY}, activation: i64, parameter: f32"
     f" -> out: F[M, G * N]; {ROOM})", over=str(SHARES), flops=FLOPS)


@kernel
def correlate(x, panels, work, height, width, columns, groups, reach, row_width, sh, sw, uh, uw, dh, dw, top, left, out, begin,
              end, add_out):
    correlation(begin, end, x, panels, work, height, width, columns, groups, reach, row_width, sh, sw, uh, uw, dh, dw, top, left,
                out, add_out, work, False, out, False, NONE, ZERO)


@kernel
def correlate_data(x, panels, work, height, width, columns, groups, reach, row_width, sh, sw, uh, uw, dh, dw, top, left, out,
                   begin, end, add_out):
    correlation(begin, end, x, panels, work, height, width, columns, groups, reach, row_width, sh, sw, uh, uw, dh, dw, top, left,
                out, add_out, work, False, out, False, NONE, ZERO)


@kernel
def correlate_all(x, panels, bias, residual, work, height, width, columns, groups, reach, row_width, sh, sw, uh, uw, dh, dw,
                  top, left, activation, parameter, out, begin, end):
    correlation(begin, end, x, panels, work, height, width, columns, groups, reach, row_width, sh, sw, uh, uw, dh, dw, top, left,
                out, False, bias, bias.shape[0] > 0, residual, residual.shape[0] > 0, activation, parameter)


PLACES = "height, width, W, G, U, V"
lowered("conv2d", "pack_filters(weight, 1, dw -> panels)",
        f"correlate(x, panels, {PLACES}, sh, sw, 1, 1, dh, dw, top, left -> out)")
lowered("conv2d_forward", "pack_filters(weight, 1, dw -> panels)",
        f"correlate_all(x, panels, bias, residual, {PLACES}, sh, sw, 1, 1, dh, dw, top, left, activation, parameter -> out)")
lowered("conv2d_data", "turn_filters(weight, sw, dw -> panels)",
        f"correlate_data(x, panels, {PLACES}, 1, 1, sh, sw, dh, dw, top, left -> out)")


# ---- backward by the weights -------------------------------------------------------------------------------------
@helper
def weight_strip(work, at, low, width, J, dout, group, N, image, p0, p1, H, height, q_count, k_first, k_last, sh, sw, dh, dw,
                 top, KW, parts, to, C):
    """What a strip, and the rows p0 to p1 that arrived, add to taps k_first to k_last of one group."""
    pieces, piece = (1, KW * J) if dw == 1 else (KW, J)
    for kh in range(k_first, k_last):
        a, b = p0, p1
        while a < b and a * sh + kh * dh < top:
            a += 1
        while b > a and (b - 1) * sh + kh * dh - top >= H:
            b -= 1
        if a < b:
            a_at = at + (a * sh + kh * dh - top - low) * width * J
            b_at = (image * height + a) * q_count * C + group * N
            for kw in range(pieces):
                for m in range(0, piece, TILE):
                    c_at = to + ((kh * KW + kw) * J + m) * C + group * N
                    for n0 in range(0, N, PANEL):
                        one_tile(q_count, work, a_at + kw * dw * J + m, 1, sw * J, dout, b_at + n0, C, parts, c_at + n0, C,
                                 min(TILE, piece - m), min(PANEL, N - n0), parts, 0, ADD, b - a, sh * width * J, q_count * C)


@helper
def weight_gradient(begin, end, count, x, dout, parts, work, taps_high, taps_wide, J, height, width, columns, groups, reach,
                    row_width, sh, sw, dh, dw, top, left):
    """Items begin to end: one row of taps in one of `count` parts of the output rows."""
    B, H, _ = x.shape
    C = dout.shape[1]
    N, total = C // groups, B * height
    at = begin * (reach + EXTRA) * row_width * J
    most = strip_rows(sh, 1, reach, row_width * J + width * C * sh // groups, GRADIENT_STRIP)
    for part in range(begin // taps_high, (end - 1) // taps_high + 1):
        k_first, k_last = max(begin - part * taps_high, 0), min(end - part * taps_high, taps_high)
        for i in range(k_first * taps_wide * J * C, k_last * taps_wide * J * C):
            parts[part, i] = ZERO
        r, last = total * part // count, total * (part + 1) // count
        while r < last:
            image, p0 = r // height, r % height
            p1 = min(min(height, p0 + most), p0 + last - r)
            low = max(0, p0 * sh + k_first * dh - top)
            high = min(H, (p1 - 1) * sh + (k_last - 1) * dh - top + 1)
            for g in range(groups):
                if low < high:
                    pack_strip(x, image, low, high, columns, -left, row_width, groups, g, J, work, at)
                    weight_strip(work, at, low, row_width, J, dout, g, N, image, p0, p1, H, height, width, k_first, k_last,
                                 sh, sw, dh, dw, top, taps_wide, parts, part * parts.shape[1], C)
            r += p1 - p0


STEPPED = ("taps_high: i64, taps_wide: i64, channels: i64, height: i64, width: i64, columns: i64, groups: i64, reach: i64,"
           " row_width: i64, sh: i64, sw: i64, dh: i64, dw: i64, top: i64, left: i64")
for count in (2, 8, 16):
    call(f"weight_parts_{count}(x: F[B, H, W * G * J], dout: F[M, G * N], {STEPPED} -> parts: F[{count}, KH * KW * J * G * N];"
         f" work: F[{count} * KH * (U + {EXTRA}) * V * J])", over=f"{count} * KH", flops=FLOPS)


@kernel
def weight_parts_2(x, dout, taps_high, taps_wide, channels, height, width, columns, groups, reach, row_width, sh, sw, dh, dw,
                   top, left, parts, work, begin, end):
    weight_gradient(begin, end, 2, x, dout, parts, work, taps_high, taps_wide, channels, height, width, columns, groups, reach,
                    row_width, sh, sw, dh, dw, top, left)


@kernel
def weight_parts_8(x, dout, taps_high, taps_wide, channels, height, width, columns, groups, reach, row_width, sh, sw, dh, dw,
                   top, left, parts, work, begin, end):
    weight_gradient(begin, end, 8, x, dout, parts, work, taps_high, taps_wide, channels, height, width, columns, groups, reach,
                    row_width, sh, sw, dh, dw, top, left)


@kernel
def weight_parts_16(x, dout, taps_high, taps_wide, channels, height, width, columns, groups, reach, row_width, sh, sw, dh, dw,
                    top, left, parts, work, begin, end):
    weight_gradient(begin, end, 16, x, dout, parts, work, taps_high, taps_wide, channels, height, width, columns, groups, reach,
                    row_width, sh, sw, dh, dw, top, left)


for count, when in ((16, "KH * KW * J * G * N <= 16384"), (8, "KH * KW * J * G * N <= 262144"), (2, "")):
    lowered("conv2d_weight", f"weight_parts_{count}(x, dout, KH, KW, J, {PLACES}, sh, sw, dh, dw, top, left -> parts)",
            "add_parts(parts -> dweight)", when=when)
