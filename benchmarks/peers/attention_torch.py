"""Causal attention in PyTorch: queries, keys and values [B, T, 12, 64] of float32, or in mode `bf16` of that."""

from worker import args, serve  # isort: skip

import torch
from torch.nn import functional as F

torch.set_num_threads(args.threads)
torch.set_num_interop_threads(1)
part, T = args.part.split()
shape = (args.batch, int(T), 12, 64)
kind = {"eager": torch.float32, "bf16": torch.bfloat16}[args.mode]
q, k, v = (torch.randn(shape, dtype=kind, requires_grad=part == "step") for _ in range(3))
dout = torch.randn(shape, dtype=kind)


def forward() -> torch.Tensor:
    q_, k_, v_ = (t.transpose(1, 2) for t in (q, k, v))
    return F.scaled_dot_product_attention(q_, k_, v_, is_causal=True).transpose(1, 2)


def step() -> None:
    torch.autograd.grad(forward(), [q, k, v], dout)


if part == "step":
    serve(step, "torch")
else:
    with torch.inference_mode():
        serve(forward, "torch")
