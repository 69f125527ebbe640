"""Proposals by their definition: decode, sort, suppress, in float64."""
import numpy as np

from dlcore.metrics.boxes import suppressed
from dlcore.ops.box_match.ref import CELLS, corners
from dlcore.ops.case import Case, random


def propose(z, anchors, count, height, width, iou=0.7, least=4.0):
    out = np.zeros((len(z), count, 4))
    size, centre = anchors[:, 2:] - anchors[:, :2], (anchors[:, :2] + anchors[:, 2:]) / 2
    for b, said in enumerate(z):
        middle, half = centre + 0.1 * said[:, :2] * size, size * np.exp(np.minimum(0.2 * said[:, 2:4], 4)) / 2
        found = np.clip(np.concatenate([middle - half, middle + half], 1), 0, [width, height, width, height])
        large = (found[:, 2:] - found[:, :2] >= least).all(1)
        found, score = found[large], (said[:, 5] - said[:, 4])[large]
        kept = suppressed(found, score, np.zeros(len(found), int), iou, count)
        out[b, :len(kept)] = found[kept]
    return out


ANCHORS = corners(CELLS)


def case(id, batch, count, scale=1.0, **options):
    return Case("propose", id, {"z": random(batch, len(ANCHORS), 6, scale=scale), "anchors": ANCHORS}, propose,
                options={"count": count, "height": 32.0, "width": 40.0, **options})


CASES = [case("odd", 3, 7), case("more-than-there-are", 1, 60, iou=0.3), case("wild", 7, 13, 30.0), case("none", 2, 3, least=50.0)]
