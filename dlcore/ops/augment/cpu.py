"""Augmentation on the CPU."""
import math

import numpy as np

from dlcore.compiler.language import formula, helper, kernel
from dlcore.ops.dropout.cpu import philox

NODE = 0xA06                            # tells these draws from those of a program's dropouts
JOINED, WINDOW = 64, 72                 # first draws of a mosaic, and of the windows of its images
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


@helper
def set_move(settings, r, c2, k0, k1, first, sin, cos, slant, moves, n, at):
    """The map of an image, from draws `first` to `first` + 8, as moves[n, at] to moves[n, at + 5].

    sin, cos: of the angle that draw 4 says; slant: the tangent of that of draw 8"""
    H, W, Y, X = np.float64(settings[0]), np.float64(settings[1]), np.float64(settings[2]), np.float64(settings[3])
    pad, zoom = np.float64(settings[4]), np.float64(settings[9])
    # where the window lies in the source, which has a margin of `pad`
    top = math.floor(uniform(first, r, c2, k0, k1) * (H + 2.0 * pad - Y + 1.0)) - pad
    left = math.floor(uniform(first + 1, r, c2, k0, k1) * (W + 2.0 * pad - X + 1.0)) - pad
    down = around(uniform(first + 5, r, c2, k0, k1), np.float64(settings[8])) * Y
    right = around(uniform(first + 6, r, c2, k0, k1), np.float64(settings[8])) * X
    size = 1.0 / (1.0 + around(uniform(first + 7, r, c2, k0, k1), zoom))
    # the inverse of: slant, then enlarge, then turn counter-clockwise, then shift, all about the centre
    d, e = size * sin, size * cos
    a, b = size * cos - slant * d, -size * sin - slant * e
    px, py = 0.5 * X + right, 0.5 * Y + down
    c = 0.5 * X + left - a * px - b * py
    f = 0.5 * Y + top - d * px - e * py
    if uniform(first + 2, r, c2, k0, k1) < np.float64(settings[5]):
        a, b, c = -a, -b, W - c
    if uniform(first + 3, r, c2, k0, k1) < np.float64(settings[6]):
        d, e, f = -d, -e, H - f
    moves[n, at], moves[n, at + 1], moves[n, at + 2] = a, b, c
    moves[n, at + 3], moves[n, at + 4], moves[n, at + 5] = d, e, f


@helper
def draw_move(settings, r, c2, k0, k1, first, moves, n, at):
    angle = around(uniform(first + 4, r, c2, k0, k1), np.float64(settings[7]))
    slant = math.tan(around(uniform(first + 8, r, c2, k0, k1), np.float64(settings[10])))
    # LLVM would join sin and cos to sincos, which is no function of C99
    set_move(settings, r, c2, k0, k1, first, math.sin(angle), math.sin(angle + 0.5 * math.pi), slant, moves, n, at)


@kernel
def augment_draw(rows, settings, seed, epoch, moves, colours, holes):
    low = np.uint64(0xFFFFFFFF)
    k0, k1, c2 = np.uint64(seed) & low, np.uint64(seed) >> np.uint64(32), np.uint64(epoch) & low
    Y, X, hole = np.float64(settings[2]), np.float64(settings[3]), np.int64(settings[15])
    for n in range(rows.shape[0]):
        r = np.uint64(rows[n]) & low
        draw_move(settings, r, c2, k0, k1, 0, moves, n, 0)
        for k in range(3):
            colours[n, k] = max(0.0, 1.0 + around(uniform(9 + k, r, c2, k0, k1), np.float64(settings[11 + k])))
        colours[n, 3] = around(uniform(12, r, c2, k0, k1), np.float64(settings[14]))
        # a square whose centre is any pixel: at the edge a part of it is outside
        y = np.int64(math.floor(uniform(13, r, c2, k0, k1) * Y)) - hole // 2
        x = np.int64(math.floor(uniform(14, r, c2, k0, k1) * X)) - hole // 2
        holes[n, 0], holes[n, 1], holes[n, 2], holes[n, 3] = y, x, y + hole, x + hole


@formula
def meeting(u, size):
    """A place in the middle half of `size` pixels."""
    return math.floor(size * (0.25 + 0.5 * u) + 0.5)


@formula
def reduction(u, size, part, other_size, other_part):
    """A factor below 1 by which an image still covers its tile."""
    least = max(0.5, max(part / size, other_part / other_size))
    return least + u * (1.0 - least)


@helper
def into_tile(moves, n, at, z, y, x):
    """The map of an image of which the place (x + x', y + y') / z is seen at (x', y')."""
    for k in range(at, at + 6, 3):
        a, b = np.float64(moves[n, k]) / z, np.float64(moves[n, k + 1]) / z
        moves[n, k], moves[n, k + 1], moves[n, k + 2] = a, b, np.float64(moves[n, k + 2]) + a * x + b * y


