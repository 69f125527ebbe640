"""Scalar formulas of the updates, each written once; those of Adam stand in `dlcore.ops.formulas`."""
from __future__ import annotations

import numpy as np

from dlcore.compiler.language import formula


@formula
def taken(gradient, weight, scale, limit, l2):
    """A gradient as an update takes it: times `scale`, cut at +-limit, and l2 * weight added.  NaN stays NaN."""
    g = gradient * scale
    g = limit if g > limit else g
    g = -limit if g < -limit else g
    return g + l2 * weight


@formula
def sign(x):
    """-1, 0 or 1."""
    return (np.float32(1) if x > np.float32(0) else np.float32(0)) - (np.float32(1) if x < np.float32(0) else np.float32(0))
