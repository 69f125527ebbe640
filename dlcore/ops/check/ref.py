"""Checks by their definitions, in float64."""
import numpy as np

from dlcore.ops.case import Case, random


def spoiled(n, at, value):
    x = random(n)
    x[at] = value
    return x


def check_finite(x, status):
    return np.where(np.isfinite(x).all(), status, 1)


def status(value=0):
    return np.array([value], np.int64)


CASES = [
    *[Case("check_finite", id, {"x": x, "status": status(before)}, check_finite, exact=True)
      for id, x, before in (("good", random(67), 0), ("stays-bad", random(67), 1), ("one", random(1), 0),
                            ("nan-first", spoiled(67, 0, np.nan), 0), ("inf-last", spoiled(67, 66, np.inf), 0),
                            ("minus-inf", spoiled(1001, 500, -np.inf), 0), ("largest", spoiled(9, 4, 3.4e38), 0))],
    *[Case("norm", f"{n}", {"x": random(n)}, lambda x: np.sqrt((x**2).sum()).reshape(1)) for n in (1, 67, 1000, 70001)],
    Case("norm", "nan", {"x": spoiled(67, 3, np.nan)}, lambda x: np.array([np.nan])),
    *[Case("clip_factor", f"{norm}", {"norm": np.array([norm])}, lambda norm, limit: np.minimum(1, limit / norm),
           options={"limit": 1.0}) for norm in (0.5, 1.0, 4.0)],
]
