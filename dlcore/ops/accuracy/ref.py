"""Accuracy by its definitions."""
import numpy as np

from dlcore.ops.case import Case, random


def sparse_accuracy(scores, targets):
    return (scores.argmax(-1) == targets).astype(np.float64)


def categorical_accuracy(scores, targets):
    return (scores.argmax(-1) == targets.argmax(-1)).astype(np.float64)


def binary_accuracy(scores, targets, threshold=0.5):
    return ((scores > threshold) == (targets > 0.5)).mean(-1)


def ids(*shape, classes):
    return np.random.default_rng(1).integers(-1, classes, shape).astype(np.int32)


def ties(*shape):
    return np.round(random(*shape, seed=4))


def yes_no(*shape):
    return np.random.default_rng(2).integers(0, 2, shape).astype(np.float64)


def case(function, id, scores, targets, **options):
    return Case(function.__name__, id, {"scores": scores, "targets": targets}, function, options=options)


CASES = [
    case(sparse_accuracy, "odd", random(61, 3), ids(61, classes=3)),
    case(sparse_accuracy, "ties", ties(61, 5), ids(61, classes=5)),
    case(sparse_accuracy, "sequence", random(3, 5, 4), ids(3, 5, classes=4)),
    case(categorical_accuracy, "odd", random(61, 3), random(61, 3, seed=5)),
    case(categorical_accuracy, "ties", ties(61, 5), ties(61, 5)[::-1].copy()),
    case(binary_accuracy, "one-column", random(61, 1), yes_no(61, 1)),
    case(binary_accuracy, "logits", random(17, 5), yes_no(17, 5), threshold=0.0),
]
