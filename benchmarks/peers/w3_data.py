"""W3: random images and labels of 10 classes; the same batch in each step."""

import numpy as np

SHAPES = {"cnn": (28, 28, 1), "resnet20": (32, 32, 3)}


def batch(network: str, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """x f32[rows, H, W, C] standard normal, y i32[rows] uniform below 10."""
    rng = np.random.default_rng(0)
    return rng.standard_normal((rows, *SHAPES[network]), dtype=np.float32), rng.integers(0, 10, rows).astype(np.int32)
