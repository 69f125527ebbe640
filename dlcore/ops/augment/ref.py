"""Augmentation by its definition, one pixel at a time, in float64."""
import colorsys

import numpy as np

from dlcore.ops.case import Case
from dlcore.ops.dropout.ref import philox

NODE, LOW = 0xA06, 0xFFFFFFFF


def draws(seed, epoch, row):
    """The uniform numbers of one sample."""
    words = [w for k in range(21) for w in philox((k, row, epoch, NODE), (seed & LOW, seed >> 32))]
    return np.array(words) / 2.0**32


def matrix(angle, slant, enlarge):
    """Output minus centre -> source minus centre."""
    forward = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]) * enlarge @ [[1, np.tan(slant)], [0, 1]]
    return np.linalg.inv(forward)


def one_draw(u, s):
    H, W, Y, X, pad, flip_x, flip_y, rotate, shift, zoom, shear, *jitter, hole = (float(v) for v in s)
    top, left = np.floor(u[0] * (H + 2 * pad - Y + 1)) - pad, np.floor(u[1] * (W + 2 * pad - X + 1)) - pad

    def around(k, reach):
        return (2 * u[k] - 1) * reach
    M = matrix(around(4, rotate), around(8, shear), 1 + around(7, zoom))
    centre = np.array([X / 2, Y / 2])
    t = centre + [left, top] - M @ (centre + [around(6, shift) * X, around(5, shift) * Y])
    rows = [[*M[0], t[0]], [*M[1], t[1]]]
    if u[2] < flip_x:
        rows[0] = [-M[0, 0], -M[0, 1], W - t[0]]
    if u[3] < flip_y:
        rows[1] = [-M[1, 0], -M[1, 1], H - t[1]]
    colours = [max(0.0, 1 + around(9 + k, jitter[k])) for k in range(3)] + [around(12, jitter[3])]
    y, x = int(np.floor(u[13] * Y)) - int(hole) // 2, int(np.floor(u[14] * X)) - int(hole) // 2
    return rows[0] + rows[1], colours, [y, x, y + int(hole), x + int(hole)]


def draw_augmentations(rows, settings, seed=7, epoch=3):
    moves, colours, holes = zip(*(one_draw(draws(seed, epoch, int(r)), settings) for r in rows), strict=True)
    return np.array(moves), np.array(colours), np.array(holes, np.int32)


def one_mosaic(u, s, row, total, chance):
    """(images, maps, cross) of one sample."""
    Y, X = int(s[2]), int(s[3])
    joined = u[64] < chance
    cross = [int(np.floor(n * (0.25 + 0.5 * v) + 0.5)) if joined else n for n, v in ((Y, u[65]), (X, u[66]))]
    images, maps = [row], []
    for t in range(4):
        if t:
            images.append(int(u[67 + t] * total))
        a, b, c, d, e, f = one_draw(u[16 * t:16 * t + 16], s)[0]
        if joined:
            (top, h), (left, w) = ((0, at) if first else (at, n - at) for at, n, first in
                                   ((cross[0], Y, t < 2), (cross[1], X, t % 2 == 0)))
            least = max(0.5, h / Y, w / X)
            z = least + u[72 + 3 * t] * (1 - least)
            # pixel (x, y) of the output is place (x', y') of the image as it would be alone
            shift = [u[74 + 3 * t] * (z * X - w) - left, u[73 + 3 * t] * (z * Y - h) - top]
            whole = np.array([[a, b, c], [d, e, f], [0, 0, 1]]) @ np.array([[1, 0, shift[0]], [0, 1, shift[1]], [0, 0, z]]) / z
            a, b, c, d, e, f = whole[:2].ravel()
        maps += [a, b, c, d, e, f]
    return images, maps, cross


def draw_mosaics(rows, settings, total, chance=1.0, seed=7, epoch=3):
    drawn = [one_mosaic(draws(seed, epoch, int(r)), settings, int(r), total, chance) for r in rows]
    images, maps, crosses = zip(*drawn, strict=True)
    return np.array(images, np.int32), np.array(maps), np.array(crosses, np.int32)


def mosaic(data, images, moves, crosses, colours, gain, offset, height, width, fill=0.0, peak=255.0):
    out = np.zeros((len(images), height, width, data.shape[3]))
    for n, (cy, cx) in enumerate(crosses):
        stay = np.array([[1, 1, 1, 0]]), np.zeros((1, 4), int), np.ones(data.shape[3]), np.zeros(data.shape[3])
        four = [augment(data, images[n, t:t + 1], moves[n:n + 1, 6 * t:6 * t + 6], *stay, height, width, fill, peak)[0]
                for t in range(4)]
        rows = [np.concatenate([four[k][:, :cx], four[k + 1][:, cx:]], 1) for k in (0, 2)]
        out[n] = coloured(np.concatenate([rows[0][:cy], rows[1][cy:]]), colours[n], peak) * gain + offset
    return out


