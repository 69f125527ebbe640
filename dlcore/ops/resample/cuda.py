"""Resampling on a GPU: a thread for each element of the result, whose weights it makes itself."""
import numpy as np

from dlcore.compiler.cuda.intrinsics import f32, quotient
from dlcore.compiler.cuda.language import kernel
from dlcore.compiler.language import helper
from dlcore.ops.resample.cpu import begin_of, end_of, weight

ZERO = np.float32(0)


@helper
def window(at, size, count):
    """(centre, reach, first, end, sum of weights) of the source rows that make row `at`."""
    scale = np.float64(size) / np.float64(count)
    reach = max(scale, 1.0)
    centre = (np.float64(at) + 0.5) * scale
    begin, end, total = begin_of(centre, reach), end_of(centre, reach, size), 0.0
    for i in range(begin, end):
        total += weight(i, centre, reach)
    return centre, reach, begin, end, total


@kernel(threads="B * Y * X * C")
def resample(item, pixels, places, rounding, out):
    Y, X, C = out.shape[1], out.shape[2], out.shape[3]
    rest = quotient(item, C)
    row = quotient(rest, X)
    n = quotient(row, Y)
    c, x, y = item - rest * C, rest - row * X, row - n * Y
    place, H, W = places[n, 0], places[n, 1], places[n, 2]
    down, deep, top, bottom, heights = window(y, H, Y)
    right, wide, left, end, widths = window(x, W, X)
    total = rounding
    for j in range(left, end):
        line = ZERO
        for i in range(top, bottom):
            line += f32(weight(i, down, deep) / heights) * f32(pixels[place + (i * W + j) * C + c])
        total += f32(weight(j, right, wide) / widths) * line
    out[n, y, x, c] = total
