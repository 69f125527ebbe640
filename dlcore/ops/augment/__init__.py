"""Random changes of images: drawn for each sample by Philox, applied to a batch that is gathered from a data set.

    augment_draw   settings, row numbers, seed, epoch  ->  per sample a map of coordinates, four colour factors, a hole
    augment        out[n] = (colour(warp(data[rows[n]])) * gain + offset), 0 inside the hole
    mosaic_draw    the same maps for four images a sample, and the cross at which they meet
    mosaic         out[n] = (colour(four warped images, joined) * gain + offset)

The draws of a sample are a function of (seed, epoch, number of its row) alone, so they depend neither on the batch it
falls into nor on the thread that makes it: u_k = word k % 4 of Philox4x32-10 with key = seed and counter = (k // 4, row,
epoch, NODE), over 2**32.

Coordinates.  Pixel (x, y) of the output has its centre at (x + 1/2, y + 1/2); its place in the source is

    xs = a (x + 1/2) + b (y + 1/2) + c,    ys = d (x + 1/2) + e (y + 1/2) + f          (moves = a, b, c, d, e, f)

as in Pillow's `Image.transform(AFFINE)`.  Places outside the source take `fill`; inside, the four nearest pixels are
mixed bilinearly, those beyond the edge being the edge's.  Maps that only shift by whole pixels and mirror copy exactly.

Colours (Pillow's `ImageEnhance`, without its rounding to bytes in between; L = 0.299 R + 0.587 G + 0.114 B, the mean for
other numbers of channels), in this order, each clipped to 0 .. peak:

    brightness   v f                    contrast   m + f (v - m), m the mean of L
    saturation   L + f (v - L)          hue        the H of HSV (Smith, Color gamut transform pairs, 1978) moves by f turns

The hole is that of DeVries & Taylor, Improved regularization of CNNs with cutout (2017); `mix_rows` is the mixing of Zhang et al.,
mixup (2018): out[n] = share[n] x[n] + (1 - share[n]) x[partner[n]].  Nothing here is differentiated.

Mosaics (Bochkovskiy, Wang & Liao, YOLOv4, 2020, section 3.3) are made of the sample's own image, top left, and three others that
are drawn from all R.  They meet at a cross (cy, cx) in the middle half of the height Y and of the width X.  Each of the four is
changed as it would be alone (draw k of image t is u_(16 t + k)), made smaller by a factor z, and shows a window that fills its
tile of h x w pixels, whose first pixel is (top, left):

    z between max(1/2, h / Y, w / X) and 1,    x' = (x - left + s (z X - w)) / z,    y' = (y - top + r (z Y - h)) / z

with r and s between 0 and 1.  A sample that is not joined has its cross at (Y, X), so that the first tile is all of it.
"""
from __future__ import annotations

from dlcore.errors import ShapeError
from dlcore.graph import Slot, call, op
from dlcore.ops.slots import SEED

EPOCH = Slot("epoch", "i64", low=0)
# the numbers that `augment_draw` reads, in this order: sizes in pixels, angles in radians, shifts as shares of the size
SETTINGS = ("height", "width", "out_height", "out_width", "pad", "flip_x", "flip_y", "rotate", "shift", "zoom", "shear",
            "brightness", "contrast", "saturation", "hue", "hole")

augment_draw = call("augment_draw(rows: i32[B], settings: f32[16], seed: i64, epoch: i64"
                    " -> moves: f32[B, 6], colours: f32[B, 4], holes: i32[B, 4])", over="B", flops="2000 * B")
augment_call = call("augment(data: G[R, H, W, C], rows: i32[B], moves: f32[B, 6], colours: f32[B, 4], holes: i32[B, 4],"
                    " gain: f32[C], offset: f32[C], fill: f32, peak: f32 -> out: f32[B, Y, X, C])", over="B",
                    flops="12 * B * Y * X * C", G=("u8", "f32"))
mosaic_draw = call("mosaic_draw(rows: i32[B], settings: f32[16], chance: f32, total: i64, seed: i64, epoch: i64"
                   " -> images: i32[B, 4], moves: f32[B, 24], crosses: i32[B, 2])", over="B", flops="8000 * B")
mosaic_call = call("mosaic(data: G[R, H, W, C], images: i32[B, 4], moves: f32[B, 24], crosses: i32[B, 2], colours: f32[B, 4],"
                   " gain: f32[C], offset: f32[C], fill: f32, peak: f32 -> out: f32[B, Y, X, C])", over="B",
                   flops="12 * B * Y * X * C", G=("u8", "f32"))
mix_rows_call = call("mix_rows(x: f32[R, S], partners: i32[B], shares: f32[B] -> out: f32[B, S])", over="B", flops="3 * B * S")


@op
def draw_augmentations(rows, settings):
    """The changes of the samples `rows` (i32[B]) in the epoch and for the seed of the slots `epoch` and `seed`.

    settings  f32[16], in the order of `SETTINGS`
    returns   moves f32[B, 6], colours f32[B, 4] (brightness, contrast, saturation, hue), holes i32[B, 4] (top, left, bottom, right)
    """
    return augment_draw(rows, settings, SEED, EPOCH), None


@op
def augment(data, rows, moves, colours, holes, gain, offset, height: int, width: int, fill=0.0, peak=255.0):
    """Rows of `data` (u8 or f32 [R, H, W, C], values from 0 to `peak`), changed: f32[B, height, width, C].

    moves, colours, holes  as `draw_augmentations` returns them;  gain, offset  f32[C];  fill  the value around the image
    Saturation and hue need C = 3 and leave images of other numbers of channels as they are.  The caller has checked `rows`.
    """
    if len(data.shape) != 4:
        raise ShapeError("augment: the data are no images", expected="[R, H, W, C]", got=str(list(data.shape)))
    return augment_call(data, rows, moves, colours, holes, gain, offset, fill, peak, Y=height, X=width), None


@op
def draw_mosaics(rows, settings, total: int, chance=1.0):
    """For the samples `rows` (i32[B]), in the epoch and for the seed of the slots: joined with probability `chance`.

    settings  f32[16], in the order of `SETTINGS`;   total: images to draw from
    returns   images i32[B, 4], the first being rows[n]; moves f32[B, 24], of one after the other; crosses i32[B, 2] (row, column)
    """
    return mosaic_draw(rows, settings, chance, total, SEED, EPOCH), None


@op
def mosaic(data, images, moves, crosses, colours, gain, offset, height: int, width: int, fill=0.0, peak=255.0):
    """Four images joined: top left, top right, bottom left, bottom right of a cross; f32[B, height, width, C].

    images, moves, crosses  as `draw_mosaics` returns them (the caller has checked `images`);  the others as of `augment`
    """
    if len(data.shape) != 4:
        raise ShapeError("mosaic: the data are no images", expected="[R, H, W, C]", got=str(list(data.shape)))
    return mosaic_call(data, images, moves, crosses, colours, gain, offset, fill, peak, Y=height, X=width), None


@op
def mix_rows(x, partners, shares):
    """share x[n] + (1 - share) x[partner]: x f32[B, ...], partners i32[B] (checked by the caller), shares f32[B]."""
    out = mix_rows_call(x.reshape(x.shape[0], x.size // x.shape[0]), partners, shares)
    return out.reshape(partners.shape[0], *x.shape[1:]), None
