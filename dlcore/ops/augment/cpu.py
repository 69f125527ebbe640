"""Augmentation on the CPU."""
import math

import numpy as np

from dlcore.compiler.language import formula, helper, kernel
from dlcore.ops.dropout.cpu import philox

NODE = 0xA06                            # tells these draws from those of a program's dropouts
ZERO, HALF, ONE = np.float32(0), np.float32(0.5), np.float32(1)
RED, GREEN, BLUE = np.float32(0.299), np.float32(0.587), np.float32(0.114)


@formula
def uniform(k, row, epoch, k0, k1):
    """Draw k of a sample: a number from 0 to below 1."""
    word = philox(k % 4, np.uint64(k // 4), row, epoch, np.uint64(NODE), k0, k1)
    return np.float64(word) * 2.3283064365386963e-10


@formula
def around(u, reach):
    """Between -reach and reach."""
    return (2.0 * u - 1.0) * reach


@kernel
def augment_draw(rows, settings, seed, epoch, moves, colours, holes):
    low = np.uint64(0xFFFFFFFF)
    k0, k1, c2 = np.uint64(seed) & low, np.uint64(seed) >> np.uint64(32), np.uint64(epoch) & low
    H, W, Y, X = np.float64(settings[0]), np.float64(settings[1]), np.float64(settings[2]), np.float64(settings[3])
    pad, zoom, hole = np.float64(settings[4]), np.float64(settings[9]), np.int64(settings[15])
    for n in range(rows.shape[0]):
        r = np.uint64(rows[n]) & low
        # where the window lies in the source, which has a margin of `pad`
        top = math.floor(uniform(0, r, c2, k0, k1) * (H + 2.0 * pad - Y + 1.0)) - pad
        left = math.floor(uniform(1, r, c2, k0, k1) * (W + 2.0 * pad - X + 1.0)) - pad
        angle = around(uniform(4, r, c2, k0, k1), np.float64(settings[7]))
        down = around(uniform(5, r, c2, k0, k1), np.float64(settings[8])) * Y
        right = around(uniform(6, r, c2, k0, k1), np.float64(settings[8])) * X
        size = 1.0 / (1.0 + around(uniform(7, r, c2, k0, k1), zoom))
        slant = math.tan(around(uniform(8, r, c2, k0, k1), np.float64(settings[10])))
        # LLVM would join sin and cos to sincos, which is no function of C99
        sin, cos = math.sin(angle), math.sin(angle + 0.5 * math.pi)
        # the inverse of: slant, then enlarge, then turn counter-clockwise, then shift, all about the centre
        d, e = size * sin, size * cos
        a, b = size * cos - slant * d, -size * sin - slant * e
        px, py = 0.5 * X + right, 0.5 * Y + down
        c = 0.5 * X + left - a * px - b * py
        f = 0.5 * Y + top - d * px - e * py
        if uniform(2, r, c2, k0, k1) < np.float64(settings[5]):
            a, b, c = -a, -b, W - c
        if uniform(3, r, c2, k0, k1) < np.float64(settings[6]):
            d, e, f = -d, -e, H - f
        moves[n, 0], moves[n, 1], moves[n, 2], moves[n, 3], moves[n, 4], moves[n, 5] = a, b, c, d, e, f
        for k in range(3):
            colours[n, k] = max(0.0, 1.0 + around(uniform(9 + k, r, c2, k0, k1), np.float64(settings[11 + k])))
        colours[n, 3] = around(uniform(12, r, c2, k0, k1), np.float64(settings[14]))
        # a square whose centre is any pixel: at the edge a part of it is outside
        y = np.int64(math.floor(uniform(13, r, c2, k0, k1) * Y)) - hole // 2
        x = np.int64(math.floor(uniform(14, r, c2, k0, k1) * X)) - hole // 2
        holes[n, 0], holes[n, 1], holes[n, 2], holes[n, 3] = y, x, y + hole, x + hole


@helper
def copy_row(data, r, y, step, first, fill, out, n, row):
    """Row `row` of output n: pixel x is that at `first + step x` of the source's row y; step is 1 or -1."""
    W, C, X = data.shape[2], data.shape[3], out.shape[2]
    begin = min(X, max(0, -first)) if step > 0 else min(X, max(0, first - W + 1))
    end = max(begin, min(X, W - first)) if step > 0 else max(begin, min(X, first + 1))
    for x in range(begin):
        for k in range(C):
            out[n, row, x, k] = fill
    if C == 3:                                          # spelt out: a loop of three does not vectorise
        for x in range(begin, end):
            out[n, row, x, 0] = data[r, y, first + step * x, 0]
            out[n, row, x, 1] = data[r, y, first + step * x, 1]
            out[n, row, x, 2] = data[r, y, first + step * x, 2]
    else:
        for x in range(begin, end):
            for k in range(C):
                out[n, row, x, k] = data[r, y, first + step * x, k]
    for x in range(end, X):
        for k in range(C):
            out[n, row, x, k] = fill


@helper
def copy_pixels(data, r, a, c, e, f, fill, out, n):
    """A map that mirrors and shifts by whole pixels."""
    H, C, X = data.shape[1], data.shape[3], out.shape[2]
    step, first = (1, np.int64(c)) if a > ZERO else (-1, np.int64(c) - 1)
    for row in range(out.shape[1]):
        y = row + np.int64(f) if e > ZERO else np.int64(f) - 1 - row
        if 0 <= y < H:
            copy_row(data, r, y, step, first, fill, out, n, row)
        else:
            for x in range(X):
                for k in range(C):
                    out[n, row, x, k] = fill


@helper
def warp(data, r, moves, fill, out, n):
    """Bilinear sampling under the map of sample n."""
    H, W, C = data.shape[1], data.shape[2], data.shape[3]
    a, b, c = np.float64(moves[n, 0]), np.float64(moves[n, 1]), np.float64(moves[n, 2])
    d, e, f = np.float64(moves[n, 3]), np.float64(moves[n, 4]), np.float64(moves[n, 5])
    for row in range(out.shape[1]):
        for x in range(out.shape[2]):
            xs = a * (x + 0.5) + b * (row + 0.5) + c
            ys = d * (x + 0.5) + e * (row + 0.5) + f
            if 0.0 <= xs < W and 0.0 <= ys < H:
                # from here on from centre to centre, no less than half a pixel from the edge
                fx, fy = xs + 0.5, ys + 0.5
                x1, y1 = np.int64(fx), np.int64(fy)
                wx, wy = np.float32(fx - x1), np.float32(fy - y1)
                x0, y0 = max(0, x1 - 1), max(0, y1 - 1)
                x1, y1 = min(x1, W - 1), min(y1, H - 1)
                for k in range(C):
                    p, q = np.float32(data[r, y0, x0, k]), np.float32(data[r, y0, x1, k])
                    s, t = np.float32(data[r, y1, x0, k]), np.float32(data[r, y1, x1, k])
                    p, s = p + wx * (q - p), s + wx * (t - s)
                    out[n, row, x, k] = p + wy * (s - p)
            else:
                for k in range(C):
                    out[n, row, x, k] = fill


@formula
def clipped(v, peak):
    return ZERO if v < ZERO else (peak if v > peak else v)


@helper
def scale_values(out, n, middle, factor, peak):
    """middle + factor (v - middle), clipped: brightness about 0, contrast about the mean."""
    rest, C = middle - factor * middle, out.shape[3]
    for y in range(out.shape[1]):
        if C == 3:
            for x in range(out.shape[2]):
                out[n, y, x, 0] = clipped(out[n, y, x, 0] * factor + rest, peak)
                out[n, y, x, 1] = clipped(out[n, y, x, 1] * factor + rest, peak)
                out[n, y, x, 2] = clipped(out[n, y, x, 2] * factor + rest, peak)
        else:
            for x in range(out.shape[2]):
                for k in range(C):
                    out[n, y, x, k] = clipped(out[n, y, x, k] * factor + rest, peak)


@helper
def grey_mean(out, n):
    """The mean brightness of image n, summed row by row."""
    Y, X, C = out.shape[1], out.shape[2], out.shape[3]
    total = 0.0
    for y in range(Y):
        line = ZERO
        if C == 3:
            for x in range(X):
                line += RED * out[n, y, x, 0] + GREEN * out[n, y, x, 1] + BLUE * out[n, y, x, 2]
        else:
            for x in range(X):
                for k in range(C):
                    line += out[n, y, x, k] / np.float32(C)
        total += line
    return np.float32(total / (Y * X))


@helper
def saturate(out, n, factor, peak):
    for y in range(out.shape[1]):
        for x in range(out.shape[2]):
            grey = RED * out[n, y, x, 0] + GREEN * out[n, y, x, 1] + BLUE * out[n, y, x, 2]
            out[n, y, x, 0] = clipped(grey + factor * (out[n, y, x, 0] - grey), peak)
            out[n, y, x, 1] = clipped(grey + factor * (out[n, y, x, 1] - grey), peak)
            out[n, y, x, 2] = clipped(grey + factor * (out[n, y, x, 2] - grey), peak)


@formula
def hue_of(red, green, blue, top, width):
    """The hue in sixths of a turn, from -1 to 5; 0 for greys."""
    if width <= ZERO:
        return ZERO
    if top == red:
        return (green - blue) / width
    if top == green:
        return np.float32(2) + (blue - red) / width
    return np.float32(4) + (red - green) / width


@formula
def channel(sixth, top, width):
    """A channel of the colour whose hue lies `sixth` sixths behind it (0 to below 6, wrapped)."""
    h = sixth - np.float32(6) * np.float32(math.floor(sixth / np.float32(6)))
    fall = min(h, np.float32(4) - h)
    return top - width * max(ZERO, min(ONE, fall))


@helper
def turn_hue(out, n, turns):
    move = turns * np.float32(6)
    for y in range(out.shape[1]):
        for x in range(out.shape[2]):
            red, green, blue = out[n, y, x, 0], out[n, y, x, 1], out[n, y, x, 2]
            top, low = max(red, max(green, blue)), min(red, min(green, blue))
            width = top - low
            h = hue_of(red, green, blue, top, width) + move
            out[n, y, x, 0] = channel(np.float32(5) + h, top, width)
            out[n, y, x, 1] = channel(np.float32(3) + h, top, width)
            out[n, y, x, 2] = channel(ONE + h, top, width)


@helper
def finish(out, n, gain, offset, top, left, bottom, right):
    """Times gain plus offset by channel, and zero in the hole."""
    Y, X, C = out.shape[1], out.shape[2], out.shape[3]
    for y in range(Y):
        if C == 3:
            g0, g1, g2, o0, o1, o2 = gain[0], gain[1], gain[2], offset[0], offset[1], offset[2]
            for x in range(X):
                out[n, y, x, 0] = out[n, y, x, 0] * g0 + o0
                out[n, y, x, 1] = out[n, y, x, 1] * g1 + o1
                out[n, y, x, 2] = out[n, y, x, 2] * g2 + o2
        else:
            for x in range(X):
                for k in range(C):
                    out[n, y, x, k] = out[n, y, x, k] * gain[k] + offset[k]
    for y in range(max(0, top), min(Y, bottom)):
        for x in range(max(0, left), min(X, right)):
            for k in range(C):
                out[n, y, x, k] = ZERO


@formula
def whole(v):
    return v == np.float32(math.floor(v))


@kernel
def augment(data, rows, moves, colours, holes, gain, offset, fill, peak, out):
    C = data.shape[3]
    for n in range(rows.shape[0]):
        r, a, e, c, f = rows[n], moves[n, 0], moves[n, 4], moves[n, 2], moves[n, 5]
        if abs(a) == ONE and abs(e) == ONE and moves[n, 1] == ZERO and moves[n, 3] == ZERO and whole(c) and whole(f):
            copy_pixels(data, r, a, c, e, f, fill, out, n)
        else:
            warp(data, r, moves, fill, out, n)
        if colours[n, 0] != ONE:
            scale_values(out, n, ZERO, colours[n, 0], peak)
        if colours[n, 1] != ONE:
            scale_values(out, n, grey_mean(out, n), colours[n, 1], peak)
        if C == 3 and colours[n, 2] != ONE:
            saturate(out, n, colours[n, 2], peak)
        if C == 3 and colours[n, 3] != ZERO:
            turn_hue(out, n, colours[n, 3])
        finish(out, n, gain, offset, holes[n, 0], holes[n, 1], holes[n, 2], holes[n, 3])


@kernel
def mix_rows(x, partners, shares, out, begin):
    for n in range(partners.shape[0]):
        p, share = partners[n], shares[n]
        for j in range(out.shape[1]):
            out[n, j] = share * x[begin + n, j] + (ONE - share) * x[p, j]
