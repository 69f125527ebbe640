"""Losses of detectors on the CPU: a picture at a time, gradients beside the values."""
import math

import numpy as np

from dlcore.compiler.language import formula, helper, kernel
from dlcore.ops import box_loss  # noqa: F401  (declares)
from dlcore.ops.formulas import exp, log, sigmoid, softplus

ZERO, HALF, ONE, TWO, FOUR = np.float32(0), np.float32(0.5), np.float32(1), np.float32(2), np.float32(4)
HALF_PI, FOUR_OVER_PI_2 = np.float32(1.5707963267948966), np.float32(0.4052847345693511)
CENTRE, SIZE = np.float32(0.1), np.float32(0.2)
FEWEST, CUTS = 8, 48                    # CUTS: halvings of the range in which the hardest negatives are looked for


def libm_atan(x):
    return math.atan(x)


@formula(wide=libm_atan)
def arctangent(x):
    """atan(x) for x from 0: Abramowitz and Stegun, 4.4.49, to 2e-8 below 1; above, of the reciprocal."""
    y = x if x <= ONE else ONE / x
    s = y * y
    p = np.float32(0.0028662257)
    p = p * s - np.float32(0.0161657367)
    p = p * s + np.float32(0.0429096138)
    p = p * s - np.float32(0.0752896400)
    p = p * s + np.float32(0.1065626393)
    p = p * s - np.float32(0.1420889944)
    p = p * s + np.float32(0.1999355085)
    p = p * s - np.float32(0.3333314528)
    t = y + y * s * p
    return t if x <= ONE else HALF_PI - t


@formula
def centre_of(z, place, stride):
    return (TWO * sigmoid(z) - HALF + place) * stride


@formula
def size_of(z, anchor):
    s = sigmoid(z)
    return FOUR * s * s * anchor


@formula
def shared(a, b, c, d):
    """The length that two stretches share."""
    return max(min(b, d) - max(a, c), ZERO)


@helper
def overlap_meant(z, boxes, cells, b, p, m):
    """Intersection over union of what place p means and box m."""
    x, y = centre_of(z[b, p, 0], cells[p, 0], cells[p, 2]), centre_of(z[b, p, 1], cells[p, 1], cells[p, 2])
    w, h = size_of(z[b, p, 2], cells[p, 3]), size_of(z[b, p, 3], cells[p, 4])
    inner = shared(x - HALF * w, x + HALF * w, boxes[b, m, 1], boxes[b, m, 3]) \
        * shared(y - HALF * h, y + HALF * h, boxes[b, m, 2], boxes[b, m, 4])
    own = (boxes[b, m, 3] - boxes[b, m, 1]) * (boxes[b, m, 4] - boxes[b, m, 2])
    return inner / (w * h + own - inner)


@kernel
def yolo_quality(z, boxes, matched, cells, quality):
    for b in range(z.shape[0]):
        for p in range(z.shape[1]):
            quality[b, p] = overlap_meant(z, boxes, cells, b, p, matched[b, p]) if matched[b, p] >= 0 else ZERO


@formula
def share_slope(a, b, c, d, centre):
    """The derivative of `shared` by the centre of (a, b), or by its half length."""
    if min(b, d) - max(a, c) <= ZERO:
        return ZERO
    upper, lower = (ONE if b < d else ZERO), (ONE if a > c else ZERO)
    return upper - lower if centre else upper + lower


@formula
def hull_slope(a, b, c, d, centre):
    """The same of the length around both."""
    upper, lower = (ONE if b > d else ZERO), (ONE if a < c else ZERO)
    return upper - lower if centre else upper + lower


@helper
def complete_loss(z, boxes, cells, b, p, m, factor, slope):
    """factor (1 - CIoU) of place p and box m; writes its gradient by the four logits."""
    x, y = centre_of(z[b, p, 0], cells[p, 0], cells[p, 2]), centre_of(z[b, p, 1], cells[p, 1], cells[p, 2])
    w, h = size_of(z[b, p, 2], cells[p, 3]), size_of(z[b, p, 3], cells[p, 4])
    c1, d1, c2, d2 = boxes[b, m, 1], boxes[b, m, 2], boxes[b, m, 3], boxes[b, m, 4]
    tw, th = c2 - c1, d2 - d1
    a1, a2, b1, b2 = x - HALF * w, x + HALF * w, y - HALF * h, y + HALF * h
    across, down = shared(a1, a2, c1, c2), shared(b1, b2, d1, d2)
    inner = across * down
    union = w * h + tw * th - inner
    iou = inner / union
    wide, high = max(a2, c2) - min(a1, c1), max(b2, d2) - min(b1, d1)
    diagonal = wide * wide + high * high
    dx, dy = x - HALF * (c1 + c2), y - HALF * (d1 + d2)
    apart = (dx * dx + dy * dy) / diagonal
    turned = arctangent(tw / th) - arctangent(w / h)
    v = FOUR_OVER_PI_2 * turned * turned
    # 1e-7 keeps 0 / 0 away where the boxes are equal
    rest = ONE - iou + v + np.float32(1e-7)
    by_iou, by_v = -ONE + v * v / (rest * rest), v * (TWO * rest - v) / (rest * rest)
    # of the aspect: d atan(w / h) = (h dw - w dh) / (w^2 + h^2)
    aspect = -TWO * FOUR_OVER_PI_2 * turned / (w * w + h * h)
    for axis in range(2):
        lo, hi, c, d = (a1, a2, c1, c2) if axis == 0 else (b1, b2, d1, d2)
        other, length, offset, around = (down, h, dx, wide) if axis == 0 else (across, w, dy, high)
        for half in range(2):
            dinner = share_slope(lo, hi, c, d, half == 0) * other
            dunion = (ZERO if half == 0 else TWO * length) - dinner
            dapart = ((TWO * offset if half == 0 else ZERO) - apart * TWO * around * hull_slope(lo, hi, c, d, half == 0)) / diagonal
            dv = ZERO if half == 0 else TWO * aspect * (h if axis == 0 else -w)
            g = by_iou * (dinner - iou * dunion) / union + dapart + by_v * dv
            s = sigmoid(z[b, p, axis + 2 * half])
            # by the logit: of the centre 2 s (1 - s) stride, of half the size 4 s^2 (1 - s) anchor
            chain = TWO * cells[p, 2] if half == 0 else FOUR * s * cells[p, 3 + axis]
            slope[b, p, axis + 2 * half] = factor * g * chain * s * (ONE - s)
    return factor * (ONE - iou + apart + v * v / rest)


