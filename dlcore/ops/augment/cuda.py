"""Augmentation on a GPU: a thread for the draws of a sample, a block for its image; the same numbers as on the CPU."""
import math

import numpy as np

from dlcore.compiler.cuda.angles import sine_and_cosine
from dlcore.compiler.cuda.intrinsics import block_sum, f32, i32, i64, quotient
from dlcore.compiler.cuda.language import kernel
from dlcore.compiler.cuda.places import part_of
from dlcore.compiler.language import helper
from dlcore.ops.augment.cpu import (
    BLUE,
    GREEN,
    JOINED,
    ONE,
    RED,
    WINDOW,
    ZERO,
    around,
    channel,
    clipped,
    hue_of,
    into_tile,
    meeting,
    reduction,
    set_move,
    uniform,
    whole,
)

THREADS = 256


@helper
def draw_move(settings, r, c2, k0, k1, first, moves, n, at):
    slant_sine, slant_cosine = sine_and_cosine(around(uniform(first + 8, r, c2, k0, k1), np.float64(settings[10])))
    sin, cos = sine_and_cosine(around(uniform(first + 4, r, c2, k0, k1), np.float64(settings[7])))
    set_move(settings, r, c2, k0, k1, first, sin, cos, slant_sine / slant_cosine, moves, n, at)


@kernel(threads="B")
def augment_draw(item, rows, settings, seed, epoch, moves, colours, holes):
    low = np.uint64(0xFFFFFFFF)
    k0, k1, c2 = np.uint64(seed) & low, np.uint64(seed) >> np.uint64(32), np.uint64(epoch) & low
    Y, X = np.float64(settings[2]), np.float64(settings[3])
    hole, r = i64(settings[15]), np.uint64(rows[item]) & low
    draw_move(settings, r, c2, k0, k1, 0, moves, item, 0)
    for k in range(3):
        colours[item, k] = max(0.0, 1.0 + around(uniform(9 + k, r, c2, k0, k1), np.float64(settings[11 + k])))
    colours[item, 3] = around(uniform(12, r, c2, k0, k1), np.float64(settings[14]))
    y = i64(math.floor(uniform(13, r, c2, k0, k1) * Y)) - hole // 2
    x = i64(math.floor(uniform(14, r, c2, k0, k1) * X)) - hole // 2
    holes[item, 0], holes[item, 1], holes[item, 2], holes[item, 3] = i32(y), i32(x), i32(y + hole), i32(x + hole)


@kernel(threads="B")
def mosaic_draw(item, rows, settings, chance, total, seed, epoch, images, moves, crosses):
    low = np.uint64(0xFFFFFFFF)
    k0, k1, c2 = np.uint64(seed) & low, np.uint64(seed) >> np.uint64(32), np.uint64(epoch) & low
    Y, X, r = np.float64(settings[2]), np.float64(settings[3]), np.uint64(rows[item]) & low
    joined = uniform(JOINED, r, c2, k0, k1) < np.float64(chance)
    cy = meeting(uniform(JOINED + 1, r, c2, k0, k1), Y) if joined else Y
    cx = meeting(uniform(JOINED + 2, r, c2, k0, k1), X) if joined else X
    crosses[item, 0], crosses[item, 1] = i32(cy), i32(cx)
    for t in range(4):
        other = min(total - 1, i64(math.floor(uniform(JOINED + 3 + t, r, c2, k0, k1) * total)))
        images[item, t] = rows[item] if t == 0 else i32(other)
        draw_move(settings, r, c2, k0, k1, 16 * t, moves, item, 6 * t)
        if joined:
            top, h = (0.0, cy) if t < 2 else (cy, Y - cy)
            left, w = (0.0, cx) if t % 2 == 0 else (cx, X - cx)
            z = reduction(uniform(WINDOW + 3 * t, r, c2, k0, k1), Y, h, X, w)
            y = uniform(WINDOW + 3 * t + 1, r, c2, k0, k1) * (z * Y - h) - top
            x = uniform(WINDOW + 3 * t + 2, r, c2, k0, k1) * (z * X - w) - left
            into_tile(moves, item, 6 * t, z, y, x)


