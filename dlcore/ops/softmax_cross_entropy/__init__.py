"""Softmax followed by cross-entropy, on logits, stable for logits of any size.

With p = softmax(z) and the target distribution q (one-hot, or given row by row; smoothed: q' = (1 - s) q + s / C):

    loss = sum_j q_j (log(sum_k exp(z_k - top)) - (z_j - top)),   top = max_k z_k
    dz_j = (p_j sum_k q_k - q_j) dloss

Smoothing: Szegedy et al., "Rethinking the Inception Architecture" (2016), section 7.  `top` and `total = sum exp(z -
top)` are kept for backward: exp(z - top) / total is exact where exp(z - log-sum-exp) loses bits with the size of z.

An integer target of -1 is ignored: its loss and gradient are 0.  Any other target outside 0 .. C - 1 is never used as
an index; it gives NaN, which `check_finite` sees, so that a step with bad labels changes no weight.
"""
from __future__ import annotations

from dlcore.graph import call, op

cross_entropy_forward = call(
    "cross_entropy_forward(logits: F[N, C], targets: i32[N], smoothing: f32"
    " -> loss: f32[N], top: f32[N], total: f32[N])",
    over="N", flops="5 * N * C")
cross_entropy_backward = call(
    "cross_entropy_backward(dloss: f32[N], targets: i32[N], top: f32[N], total: f32[N], smoothing: f32"
    " -> ~logits: F[N, C])",
    over="N", flops="5 * N * C")
soft_cross_entropy_forward = call(
    "soft_cross_entropy_forward(logits: F[N, C], targets: F[N, C], smoothing: f32"
    " -> loss: f32[N], top: f32[N], total: f32[N])", over="N", flops="8 * N * C")
soft_cross_entropy_backward = call(
    "soft_cross_entropy_backward(dloss: f32[N], targets: F[N, C], top: f32[N], total: f32[N], smoothing: f32"
    " -> ~logits: F[N, C])", over="N", flops="8 * N * C")


@op
def softmax_cross_entropy(logits, targets, label_smoothing=0.0):
    """The cross-entropy of softmax(logits), one value per row.

    logits   f32[..., C]
    targets  i32[...], a class or -1 (ignored); or f32[..., C], a distribution per row
    returns  f32[...]
    """
    rows, C = logits.shape[:-1], logits.shape[-1]
    z = logits.reshape(logits.size // C, C)
    soft = targets.dtype != "i32"
    forward = soft_cross_entropy_forward if soft else cross_entropy_forward
    t = targets.reshape(*(z.shape if soft else z.shape[:1]))
    loss, top, total = forward(z, t, label_smoothing)

    def backward(dloss):
        step = soft_cross_entropy_backward if soft else cross_entropy_backward
        return step(dloss.reshape(z.shape[0]), t, top, total, label_smoothing, z).reshape(*logits.shape), None
    return loss.reshape(*rows), backward
