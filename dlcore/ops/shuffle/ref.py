"""Permutations of channels by reshape and transpose."""
from dlcore.ops.case import Case, random


def channel_shuffle(x, groups):
    return x.reshape(*x.shape[:-1], groups, -1).swapaxes(-1, -2).reshape(x.shape)


def pixel_shuffle(x, factor):
    B, H, W, C = x.shape
    x = x.reshape(B, H, W, C // factor**2, factor, factor).transpose(0, 1, 4, 2, 5, 3)
    return x.reshape(B, H * factor, W * factor, -1)


def pixel_unshuffle(x, factor):
    B, H, W, C = x.shape
    x = x.reshape(B, H // factor, factor, W // factor, factor, C).transpose(0, 1, 3, 5, 2, 4)
    return x.reshape(B, H // factor, W // factor, -1)


def case(op, id, shape, forward, back, **options):
    return Case(op, id, {"x": random(*shape)}, forward, lambda dout, x, **o: {"x": back(dout)}, ("x",), options, exact=True,
                twice=True)


CASES = [case("channel_shuffle", "odd", (2, 3, 4, 6), channel_shuffle, lambda d: channel_shuffle(d, 2), groups=3),
         case("channel_shuffle", "wide", (7, 64), channel_shuffle, lambda d: channel_shuffle(d, 16), groups=4),
         case("pixel_shuffle", "two", (2, 3, 4, 12), pixel_shuffle, lambda d: pixel_unshuffle(d, 2), factor=2),
         case("pixel_shuffle", "three", (1, 2, 3, 18), pixel_shuffle, lambda d: pixel_unshuffle(d, 3), factor=3),
         case("pixel_unshuffle", "two", (2, 6, 4, 3), pixel_unshuffle, lambda d: pixel_shuffle(d, 2), factor=2)]