@helper
def source(data, r, moves, n, at, y, x, k, fill):
    """Channel k of pixel (x, y) of image r under the map that begins at moves[n, at], before its colours are changed: bilinear, or
    a copy where the map only mirrors and shifts by whole pixels."""
    H, W = data.shape[1], data.shape[2]
    a, b, c = np.float64(moves[n, at]), np.float64(moves[n, at + 1]), np.float64(moves[n, at + 2])
    d, e, f = np.float64(moves[n, at + 3]), np.float64(moves[n, at + 4]), np.float64(moves[n, at + 5])
    if abs(a) == 1.0 and abs(e) == 1.0 and b == 0.0 and d == 0.0 and whole(moves[n, at + 2]) and whole(moves[n, at + 5]):
        w = x + i64(c) if a > 0.0 else i64(c) - 1 - x
        h = y + i64(f) if e > 0.0 else i64(f) - 1 - y
        return f32(data[r, h, w, k]) if 0 <= h < H and 0 <= w < W else fill
    xs, ys = a * (x + 0.5) + b * (y + 0.5) + c, d * (x + 0.5) + e * (y + 0.5) + f
    if not (0.0 <= xs < W and 0.0 <= ys < H):
        return fill
    fx, fy = xs + 0.5, ys + 0.5
    x1, y1 = i64(fx), i64(fy)
    wx, wy = f32(fx - x1), f32(fy - y1)
    x0, y0 = max(i64(0), x1 - 1), max(i64(0), y1 - 1)
    x1, y1 = min(x1, W - 1), min(y1, H - 1)
    p, q = f32(data[r, y0, x0, k]), f32(data[r, y0, x1, k])
    s, t = f32(data[r, y1, x0, k]), f32(data[r, y1, x1, k])
    p, s = p + wx * (q - p), s + wx * (t - s)
    return p + wy * (s - p)


@helper
def grey(out, n, y, x):
    """The brightness of a pixel."""
    if out.shape[3] == 3:
        return RED * out[n, y, x, 0] + GREEN * out[n, y, x, 1] + BLUE * out[n, y, x, 2]
    total = ZERO
    for k in range(out.shape[3]):
        total += out[n, y, x, k] / f32(out.shape[3])
    return total


@helper
def recolour(out, n, y, x, saturation, turns, peak):
    """Saturation and hue of a pixel of three channels."""
    if saturation != ONE:
        g = grey(out, n, y, x)
        for k in range(3):
            out[n, y, x, k] = clipped(g + saturation * (out[n, y, x, k] - g), peak)
    if turns != ZERO:
        red, green, blue = out[n, y, x, 0], out[n, y, x, 1], out[n, y, x, 2]
        top, low = max(red, max(green, blue)), min(red, min(green, blue))
        width = top - low
        h = hue_of(red, green, blue, top, width) + turns * f32(6)
        out[n, y, x, 0] = channel(f32(5) + h, top, width)
        out[n, y, x, 1] = channel(f32(3) + h, top, width)
        out[n, y, x, 2] = channel(ONE + h, top, width)


@helper
def brightened(value, factor, peak):
    return clipped(value * factor, peak) if factor != ONE else value


@helper
def finish(item, thread, total, colours, gain, offset, top, left, bottom, right, peak, out):
    """Contrast about the mean of the block's totals of grey, saturation and hue, gain and offset by channel, zero in the hole."""
    Y, X, C, contrast = out.shape[1], out.shape[2], out.shape[3], colours[item, 1]
    middle = block_sum(total, thread) / f32(Y * X)
    rest = middle - contrast * middle
    for at in range(thread, Y * X, THREADS):
        y = part_of(at, X)
        x = at - y * X
        if contrast != ONE:
            for k in range(C):
                out[item, y, x, k] = clipped(out[item, y, x, k] * contrast + rest, peak)
        if C == 3:
            recolour(out, item, y, x, colours[item, 2], colours[item, 3], peak)
        hidden = top <= y < bottom and left <= x < right
        for k in range(C):
            out[item, y, x, k] = ZERO if hidden else out[item, y, x, k] * gain[k] + offset[k]


@kernel(blocks="B")
def augment(item, thread, data, rows, moves, colours, holes, gain, offset, fill, peak, out):
    """A thread does all that a pixel needs; only the mean for the contrast is the block's."""
    Y, X, r, total = out.shape[1], out.shape[2], i64(rows[item]), ZERO
    for at in range(thread, Y * X, THREADS):
        y = part_of(at, X)
        x = at - y * X
        for k in range(out.shape[3]):
            out[item, y, x, k] = brightened(source(data, r, moves, item, 0, y, x, k, fill), colours[item, 0], peak)
        total += grey(out, item, y, x)
    finish(item, thread, total, colours, gain, offset, holes[item, 0], holes[item, 1], holes[item, 2], holes[item, 3], peak, out)


@kernel(blocks="B")
def mosaic(item, thread, data, images, moves, crosses, colours, gain, offset, fill, peak, out):
    Y, X, total = out.shape[1], out.shape[2], ZERO
    for at in range(thread, Y * X, THREADS):
        y = part_of(at, X)
        x = at - y * X
        t = (2 if y >= crosses[item, 0] else 0) + (1 if x >= crosses[item, 1] else 0)
        for k in range(out.shape[3]):
            value = source(data, i64(images[item, t]), moves, item, 6 * t, y, x, k, fill)
            out[item, y, x, k] = brightened(value, colours[item, 0], peak)
        total += grey(out, item, y, x)
    finish(item, thread, total, colours, gain, offset, 0, 0, 0, 0, peak, out)


@kernel(threads="B * S")
def mix_rows(item, x, partners, shares, out):
    S = out.shape[1]
    n = quotient(item, S)
    j = item - n * S
    share = shares[n]
    out[n, j] = share * x[n, j] + (ONE - share) * x[partners[n], j]
