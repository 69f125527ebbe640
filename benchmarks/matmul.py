"""Matrix products beside PyTorch, NumPy (OpenBLAS) and JAX, packing included.

    python benchmarks/matmul.py --peer numpy=PYTHON --peer torch=PYTHON --peer jax=PYTHON

Parts are FORM-DTYPE-KxN, the batch is M: `mm` is a b, `linear` x w^T + bias, all row-major; `mm-bf16` takes bf16 (dlcore: float32
that is rounded while it is packed, as in a plan under `precision="bf16"`).  Modes of dlcore and of OpenBLAS are the code of one CPU
level: `v3` beside `Haswell`, `v4` beside `SkylakeX`; a level that the processor lacks is not measured and named below the tables.
"""

import sys

from harness import Case, Runner, main

SHAPES = (  # M, K, N: squares, a transformer's layer, a perceptron's layers, thin ones
    (256, 256, 256),
    (1024, 1024, 1024),
    (2048, 2048, 2048),
    (512, 768, 3072),
    (512, 784, 256),
    (64, 784, 256),
    (1, 784, 256),
    (16, 1024, 4096),
    (4096, 64, 64),
)
LARGE = [shape for shape in SHAPES if min(shape) >= 256]


def part(form: str, K: int, N: int) -> str:
    return f"{form}-{K}x{N}"


def cases() -> list[Case]:
    forms = [("mm-f32", SHAPES), ("linear-f32", LARGE), ("mm-bf16", LARGE)]
    return [Case(part(form, K, N), M, 2 * M * K * N) for form, shapes in forms for M, K, N in shapes]


def parts(*forms: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(case.part for case in cases() if case.part.startswith(forms)))


F32 = parts("mm-f32", "linear-f32")
RUNNERS = (
    Runner("dlcore", "v4", "matmul_dlcore.py", F32),
    Runner("dlcore", "v3", "matmul_dlcore.py", F32),
    Runner("dlcore", "v4_bf16", "matmul_dlcore.py", parts("mm-bf16")),
    Runner("torch", "eager", "matmul_torch.py", F32 + parts("mm-bf16")),
    Runner("torch", "onednn", "matmul_torch.py", parts("linear-f32")),
    Runner("numpy", "default", "matmul_numpy.py", parts("mm-f32")),
    Runner("numpy", "SkylakeX", "matmul_numpy.py", parts("mm-f32")),
    Runner("numpy", "Haswell", "matmul_numpy.py", parts("mm-f32")),
    Runner("jax", "jit", "matmul_jax.py", parts("mm-f32", "mm-bf16")),
)

if __name__ == "__main__":
    sys.exit(main("matmul", cases(), RUNNERS))
