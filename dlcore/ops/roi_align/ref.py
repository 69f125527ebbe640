"""RoIAlign by matrices of weights, in float64."""
import numpy as np

from dlcore.ops.case import Case, random


def weights(low, high, scale, size, n):
    """[size, n]: what the features along one axis give to each part."""
    made = np.zeros((size, n))
    for part in range(size):
        for point in range(2):
            at = low * scale - 0.5 + (high - low) * scale / size * (part + (point + 0.5) / 2)
            if not -1 <= at <= n:
                continue
            at = min(max(at, 0), n - 1)
            for h in range(n):
                made[part, h] += max(0, 1 - abs(at - h)) / 2
    return made


def both(regions, size, scale, H, W):
    for b, rows in enumerate(regions):
        for r, (x1, y1, x2, y2) in enumerate(rows):
            yield b, r, weights(y1, y2, scale, size, H), weights(x1, x2, scale, size, W)


def roi_align(x, regions, size, scale):
    out = np.zeros((*regions.shape[:2], size, size, x.shape[3]))
    for b, r, down, across in both(regions, size, scale, *x.shape[1:3]):
        out[b, r] = np.einsum("ih,jw,hwc->ijc", down, across, x[b])
    return out


def roi_align_backward(dout, x, regions, size, scale):
    dx = np.zeros(x.shape)
    for b, r, down, across in both(regions, size, scale, *x.shape[1:3]):
        dx[b] += np.einsum("ih,jw,ijc->hwc", down, across, dout[b, r])
    return {"x": dx}


INSIDE = [(3, 4, 20, 17), (0, 0, 31.5, 24), (10.25, 7.5, 13, 9), (1, 2, 1, 2)]
AROUND = [(-9, -30, 20, 17), (25, 12, 60, 90), (-50, -50, -20, -20), (9, 9, 4, 5)]


def case(id, shape, regions, size, stride):
    regions = np.array(regions, np.float64)
    given = {"x": random(*shape), "regions": np.stack([np.roll(regions, k, 0) for k in range(shape[0])])}
    return Case("roi_align", id, given, roi_align, roi_align_backward, ["x"], {"size": size, "scale": 1 / stride})


CASES = [case("inside", (3, 6, 8, 5), INSIDE, 3, 4), case("around", (1, 6, 8, 17), AROUND, 2, 4),
         case("one-feature", (2, 1, 1, 3), INSIDE, 2, 32), case("one-part", (1, 7, 9, 1), INSIDE + AROUND, 1, 8)]
