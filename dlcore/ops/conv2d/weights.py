"""The gradient of a convolution by its weights on the CPU: for each tap a product of the image seen through it and what arrived.

The output rows are shared out in PARTS that the shape fixes; each adds up what its strips give, and the parts are added in
order.  Of a strip the image is copied as in `cpu.py`, of what arrived one panel of channels at a time, which stays near while
all tiles of the taps pass by.  Under bf16 two images lie side by side, place by place: a pair of K is one place of both.
"""
from dlcore.compiler.language import call, constant, helper, kernel, lowered
from dlcore.ops.conv2d import winograd  # noqa: F401  (its lowerings come first)
from dlcore.ops.conv2d.blocks import LEVEL, NARROW, PLACES, one_tile, tile_rows
from dlcore.ops.conv2d.moves import two_moves
from dlcore.ops.matmul.tiles import ADD

PANEL, LANES = constant("PANEL"), constant("LANES")
EXTRA = 16                      # rows that a strip has beyond those of one output row, at most
GAP = 16                        # elements between rows of a strip, so that they do not meet in the caches
STRIP = 24576                   # elements of a strip and of the panel that arrived, if that is at least one output row's

move_two = two_moves("move_two", LANES)


@helper
def move_rows(source, start, apart, second, n, out, at, pairs):
    """n elements of the image at `start`, where they are pairs those of the next image, `apart` behind, or 0 between them."""
    for i in range(0, n, LANES):
        move_two(source, start + i, start + apart + i, n - i, n - i if second else 0, out, at + i * pairs)


@helper
def pack_images(x, image, second, low, high, columns, first, width, groups, g, J, work, at, step, pairs):
    """Rows low to high of an image, columns first to first + width of one group, 0 beyond the edges; rows `step` apart."""
    _, H, C = x.shape
    left = min(max(-first, 0), width)
    right = min(max(columns - first, left), width)
    for row in range(low, high):
        to, start = at + (row - low) * step, (image * H + row) * C
        for i in range(left * J * pairs):
            work[to + i] = 0
        if groups == 1:
            move_rows(x, start + (first + left) * J, H * C if second else 0, second, (right - left) * J, work,
                      to + left * J * pairs, pairs)
        else:
            for column in range(left, right):
                move_rows(x, start + ((first + column) * groups + g) * J, H * C if second else 0, second, J, work,
                          to + column * J * pairs, pairs)
        for i in range(right * J * pairs, width * J * pairs):
            work[to + i] = 0


@helper
def pack_arrived(dout, row, count, apart, second, column, n, work, at, across, pairs):
    """Channels column to column + n of `count` places from `row` on."""
    C = dout.shape[1]
    for i in range(count):
        move_rows(dout, (row + i) * C + column, apart, second, n, work, at + i * across * pairs, pairs)


@helper
def add_products(work, at, step, low, J, panel_at, p0, p1, H, width, n, k_first, k_last, sh, sw, dh, dw, top, KW, C, parts,
                 to, across, pairs):
    """What a strip, and n channels of the rows p0 to p1 that arrived, add to taps k_first to k_last of one group."""
    pieces, piece = (1, KW * J) if dw == 1 else (KW, J)
    for kh in range(k_first, k_last):
        a, b = p0, p1
        while a < b and a * sh + kh * dh < top:
            a += 1
        while b > a and (b - 1) * sh + kh * dh - top >= H:
            b -= 1
        if a < b:
            a_at, b_at = at + (a * sh + kh * dh - top - low) * step, panel_at + (a - p0) * width * across * pairs
            for kw in range(pieces):
                m = 0
                while m < piece:
                    rows = tile_rows(piece - m)
                    one_tile(width, work, a_at + (kw * dw * J + m) * pairs, pairs, sw * J * pairs, work, b_at, across * pairs,
                             parts, to + ((kh * KW + kw) * J + m) * C, C, rows, n, parts, 0, ADD, b - a, sh * step,
                             width * across * pairs)
                    m += rows


