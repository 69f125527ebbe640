"""W6: inference at batch 1: an encoder of MiniLM's shape on 128 ids, and GPT-2 124M writing 128 ids behind a prompt of 16.

    python benchmarks/w6.py --peer torch=PYTHON --peer onnxruntime=PYTHON --case encoder
    python benchmarks/w6.py --peer torch=PYTHON --peer llama.cpp=PYTHON --case generate --threads 2

encoder   words, positions and segments, norm, 6 blocks with the norm behind each sum, 384 wide, 12 heads, 1536 hidden, gelu by
          erf; 128 ids in, hidden states out
generate  random weights, the likeliest id each time, keys and values kept; the time of one new id, the prompt's time shared out
Generation is not compiled: that takes longer than the whole run.
bf16: weights and products.  int8: weights as int8, rows of activations too as they come (llama.cpp: Q8_0, blocks of 32 with their
scales; PyTorch and ONNX Runtime: dynamic quantization, weights per output channel, activations per tensor).
PYTHON of onnxruntime has torch and onnx too, which write its model.  The limit of a new id is reading all matrices once.
"""

import sys

from harness import Case, Runner, main
from peers.w6_data import ENCODER, GPT, NEW, PROMPT, STEPS

_, _, L, _, C, _ = ENCODER
V, _, GL, _, GC = GPT
ENCODER_FLOPS = STEPS * L * (24 * C * C + 4 * STEPS * C)
GPT_FLOPS = (PROMPT + NEW - 1) * 2 * 12 * GL * GC * GC // NEW + 2 * V * GC
GPT_WEIGHTS = 12 * GL * GC * GC + V * GC  # of the matrices
SIZES = {"float32": 4, "bf16": 2, "int8": 1}
CASES = (*(Case(f"encoder {dtype}", 1, ENCODER_FLOPS, precision=dtype) for dtype in SIZES),
         *(Case(f"generate {dtype}", 1, GPT_FLOPS, size * GPT_WEIGHTS, dtype) for dtype, size in SIZES.items()))
ALL = tuple(case.part for case in CASES)
ENCODER_PARTS, GENERATE_PARTS = ALL[:len(SIZES)], ALL[len(SIZES):]
RUNNERS = (
    Runner("dlcore", "program", "w6_dlcore.py", ENCODER_PARTS),
    Runner("dlcore", "model", "w6_dlcore.py", ALL),
    Runner("torch", "eager", "w6_torch.py", ALL),
    Runner("torch", "compile", "w6_torch.py", ("encoder float32", "encoder bf16")),
    Runner("llama.cpp", "library", "w6_llamacpp.py", GENERATE_PARTS),
    Runner("onnxruntime", "session", "w6_onnxruntime.py", ("encoder float32", "encoder int8")),
)

if __name__ == "__main__":
    sys.exit(main("w6", CASES, RUNNERS))
