"""Sizes that bring the kernels of large and of odd shapes into a plan."""

from __future__ import annotations

from typing import Any

import numpy as np

from dlcore.ops import conv2d, matmul
from dlcore.ops.attention.ref import case, packed
from dlcore.ops.conv2d.ref import conv2d as conv2d_ref

PRODUCTS = [f"{size} {form}" for size in ("large", "middle", "less") for form in ("nn", "nt", "tn")]
LARGE = [(precision, form) for precision in ("float32", "bf16", "tf32x3") for form in (*PRODUCTS, "long", "longer", "convolution")
         if (precision, form) != ("float32", "longer")]

# the edges of tiles of 128 queries, 64 keys, and 64 or 32 rows in backward
ATTENTION = [
    case("one", 1, 1, 1, 1, 1, 4),
    case("a-tile", 1, 64, 64, 1, 1, 64),
    case("causal", 1, 70, 70, 2, 1, 64, causal=True),
    case("tiles", 1, 200, 200, 1, 1, 64, causal=True),
    case("all-keys", 1, 130, 200, 1, 1, 16),
    case("grouped", 1, 70, 130, 4, 2, 8, causal=True),
    case("padding", 2, 9, 37, 1, 1, 20, masked=True),
    case("window", 1, 140, 140, 1, 1, 8, window=9, causal=True),
    case("queries-after-keys", 1, 5, 75, 1, 1, 16, causal=True),
    case("more-queries-than-keys", 1, 75, 7, 2, 2, 8, causal=True),
    case("other-values", 1, 20, 25, 2, 2, 12, 20, scale=0.7),
    case("wide", 1, 33, 65, 1, 1, 128),
    case("wide-causal", 1, 66, 70, 1, 1, 100, causal=True, masked=True),
    case("wide-tiles", 1, 200, 200, 1, 1, 128, causal=True),
    case("wide-window", 1, 150, 170, 2, 1, 100, window=40),
    packed("packed", 4, 35, 2, 2, 16, causal=True),
    packed("packed-grouped", 8, 17, 2, 1, 16, masked=True),
    packed("packed-wide", 8, 17, 1, 1, 72, causal=True),
]


def error(found: np.ndarray, wanted: np.ndarray) -> float:
    """Of all numbers together, relative; where the right ones vanish, to what they are made of."""
    return float(np.linalg.norm(found - wanted) / max(np.linalg.norm(wanted), 0.3 * np.sqrt(wanted.size)))


def large_product(form: str) -> tuple[dict[str, np.ndarray], Any, np.ndarray]:
    """(operands, op, what is right) of a product that is made by the kernels for large ones."""
    rng = np.random.default_rng(0)
    if form == "convolution":
        x, w = rng.standard_normal((8, 31, 33, 32), np.float32), rng.standard_normal((3, 3, 32, 72), np.float32)
        options = {"padding": "same", "stride": 2}
        wanted = conv2d_ref(x.astype(np.float64), w.astype(np.float64), **options)
        return {"a": x, "b": w}, lambda a, b: conv2d(a, b, **options), wanted
    sizes = {"long": (130, 200, 5000), "longer": (300, 400, 5000)}
    sizes |= {"large": (2060, 2100, 500), "middle": (1030, 1100, 1000), "less": (330, 401, 500)}
    M, N, K = sizes[form.split()[0]]
    kind = "tn" if "long" in form else form.split()[1]
    a, b = (rng.standard_normal(s, np.float32) for s in
            {"nn": ((M, K), (K, N)), "nt": ((M, K), (N, K)), "tn": ((K, M), (K, N))}[kind])  # fmt: skip
    exact_a, exact_b = a.astype(np.float64), b.astype(np.float64)
    wanted = {"nn": lambda: exact_a @ exact_b, "nt": lambda: exact_a @ exact_b.T, "tn": lambda: exact_a.T @ exact_b}[kind]()
    return {"a": a, "b": b}, lambda x, y: matmul(x, y, kind), wanted
