"""Softmax cross-entropy by its definition, in float64."""
import numpy as np

from dlcore.ops.case import Case, random


def distribution(logits, targets, label_smoothing):
    """The smoothed target distribution of each row; rows of zeros where the target is -1."""
    C = logits.shape[-1]
    if targets.dtype == np.int32:
        q = np.where(targets[..., None] == np.arange(C), 1.0, 0.0)
        q = (1 - label_smoothing) * q + label_smoothing / C
        return np.where(targets[..., None] == -1, 0.0, q)
    return (1 - label_smoothing) * targets + label_smoothing / C


def log_softmax(logits):
    shifted = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def softmax_cross_entropy(logits, targets, label_smoothing=0.0):
    q = distribution(logits, targets, label_smoothing)
    return np.where(q > 0, -q * log_softmax(logits), 0.0).sum(-1)


def softmax_cross_entropy_backward(dloss, logits, targets, label_smoothing=0.0):
    q = distribution(logits, targets, label_smoothing)
    p = np.exp(log_softmax(logits))
    return {"logits": (p * q.sum(-1, keepdims=True) - q) * dloss[..., None]}


def ids(*shape, classes, seed=1):
    return np.random.default_rng(seed).integers(-1, classes, shape).astype(np.int32)


def soft(*shape, seed=2):
    e = np.exp(random(*shape, seed=seed))
    return (e / e.sum(-1, keepdims=True)).astype(np.float32).astype(np.float64)


def case(id, logits, targets, **options):
    return Case("softmax_cross_entropy", id, {"logits": logits, "targets": targets}, softmax_cross_entropy,
                softmax_cross_entropy_backward, ["logits"], options)


CASES = [
    case("ids", random(61, 10), ids(61, classes=10)),
    case("one-class", random(5, 1), np.array([0, -1, 0, 0, 0], np.int32)),
    case("ids-smoothed", random(33, 7), ids(33, classes=7), label_smoothing=0.1),
    case("all-ignored", random(4, 3), np.full(4, -1, np.int32)),
    case("wide-rows", random(3, 1001, scale=3), ids(3, classes=1001)),
    case("large-logits", random(17, 9, scale=200), ids(17, classes=9)),
    case("sequence", random(3, 5, 11), ids(3, 5, classes=11)),
    case("soft", random(19, 6), soft(19, 6)),
    case("soft-smoothed", random(19, 6), soft(19, 6), label_smoothing=0.2),
    case("soft-unnormalised", random(9, 5), np.abs(random(9, 5, seed=3))),
    case("soft-sequence", random(2, 3, 4), soft(2, 3, 4)),
]