@helper
def weight_gradient(begin, end, x, dout, parts, work, taps_high, taps_wide, J, height, width, columns, groups, reach, row_width,
                    sh, sw, dh, dw, top, left, pairs):
    """Items begin to end: one row of taps in one of the parts of the output rows.  pairs: images that lie side by side."""
    B, H, _ = x.shape
    C, count = dout.shape[1], parts.shape[0]
    N, total = C // groups, (B + pairs - 1) // pairs * height
    step = (row_width * J + GAP) * pairs
    at = begin * ((reach + EXTRA) * step + EXTRA * row_width * PANEL * pairs)
    panel_at = at + (reach + EXTRA) * step
    most = 1 + (max(1, min(EXTRA, STRIP // (row_width * J + width * PANEL * sh) - reach)) - 1) // sh
    for part in range(begin // taps_high, (end - 1) // taps_high + 1):
        k_first, k_last = max(begin - part * taps_high, 0), min(end - part * taps_high, taps_high)
        for i in range(k_first * taps_wide * J * C, k_last * taps_wide * J * C):
            parts[part, i] = 0
        r, last = total * part // count, total * (part + 1) // count
        while r < last:
            image, p0 = r // height * pairs, r % height
            second = pairs > 1 and image + 1 < B
            p1 = min(min(height, p0 + most), p0 + last - r)
            low = max(0, p0 * sh + k_first * dh - top)
            high = min(H, (p1 - 1) * sh + (k_last - 1) * dh - top + 1)
            for g in range(groups):
                if low < high:
                    pack_images(x, image, second, low, high, columns, -left, row_width, groups, g, J, work, at, step, pairs)
                    for n0 in range(0, N, PANEL):
                        n = min(PANEL, N - n0)
                        across = PANEL if n > NARROW * LANES else NARROW * LANES
                        pack_arrived(dout, (image * height + p0) * width, (p1 - p0) * width,
                                     height * width * C if second else 0, second, g * N + n0, n, work, panel_at, across, pairs)
                        add_products(work, at, step, low, J, panel_at, p0, p1, H, width, n, k_first, k_last, sh, sw, dh, dw, top,
                                     taps_wide, C, parts, part * parts.shape[1] + g * N + n0, across, pairs)
            r += p1 - p0


STEPPED = ("taps_high: i64, taps_wide: i64, channels: i64, height: i64, width: i64, columns: i64, groups: i64, reach: i64,"
           " row_width: i64, sh: i64, sw: i64, dh: i64, dw: i64, top: i64, left: i64")
for suffix, kind, images in (("", "F", ""), ("_bf16", "bf16", " * 2")):
    call(f"weight_parts{suffix}(x: F[B, H, W * G * J], dout: F[M, G * N], {STEPPED} -> parts: F[PARTS, KH * KW * J * G * N];"
         f" work: {kind}[PARTS * KH * ((U + {EXTRA}) * (V * J + {GAP}) + {EXTRA} * V * PANEL){images}])", over="PARTS * KH",
         flops="2 * M * KH * KW * J * G * N")


@kernel
def weight_parts(x, dout, taps_high, taps_wide, channels, height, width, columns, groups, reach, row_width, sh, sw, dh, dw, top,
                 left, parts, work, begin, end):
    weight_gradient(begin, end, x, dout, parts, work, taps_high, taps_wide, channels, height, width, columns, groups, reach,
                    row_width, sh, sw, dh, dw, top, left, 1)


@kernel(levels=LEVEL)
def weight_parts_bf16(x, dout, taps_high, taps_wide, channels, height, width, columns, groups, reach, row_width, sh, sw, dh, dw,
                      top, left, parts, work, begin, end):
    weight_gradient(begin, end, x, dout, parts, work, taps_high, taps_wide, channels, height, width, columns, groups, reach,
                    row_width, sh, sw, dh, dw, top, left, 2)


for suffix, served in (("_bf16", {"when": "B > 1 and J > 1", "product": "bf16"}), ("", {})):
    lowered("conv2d_weight", f"weight_parts{suffix}(x, dout, KH, KW, J, {PLACES}, sh, sw, dh, dw, top, left -> parts)",
            "add_parts(parts -> dweight)", **served)
