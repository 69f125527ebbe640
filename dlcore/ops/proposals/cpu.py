"""Proposals on the CPU: a picture at a time; each turn looks at all boxes that are left."""
import numpy as np

from dlcore.compiler.language import formula, helper, kernel
from dlcore.ops import proposals  # noqa: F401  (declares)
from dlcore.ops.formulas import exp
from dlcore.ops.planes import overlap

ZERO, HALF = np.float32(0), np.float32(0.5)
CENTRE, SIZE, MOST, GONE = np.float32(0.1), np.float32(0.2), np.float32(4), np.float32(-3e38)


@formula
def within(value, high):
    return ZERO if value < ZERO else (high if value > high else value)


@helper
def decode(z, anchors, b, p, height, width, boxes):
    for k in range(2):
        low, high = anchors[p, k], anchors[p, 2 + k]
        edge = width if k == 0 else height
        size = high - low
        centre = HALF * (low + high) + CENTRE * z[b, p, k] * size
        # no more than e^4 times the anchor: a network that starts says anything
        half = HALF * size * exp(min(SIZE * z[b, p, 2 + k], MOST))
        boxes[b, p, k], boxes[b, p, 2 + k] = within(centre - half, edge), within(centre + half, edge)


@helper
def overlap_of(boxes, b, p, q):
    """That of boxes p and q of picture b."""
    return overlap(boxes[b, p, 0], boxes[b, p, 1], boxes[b, p, 2], boxes[b, p, 3],
                   boxes[b, q, 0], boxes[b, q, 1], boxes[b, q, 2], boxes[b, q, 3])


@kernel
def propose(z, anchors, height, width, iou, least, regions, boxes, score):
    P = anchors.shape[0]
    for b in range(z.shape[0]):
        for p in range(P):
            decode(z, anchors, b, p, height, width, boxes)
            large = boxes[b, p, 2] - boxes[b, p, 0] >= least and boxes[b, p, 3] - boxes[b, p, 1] >= least
            score[b, p] = z[b, p, 5] - z[b, p, 4] if large else GONE
        for r in range(regions.shape[1]):
            best = 0
            for p in range(1, P):
                best = p if score[b, p] > score[b, best] else best
            if score[b, best] > GONE:
                for k in range(4):
                    regions[b, r, k] = boxes[b, best, k]
                score[b, best] = GONE
                for p in range(P):
                    if score[b, p] > GONE and overlap_of(boxes, b, p, best) > iou:
                        score[b, p] = GONE
            else:
                for k in range(4):
                    regions[b, r, k] = ZERO
