"""What W4 and W5 train: sizes and a batch, the same for every library."""

import numpy as np

# name -> (batch, (vocabulary, steps, layers, heads, width, positions of the table))
SHAPES = {"small": (12, (65, 64, 4, 4, 128, 64)), "large": (16, (65, 256, 6, 6, 384, 256))}
GPT2 = {"64": (4, (50257, 64, 12, 12, 768, 1024)), "1024": (1, (50257, 1024, 12, 12, 768, 1024))}
OPTIONS = {"lr": 1e-3, "betas": (0.9, 0.99), "weight_decay": 0.1}


def shape(part: str) -> tuple[int, int, int, int, int, int]:
    return {**SHAPES, **GPT2}[part.removeprefix("train ")][1]


def flops(V: int, T: int, L: int, H: int, C: int, positions: int) -> int:
    """Of a training step on one token: three times the forward products, and causal attention."""
    return 3 * 2 * (12 * L * C * C + V * C) + 7 * L * C * T


def batch(part: str, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """ids and the ids that follow, i32[rows, steps]"""
    V, T = shape(part)[:2]
    ids = np.random.default_rng(0).integers(0, V, (rows, T + 1)).astype(np.int32)
    return np.ascontiguousarray(ids[:, :-1]), np.ascontiguousarray(ids[:, 1:])
