"""W10: a training step of a DCGAN on 28 x 28, beside PyTorch: discriminator on real and generated images, then the generator.

    python benchmarks/w10.py --peer torch=PYTHON

Both networks with Adam and an update each; the batch of real images is the same in each step, the codes are drawn anew.  The
peer makes one draw for both updates, dlcore one for each.  `-bf16`: products in bfloat16, in PyTorch by autocast.
"""

import sys

from harness import Case, Runner, main

# multiply-adds of one image, forward: dense layer and transposed convolutions; convolutions and dense layer
GENERATOR = 100 * 6272 + 14 * 14 * 64 * 4 * 128 + 28 * 28 * 4 * 64
FIRST, SECOND = 14 * 14 * 16 * 64, 7 * 7 * 16 * 64 * 128
DISCRIMINATOR = FIRST + SECOND + 6272
# of the discriminator's step: the generator forward, two batches forward and backward, without the gradient by the images;
# of the generator's: both forward, the gradient by the images, and both gradients of the generator but that by the code
STEP = GENERATOR + 2 * (3 * DISCRIMINATOR - FIRST) + GENERATOR + 2 * DISCRIMINATOR + 2 * GENERATOR - 100 * 6272
# the limit stated is that of float32
CASES = (Case("train-dcgan", 64, flops=2 * 64 * STEP), Case("train-dcgan-bf16", 64))
PARTS = tuple(case.part for case in CASES)
RUNNERS = (
    Runner("dlcore", "program", "w10_dlcore.py", PARTS),
    Runner("torch", "fused", "w10_torch.py", PARTS),
    Runner("torch", "channels-last", "w10_torch.py", PARTS),
    Runner("torch", "compile", "w10_torch.py", PARTS),
)

if __name__ == "__main__":
    sys.exit(main("w10", CASES, RUNNERS))
