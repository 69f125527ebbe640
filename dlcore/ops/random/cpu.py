"""Random numbers on the CPU, without a library's logarithm: the same bits on every machine."""
import math

import numpy as np

from dlcore.compiler.language import formula, kernel
from dlcore.ops.dropout.cpu import philox
from dlcore.ops.formulas import log

LOW = np.uint64(0xFFFFFFFF)
ONE, TWO = np.float32(1), np.float32(2)
SQRT2 = np.float32(1.41421356)


@formula
def erfinv_centre(w):
    """erfinv(x) / x for w = -log(1 - x**2) - 2.5, below 2.5."""
    p = np.float32(2.81022636e-08)
    p = p * w + np.float32(3.43273939e-07)
    p = p * w + np.float32(-3.5233877e-06)
    p = p * w + np.float32(-4.39150654e-06)
    p = p * w + np.float32(0.00021858087)
    p = p * w + np.float32(-0.00125372503)
    p = p * w + np.float32(-0.00417768164)
    p = p * w + np.float32(0.246640727)
    return p * w + np.float32(1.50140941)


@formula
def erfinv_tail(w):
    """erfinv(x) / x for w = sqrt(-log(1 - x**2)) - 3, from sqrt(5) - 3 on."""
    p = np.float32(-0.000200214257)
    p = p * w + np.float32(0.000100950558)
    p = p * w + np.float32(0.00134934322)
    p = p * w + np.float32(-0.00367342844)
    p = p * w + np.float32(0.00573950773)
    p = p * w + np.float32(-0.0076224613)
    p = p * w + np.float32(0.00943887047)
    p = p * w + np.float32(1.00167406)
    return p * w + np.float32(2.83297682)


@formula
def normal_of(word):
    """The normal number of 32 random bits."""
    t = (np.float32(np.int64(word >> np.uint64(1))) + np.float32(0.5)) * np.float32(4.6566128730773926e-10)
    u = -log(t * (TWO - t))
    ratio = erfinv_centre(u - np.float32(2.5)) if u < np.float32(5) else erfinv_tail(math.sqrt(u) - np.float32(3))
    y = SQRT2 * (ONE - t) * ratio
    return y if (word & np.uint64(1)) == np.uint64(0) else -y


@kernel
def random_normal(node, seed, step, first_sample, out, begin):
    k0, k1 = np.uint64(seed) & LOW, np.uint64(seed) >> np.uint64(32)
    c2, c3 = np.uint64(step) & LOW, np.uint64(node) & LOW
    for i in range(out.shape[0]):
        c1 = np.uint64(first_sample + begin + i) & LOW
        for j in range(out.shape[1]):
            out[i, j] = normal_of(philox(j % 4, np.uint64(j // 4), c1, c2, c3, k0, k1))


@kernel
def random_uniform(node, seed, step, first_sample, out, begin):
    k0, k1 = np.uint64(seed) & LOW, np.uint64(seed) >> np.uint64(32)
    c2, c3 = np.uint64(step) & LOW, np.uint64(node) & LOW
    for i in range(out.shape[0]):
        c1 = np.uint64(first_sample + begin + i) & LOW
        for j in range(out.shape[1]):
            word = philox(j % 4, np.uint64(j // 4), c1, c2, c3, k0, k1)
            out[i, j] = np.float32(np.int64(word >> np.uint64(8))) * np.float32(5.9604644775390625e-08)
