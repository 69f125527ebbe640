"""Kernels that use every corner of the language, built by the tests as a room of their own.

In plain Python a kernel is its Python function: that is the reference.
"""

import math

import numpy as np

from dlcore.compiler.language import call, constant, formula, helper, kernel, lowered

PANEL = constant("PANEL")
ZERO, ONE = np.float32(0), np.float32(1)

call("toy_affine(x: F[S], factor: f32, by: i64 -> +out: F[S])", over="S", F=("f32", "i32"))
call("toy_update(gradient: f32[S], lr: f32, status: i64[1] -> ~weight: f32[S], ~m: f32[S])", over="S")
call(
    "toy_chunks(x: F[N, C], bias: F[C]? -> parts: F[CHUNKS, C], rows: i64[CHUNKS]; work: F[CHUNKS, C])",
    over="N in CHUNKS",
)
call("toy_packed(b: F[K, N] -> panels: F[ceil(N / PANEL), K, PANEL])", over="ceil(N / PANEL)")
call("toy_global(x: f32[N, C] -> out: i64[N, C])", over="N")
call("toy_math(x: f32[S] -> out: f32[8, S])", over="1")
call("toy_integers(x: i32[S], by: i64 -> out: i64[12, S])", over="1")
call("toy_flow(x: f32[N, C], limit: f32 -> out: f32[N], steps: i64[N])", over="N")
call("toy_views(x: f32[N, C] -> out: f32[N, C])", over="1")
call("toy_bytes(x: G[N, C] -> out: G[N, C])", over="N", G=("u8", "i8", "i64", "f32"))
call("toy_lowered(x: F[S] -> +out: F[S])", over="")
lowered("toy_lowered", "toy_affine(x, 2, 0 -> out)", when="S <= 96")


@formula
def squashed(x):
    """x / (1 + |x|)"""
    return x / (ONE + math.fabs(x))


@helper
def halves(x):
    low = math.floor(x)
    return np.float32(low), x - np.float32(low)


@helper
def row_sum(row, first, last):
    total = ZERO
    for j in range(first, last):
        total += row[j]
    return total


def doubled(function):
    """A factory: `toy_global` below is made by it."""

    def toy_made(x, out, begin, end):
        for i in range(x.shape[0]):
            for j in range(x.shape[1]):
                out[i, j] = (begin + i) * 1000 + end - j + np.int64(function(x[i, j]))

    return kernel(toy_made, name="toy_global")


toy_global = doubled(squashed)


@kernel
def toy_affine(x, factor, by, out, add_out):
    for i in range(x.shape[0]):
        out[i] = x[i] * factor + by + (out[i] if add_out else 0)


@kernel
def toy_update(gradient, lr, status, weight, m):
    if status[0] != 0:
        return
    for i in range(weight.shape[0]):
        m[i] = np.float32(0.9) * m[i] + np.float32(0.1) * gradient[i]
        weight[i] -= lr * squashed(m[i])


@kernel
def toy_chunks(x, bias, parts, rows, work, begin, end):
    C = parts.shape[0]
    for j in range(C):
        parts[j] = bias[j] if bias.shape[0] > 0 else ZERO
        work[j] = ZERO
    for i in range(x.shape[0]):
        for j in range(C):
            work[j] += x[i, j]
    for j in range(C):
        parts[j] += work[j]
    rows[0] = begin * 1000 + end


@kernel
def toy_packed(b, panels, begin, end):
    K, N = b.shape
    for p in range(begin, end):
        for k in range(K):
            for j in range(PANEL):
                panels[p, k, j] = b[k, p * PANEL + j] if p * PANEL + j < N else ZERO


@kernel
def toy_math(x, out):
    for j in range(x.shape[0]):
        v = x[j]
        out[0, j] = math.exp(v) + math.log(math.fabs(v) + ONE)
        out[1, j] = math.sqrt(abs(v)) * math.tanh(v) + math.sin(v) - math.atan2(v, ONE)
        whole, rest = halves(v)
        out[2, j], out[3, j] = whole, rest
        out[4, j] = max(v, ZERO) - min(v, ONE, np.float32(-2))
        out[5, j] = v**2 + (v * 0.5 + 0.25) / 3
        out[6, j] = math.erf(v) if v == v and not math.isinf(v) else ZERO
        out[7, j] = -(ONE - v) - (v - (v - ONE)) * 2


@kernel
def toy_integers(x, by, out):
    for j in range(x.shape[0]):
        v = x[j]
        out[0, j], out[1, j] = v // 3, v % 3
        out[2, j], out[3, j] = v // -4, v % -4
        out[4, j] = (v << 3) ^ (v >> 1) & 12 | 1
        out[5, j] = abs(v) + (v if v > 0 else -v) * by
        out[6, j] = ~v
        out[7, j] = np.int64(np.uint32(v) * np.uint32(2654435761) >> np.uint32(7))
        out[8, j] = np.int64(np.float32(v) / np.float32(2))
        out[9, j] = min(v, by) + max(3, v, by)
        a, b = v, by
        a, b = b, a
        out[10, j] = a * 10 - b
        out[11, j] = 1 if 0 <= v < 5 or v == 7 and by != 2 else (2 if not v else 3)


@kernel
def toy_flow(x, limit, out, steps):
    N, C = x.shape
    for i in range(N):
        total = last = ZERO
        count = 0
        while count < C:
            if x[i, count] < -limit:
                count += 1
                continue
            if total > limit:
                break
            total += x[i, count]
            last = x[i, count]
            count += 1
        else_part = 0
        for j in range(C - 1, -1, -2):
            else_part += j
        for j in range(0, C, 3):
            if x[i, j] > limit:
                else_part += 100
            elif x[i, j] > ZERO:
                else_part += 10
            else:
                else_part -= 1
        out[i] = total - last
        steps[i] = count * 10000 + else_part


@kernel
def toy_views(x, out):
    N, C = x.shape
    for i in range(N):
        row, into = x[i], out[i]
        total = row_sum(row, 0, C) + row_sum(x[i], 1, C)
        for j in range(C):
            into[j] = row[j] + total


@kernel
def toy_bytes(x, out):
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            out[i, j] = x[i, j]
