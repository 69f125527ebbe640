"""Scalar formulas, each written once: for CPU kernels, matmul epilogues and the C export.

In float32 the transcendental ones are polynomials without branches or library calls, so that loops over them become vector code
and give the same bits in the vector body and in the scalar tail.  In `wide` plans (f32 read as f64) libm takes their place.
Greatest errors against float64, over the whole range, in units in the last place (`tests/ops/test_formulas.py` holds them):

    exp 1   expm1 1.5   log 1   tanh 3   sigmoid 3   erf 3.5   silu 3   softplus 2.5

gelu and gelu_tanh: 8 and 16 units of max(|result|, 1e-3 |x|): far in the negative tail the rounding of the exponent shows.

Coefficients: minimax fits made for this file (Lawson's reweighted least squares in float64 over the reduced range); argument
reduction after Cody and Waite, Software Manual for the Elementary Functions (1980), and fdlibm's `log`.
A NaN comes out as NaN, and comparisons are written so that it does: `max` and `min` of hardware lose it.
`<name>_derivative` is by the argument that its docstring names: the input x, or the output where that is enough.
"""
from __future__ import annotations

import math

import numpy as np

from dlcore.compiler.language import formula, helper
from dlcore.compiler.simd import bits_from_float, float_from_bits

LOG2E, LN2_HIGH, LN2_LOW = 1.44269504, 0.693359375, -2.12194440e-4       # LN2_HIGH has 9 bits: n * LN2_HIGH is exact
EXP_LOW, EXP_HIGH = -87.0, 88.72283         # below: 0 (the scale underflows at -86.99), above: inf
SQRT_HALF, SQRT_2_OVER_PI, INVERSE_SQRT_2PI = 0.70710678, 0.79788456, 0.39894228


# ---- what stands in where f32 is read as f64 ---------------------------------------------------------------------
def libm_exp(x):
    return math.exp(x)


def libm_expm1(x):
    return math.expm1(x)


def libm_log(x):
    return math.log(x) if x > 0.0 else (-math.inf if x == 0.0 else math.nan)


def libm_log1p(x):
    return math.log1p(x)


def libm_tanh(x):
    return math.tanh(x)


def libm_erf(x):
    return math.erf(x)


def libm_normal_cdf(x, e):
    return 0.5 * math.erfc(-x * math.sqrt(0.5))


# ---- exponential and logarithm -----------------------------------------------------------------------------------
@formula(wide=libm_exp)
def exp(x):
    """e**x; 0 below -86.99 (results that float32 holds with fewer bits, or slowly, are left out), inf above 88.72."""
    c = x if x > np.float32(EXP_LOW) else np.float32(EXP_LOW)       # NaN too: made an integer it would be undefined
    c = c if c < np.float32(EXP_HIGH) else np.float32(EXP_HIGH)
    k = np.int32(c * np.float32(LOG2E) + np.float32(127.5))         # positive, so that cutting rounds down: n + 127
    n = np.float32(k) - np.float32(127)
    r = c - n * np.float32(LN2_HIGH) - n * np.float32(LN2_LOW)
    p = np.float32(2 * 0.0001979031803784892)                       # twice e**r, times 2**(n - 1): so n = 128 fits
    p = p * r + np.float32(2 * 0.0013944689417257905)
    p = p * r + np.float32(2 * 0.008333497680723667)
    p = p * r + np.float32(2 * 0.04166629537940025)
    p = p * r + np.float32(2 * 0.1666666567325592)
    p = p * r + np.float32(1)
    y = (p * (r * r) + np.float32(2) * r) + np.float32(2)
    y = y * float_from_bits(np.int32((k - np.int32(1)) << np.int32(23)))
    y = y if x <= np.float32(EXP_HIGH) else np.float32(np.inf)
    return y if x == x else x


@formula(wide=libm_expm1)
def expm1(x):
    """e**x - 1 without cancellation near 0; inf above 88.3."""
    c = x if x > np.float32(EXP_LOW) else np.float32(EXP_LOW)
    c = c if c < np.float32(88.3) else np.float32(88.3)
    k = np.int32(c * np.float32(LOG2E) + np.float32(127.5))
    n = np.float32(k) - np.float32(127)
    r = c - n * np.float32(LN2_HIGH) - n * np.float32(LN2_LOW)
    p = np.float32(0.00019913613505195826)
    p = p * r + np.float32(0.0013941050274297595)
    p = p * r + np.float32(0.00833327416330576)
    p = p * r + np.float32(0.04166635498404503)
    p = p * r + np.float32(0.1666666716337204)
    p = p * r + np.float32(0.5)
    scale = float_from_bits(np.int32(k << np.int32(23)))
    y = (p * (r * r) + r) * scale + (scale - np.float32(1))
    y = y if x <= np.float32(88.3) else np.float32(np.inf)
    return y if x == x else x


