"""Masks by their definition."""
import numpy as np

from dlcore.ops.case import Case, random


def id_mask(ids, padding=0):
    return (ids != padding).astype(np.float64)


def step_mask(x, value=0.0):
    return (x != value).any(-1).astype(np.float64)


IDS = np.random.default_rng(0).integers(0, 3, (7, 9)).astype(np.int32)
STEPS = random(5, 6, 3) * (IDS[:5, :6, None] > 0)
CASES = [
    Case("id_mask", "zero", {"ids": IDS}, id_mask, exact=True),
    Case("id_mask", "other", {"ids": IDS}, id_mask, options={"padding": 2}, exact=True),
    Case("step_mask", "zero", {"x": STEPS}, step_mask, exact=True),
    Case("step_mask", "value", {"x": np.where(STEPS == 0, -1.5, STEPS)}, step_mask, options={"value": -1.5}, exact=True),
]
