"""Permutations of channels on a GPU: a thread for each element of the result."""
import numpy as np

from dlcore.compiler.cuda.intrinsics import quotient
from dlcore.compiler.cuda.language import each, kernel
from dlcore.compiler.language import helper
from dlcore.ops.shuffle import cpu

ZERO = np.float32(0)

each(cpu.channel_shuffle, over="N, K, G")


@helper
def split(item, C, R, W, H):
    """The indices of an element of [B, H, R, W, R, C]."""
    rest = quotient(item, C)
    c = item - rest * C
    after = quotient(rest, R)
    j, rest = rest - after * R, after
    after = quotient(rest, W)
    w, rest = rest - after * W, after
    after = quotient(rest, R)
    i, rest = rest - after * R, after
    b = quotient(rest, H)
    return b, rest - b * H, i, w, j, c


@kernel(threads="B * H * W * C * R * R")
def pixel_shuffle(item, x, out, add_out):
    _, H, W, C, R, _ = x.shape
    b, h, i, w, j, c = split(item, C, R, W, H)
    out[b, h, i, w, j, c] = x[b, h, w, c, i, j] + (out[b, h, i, w, j, c] if add_out else ZERO)


@kernel(threads="B * H * W * C * R * R")
def pixel_unshuffle(item, x, out, add_out):
    _, H, R, W, _, C = x.shape
    b, h, i, w, j, c = split(item, C, R, W, H)
    out[b, h, w, c, i, j] = x[b, h, i, w, j, c] + (out[b, h, w, c, i, j] if add_out else ZERO)
