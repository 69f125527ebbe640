"""Convolutions on the CPU: an implicit matrix product, tile by tile, whose patches are never copied out.

A strip of image rows is copied side by side, with its padding to the left and right; a row of taps is then one piece of such a
row, so a tile (TILE places of an output row by PANEL channels) walks over `kh` pieces of `kw` times C_in elements.  Rows of
taps above or below the image, and those that a stride steps over, are left out of the walk.  Filters are packed to
panels; `turn_filters` packs what the gradient by the image needs.  A stride of the gradient, `uh` and `uw`, is a convolution
for each of the `uw` phases of a row.

Under bf16, where the level has it and a group an even number of channels, the same code walks over pairs of channels, two steps of
K at a time: strips and filters are rounded while they are packed, sums stay float32.

Each place is summed in one order whoever computes it.  `few.py` has convolutions with few channels out, `weights.py` the gradients
by weights, `winograd.py` float32 convolutions of 3 x 3 taps that step by one.
"""
import numpy as np

from dlcore.compiler.language import call, constant, helper, kernel, lowered
from dlcore.compiler.simd import bf16_from_float
from dlcore.ops.conv2d import few, weights  # noqa: F401  (both register their kernels)
from dlcore.ops.conv2d.blocks import GEOMETRY, LEVEL, MIDDLE, NARROW, PLACES, SHARES, one_tile, seen, sliding, tile_rows
from dlcore.ops.conv2d.moves import row_move
from dlcore.ops.conv2d.tiles import TAPS
from dlcore.ops.matmul import NONE, RELU
from dlcore.ops.matmul.activate import activate
from dlcore.ops.matmul.ahead import LINE
from dlcore.ops.matmul.tiles import ADD, BIAS, fetch
from dlcore.ops.matmul.tiles import RELU as AT_LEAST_0

TILE, PANEL, LANES = constant("TILE"), constant("PANEL"), constant("LANES")
EXTRA = 8                       # rows that a strip has beyond those of one output row, at most
STRIP = 16384                   # elements of a strip, if that is at least one output row's
ZERO = np.float32(0)

move_row = row_move("move_row", LANES)


# ---- taps --------------------------------------------------------------------------------------------------------
@helper
def first_tap(at, taps, d, u, size, start):
    """The first k >= start whose place, at + k d in an image spread out by u, lies in the image; else `taps`."""
    k = start
    while k < taps and not seen(at + k * d, u, size):
        k += 1
    return k


@helper
def tap_count(at, taps, d, u, size):
    """How many do."""
    count = 0
    for k in range(taps):
        if seen(at + k * d, u, size):
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


for name, shape in (("pack", "J, G, N"), ("turn", "N, G, J")):
    call(f"{name}_filters_bf16(weight: f32[KH, KW, {shape}], u: i64, d: i64"
         " -> panels: bf16[G * ceil(N / PANEL), KH, KW, J, PANEL])", over="G * ceil(N / PANEL)")


@kernel(levels=LEVEL)
def pack_filters_bf16(weight, u, d, panels, begin, end):
    """Pairs of channels side by side: two rows of a panel are one of PANEL pairs."""
    KH, KW, J, G, N = weight.shape
    groups = (N + PANEL - 1) // PANEL
    for item in range(begin, end):
        g, n0 = item // groups, item % groups * PANEL
        n1 = min(PANEL, N - n0)
        for kh in range(KH):
            for kw in range(KW):
                place = taps_before(kw, KW, d, u)
                for j in range(J):
                    for n in range(PANEL):
                        t = 2 * n + j % 2
                        panels[item, kh, place, j // 2 * 2 + t // PANEL, t % PANEL] = bf16_from_float(
                            weight[kh, kw, j, g, n0 + n] if n < n1 else ZERO)


@kernel(levels=LEVEL)
def turn_filters_bf16(weight, u, d, panels, begin, end):
    KH, KW, N, G, J = weight.shape
    groups = (N + PANEL - 1) // PANEL
    for item in range(begin, end):
        g, n0 = item // groups, item % groups * PANEL
        n1 = min(PANEL, N - n0)
        for kh in range(KH):
            for kw in range(KW):
                place = taps_before(kw, KW, d, u)
                for n in range(PANEL):
                    for j in range(J):
                        t = 2 * n + j % 2
                        panels[item, kh, place, j // 2 * 2 + t // PANEL, t % PANEL] = bf16_from_float(
                            weight[KH - 1 - kh, KW - 1 - kw, n0 + n, g, j] if n < n1 else ZERO)


