"""Convolutions with few channels out, on the CPU: their tiles would be mostly empty.

The taps become columns: one matrix product gives what each place of the image adds through each tap, work[place, tap, n], and a
place of the output gathers from its neighbours.  Where the gradient by an image steps (`uh`, `uw`), only every step-th does.
"""
import numpy as np

from dlcore.compiler.language import call, constant, helper, kernel, lowered
from dlcore.ops.conv2d.blocks import GEOMETRY, PLACES, SHARES, one_tile, seen, tile_rows

PANEL = constant("PANEL")
EXTRA = 8                       # rows that a strip has beyond those of one output row, at most
STRIP = 8192                    # elements of a strip of products, if that is at least one output row's
ZERO = np.float32(0)
FEW = "G == 1 and N <= 4 and J >= 8"

call("pack_few(weight: f32[KH, KW, J, G, N] -> filters: F[J, KH, KW, N])", over="1")
call("turn_few(weight: f32[KH, KW, N, G, J] -> filters: F[J, KH, KW, N])", over="1")
call(f"correlate_few(x: F[B, H, W * J], filters: F[J, KH, KW, N], {GEOMETRY} -> +out: F[M, N];"
     f" work: F[{SHARES} * (U + {EXTRA}) * W * KH * KW * N])", over=str(SHARES), flops="2 * B * H * W * KH * KW * J * N")


@kernel
def pack_few(weight, filters):
    KH, KW, J, _, N = weight.shape
    for j in range(J):
        for kh in range(KH):
            for kw in range(KW):
                for n in range(N):
                    filters[j, kh, kw, n] = weight[kh, kw, j, 0, n]


@kernel
def turn_few(weight, filters):
    """Turned by half a turn, channels in and out exchanged."""
    KH, KW, N, _, J = weight.shape
    for kh in range(KH):
        for kw in range(KW):
            for n in range(N):
                for j in range(J):
                    filters[j, kh, kw, n] = weight[KH - 1 - kh, KW - 1 - kw, n, 0, j]


@helper
def tap_products(x, first, count, filters, work, at):
    """`count` places of x from `first` on, by the taps."""
    J, KH, KW, N = filters.shape
    taps, t = KH * KW * N, 0
    while t < count:
        rows = tile_rows(count - t)
        for column in range(0, taps, PANEL):
            one_tile(J, x, (first + t) * J, J, 1, filters, column, taps, work, at + t * taps + column, taps, rows,
                     min(PANEL, taps - column), work, 0, 0, 1, 0, 0)
        t += rows


@helper
def gather_row(row, width, W, left, sw, uw, dw, tap, KW, N, taps, work, at, out):
    """Adds what one row of taps finds in one row of the image, whose products begin at `at`, to `width` places of out."""
    for kw in range(KW):
        shift, q = kw * dw - left, 0
        while (q * sw + shift) % uw != 0:
            q += 1
        while q < width and q * sw + shift < 0:
            q += uw
        column = (q * sw + shift) // uw
        while q < width and column < W:
            for n in range(N):
                out[row + q, n] += work[at + column * taps + (tap + kw) * N + n]
            q, column = q + uw, column + sw


@kernel
def correlate_few(x, filters, work, height, width, columns, groups, reach, row_width, sh, sw, uh, uw, dh, dw, top, left, out, begin,
                  end, add_out):
    B, H, _ = x.shape
    _, KH, KW, N = filters.shape
    taps = KH * KW * N
    r, last = B * height * begin // SHARES, B * height * end // SHARES
    at = begin * (reach + EXTRA) * columns * taps
    most = 1 + (max(1, min(EXTRA, STRIP // (columns * taps) - reach)) - 1) * uh // sh
    while r < last:
        image, p0 = r // height, r % height
        p1 = min(min(height, p0 + most), p0 + last - r)
        low = max(0, (p0 * sh - top) // uh)
        high = min(H, ((p1 - 1) * sh + (KH - 1) * dh - top) // uh + 1)
        if low < high:
            tap_products(x, (image * H + low) * columns, (high - low) * columns, filters, work, at)
        for p in range(p0, p1):
            row = (image * height + p) * width
            if not add_out:
                for q in range(row, row + width):
                    for n in range(N):
                        out[q, n] = ZERO
            for kh in range(KH):
                place = p * sh + kh * dh - top
                if seen(place, uh, H):
                    gather_row(row, width, columns, left, sw, uw, dw, kh * KW, KW, N, taps, work,
                               at + (place // uh - low) * columns * taps, out)
        r += p1 - p0


lowered("conv2d", "pack_few(weight -> filters)",
        f"correlate_few(x, filters, {PLACES}, sh, sw, 1, 1, dh, dw, top, left -> out)", when=f"{FEW} and sh == 1 and sw == 1")
lowered("conv2d_data", "turn_few(weight -> filters)",
        f"correlate_few(x, filters, {PLACES}, 1, 1, sh, sw, dh, dw, top, left -> out)", when=FEW)
