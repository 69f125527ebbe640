"""W1: the multilayer perceptron 784-256-128-10, beside PyTorch, JAX and ONNX Runtime.

    python benchmarks/w1.py --peer torch=PYTHON --peer jax=PYTHON --peer onnxruntime=PYTHON

Training: forward, mean softmax cross-entropy, backward, Adam.  Forward: the logits of the batch.  The batch lies in memory in the
library's own type and is the same in each step.
"""

import sys

from harness import Case, Runner, main

MACS = 784 * 256 + 256 * 128 + 128 * 10  # multiply-adds of one row, forward
FIRST = 784 * 256  # the first layer needs no gradient of its input
CASES = (
    *(Case("train", batch, flops=2 * batch * (3 * MACS - FIRST)) for batch in (32, 64, 512)),
    *(Case("forward", batch, flops=2 * batch * MACS) for batch in (1, 64)),
)
BOTH = ("train", "forward")
RUNNERS = (
    Runner("dlcore", "program", "w1_dlcore.py", BOTH),
    Runner("dlcore", "model", "w1_dlcore.py", BOTH),
    Runner("torch", "eager", "w1_torch.py", BOTH),
    Runner("torch", "fused", "w1_torch.py", ("train",)),
    Runner("torch", "medium", "w1_torch.py", BOTH),
    Runner("torch", "compile", "w1_torch.py", BOTH),
    Runner("jax", "jit", "w1_jax.py", BOTH),
    Runner("jax", "scan", "w1_jax.py", ("train",)),
    Runner("onnxruntime", "session", "w1_onnxruntime.py", ("forward",)),
)

if __name__ == "__main__":
    sys.exit(main("w1", CASES, RUNNERS))
