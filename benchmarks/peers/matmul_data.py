"""The operands of a part FORM-DTYPE-KxN with M rows, the same in every library."""

import numpy as np


def operands(name: str, M: int) -> tuple[str, str, np.ndarray, np.ndarray, np.ndarray]:
    """Form, dtype, a [M, K], b ([K, N]; [N, K] for linear) and bias [N]."""
    form, dtype, sizes = name.split("-")
    K, N = (int(size) for size in sizes.split("x"))
    rng = np.random.default_rng(0)
    shapes = ((M, K), (N, K) if form == "linear" else (K, N), (N,))
    return form, dtype, *(rng.standard_normal(shape).astype(np.float32) for shape in shapes)