@formula
def atanh_series(z):
    """2 z (1/3 + z/5 + z**2/7 + ...), for z = s**2 in [0, 1/9]:  2 atanh(s) = 2 s + s * atanh_series(s**2)."""
    p = np.float32(2 * 0.10896198451519012)
    p = p * z + np.float32(2 * 0.08573924750089645)
    p = p * z + np.float32(2 * 0.11150750517845154)
    p = p * z + np.float32(2 * 0.14284197986125946)
    p = p * z + np.float32(2 * 0.20000027120113373)
    p = p * z + np.float32(2 * 0.3333333432674408)
    return p * z


@formula(wide=libm_log)
def log(x):
    """Natural logarithm; -inf at 0 and for subnormal x, which programs read as 0; NaN below."""
    bits = bits_from_float(x)
    k = np.int32(np.int32(bits - np.int32(0x3F3504F3)) >> np.int32(23))             # mantissa in [sqrt(1/2), sqrt(2))
    f = float_from_bits(np.int32(bits - np.int32(k << np.int32(23)))) - np.float32(1)
    n, s, half = np.float32(k), f / (np.float32(2) + f), np.float32(0.5) * f * f
    y = n * np.float32(LN2_HIGH) - ((half - (s * (half + atanh_series(s * s)) + n * np.float32(LN2_LOW))) - f)
    y = y if x < np.float32(np.inf) else x                                          # inf, NaN
    y = y if x >= np.float32(1.17549435e-38) or x != x else np.float32(-np.inf)
    return np.float32(np.nan) if x < np.float32(0) else y


@formula(wide=libm_log1p)
def log1p_of_unit(x):
    """log(1 + x) for x in [0, 1]."""
    c = x if x > np.float32(1e-9) else np.float32(0)        # whose square would be subnormal, and a hundred times slower
    s, half = c / (np.float32(2) + c), np.float32(0.5) * c * c
    return x - (half - s * (half + atanh_series(s * s)))


# ---- activations and their derivatives ---------------------------------------------------------------------------
@formula
def relu(x):
    return np.float32(0) if x < np.float32(0) else x


@formula
def relu_derivative(out):
    """By the output; 0 at 0."""
    return np.float32(0) if out <= np.float32(0) else np.float32(1)


@formula
def leaky_relu(x, slope):
    return x * slope if x < np.float32(0) else x


@formula
def leaky_relu_derivative(out, slope):
    """By the output (or the input: for slope >= 0 their signs agree)."""
    return slope if out <= np.float32(0) else np.float32(1)


@formula
def elu(x, alpha):
    return alpha * expm1(x) if x < np.float32(0) else x


@formula
def elu_derivative(out, alpha):
    """By the output, for alpha >= 0."""
    return out + alpha if out < np.float32(0) else np.float32(1)


@formula
def sigmoid(x):
    return np.float32(1) / (np.float32(1) + exp(-x))


@formula
def sigmoid_derivative(out):
    """By the output."""
    return out * (np.float32(1) - out)


@formula(wide=libm_tanh)
def tanh(x):
    t = expm1(np.float32(-2) * math.fabs(x))
    y = t / (np.float32(2) + t)
    return y if x < np.float32(0) else -y


@formula
def tanh_derivative(out):
    """By the output."""
    return np.float32(1) - out * out


@formula
def half_erfc(z, e):
    """erfc(z) / 2 for z >= 0, given e = exp(-z**2)."""
    t = np.float32(1) / (np.float32(1) + np.float32(0.4) * z)
    p = np.float32(0.5 * -0.029594337567687035)
    p = p * t + np.float32(0.5 * 0.19801321625709534)
    p = p * t + np.float32(0.5 * -0.4988114833831787)
    p = p * t + np.float32(0.5 * 0.547435462474823)
    p = p * t + np.float32(0.5 * -0.2843666970729828)
    p = p * t + np.float32(0.5 * 0.27206623554229736)
    p = p * t + np.float32(0.5 * 0.1296796053647995)
    p = p * t + np.float32(0.5 * 0.2149191051721573)
    p = p * t + np.float32(0.5 * 0.22495202720165253)
    p = p * t + np.float32(0.5 * 0.22570690512657166)
    return p * t * e


