"""Images of any size brought to one size: bilinear, antialiased, as Pillow's `resize(BILINEAR)`.

With s = source size / output size, pixel o of the output is the mean of the source pixels i weighted by a triangle of half-width
max(s, 1) around its centre:    w_i = max(0, 1 - |i + 1/2 - s (o + 1/2)| / max(s, 1)),   normalised to sum 1.

Rows first, then columns; sums in float32 and one rounding at the end (Pillow rounds to bytes in between: results differ
by 1 at most).
"""
from __future__ import annotations

from dlcore.errors import ShapeError
from dlcore.graph import call, op

resample_call = call("resample(pixels: G[P], places: i64[B, 3], rounding: f32 -> out: G[B, Y, X, C];"
                     " line: f32[L], taps: f32[T], first: i64[2 * X])", over="1", flops="8 * P", G=("u8", "f32"))


def scratch(widths, width: int, channels: int) -> dict[str, int]:
    """The sizes L and T of the scratch for sources of these widths."""
    widest = max(widths)
    taps = max(2 * -(-w // width) + 3 for w in widths)
    return {"L": widest * channels, "T": taps * width}


@op
def resample(pixels, places, widths, height: int, width: int, channels: int):
    """Images of any size, brought to one.

    pixels   u8 or f32 [P], images one after the other, each (H, W, channels)
    places   i64[B, 3]: where each begins in `pixels`, its H and its W; checked by the caller
    widths   the numbers W, known now
    returns  [B, height, width, channels] of the same dtype
    """
    if len(pixels.shape) != 1 or min(height, width, channels) < 1:
        raise ShapeError("resample: pixels come in one row, sizes are positive", expected="[P]", got=str(list(pixels.shape)))
    rounding = 0.5 if pixels.dtype == "u8" else 0.0
    return resample_call(pixels, places, rounding, Y=height, X=width, C=channels, **scratch(widths, width, channels)), None
