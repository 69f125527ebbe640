"""Resampling by matrices of weights, in float64."""
import numpy as np

from dlcore.ops.case import Case


def matrix(size, out):
    """[out, size]: each row the weights of one output pixel."""
    scale = size / out
    reach = max(scale, 1.0)
    centre, i = (np.arange(out)[:, None] + 0.5) * scale, np.arange(size)[None] + 0.5
    weights = np.maximum(0, 1 - abs(i - centre) / reach)
    return weights / weights.sum(1, keepdims=True)


def resample(pixels, places, widths, height, width, channels):
    found = []
    for at, H, W in places:
        image = pixels[at:at + H * W * channels].reshape(H, W, channels).astype(np.float64)
        found.append(np.einsum("yi,xj,ijc->yxc", matrix(H, height), matrix(W, width), image))
    out = np.stack(found)
    return np.floor(out + 0.5).astype(np.uint8) if pixels.dtype == np.uint8 else out


def case(id, sizes, height, width, channels, dtype=np.uint8):
    counts = [h * w * channels for h, w in sizes]
    pixels = np.random.default_rng(5).integers(0, 256, sum(counts)).astype(dtype)
    places = np.array([(at, h, w) for at, (h, w) in zip(np.cumsum([0, *counts[:-1]]), sizes, strict=True)], np.int64)
    options = {"widths": [w for _, w in sizes], "height": height, "width": width, "channels": channels}
    return Case("resample", id, {"pixels": pixels, "places": places}, resample, options=options)


CASES = [
    case("smaller", [(29, 31), (64, 17), (8, 100)], 7, 9, 3), case("larger", [(3, 4), (1, 1), (5, 2)], 11, 13, 1),
    case("equal", [(7, 5)], 7, 5, 3), case("one-pixel", [(33, 9)], 1, 1, 4),
    case("floats", [(29, 31), (64, 17), (3, 2)], 7, 9, 3, np.float64),
]
