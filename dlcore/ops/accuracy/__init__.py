"""Whether predictions are right, one value per row: what the accuracy metrics are means of.

    sparse_accuracy        1 where the greatest score stands at the target's place
    categorical_accuracy   1 where scores and target are greatest at the same place
    binary_accuracy        the share of the row's columns where (score > threshold) = (target > 1/2)

The first of equal scores counts as the greatest, as in `numpy.argmax`.  Nothing here has a derivative.
"""
from __future__ import annotations

from dlcore.graph import call, op

sparse_accuracy_call = call("sparse_accuracy(scores: F[N, C], targets: i32[N] -> out: f32[N])", over="N", flops="N * C")
categorical_accuracy_call = call("categorical_accuracy(scores: F[N, C], targets: F[N, C] -> out: f32[N])",
                                 over="N", flops="2 * N * C")
binary_accuracy_call = call("binary_accuracy(scores: F[N, C], targets: F[N, C], threshold: f32 -> out: f32[N])",
                            over="N", flops="2 * N * C")


@op
def sparse_accuracy(scores, targets):
    """scores: f32[..., C], logits or probabilities   targets: i32[...]   returns f32[...], 0 or 1"""
    C = scores.shape[-1]
    rows = scores.size // C
    return sparse_accuracy_call(scores.reshape(rows, C), targets.reshape(rows)).reshape(*scores.shape[:-1]), None


@op
def categorical_accuracy(scores, targets):
    """scores, targets: f32[..., C]   returns f32[...], 0 or 1"""
    C = scores.shape[-1]
    rows = scores.size // C
    return categorical_accuracy_call(scores.reshape(rows, C),
                                     targets.reshape(rows, C)).reshape(*scores.shape[:-1]), None


@op
def binary_accuracy(scores, targets, threshold=0.5):
    """scores, targets: f32[..., C]; threshold: 0.5 for probabilities, 0 for logits   returns f32[...], 0 .. 1"""
    C = scores.shape[-1]
    rows = scores.size // C
    out = binary_accuracy_call(scores.reshape(rows, C), targets.reshape(rows, C), threshold)
    return out.reshape(*scores.shape[:-1]), None