def sample(image, x, y, fill):
    """The value at a place of the source."""
    H, W, _ = image.shape
    if not (0 <= x < W and 0 <= y < H):
        return np.full(image.shape[2], fill)
    x, y = x - 0.5, y - 0.5
    x0, y0 = int(np.floor(x)), int(np.floor(y))
    dx, dy = x - x0, y - y0
    clip = [(min(max(j, 0), H - 1), min(max(i, 0), W - 1)) for j in (y0, y0 + 1) for i in (x0, x0 + 1)]
    p, q, r, s = (image[at].astype(np.float64) for at in clip)
    return (1 - dy) * ((1 - dx) * p + dx * q) + dy * ((1 - dx) * r + dx * s)


def coloured(image, factors, peak):
    brightness, contrast, saturation, hue = factors
    weights = np.array([0.299, 0.587, 0.114]) if image.shape[2] == 3 else np.full(image.shape[2], 1 / image.shape[2])
    image = np.clip(image * brightness, 0, peak) if brightness != 1 else image
    if contrast != 1:
        middle = (image @ weights).mean()
        image = np.clip(middle + contrast * (image - middle), 0, peak)
    if image.shape[2] == 3 and saturation != 1:
        grey = (image @ weights)[..., None]
        image = np.clip(grey + saturation * (image - grey), 0, peak)
    if image.shape[2] == 3 and hue != 0:
        flat = [colorsys.rgb_to_hsv(*pixel) for pixel in image.reshape(-1, 3)]
        image = np.array([colorsys.hsv_to_rgb((h + hue) % 1.0, s, v) for h, s, v in flat]).reshape(image.shape)
    return image


def augment(data, rows, moves, colours, holes, gain, offset, height, width, fill=0.0, peak=255.0):
    out = np.zeros((len(rows), height, width, data.shape[3]))
    for n, r in enumerate(rows):
        a, b, c, d, e, f = moves[n]
        for y in range(height):
            for x in range(width):
                at = x + 0.5, y + 0.5
                out[n, y, x] = sample(data[r], a * at[0] + b * at[1] + c, d * at[0] + e * at[1] + f, fill)
        out[n] = coloured(out[n], colours[n], peak) * gain + offset
        top, left, bottom, right = (max(0, v) for v in holes[n])
        out[n, top:bottom, left:right] = 0
    return out


def mix_rows(x, partners, shares):
    share = shares.reshape(-1, *[1] * (x.ndim - 1))
    return share * x + (1 - share) * x[partners]


def settings(H, W, Y, X, **given):
    names = ("pad", "flip_x", "flip_y", "rotate", "shift", "zoom", "shear", "brightness", "contrast", "saturation", "hue", "hole")
    values = [H, W, Y, X, *(given.get(name, 0.0) for name in names)]
    return np.array(values, np.float32).astype(np.float64)


def drawing(id, s, seed=7, epoch=3):
    rows = np.array([0, 1, 5, 1 << 30, 77, 5, 13], np.int32)

    def reference(rows, settings):
        return draw_augmentations(rows, settings, seed, epoch)
    return Case("draw_augmentations", id, {"rows": rows, "settings": s}, reference, slots={"seed": seed, "epoch": epoch})


def joining(id, s, total, chance, seed=7, epoch=3):
    rows = np.array([0, 1, 5, 1 << 30, 77, 13], np.int32)

    def reference(rows, settings, total, chance):
        return draw_mosaics(rows, settings, total, chance, seed, epoch)
    return Case("draw_mosaics", id, {"rows": rows, "settings": s}, reference, options={"total": total, "chance": chance},
                slots={"seed": seed, "epoch": epoch})


def f32(values):
    return np.asarray(values, np.float32).astype(np.float64)


def case(id, size, out, channels, moves, colours=(1, 1, 1, 0), hole=(0, 0, 0, 0), floats=False, normal=False, fill=0.0):
    rng, B = np.random.default_rng(3), len(moves)
    data = rng.integers(0, 256, (5, *size, channels)).astype(np.float64 if floats else np.uint8)
    inputs = {"data": f32(data / 255) if floats else data, "rows": rng.integers(0, 5, B).astype(np.int32), "moves": f32(moves),
              "colours": f32([colours] * B), "holes": np.array([hole] * B, np.int32),
              "gain": f32(rng.random(channels) + 0.5 if normal else np.full(channels, 1 / 255)),
              "offset": f32(rng.random(channels) - 0.5 if normal else np.zeros(channels))}
    options = {"height": out[0], "width": out[1], "fill": fill, "peak": 1.0 if floats else 255.0}
    return Case("augment", id, inputs, augment, options=options, tolerance=1e-5)


