"""Additive attention on a GPU: a warp for each query, its lanes along A for the scores and along C for the sums; gradients of keys
and values by a thread for each of their elements, over the queries in order."""
import numpy as np

from dlcore.compiler.cuda.intrinsics import cuda, warp_max, warp_sum
from dlcore.compiler.cuda.language import kernel, lowered
from dlcore.compiler.language import call
from dlcore.ops import additive_attention as _  # noqa: F401  (declares)
from dlcore.ops.formulas import exp, tanh

ZERO, ONE, INF = np.float32(0), np.float32(1), np.float32(np.inf)

GIVEN = "q: F[B, T, A], k: F[B, S, A], v: f32[A], slope: F[B, T, S]"
call("additive_slopes(dout: F[B, T, C], values: F[B, S, C], p: F[B, T, S] -> slope: F[B, T, S])", over="B",
     flops="3 * B * T * S * C")
call(f"additive_queries({GIVEN} -> +dq: F[B, T, A], parts: F[B, T, A])", over="B", flops="14 * B * T * S * A")
call(f"additive_keys({GIVEN} -> +dk: F[B, S, A])", over="B", flops="14 * B * T * S * A")
call("additive_values(dout: F[B, T, C], p: F[B, T, S] -> +dvalues: F[B, S, C])", over="B", flops="2 * B * T * S * C")
call("additive_weight(parts: F[B, T, A] -> dv: F[B, A])", over="B", flops="B * T * A")
lowered("additive_attention_backward", "additive_slopes(dout, values, p -> slope)", "additive_queries(q, k, v, slope -> dq, parts)",
        "additive_keys(q, k, v, slope -> dk)", "additive_values(dout, p -> dvalues)", "additive_weight(parts -> dv)")


@kernel(warps="B * T")
def additive_attention_forward(item, lane, q, k, v, values, mask, out, p):
    T, A = q.shape[1], q.shape[2]
    S, C = values.shape[1], values.shape[2]
    b, t = item // T, item % T
    top, whole, masked = -INF, ZERO, mask.shape[0] > 0
    for j in range(S):
        total = -INF
        if not masked or mask[b, j] != ZERO:
            total = ZERO
            for a in range(lane, A, 32):
                total += v[a] * tanh(q[b, t, a] + k[b, j, a])
        total = warp_sum(total)
        top = top if total < top else total
        if lane == j & 31:
            p[b, t, j] = total
    top = warp_max(top)
    shift = top if top > -INF else ZERO
    for j in range(lane, S, 32):                        # those that this lane wrote
        p[b, t, j] = exp(p[b, t, j] - shift)
        whole += p[b, t, j]
    whole = warp_sum(whole)
    share = ZERO if whole == ZERO else ONE / whole
    for j in range(lane, S, 32):
        p[b, t, j] *= share
    cuda.syncwarp()
    for c in range(lane, C, 32):
        total = ZERO
        for j in range(S):
            if p[b, t, j] != ZERO:                      # what is masked may be anything
                total += p[b, t, j] * values[b, j, c]
        out[b, t, c] = total


@kernel(warps="B * T")
def additive_slopes(item, lane, dout, values, p, slope):
    """slope = the gradient of the scores; where p is 0 it is 0, whatever the value."""
    T, S, C = p.shape[1], p.shape[2], dout.shape[2]
    b, t, delta = item // T, item % T, ZERO
    for j in range(S):
        dp, weight = ZERO, p[b, t, j]
        for c in range(lane, C, 32):
            dp += dout[b, t, c] * values[b, j, c]
        dp = warp_sum(dp)
        delta += weight * dp if weight != ZERO else ZERO
        if lane == j & 31:
            slope[b, t, j] = dp
    for j in range(lane, S, 32):
        weight = p[b, t, j]
        slope[b, t, j] = weight * (slope[b, t, j] - delta) if weight != ZERO else ZERO


@kernel(threads="B * T * A")
def additive_queries(item, q, k, v, slope, dq, parts, add_dq):
    """parts: what each query gives to dv."""
    T, A, S = q.shape[1], q.shape[2], k.shape[1]
    a, t, b = item % A, item // A % T, item // A // T
    total, part, x, weight = ZERO, ZERO, q[b, t, a], v[a]
    for j in range(S):
        step = slope[b, t, j]
        if step != ZERO:
            h = tanh(x + k[b, j, a])
            total += step * weight * (ONE - h * h)
            part += step * h
    dq[b, t, a] = total + (dq[b, t, a] if add_dq else ZERO)
    parts[b, t, a] = part


@kernel(threads="B * S * A")
def additive_keys(item, q, k, v, slope, dk, add_dk):
    T, A, S = q.shape[1], q.shape[2], k.shape[1]
    a, j, b = item % A, item // A % S, item // A // S
    total, x, weight = ZERO, k[b, j, a], v[a]
    for t in range(T):
        step = slope[b, t, j]
        if step != ZERO:
            h = tanh(q[b, t, a] + x)
            total += step * weight * (ONE - h * h)
    dk[b, j, a] = total + (dk[b, j, a] if add_dk else ZERO)


@kernel(threads="B * S * C")
def additive_values(item, dout, p, dvalues, add_dvalues):
    T, S, C = p.shape[1], p.shape[2], dout.shape[2]
    c, j, b = item % C, item // C % S, item // C // S
    total = ZERO
    for t in range(T):
        total += p[b, t, j] * dout[b, t, c]
    dvalues[b, j, c] = total + (dvalues[b, j, c] if add_dvalues else ZERO)


@kernel(threads="B * A")
def additive_weight(item, parts, dv):
    A, total = parts.shape[2], ZERO
    b, a = item // A, item % A
    for t in range(parts.shape[1]):
        total += parts[b, t, a]
    dv[b, a] = total
