"""Causal attention beside PyTorch's: forward and backward together, and forward alone; 12 heads of 64, batch 4.

    python benchmarks/attention.py --peer torch=PYTHON

`bf16`: products in bfloat16.  PyTorch's tensors are then bfloat16 in memory, as they are inside of autocast; dlcore's are float32,
which are rounded while they are packed.
"""

import sys

from harness import Case, Runner, main

LENGTHS, HEADS, SIZE = (64, 256, 1024), 12, 64
PRODUCTS = {"step": 7, "forward": 2}  # T x T x SIZE, of which half is masked
CASES = tuple(
    Case(f"{part} {T}", 4, flops=PRODUCTS[part] * 4 * HEADS * T * T * SIZE) for part in PRODUCTS for T in LENGTHS
)
PARTS = tuple(case.part for case in CASES)
RUNNERS = (
    Runner("dlcore", "program", "attention_dlcore.py", PARTS),
    Runner("dlcore", "bf16", "attention_dlcore.py", PARTS, "bf16"),
    Runner("torch", "eager", "attention_torch.py", PARTS),
    Runner("torch", "bf16", "attention_torch.py", PARTS, "bf16"),
)

if __name__ == "__main__":
    sys.exit(main("attention", CASES, RUNNERS))