@kernel
def yolo_loss(z, boxes, matched, cells, quality, box, objectness, classes, loss, slope):
    B, P, D = z.shape
    for b in range(B):
        count = 0
        for p in range(P):
            count += 1 if matched[b, p] >= 0 else 0
        share = ONE / np.float32(max(count, 1))
        of_box, of_class, total = box * share, classes * share / np.float32(D - 5), ZERO
        for p in range(P):
            m = matched[b, p]
            total += objectness * share * (softplus(z[b, p, 4]) - z[b, p, 4] * quality[b, p])
            slope[b, p, 4] = objectness * share * (sigmoid(z[b, p, 4]) - quality[b, p])
            if m >= 0:
                total += complete_loss(z, boxes, cells, b, p, m, of_box, slope)
                label = np.int64(boxes[b, m, 0])
                for k in range(D - 5):
                    t = ONE if k == label else ZERO
                    total += of_class * (softplus(z[b, p, 5 + k]) - z[b, p, 5 + k] * t)
                    slope[b, p, 5 + k] = of_class * (sigmoid(z[b, p, 5 + k]) - t)
            else:
                for k in range(4):
                    slope[b, p, k] = ZERO
                for k in range(5, D):
                    slope[b, p, k] = ZERO
        loss[b] = total


@helper
def class_loss(z, b, p, label):
    """Cross-entropy of place p and a class, 0 being background."""
    D = z.shape[2]
    top = z[b, p, 4]
    for k in range(5, D):
        top = max(top, z[b, p, k])
    exps = ZERO
    for k in range(4, D):
        exps += exp(z[b, p, k] - top)
    return log(exps) + top - z[b, p, 4 + label]


@helper
def class_slope(z, b, p, label, factor, slope):
    """Writes its gradient times `factor`."""
    D = z.shape[2]
    top = z[b, p, 4]
    for k in range(5, D):
        top = max(top, z[b, p, k])
    exps = ZERO
    for k in range(4, D):
        exps += exp(z[b, p, k] - top)
    for k in range(4, D):
        slope[b, p, k] = factor * exp(z[b, p, k] - top) / exps
    slope[b, p, 4 + label] -= factor


@formula
def offset_of(g1, g2, p1, p2):
    return HALF * ((g1 + g2) - (p1 + p2)) / ((p2 - p1) * CENTRE)


@formula
def stretch_of(g1, g2, p1, p2):
    return log((g2 - g1) / (p2 - p1)) / SIZE


@helper
def smooth_loss(z, boxes, priors, b, p, m, factor, slope):
    """factor smooth_L1 of the four offsets; writes its gradient."""
    total = ZERO
    for k in range(4):
        at = k % 2
        g1, g2, p1, p2 = boxes[b, m, 1 + at], boxes[b, m, 3 + at], priors[b, p, at], priors[b, p, 2 + at]
        e = z[b, p, k] - (offset_of(g1, g2, p1, p2) if k < 2 else stretch_of(g1, g2, p1, p2))
        size = abs(e)
        total += HALF * e * e if size < ONE else size - HALF
        slope[b, p, k] = factor * (e if size < ONE else (ONE if e > ZERO else -ONE))
    return factor * total


@helper
def hardest(hardness, b, wanted):
    """A value that about `wanted` places are above: no more, and as many as halving tells apart."""
    P = hardness.shape[1]
    low, high = ZERO, ZERO
    for p in range(P):
        high = max(high, hardness[b, p])
    for _ in range(CUTS):
        middle = HALF * (low + high)
        count = 0
        for p in range(P):
            count += 1 if hardness[b, p] > middle else 0
        if count > wanted:
            low = middle
        else:
            high = middle
    return high


@kernel
def prior_loss(z, boxes, matched, priors, negatives, loss, slope, hardness):
    B, P, D = z.shape
    for b in range(B):
        count = 0
        for p in range(P):
            count += 1 if matched[b, p] >= 0 else 0
            hardness[b, p] = class_loss(z, b, p, 0) if matched[b, p] == -1 else -ONE
            for k in range(D):
                slope[b, p, k] = ZERO
        share = ONE / np.float32(max(count, 1))
        wanted = max(np.int64(negatives * np.float32(count)), FEWEST)
        least, total = hardest(hardness, b, wanted), ZERO
        for p in range(P):
            m = matched[b, p]
            if m >= 0:
                label = np.int64(boxes[b, m, 0]) + 1
                total += smooth_loss(z, boxes, priors, b, p, m, share, slope) + share * class_loss(z, b, p, label)
                class_slope(z, b, p, label, share, slope)
            elif hardness[b, p] > least:
                total += share * hardness[b, p]
                class_slope(z, b, p, 0, share, slope)
        loss[b] = total


@kernel
def slope_backward(dloss, slope, dz, add_dz):
    for b in range(slope.shape[0]):
        for i in range(slope.shape[1]):
            dz[b, i] = dloss[b] * slope[b, i] + (dz[b, i] if add_dz else ZERO)
