"""W2: a text classifier with a bidirectional LSTM, beside PyTorch, JAX and ONNX Runtime.

    python benchmarks/w2.py --peer torch=PYTHON --peer jax=PYTHON --peer onnxruntime=PYTHON

Ids [32, 100] below 10,000, embedding 128 wide, LSTM of 64 units in each direction, mean of the 100 outputs, dense 10.  Training:
forward, mean softmax cross-entropy, backward, Adam on all parameters (dense gradient of the embedding).  Forward: one text.
"""

import sys

from harness import Case, Runner, main

ROWS, WIDE, HIDDEN = 100, 128, 64
MACS = ROWS * 2 * (WIDE + HIDDEN) * 4 * HIDDEN + 2 * HIDDEN * 10  # multiply-adds of one text, forward
CASES = (Case("train", 32, flops=2 * 32 * 3 * MACS), Case("forward", 1, flops=2 * MACS))
BOTH = ("train", "forward")
RUNNERS = (
    Runner("dlcore", "program", "w2_dlcore.py", BOTH),
    Runner("dlcore", "model", "w2_dlcore.py", BOTH),
    Runner("torch", "eager", "w2_torch.py", ("forward",)),
    Runner("torch", "fused", "w2_torch.py", ("train",)),
    Runner("torch", "medium", "w2_torch.py", ("train",)),
    Runner("jax", "jit", "w2_jax.py", BOTH),
    Runner("onnxruntime", "session", "w2_onnxruntime.py", ("forward",)),
)

if __name__ == "__main__":
    sys.exit(main("w2", CASES, RUNNERS))
