"""What rooms on images and boxes share: how much two boxes overlap, a value between four places, an image set to zero."""
from __future__ import annotations

import numpy as np

from dlcore.compiler.language import formula, helper

ZERO, ONE = np.float32(0), np.float32(1)


@formula
def overlap(left, top, right, bottom, x1, y1, x2, y2):
    """Intersection over union of two boxes, each by its corners; 0 where they share no area."""
    w = min(right, x2) - max(left, x1)
    h = min(bottom, y2) - max(top, y1)
    if w <= ZERO or h <= ZERO:
        return ZERO
    return w * h / ((right - left) * (bottom - top) + (x2 - x1) * (y2 - y1) - w * h)


@formula
def between(f, g, a, b, c, d):
    """Bilinear: a share f of the way from the upper places (a, b) to the lower (c, d), and g from the left to the right."""
    top = (ONE - g) * a + g * b
    low = (ONE - g) * c + g * d
    return (ONE - f) * top + f * low


@helper
def clear(x, b):
    """Image b of x [B, H, W, C] set to zero."""
    for h in range(x.shape[1]):
        for w in range(x.shape[2]):
            for c in range(x.shape[3]):
                x[b, h, w, c] = ZERO
