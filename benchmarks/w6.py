"""W6: inference at batch 1: an encoder of MiniLM's shape on 128 ids, and GPT-2 124M writing 128 ids behind a prompt of 16.

    python benchmarks/w6.py --peer torch=PYTHON --peer onnxruntime=PYTHON --case encoder
    python benchmarks/w6.py --peer torch=PYTHON --peer llama.cpp=PYTHON --case generate --threads 2

encoder   words, positions and segments, norm, 6 blocks with the norm behind each sum, 384 wide, 12 heads, 1536 hidden, gelu by
          erf; 128 ids in, hidden states out
generate  random weights, the likeliest id each time, keys and values kept; the time of one new id, the prompt's time shared out
Generation is not compiled: that takes longer than the whole run.
bf16: weights and products; PYTHON of onnxruntime has torch and onnx too, which write its model.
"""

import sys

from harness import Case, Runner, main
from peers.w6_data import ENCODER, GPT, NEW, PROMPT, STEPS

_, _, L, _, C, _ = ENCODER
V, _, GL, _, GC = GPT
ENCODER_FLOPS = STEPS * L * (24 * C * C + 4 * STEPS * C)
GPT_FLOPS = (PROMPT + NEW) * 2 * (12 * GL * GC * GC + V * GC) // NEW
CASES = tuple(Case(f"{name} {dtype}", 1, flops) for name, flops in (("encoder", ENCODER_FLOPS), ("generate", GPT_FLOPS))
              for dtype in ("float32", "bf16"))
ALL = tuple(case.part for case in CASES)
RUNNERS = (
    Runner("dlcore", "program", "w6_dlcore.py", ("encoder float32", "encoder bf16")),
    Runner("dlcore", "model", "w6_dlcore.py", ALL),
    Runner("torch", "eager", "w6_torch.py", ALL),
    Runner("torch", "compile", "w6_torch.py", ("encoder float32", "encoder bf16")),
    Runner("llama.cpp", "library", "w6_llamacpp.py", ("generate float32", "generate bf16")),
    Runner("onnxruntime", "session", "w6_onnxruntime.py", ("encoder float32",)),
)

if __name__ == "__main__":
    sys.exit(main("w6", CASES, RUNNERS))
