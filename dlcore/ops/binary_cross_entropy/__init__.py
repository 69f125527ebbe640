"""Binary cross-entropy on logits, the mean over the last axis.

With t' = t (1 - s) + s / 2 (label smoothing s) and sigma the logistic function:

    loss = mean_j (softplus(z_j) - z_j t'_j),   softplus(z) = max(z, 0) + log(1 + exp(-|z|))
    dz_j = (sigma(z_j) - t'_j) dloss / C

which is -t' log sigma(z) - (1 - t') log(1 - sigma(z)), written so that neither exp nor log overflows.
"""
from __future__ import annotations

from dlcore.graph import call, op

binary_cross_entropy_forward = call(
    "binary_cross_entropy_forward(logits: F[N, C], targets: F[N, C], smoothing: f32 -> loss: f32[N])",
    over="N", flops="6 * N * C")
binary_cross_entropy_backward = call(
    "binary_cross_entropy_backward(dloss: f32[N], targets: F[N, C], smoothing: f32 -> ~logits: F[N, C])",
    over="N", flops="6 * N * C")


@op
def binary_cross_entropy(logits, targets, label_smoothing=0.0):
    """The cross-entropy of independent yes/no decisions, one value per row.

    logits, targets  f32[..., C], targets in 0 .. 1
    returns          f32[...], the mean over C
    """
    rows, C = logits.shape[:-1], logits.shape[-1]
    z, t = (a.reshape(logits.size // C, C) for a in (logits, targets))
    loss = binary_cross_entropy_forward(z, t, label_smoothing)

    def backward(dloss):
        dlogits = binary_cross_entropy_backward(dloss.reshape(z.shape[0]), t, label_smoothing, z)
        return dlogits.reshape(*logits.shape), None
    return loss.reshape(*rows), backward