@helper
def pack_strip(x, image, low, high, columns, first, width, groups, g, J, work, at):
    """Rows low to high of an image, columns first to first + width of one group, 0 beyond the edges, to `at` and on."""
    _, H, C = x.shape
    left = min(max(-first, 0), width)
    right = min(max(columns - first, left), width)
    for row in range(low, high):
        to = at + (row - low) * width * J
        for i in range(left * J):
            work[to + i] = 0
        if groups == 1:
            start, n = (image * H + row) * C + (first + left) * J, (right - left) * J
            for i in range(0, n, 2 * LANES):
                move_row(x, start + i, n - i, work, to + left * J + i)
        else:
            for column in range(left, right):
                start = (image * H + row) * C + ((first + column) * groups + g) * J
                for j in range(0, J, 2 * LANES):
                    move_row(x, start + j, J - j, work, to + column * J + j)
        for i in range(right * J, width * J):
            work[to + i] = 0


# ---- forward, and backward by the image --------------------------------------------------------------------------
@helper
def blank(out, row, step, count, column, n, bias, biased, add):
    """Places that no tap reaches."""
    if add and not biased:
        return
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
            column, n, k0, kn, run, k_columns, col0, place, add, bias, biased, at_least_0, step_k):
    """One row of one phase: `count` places, every `step`-th, from `row` on, of channels column to column + n.

    step_k: elements of K that a step of a tile takes, 2 where they are bf16."""
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
    slides = kn == TAPS and run == TAPS and k_columns == 1 and sw == 1 and n == NARROW * LANES
    t = 0
    while t < count:
        rows = tile_rows(count - t)
        c_at = (row + t * step) * out.shape[1] + column
        if slides and (rows == TILE or rows == MIDDLE):
            mode = (ADD if add else 0) | (BIAS if biased else 0) | (AT_LEAST_0 if at_least_0 else 0)
            sliding(J // step_k, work, a_at + t * J, J, step_k, panels, b_at, step_k * PANEL, out, c_at, ldc, rows, n, bias,
                    column, mode, outer, jump, b_jump)
        else:
            for k in range(0, kn, run):
                mode = (ADD if add or k > 0 else 0) | (BIAS if biased and k == 0 else 0)
                mode |= AT_LEAST_0 if at_least_0 and k + run >= kn else 0
                one_tile(run * J // step_k, work, a_at + (t * sw + k * k_columns) * J, sw * J, step_k, panels,
                         b_at + k * J * PANEL, step_k * PANEL, out, c_at, ldc, rows, n, bias, column, mode, outer, jump, b_jump)
        t += rows


