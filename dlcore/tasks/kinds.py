"""What the values of parameters may be."""
from __future__ import annotations

import math
from typing import Any

import numpy as np


def whole(value: Any, low: int, high: float = math.inf) -> bool:
    """Whether it is a whole number from low to high, and no truth value."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool) and low <= int(value) <= high


def number(value: Any, low: float = -math.inf, high: float = math.inf) -> bool:
    """Whether it is a finite number from low to high, and no truth value."""
    good = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
    return good and math.isfinite(float(value)) and low <= float(value) <= high