@formula(wide=libm_erf)
def erf(x):
    z = math.fabs(x)
    s = x * x
    p = np.float32(7.853857823647559e-05)
    p = p * s + np.float32(-0.0008010192541405559)
    p = p * s + np.float32(0.005188327748328447)
    p = p * s + np.float32(-0.026853810995817184)
    p = p * s + np.float32(0.1128358542919159)
    p = p * s + np.float32(-0.3761262595653534)
    near = x * p * s + x * np.float32(1.1283791065216064)
    far = np.float32(1) - np.float32(2) * half_erfc(z, exp(-s))
    return near if z < np.float32(1) else (far if x > np.float32(0) else -far)


@formula(wide=libm_normal_cdf)
def normal_cdf(x, e):
    """The share of a normal distribution below x, given e = exp(-x**2 / 2)."""
    tail = half_erfc(math.fabs(x) * np.float32(SQRT_HALF), e)
    return tail if x < np.float32(0) else np.float32(1) - tail


@formula
def gelu(x):
    """x * P(normal < x)  (Hendrycks and Gimpel, 2016)"""
    return x * normal_cdf(x, exp(np.float32(-0.5) * x * x))


@formula
def gelu_derivative(x):
    """By the input."""
    e = exp(np.float32(-0.5) * x * x)
    return normal_cdf(x, e) + x * e * np.float32(INVERSE_SQRT_2PI)


@formula
def gelu_tanh(x):
    """x / 2 (1 + tanh(u)) = x sigmoid(2 u),  u = sqrt(2 / pi) (x + 0.044715 x**3)"""
    return x * sigmoid(np.float32(2 * SQRT_2_OVER_PI) * (x + np.float32(0.044715) * x * x * x))


@formula
def gelu_tanh_derivative(x):
    """By the input."""
    s = sigmoid(np.float32(2 * SQRT_2_OVER_PI) * (x + np.float32(0.044715) * x * x * x))
    du = np.float32(2 * SQRT_2_OVER_PI) * (np.float32(1) + np.float32(3 * 0.044715) * x * x)
    return s + x * s * (np.float32(1) - s) * du


@formula
def silu(x):
    return x * sigmoid(x)


@formula
def silu_derivative(x):
    """By the input."""
    s = sigmoid(x)
    return s * (np.float32(1) + x * (np.float32(1) - s))


@formula
def softplus(x):
    """log(1 + e**x), its derivative being the sigmoid."""
    return log1p_of_unit(exp(-math.fabs(x))) + (x if x > np.float32(0) else np.float32(0))


# ---- updates -----------------------------------------------------------------------------------------------------
@formula
def moment(old, new, rest):
    """An exponential average: beta * old + (1 - beta) * new, with rest = 1 - beta."""
    return old + rest * (new - old)


@formula
def adam_update(weight, m, v, rate, root, eps):
    """Adam (Kingma and Ba, 2015), eps outside the root of the corrected v as in its algorithm 1 and in PyTorch.

    rate = lr / (1 - beta1**step),  root = 1 / sqrt(1 - beta2**step)"""
    return weight - rate * m / (math.sqrt(v) * root + eps)


# ---- rows --------------------------------------------------------------------------------------------------------
@formula
def ordered(x):
    """An integer that grows with x, NaN (without sign) the greatest: integer maxima vectorise, those of floats do not."""
    bits = bits_from_float(x)
    return np.int32(bits ^ ((bits >> np.int32(31)) & np.int32(0x7FFFFFFF)))


@formula
def unordered(key):
    """The float that `ordered` made this of."""
    return float_from_bits(np.int32(key ^ ((key >> np.int32(31)) & np.int32(0x7FFFFFFF))))


def row_maximum_wide(x, i):
    top = x[i, 0]
    for j in range(x.shape[1]):
        top = x[i, j] if x[i, j] > top or x[i, j] != x[i, j] else top
    return top


@helper(wide=row_maximum_wide)
def row_maximum(x, i):
    """The greatest element of x[i]; NaN if there is a NaN without sign in it (those with one are below -inf)."""
    top = np.int32(-0x80000000)
    for j in range(x.shape[1]):
        key = ordered(x[i, j])
        top = key if key > top else top
    return unordered(top)
