"""The network of a `CharLM` in PyTorch, trained as it is: the same windows, optimizer, rates and clipping."""
from __future__ import annotations

import math
import os
import time
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from dlcore.optim.schedules import named
from dlcore.tasks.language_windows import Windows, whole


class Block(nn.Module):
    """Causal attention and a dense network, the norms first, no biases."""

    def __init__(self, C: int, H: int):
        super().__init__()
        self.heads = H
        self.norm1, self.norm2 = nn.LayerNorm(C, bias=False), nn.LayerNorm(C, bias=False)
        self.qkv, self.out = nn.Linear(C, 3 * C, bias=False), nn.Linear(C, C, bias=False)
        self.expand, self.contract = nn.Linear(C, 4 * C, bias=False), nn.Linear(4 * C, C, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        B, T, C = x.shape
        q, k, v = (t.view(B, T, self.heads, -1).transpose(1, 2) for t in self.qkv(self.norm1(x)).split(C, 2))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(y.transpose(1, 2).reshape(B, T, C))
        return x + self.contract(F.gelu(self.expand(self.norm2(x)), approximate="tanh"))


class GPT(nn.Module):
    """ids i64[B, T] -> logits, the table of ids being the last projection too."""

    def __init__(self, V: int, p: Any):
        super().__init__()
        self.tokens, self.positions = nn.Embedding(V, p.width), nn.Embedding(p.context, p.width)
        self.blocks = nn.ModuleList([Block(p.width, p.heads) for _ in range(p.layers)])
        self.norm = nn.LayerNorm(p.width, bias=False)
        for name, weight in self.named_parameters():
            if weight.dim() > 1:
                last = name.endswith(("out.weight", "contract.weight"))
                nn.init.normal_(weight, 0, 0.02 / math.sqrt(2 * p.layers) if last else 0.02)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.tokens(ids) + self.positions.weight[:ids.shape[1]]
        for block in self.blocks:
            x = block(x)
        return self.norm(x) @ self.tokens.weight.T


def train(p: Any, train_text: str, val_text: str, seed: int) -> dict[str, Any]:
    """p: a fitted CharLM without biases, trained by AdamW.  The loss on `val_text` of its network in PyTorch, the best measured."""
    torch.manual_seed(seed)
    torch.set_num_threads(int(os.environ.get("DLCORE_THREADS", torch.get_num_threads())))
    ids = [np.array(p.tokenizer_.encode(text, special=False), np.int32) for text in (train_text, val_text)]
    network = GPT(len(p.tokenizer_), p)
    weights = list(network.parameters())
    optimizer = torch.optim.AdamW([{"params": [w for w in weights if w.dim() > 1], "weight_decay": p.weight_decay},
                                   {"params": [w for w in weights if w.dim() < 2], "weight_decay": 0.0}],
                                  lr=p.lr, betas=(0.9, p.beta_2), eps=1e-7)
    rate = named(p.schedule, p.lr, p.steps, warmup=min(p.warmup, p.steps / 2), end=p.min_lr / p.lr)
    windows = Windows(ids[0], p.batch_size, p.context, p.eval_every, p.seed_)
    step, best, begin = 0, math.inf, (time.perf_counter(), time.process_time())
    while step < p.steps:
        windows.on_epoch_begin(step // p.eval_every)
        for x, y in windows:
            for group in optimizer.param_groups:
                group["lr"] = float(rate(step))
            logits = network(torch.from_numpy(x).long())
            F.cross_entropy(logits.flatten(0, 1), torch.from_numpy(y).long().flatten()).backward()
            nn.utils.clip_grad_norm_(weights, p.clip)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            step += 1
        best = min(best, _loss(network, ids[1], p.context))
    found = {"loss": best, "weights": sum(w.numel() for w in weights), "fit_seconds": round(time.perf_counter() - begin[0], 1),
             "processor_seconds": round(time.process_time() - begin[1], 1), "torch": torch.__version__}
    print("torch", found, flush=True)
    return found


@torch.no_grad()
def _loss(network: GPT, ids: np.ndarray, context: int) -> float:
    x, y, _ = whole([ids], context)
    total = 0.0
    for at in range(0, len(x), 64):
        logits = network(torch.from_numpy(x[at:at + 64]).long())
        targets = torch.from_numpy(y[at:at + 64]).long().flatten()
        total += float(F.cross_entropy(logits.flatten(0, 1), targets, ignore_index=-1, reduction="sum"))
    return total / (len(ids) - 1)
