"""W3: convolutional networks, beside PyTorch and ONNX Runtime: Keras' MNIST CNN, and ResNet-20 with batch normalisation on
32 x 32 x 3.

    python benchmarks/w3.py --peer torch=PYTHON --peer onnxruntime=PYTHON

Training: forward, mean softmax cross-entropy, backward, Adam.  Forward: the logits.  The batch is the same in each step.
`-bf16`: products in bfloat16, in PyTorch by autocast.  The limit is that of the multiply-adds that the definition of a
convolution has; Winograd's algorithm, which dlcore uses for 3 x 3 taps that step by one in float32, needs 16 for each 36 of them,
and can so be below it.
"""

import sys

from harness import Case, Runner, main

# multiply-adds of one image, forward: convolutions, then dense layers
CNN_FIRST, CNN = 26 * 26 * 9 * 32, 26 * 26 * 9 * 32 + 24 * 24 * 288 * 64 + 9216 * 128 + 128 * 10
RESNET_FIRST = 1024 * 27 * 16
RESNET = (
    RESNET_FIRST
    + 6 * 1024 * 144 * 16
    + 256 * (144 * 32 + 16 * 32 + 5 * 288 * 32)
    + 64 * (288 * 64 + 32 * 64 + 5 * 576 * 64)
    + 640
)
# the limits stated are those of float32
CASES = (
    Case("train-cnn", 64, flops=2 * 64 * (3 * CNN - CNN_FIRST)),
    Case("train-resnet20", 64, flops=2 * 64 * (3 * RESNET - RESNET_FIRST)),
    Case("train-cnn-bf16", 64),
    Case("train-resnet20-bf16", 64),
    Case("forward-cnn", 1, flops=2 * CNN),
    Case("forward-resnet20", 1, flops=2 * RESNET),
)
PARTS = tuple(case.part for case in CASES)
RUNNERS = (
    Runner("dlcore", "program", "w3_dlcore.py", PARTS),
    Runner("torch", "fused", "w3_torch.py", PARTS),
    Runner("torch", "channels-last", "w3_torch.py", PARTS),
    Runner("torch", "compile", "w3_torch.py", PARTS),
    Runner("onnxruntime", "session", "w3_onnxruntime.py", tuple(part for part in PARTS if part.startswith("forward"))),
)

if __name__ == "__main__":
    sys.exit(main("w3", CASES, RUNNERS))
