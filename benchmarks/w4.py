"""W4: training steps of GPTs, beside PyTorch, JAX and Keras: nanoGPT's recipe for a CPU, and a larger one.

    python benchmarks/w4.py --peer torch=PYTHON --peer jax=PYTHON --peer keras=PYTHON --case "train small"

Forward, mean cross-entropy over all positions, backward, AdamW with decay of the matrices.  Learned positions, tied table, biases,
gelu by tanh, no dropout.  The batch is the same in each step.
"""

import sys

from harness import Case, Runner, main
from peers.w4_data import SHAPES, flops

CASES = tuple(Case(f"train {name}", batch, flops=batch * shape[1] * flops(*shape)) for name, (batch, shape) in SHAPES.items())
PARTS = tuple(case.part for case in CASES)
RUNNERS = (
    Runner("dlcore", "program", "w4_dlcore.py", PARTS),
    Runner("dlcore", "model", "w4_dlcore.py", PARTS),
    Runner("dlcore", "bf16", "w4_dlcore.py", PARTS, "bf16"),
    Runner("torch", "eager", "w4_torch.py", PARTS),
    Runner("torch", "medium", "w4_torch.py", PARTS),
    Runner("torch", "bf16", "w4_torch.py", PARTS, "bf16"),
    Runner("torch", "compile", "w4_torch.py", PARTS),
    Runner("torch", "compile-medium", "w4_torch.py", PARTS),
    Runner("torch", "compile-bf16", "w4_torch.py", PARTS, "bf16"),
    Runner("jax", "jit", "w4_jax.py", PARTS),
    Runner("jax", "jit-bf16", "w4_jax.py", PARTS, "bf16"),
    Runner("keras", "function", "w4_keras.py", PARTS),
    Runner("keras", "function-bf16", "w4_keras.py", PARTS, "bf16"),
)

if __name__ == "__main__":
    sys.exit(main("w4", CASES, RUNNERS))