def joined(id, size, out, channels, crosses, colours=(1, 1, 1, 0), floats=False, fill=0.0):
    rng, B = np.random.default_rng(5), len(crosses)
    data = rng.integers(0, 256, (6, *size, channels)).astype(np.float64 if floats else np.uint8)
    pool = np.array([STAY, TURNED, MIRROR, (1.3, 0, -2, 0, 1.6, 1), (1, 0, 2, 0, -1, 5)])
    inputs = {"data": f32(data / 255) if floats else data, "images": rng.integers(0, 6, (B, 4)).astype(np.int32),
              "moves": f32(pool[rng.integers(0, len(pool), (B, 4))].reshape(B, 24)), "crosses": np.array(crosses, np.int32),
              "colours": f32([colours] * B), "gain": f32(rng.random(channels) + 0.5), "offset": f32(rng.random(channels) - 0.5)}
    options = {"height": out[0], "width": out[1], "fill": fill, "peak": 1.0 if floats else 255.0}
    return Case("mosaic", id, inputs, mosaic, options=options, tolerance=1e-5)


def mixing(id, *shape):
    rng = np.random.default_rng(2)
    x = f32(rng.random(shape))
    partners, shares = rng.permutation(shape[0]).astype(np.int32), f32(rng.random(shape[0]))
    return Case("mix_rows", id, {"x": x, "partners": partners, "shares": shares}, mix_rows)


STAY, MIRROR = (1, 0, 0, 0, 1, 0), (-1, 0, 9, 0, 1, 0)
TURNED = (0.9, -0.31, 1.7, 0.29, 0.92, -1.1)
CASES = [
    drawing("nothing", settings(7, 9, 7, 9)), drawing("crop-flip", settings(28, 28, 28, 28, pad=4, flip_x=0.5, flip_y=0.5)),
    drawing("window", settings(33, 47, 24, 20, pad=1)), drawing("cutout", settings(32, 32, 32, 32, hole=9)),
    drawing("all", settings(32, 40, 32, 40, pad=4, flip_x=0.5, rotate=0.3, shift=0.1, zoom=0.2, shear=0.2,
                            brightness=0.4, contrast=0.4, saturation=2.0, hue=0.1, hole=8),
            seed=12345678901234567, epoch=100000),
    case("copy", (7, 9), (7, 9), 3, [STAY, MIRROR, (1, 0, 2, 0, 1, -3), (-1, 0, 12, 0, -1, 5), (1, 0, 30, 0, 1, 0)], fill=9.0),
    case("window", (7, 9), (5, 4), 1, [(1, 0, 3, 0, 1, 2), (-1, 0, 6, 0, -1, 7)], normal=True),
    case("turned", (7, 9), (7, 9), 3, [TURNED, STAY, (0.5, 0.1, 2, 0.2, 0.5, 1)], fill=17.0, hole=(2, -1, 5, 3)),
    case("floats", (7, 9), (11, 13), 1, [TURNED, (0.7, 0, 0.2, 0, 0.6, 0.1), STAY], floats=True),
    case("brightness", (5, 6), (5, 6), 3, [STAY, MIRROR], (1.4, 1, 1, 0)),
    case("contrast", (5, 6), (5, 6), 3, [STAY, TURNED], (1, 0.6, 1, 0)),
    case("contrast-grey", (5, 6), (5, 6), 1, [STAY, TURNED], (1, 1.7, 1, 0)),
    case("contrast-two", (5, 6), (5, 6), 2, [STAY], (0.7, 1.7, 2, 0.2)),
    case("saturation", (5, 6), (5, 6), 3, [STAY, TURNED], (1, 1, 1.8, 0)),
    case("hue", (5, 6), (5, 6), 3, [STAY, TURNED], (1, 1, 1, 0.27)),
    case("hue-back", (5, 6), (5, 6), 3, [STAY], (1, 1, 1, -0.45), floats=True),
    case("everything", (7, 9), (7, 9), 3, [TURNED, MIRROR], (0.8, 1.3, 0.7, 0.1), (3, 3, 6, 20), normal=True, fill=100.0),
    joining("one", settings(7, 9, 7, 9), 1, 1.0), joining("some", settings(28, 28, 28, 28, pad=4, flip_x=0.5), 50, 0.5),
    joining("all", settings(32, 40, 32, 40, pad=4, flip_y=0.5, rotate=0.3, shift=0.1, zoom=0.2, shear=0.2), 1 << 30, 1.0,
            seed=12345678901234567, epoch=100000),
    joined("four", (7, 9), (7, 9), 3, [(3, 4), (5, 2), (7, 9), (0, 9)], fill=9.0),
    joined("colours", (7, 9), (6, 11), 3, [(3, 4), (5, 7), (6, 11)], (0.8, 1.3, 0.7, 0.1), fill=100.0),
    joined("grey", (8, 6), (8, 6), 1, [(4, 3), (2, 5)], (1, 1.4, 1, 0), floats=True),
    mixing("images", 5, 3, 4, 2), mixing("one", 1, 7), mixing("odd", 13, 61),
]
