"""W1: 784-256-128-10 with biases, ReLU, softmax cross-entropy over 10 classes, Adam(1e-3); the same batch in each step."""

import numpy as np

DIMS = (784, 256, 128, 10)


def batch(rows: int) -> tuple[np.ndarray, np.ndarray]:
    """x f32[rows, 784] standard normal, y i32[rows] uniform below 10."""
    rng = np.random.default_rng(0)
    return rng.standard_normal((rows, DIMS[0]), dtype=np.float32), rng.integers(0, DIMS[-1], rows).astype(np.int32)


def weights() -> list[tuple[np.ndarray, np.ndarray]]:
    """(weight f32[K, C], bias f32[C]) of each layer."""
    rng = np.random.default_rng(1)
    return [
        (rng.standard_normal((k, c), dtype=np.float32) / np.float32(k) ** 0.5, np.zeros(c, np.float32))
        for k, c in zip(DIMS, DIMS[1:], strict=False)
    ]
