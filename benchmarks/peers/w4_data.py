"""What W4 trains: sizes and a batch, the same for every library."""

import numpy as np

# name -> (batch, (vocabulary, context, layers, heads, width))
SHAPES = {"small": (12, (65, 64, 4, 4, 128)), "large": (16, (65, 256, 6, 6, 384))}
OPTIONS = {"lr": 1e-3, "betas": (0.9, 0.99), "weight_decay": 0.1}


def shape(part: str) -> tuple[int, int, int, int, int]:
    return SHAPES[part.removeprefix("train ")][1]


def batch(part: str, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """ids and the ids that follow, i32[rows, context]"""
    V, T = shape(part)[:2]
    ids = np.random.default_rng(0).integers(0, V, (rows, T + 1)).astype(np.int32)
    return np.ascontiguousarray(ids[:, :-1]), np.ascontiguousarray(ids[:, 1:])
