"""Resampling on the CPU."""
import math

import numpy as np

from dlcore.compiler.language import formula, helper, kernel

ZERO = np.float32(0)


@formula
def weight(i, centre, reach):
    """The triangle around `centre` at the middle of pixel i."""
    return max(0.0, 1.0 - abs(i + 0.5 - centre) / reach)


@formula
def begin_of(centre, reach):
    return max(0, np.int64(math.floor(centre - reach + 0.5)))


@formula
def end_of(centre, reach, size):
    return min(size, np.int64(math.floor(centre + reach + 0.5)))


@helper
def columns(W, X, taps, first):
    """The weights of every output column, and where they begin and end in the source; returns how many a column has room for."""
    scale = np.float64(W) / X
    reach = max(scale, 1.0)
    room = 2 * np.int64(math.ceil(reach)) + 1
    for x in range(X):
        centre = (x + 0.5) * scale
        begin, end = begin_of(centre, reach), end_of(centre, reach, W)
        total = 0.0
        for i in range(begin, end):
            total += weight(i, centre, reach)
        for i in range(begin, end):
            taps[x * room + i - begin] = weight(i, centre, reach) / total
        first[2 * x], first[2 * x + 1] = begin, end
    return room


@helper
def blend_rows(pixels, place, W, H, C, y, Y, line):
    """line = the weighted mean of the source rows that make row y."""
    scale = np.float64(H) / Y
    reach = max(scale, 1.0)
    centre = (y + 0.5) * scale
    begin, end = begin_of(centre, reach), end_of(centre, reach, H)
    total = 0.0
    for i in range(begin, end):
        total += weight(i, centre, reach)
    for i in range(begin, end):
        w, at = np.float32(weight(i, centre, reach) / total), place + i * W * C
        if i == begin:
            for j in range(W * C):
                line[j] = w * np.float32(pixels[at + j])
        else:
            for j in range(W * C):
                line[j] += w * np.float32(pixels[at + j])


@helper
def blend_columns(line, taps, at, begin, end, rounding, out, n, y, x):
    """One pixel of three channels: a weight is read once for all."""
    red, green, blue = rounding, rounding, rounding
    for i in range(begin, end):
        w = taps[at + i - begin]
        red += w * line[3 * i]
        green += w * line[3 * i + 1]
        blue += w * line[3 * i + 2]
    out[n, y, x, 0], out[n, y, x, 1], out[n, y, x, 2] = red, green, blue


@kernel
def resample(pixels, places, rounding, out, line, taps, first):
    Y, X, C = out.shape[1], out.shape[2], out.shape[3]
    for n in range(places.shape[0]):
        place, H, W = places[n, 0], places[n, 1], places[n, 2]
        room = columns(W, X, taps, first)
        for y in range(Y):
            blend_rows(pixels, place, W, H, C, y, Y, line)
            for x in range(X):
                begin, end = first[2 * x], first[2 * x + 1]
                if C == 3:
                    blend_columns(line, taps, x * room, begin, end, rounding, out, n, y, x)
                else:
                    for k in range(C):
                        total = ZERO
                        for i in range(begin, end):
                            total += taps[x * room + i - begin] * line[i * C + k]
                        out[n, y, x, k] = total + rounding
