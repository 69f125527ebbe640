"""W2: embedding 10,000 x 128, bidirectional LSTM of 64 units, mean over 100 steps, dense 10; the same batch in each step."""

import numpy as np

VOCABULARY, STEPS, WIDE, HIDDEN, CLASSES = 10_000, 100, 128, 64, 10


def batch(rows: int) -> tuple[np.ndarray, np.ndarray]:
    """ids i32[rows, 100] and y i32[rows], uniform."""
    rng = np.random.default_rng(0)
    return rng.integers(0, VOCABULARY, (rows, STEPS)).astype(np.int32), rng.integers(0, CLASSES, rows).astype(np.int32)


def weights() -> list[np.ndarray]:
    """Embedding; kernel [128, 256], recurrent kernel [64, 256] (gates i, f, g, o), bias of each direction; dense weight, bias."""
    rng = np.random.default_rng(1)
    shapes = [(VOCABULARY, WIDE), *[(WIDE, 4 * HIDDEN), (HIDDEN, 4 * HIDDEN), (4 * HIDDEN,)] * 2, (2 * HIDDEN, CLASSES), (CLASSES,)]
    return [(0.08 * rng.standard_normal(s)).astype(np.float32) if len(s) > 1 else np.zeros(s, np.float32) for s in shapes]