@kernel
def mosaic_draw(rows, settings, chance, total, seed, epoch, images, moves, crosses):
    low = np.uint64(0xFFFFFFFF)
    k0, k1, c2 = np.uint64(seed) & low, np.uint64(seed) >> np.uint64(32), np.uint64(epoch) & low
    Y, X = np.float64(settings[2]), np.float64(settings[3])
    for n in range(rows.shape[0]):
        r = np.uint64(rows[n]) & low
        joined = uniform(JOINED, r, c2, k0, k1) < np.float64(chance)
        cy = meeting(uniform(JOINED + 1, r, c2, k0, k1), Y) if joined else Y
        cx = meeting(uniform(JOINED + 2, r, c2, k0, k1), X) if joined else X
        crosses[n, 0], crosses[n, 1] = np.int64(cy), np.int64(cx)
        for t in range(4):
            # min: for great totals the product rounds up
            other = min(total - 1, np.int64(math.floor(uniform(JOINED + 3 + t, r, c2, k0, k1) * total)))
            images[n, t] = rows[n] if t == 0 else other
            draw_move(settings, r, c2, k0, k1, 16 * t, moves, n, 6 * t)
            if joined:
                top, h = (0.0, cy) if t < 2 else (cy, Y - cy)
                left, w = (0.0, cx) if t % 2 == 0 else (cx, X - cx)
                z = reduction(uniform(WINDOW + 3 * t, r, c2, k0, k1), Y, h, X, w)
                y = uniform(WINDOW + 3 * t + 1, r, c2, k0, k1) * (z * Y - h) - top
                x = uniform(WINDOW + 3 * t + 2, r, c2, k0, k1) * (z * X - w) - left
                into_tile(moves, n, 6 * t, z, y, x)


@helper
def copy_row(data, r, y, step, first, fill, out, n, row, left, right):
    """Row `row` of output n, columns left to right: pixel x is that at `first + step x` of the source's row y; step is 1 or -1."""
    W, C = data.shape[2], data.shape[3]
    begin = min(right, max(left, -first)) if step > 0 else min(right, max(left, first - W + 1))
    end = max(begin, min(right, W - first)) if step > 0 else max(begin, min(right, first + 1))
    for x in range(left, begin):
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
    for x in range(end, right):
        for k in range(C):
            out[n, row, x, k] = fill


@helper
def copy_pixels(data, r, a, c, e, f, fill, out, n, top, bottom, left, right):
    """A map that mirrors and shifts by whole pixels."""
    H, C = data.shape[1], data.shape[3]
    step, first = (1, np.int64(c)) if a > ZERO else (-1, np.int64(c) - 1)
    for row in range(top, bottom):
        y = row + np.int64(f) if e > ZERO else np.int64(f) - 1 - row
        if 0 <= y < H:
            copy_row(data, r, y, step, first, fill, out, n, row, left, right)
        else:
            for x in range(left, right):
                for k in range(C):
                    out[n, row, x, k] = fill


@helper
def warp(data, r, moves, at, fill, out, n, top, bottom, left, right):
    """Bilinear sampling under the map that begins at moves[n, at]."""
    H, W, C = data.shape[1], data.shape[2], data.shape[3]
    a, b, c = np.float64(moves[n, at]), np.float64(moves[n, at + 1]), np.float64(moves[n, at + 2])
    d, e, f = np.float64(moves[n, at + 3]), np.float64(moves[n, at + 4]), np.float64(moves[n, at + 5])
    for row in range(top, bottom):
        for x in range(left, right):
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
def whole(v):
    return v == np.float32(math.floor(v))


@helper
def take(data, r, moves, at, fill, out, n, top, bottom, left, right):
    """Image r under the map that begins at moves[n, at], in rows top to bottom and columns left to right of output n."""
    a, b, c = moves[n, at], moves[n, at + 1], moves[n, at + 2]
    d, e, f = moves[n, at + 3], moves[n, at + 4], moves[n, at + 5]
    if abs(a) == ONE and abs(e) == ONE and b == ZERO and d == ZERO and whole(c) and whole(f):
        copy_pixels(data, r, a, c, e, f, fill, out, n, top, bottom, left, right)
    else:
        warp(data, r, moves, at, fill, out, n, top, bottom, left, right)


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


@helper
def recolour(out, n, colours, peak):
    """Brightness, contrast, saturation and hue of image n, where they change."""
    if colours[n, 0] != ONE:
        scale_values(out, n, ZERO, colours[n, 0], peak)
    if colours[n, 1] != ONE:
        scale_values(out, n, grey_mean(out, n), colours[n, 1], peak)
    if out.shape[3] == 3 and colours[n, 2] != ONE:
        saturate(out, n, colours[n, 2], peak)
    if out.shape[3] == 3 and colours[n, 3] != ZERO:
        turn_hue(out, n, colours[n, 3])


@kernel
def augment(data, rows, moves, colours, holes, gain, offset, fill, peak, out):
    for n in range(rows.shape[0]):
        take(data, rows[n], moves, 0, fill, out, n, 0, out.shape[1], 0, out.shape[2])
        recolour(out, n, colours, peak)
        finish(out, n, gain, offset, holes[n, 0], holes[n, 1], holes[n, 2], holes[n, 3])


@kernel
def mosaic(data, images, moves, crosses, colours, gain, offset, fill, peak, out):
    for n in range(images.shape[0]):
        for t in range(4):
            top, bottom = (0, crosses[n, 0]) if t < 2 else (crosses[n, 0], out.shape[1])
            left, right = (0, crosses[n, 1]) if t % 2 == 0 else (crosses[n, 1], out.shape[2])
            take(data, images[n, t], moves, 6 * t, fill, out, n, top, bottom, left, right)
        recolour(out, n, colours, peak)
        finish(out, n, gain, offset, 0, 0, 0, 0)


@kernel
def mix_rows(x, partners, shares, out, begin):
    for n in range(partners.shape[0]):
        p, share = partners[n], shares[n]
        for j in range(out.shape[1]):
            out[n, j] = share * x[begin + n, j] + (ONE - share) * x[p, j]
