"""Matching of boxes on the CPU: a picture at a time."""
import numpy as np

from dlcore.compiler.language import formula, helper, kernel
from dlcore.ops import box_match  # noqa: F401  (declares)
from dlcore.ops.planes import overlap

ZERO, HALF, ONE = np.float32(0), np.float32(0.5), np.float32(1)


@formula
def nested(w, h, u, v):
    """The overlap of two sizes that share a corner."""
    shared = min(w, u) * min(h, v)
    return shared / (w * h + u * v - shared)


@formula
def within(value, low, high):
    return value >= low and value < high


@helper
def best_nested(cells, w, h):
    """How much the anchor that is most like a size is like it."""
    best = ZERO
    for p in range(cells.shape[0]):
        best = max(best, nested(w, h, cells[p, 3], cells[p, 4]))
    return best


@kernel
def match_cells(boxes, cells, ratio, matched, likeness):
    P = cells.shape[0]
    for b in range(boxes.shape[0]):
        for p in range(P):
            matched[b, p] = -1
            likeness[b, p] = ZERO
        for m in range(boxes.shape[1]):
            w, h = boxes[b, m, 3] - boxes[b, m, 1], boxes[b, m, 4] - boxes[b, m, 2]
            if boxes[b, m, 0] >= ZERO and w > ZERO and h > ZERO:
                x, y = HALF * (boxes[b, m, 1] + boxes[b, m, 3]), HALF * (boxes[b, m, 2] + boxes[b, m, 4])
                best = best_nested(cells, w, h)
                for p in range(P):
                    u, v = x / cells[p, 2] - cells[p, 0], y / cells[p, 2] - cells[p, 1]
                    inside = within(u, ZERO, ONE) and within(v, ZERO, ONE)
                    beside = (within(u, ZERO, ONE) and within(v, -HALF, ONE + HALF)) or \
                             (within(v, ZERO, ONE) and within(u, -HALF, ONE + HALF))
                    if beside:
                        like = nested(w, h, cells[p, 3], cells[p, 4])
                        apart = max(max(w / cells[p, 3], cells[p, 3] / w), max(h / cells[p, 4], cells[p, 4] / h))
                        worth = like + (ONE if inside else ZERO)
                        if (apart < ratio or like >= best) and worth > likeness[b, p]:
                            matched[b, p] = m
                            likeness[b, p] = worth


@helper
def overlap_of(boxes, b, m, priors, p):
    """That of box m and prior p of picture b."""
    return overlap(boxes[b, m, 1], boxes[b, m, 2], boxes[b, m, 3], boxes[b, m, 4],
                   priors[b, p, 0], priors[b, p, 1], priors[b, p, 2], priors[b, p, 3])


@helper
def has_area(priors, b, p):
    return priors[b, p, 2] > priors[b, p, 0] and priors[b, p, 3] > priors[b, p, 1]


@kernel
def match_priors(boxes, priors, low, high, force, matched, overlaps):
    P = priors.shape[1]
    for b in range(boxes.shape[0]):
        for p in range(P):
            matched[b, p] = -1
            overlaps[b, p] = ZERO
        for m in range(boxes.shape[1]):
            if boxes[b, m, 0] >= ZERO:
                for p in range(P):
                    value = overlap_of(boxes, b, m, priors, p)
                    if value > overlaps[b, p]:
                        overlaps[b, p] = value
                        matched[b, p] = m
        for p in range(P):
            if overlaps[b, p] < high:
                matched[b, p] = -1 if overlaps[b, p] < low else -2
            if not has_area(priors, b, p):
                matched[b, p] = -2
        for m in range(boxes.shape[1]):
            if force != 0 and boxes[b, m, 0] >= ZERO:
                best, at = ZERO, 0
                for p in range(P):
                    value = overlap_of(boxes, b, m, priors, p)
                    if value > best:
                        best, at = value, p
                if best > ZERO:
                    matched[b, at] = m
