"""What W6 runs: sizes and ids, the same for every library."""

import numpy as np

STEPS, PROMPT, NEW = 128, 16, 128
ENCODER = 30522, 512, 6, 12, 384, 1536  # vocabulary, context, layers, heads, width, hidden
GPT = 50257, 1024, 12, 12, 768  # vocabulary, context, layers, heads, width


def ids(count: int) -> np.ndarray:
    """i32[1, count], none of them 0."""
    return np.random.default_rng(0).integers(1, 30000, (1, count)).astype(np.int32)
