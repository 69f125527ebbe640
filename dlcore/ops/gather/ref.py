"""Gathering rows by its definition."""
import numpy as np

from dlcore.ops.case import Case, random


def gather(data, ids, scale=None, shift=None):
    rows = data[ids]
    if data.dtype.kind in "iu" and scale is None and shift is None:
        return rows.astype(np.int32)
    return rows * (1.0 if scale is None else scale) + (0.0 if shift is None else shift)


def whole(dtype, *shape, high=255):
    return np.random.default_rng(3).integers(0, high, shape).astype(dtype)


def case(id, data, N, exact=True, **options):
    ids = np.random.default_rng(1).integers(0, len(data), N).astype(np.int32)
    return Case("gather", id, {"data": data, "ids": ids}, gather, options=options, exact=exact)


CASES = [
    case("float", random(31, 7), 13),
    case("float-scaled", random(31, 7), 13, exact=False, scale=0.3, shift=-0.1),
    case("bytes", whole(np.uint8, 31, 3, 5), 61, scale=1.0),
    case("bytes-scaled", whole(np.uint8, 31, 3, 5), 61, exact=False, scale=1 / 255),
    case("int32-to-float", whole(np.int32, 31, 5), 9, shift=0.0),
    case("int64-to-float", whole(np.int64, 31, 5), 9, scale=2.0),
    case("labels-u8", whole(np.uint8, 31), 9),
    case("labels-i32", whole(np.int32, 31, high=100_000), 9),
    case("labels-i64", whole(np.int64, 31, high=100_000), 9),
    case("rows-of-ids", whole(np.int32, 31, 4), 70),
]
