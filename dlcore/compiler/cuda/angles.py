"""Sine and cosine in float64 without the tables and calls of libdevice's, whose path for huge arguments is not inlined.

Reduction to [-pi / 4, pi / 4] by two parts of pi / 2 (Cody and Waite), exact for up to 2**20 quarter turns; then Taylor's series to
x**17, whose rest is below 1e-16 there.
"""

from __future__ import annotations

import math

import numpy as np

from dlcore.compiler.language import formula

TWO_OVER_PI = 0.6366197723675814
HALF_PI_HIGH, HALF_PI_LOW = 1.57079632673412561417, 6.07710050650619224932e-11


@formula
def sine_of_eighth(x):
    z = x * x
    p = 2.8114572543455206e-15
    p = p * z - 7.647163731819816e-13
    p = p * z + 1.6059043836821613e-10
    p = p * z - 2.505210838544172e-08
    p = p * z + 2.7557319223985893e-06
    p = p * z - 0.0001984126984126984
    p = p * z + 0.008333333333333333
    p = p * z - 0.16666666666666666
    return x + x * z * p


@formula
def cosine_of_eighth(x):
    z = x * x
    p = 4.779477332387385e-14
    p = p * z - 1.1470745597729725e-11
    p = p * z + 2.08767569878681e-09
    p = p * z - 2.755731922398589e-07
    p = p * z + 2.48015873015873e-05
    p = p * z - 0.001388888888888889
    p = p * z + 0.041666666666666664
    p = p * z - 0.5
    return 1.0 + z * p


@formula
def sine_and_cosine(x):
    """(sin x, cos x) in float64, |x| up to 1.6 million."""
    turns = math.floor(x * TWO_OVER_PI + 0.5)
    r = (x - turns * HALF_PI_HIGH) - turns * HALF_PI_LOW
    quarter = np.int64(turns) & 3
    s, c = sine_of_eighth(r), cosine_of_eighth(r)
    if quarter & 1:
        s, c = c, -s
    return (-s, -c) if quarter & 2 else (s, c)
