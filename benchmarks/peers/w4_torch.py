"""W4 and W5 in PyTorch, its fused AdamW.  Modes: eager, medium (float32 products by oneDNN), compile (the loss compiled), or both,
and the same with bf16 (autocast)."""

from worker import args, serve  # isort: skip

import torch
import w4_data
from torch import nn
from torch.nn import functional as F

torch.set_num_threads(args.threads)
torch.set_num_interop_threads(1)
words = args.mode.split("-")  # eager, medium, compile, compile-medium, bf16, compile-bf16
if "medium" in words:
    torch.set_float32_matmul_precision("medium")


class Block(nn.Module):
    """Causal attention and a dense network, the norms first."""

    def __init__(self, C: int, H: int) -> None:
        super().__init__()
        self.heads = H
        self.norm1, self.norm2 = nn.LayerNorm(C), nn.LayerNorm(C)
        self.qkv, self.out = nn.Linear(C, 3 * C), nn.Linear(C, C)
        self.expand, self.contract = nn.Linear(C, 4 * C), nn.Linear(4 * C, C)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        B, T, C = x.shape
        q, k, v = (t.view(B, T, self.heads, -1).transpose(1, 2) for t in self.qkv(self.norm1(x)).split(C, 2))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(y.transpose(1, 2).reshape(B, T, C))
        return x + self.contract(F.gelu(self.expand(self.norm2(x)), approximate="tanh"))


class GPT(nn.Module):
    """ids and what follows -> the mean loss."""

    def __init__(self, V: int, T: int, L: int, H: int, C: int, positions: int) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(V, C), nn.Embedding(positions, C)
        self.blocks = nn.ModuleList([Block(C, H) for _ in range(L)])
        self.norm = nn.LayerNorm(C)

    def forward(self, ids: torch.Tensor, following: torch.Tensor) -> torch.Tensor:
        x = self.tokens(ids) + self.positions.weight[: ids.shape[1]]
        for block in self.blocks:
            x = block(x)
        logits = self.norm(x) @ self.tokens.weight.T
        return F.cross_entropy(logits.view(-1, logits.shape[-1]), following.view(-1))


model = GPT(*w4_data.shape(args.part))
for parameter in model.parameters():
    if parameter.dim() > 1:
        nn.init.normal_(parameter, 0, 0.02)
x, y = (torch.from_numpy(a).long() for a in w4_data.batch(args.part, args.batch))
options = w4_data.OPTIONS
groups = [
    {"params": [p for p in model.parameters() if p.dim() > 1], "weight_decay": options["weight_decay"]},
    {"params": [p for p in model.parameters() if p.dim() < 2], "weight_decay": 0.0},
]
optimizer = torch.optim.AdamW(groups, lr=options["lr"], betas=options["betas"], fused=True)
loss = torch.compile(model) if "compile" in words else model


def step() -> None:
    with torch.autocast("cpu", torch.bfloat16, enabled="bf16" in words):
        value = loss(x, y)
    value.backward()
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


serve(step, "torch")