@helper
def strip_rows(sh, u, reach, elements, budget):
    """How many output rows a strip serves; `elements` in each of its rows."""
    return 1 + (max(1, min(EXTRA, budget // elements - reach)) - 1) * u // sh


@helper
def fetch_rows(x, row, rows):
    """Asks for rows that the next strip will be made of."""
    columns = x.shape[2]
    for i in range(row * columns, (row + rows) * columns, LINE):
        fetch(x, i)


@helper
def correlation(begin, end, x, panels, work, height, width, columns, groups, reach, row_width, sh, sw, uh, uw, dh, dw, top,
                left, out, add, bias, biased, residual, has_residual, activation, parameter, step_k):
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
                        if g == 0 and panel == 0 and phase == 0:
                            fetch_rows(x, image * H + high + (p - p0) * sh // uh, max(1, sh // uh))
                        row = (image * height + p) * width + phase
                        out_row(p, 0, uw, (width - phase + uw - 1) // uw, columns, row_width, 0, H, panels,
                                g * per_group + panel, work, at, sh, sw, uh, dh, dw, top, low, out, row, column, n, k0,
                                kn, run, k_columns, col0, place, add, bias, biased, at_least_0, step_k)
                if has_residual or activation > RELU:
                    finish(out, (image * height + p0) * width, (p1 - p0) * width, column, n, residual, has_residual,
                           activation, parameter)
        r += p1 - p0


DATA_FLOPS, FLOPS = "2 * B * H * W * KH * KW * J * G * N", "2 * M * KH * KW * J * G * N"
for suffix, kind in (("", "F"), ("_bf16", "bf16")):
    room = f"work: {kind}[{SHARES} * (U + {EXTRA}) * V * J]"
    read = f"x: F[B, H, W * G * J], panels: {kind}[G * ceil(N / PANEL), KH, KW, J, PANEL]"
    for form, flops in (("", FLOPS), ("_data", DATA_FLOPS)):
        call(f"correlate{form}{suffix}({read}, {GEOMETRY} -> +out: F[M, G * N]; {room})", over=str(SHARES), flops=flops)
    call(f"correlate_all{suffix}({read}, bias: f32[G * N]?, residual: F[M, G * N]?, {GEOMETRY}, activation: i64, parameter: f32"
         f" -> out: F[M, G * N]; {room})", over=str(SHARES), flops=FLOPS)


@kernel
def correlate(x, panels, work, height, width, columns, groups, reach, row_width, sh, sw, uh, uw, dh, dw, top, left, out, begin,
              end, add_out):
    correlation(begin, end, x, panels, work, height, width, columns, groups, reach, row_width, sh, sw, uh, uw, dh, dw, top, left,
                out, add_out, work, False, out, False, NONE, ZERO, 1)


@kernel
def correlate_data(x, panels, work, height, width, columns, groups, reach, row_width, sh, sw, uh, uw, dh, dw, top, left, out,
                   begin, end, add_out):
    correlation(begin, end, x, panels, work, height, width, columns, groups, reach, row_width, sh, sw, uh, uw, dh, dw, top, left,
                out, add_out, work, False, out, False, NONE, ZERO, 1)


@kernel
def correlate_all(x, panels, bias, residual, work, height, width, columns, groups, reach, row_width, sh, sw, uh, uw, dh, dw,
                  top, left, activation, parameter, out, begin, end):
    correlation(begin, end, x, panels, work, height, width, columns, groups, reach, row_width, sh, sw, uh, uw, dh, dw, top, left,
                out, False, bias, bias.shape[0] > 0, residual, residual.shape[0] > 0, activation, parameter, 1)


@kernel(levels=LEVEL)
def correlate_bf16(x, panels, work, height, width, columns, groups, reach, row_width, sh, sw, uh, uw, dh, dw, top, left, out, begin,
              end, add_out):
    correlation(begin, end, x, panels, work, height, width, columns, groups, reach, row_width, sh, sw, uh, uw, dh, dw, top, left,
                out, add_out, out[0], False, out, False, NONE, ZERO, 2)


@kernel(levels=LEVEL)
def correlate_data_bf16(x, panels, work, height, width, columns, groups, reach, row_width, sh, sw, uh, uw, dh, dw, top, left, out,
                   begin, end, add_out):
    correlation(begin, end, x, panels, work, height, width, columns, groups, reach, row_width, sh, sw, uh, uw, dh, dw, top, left,
                out, add_out, out[0], False, out, False, NONE, ZERO, 2)


@kernel(levels=LEVEL)
def correlate_all_bf16(x, panels, bias, residual, work, height, width, columns, groups, reach, row_width, sh, sw, uh, uw, dh, dw,
                  top, left, activation, parameter, out, begin, end):
    correlation(begin, end, x, panels, work, height, width, columns, groups, reach, row_width, sh, sw, uh, uw, dh, dw, top, left,
                out, False, bias, bias.shape[0] > 0, residual, residual.shape[0] > 0, activation, parameter, 2)


for suffix, served in (("_bf16", {"when": f"J % 2 == 0 and not ({few.FEW})", "product": "bf16"}), ("", {})):
    lowered("conv2d", f"pack_filters{suffix}(weight, 1, dw -> panels)",
            f"correlate{suffix}(x, panels, {PLACES}, sh, sw, 1, 1, dh, dw, top, left -> out)", **served)
    lowered("conv2d_forward", f"pack_filters{suffix}(weight, 1, dw -> panels)",
            f"correlate_all{suffix}(x, panels, bias, residual, {PLACES}, sh, sw, 1, 1, dh, dw, top, left, activation, parameter"
            " -> out)", **served)
    lowered("conv2d_data", f"turn_filters{suffix}(weight, sw, dw -> panels)",
            f"correlate_data{suffix}(x, panels, {PLACES}, 1, 1, sh, sw, dh, dw, top, left -> out)", **served)
