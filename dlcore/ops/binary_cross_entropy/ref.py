"""Binary cross-entropy by its definition, in float64."""
import numpy as np

from dlcore.ops.case import Case, random


def binary_cross_entropy(logits, targets, label_smoothing=0.0):
    t = targets * (1 - label_smoothing) + 0.5 * label_smoothing
    return (t * np.logaddexp(0, -logits) + (1 - t) * np.logaddexp(0, logits)).mean(-1)


def binary_cross_entropy_backward(dloss, logits, targets, label_smoothing=0.0):
    t = targets * (1 - label_smoothing) + 0.5 * label_smoothing
    p = np.exp(-np.logaddexp(0, -logits))
    return {"logits": (p - t) * dloss[..., None] / logits.shape[-1]}


def yes_no(*shape, seed=1):
    return np.random.default_rng(seed).integers(0, 2, shape).astype(np.float64)


def case(id, logits, targets, **options):
    return Case("binary_cross_entropy", id, {"logits": logits, "targets": targets}, binary_cross_entropy,
                binary_cross_entropy_backward, ["logits"], options)


CASES = [
    case("one-column", random(61, 1), yes_no(61, 1)),
    case("many", random(17, 33), yes_no(17, 33)),
    case("soft", random(9, 5), np.abs(np.sin(random(9, 5, seed=2))).astype(np.float32).astype(np.float64)),
    case("smoothed", random(9, 5), yes_no(9, 5), label_smoothing=0.1),
    case("large-logits", random(13, 4, scale=300), yes_no(13, 4)),
    case("sequence", random(3, 5, 7), yes_no(3, 5, 7)),
]
