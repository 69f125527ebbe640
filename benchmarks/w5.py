"""W5: training steps of GPT-2 with 124 million weights, beside PyTorch, JAX and Keras: 4 sequences of 64 ids, and one of 1024.

    python benchmarks/w5.py --peer torch=PYTHON --peer jax=PYTHON --peer keras=PYTHON --threads 2 --case "train 64"
    python benchmarks/w5.py --peer torch=PYTHON --threads 2 --case "train 1024" --name w5_1024 --rounds 3 --seconds 0.1 --merge \
        --runner "dlcore program" --runner "torch medium"

A step on 1024 ids takes seconds, so a few runners a call, one of dlcore's among them; `--merge` pools the calls' samples.
The step is W4's: forward, mean cross-entropy over all positions, backward, AdamW; 50,257 ids, learned positions, tied table.
The table of memory has the most that a worker's process held.
"""

import sys

from harness import Case, Runner, main
from peers.w4_data import GPT2, flops

CASES = tuple(Case(f"train {name}", batch, flops=batch * shape[1] * flops(*shape)) for name, (batch, shape) in GPT2.items())
PARTS = tuple(case.part for case in CASES)
RUNNERS = (
    Runner("dlcore", "program", "w4_dlcore.py", PARTS),
    Runner("dlcore", "bf16", "w4_dlcore.py", PARTS, "bf16"),
    Runner("torch", "eager", "w4_torch.py", PARTS),
    Runner("torch", "medium", "w4_torch.py", PARTS),
    Runner("torch", "compile", "w4_torch.py", PARTS),
    Runner("torch", "compile-medium", "w4_torch.py", PARTS),
    Runner("torch", "bf16", "w4_torch.py", PARTS, "bf16"),
    Runner("torch", "compile-bf16", "w4_torch.py", PARTS, "bf16"),
    Runner("jax", "jit", "w4_jax.py", PARTS),
    Runner("jax", "jit-bf16", "w4_jax.py", PARTS, "bf16"),
    Runner("keras", "function", "w4_keras.py", PARTS),
    Runner("keras", "function-bf16", "w4_keras.py", PARTS, "bf16"),
)

if __name__ == "__main__":
    sys.exit(main("w5", CASES, RUNNERS))
