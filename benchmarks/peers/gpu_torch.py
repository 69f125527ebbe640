"""PyTorch's side of benchmarks/gpu.py: a line of JSON in, seconds of one run out."""

import json
import sys
import time

import torch
from torch.nn import functional


def matmul(dtype, m, n, k):
    a, b = torch.randn(m, k, device="cuda", dtype=dtype), torch.randn(k, n, device="cuda", dtype=dtype)
    return lambda: a @ b


def attention(dtype, b, t, h, d):
    q, k, v = (torch.randn(b, h, t, d, device="cuda", dtype=dtype) for _ in range(3))
    return lambda: functional.scaled_dot_product_attention(q, k, v, is_causal=True)


def attention_step(dtype, b, t, h, d):
    q, k, v = (torch.randn(b, h, t, d, device="cuda", dtype=dtype, requires_grad=True) for _ in range(3))
    g = torch.randn(b, h, t, d, device="cuda", dtype=dtype)
    return lambda: functional.scaled_dot_product_attention(q, k, v, is_causal=True).backward(g)


def copy(dtype, n):
    x, out = torch.randn(n, device="cuda"), torch.empty(n, device="cuda")
    return lambda: out.copy_(x)


def layernorm(dtype, n, c):
    x, w, b = torch.randn(n, c, device="cuda"), torch.randn(c, device="cuda"), torch.randn(c, device="cuda")
    return lambda: functional.layer_norm(x, (c,), w, b)


def cross_entropy(dtype, n, c):
    x, y = torch.randn(n, c, device="cuda"), torch.zeros(n, dtype=torch.long, device="cuda")
    return lambda: functional.cross_entropy(x, y, reduction="none")


def adamw(dtype, n):
    weight = torch.nn.Parameter(torch.randn(n, device="cuda"))
    weight.grad = torch.randn(n, device="cuda")
    return torch.optim.AdamW([weight], fused=True).step


def mlp(dtype, batch, inputs, hidden, classes):
    model = torch.nn.Sequential(torch.nn.Linear(inputs, hidden), torch.nn.ReLU(), torch.nn.Linear(hidden, classes)).cuda()
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    x, y = torch.randn(batch, inputs, device="cuda"), torch.zeros(batch, dtype=torch.long, device="cuda")

    def step():
        optimizer.zero_grad()
        functional.cross_entropy(model(x), y).backward()
        optimizer.step()

    return step


def main():
    torch.backends.cuda.matmul.allow_tf32 = False
    made = {}
    for line in sys.stdin:
        case = json.loads(line)
        dtype = torch.bfloat16 if case["precision"] == "bf16" else torch.float32
        if line not in made:
            made.clear()
            made[line] = globals()[case["make"]](dtype, *case["sizes"])
            made[line]()
        run = made[line]
        torch.cuda.synchronize()
        begin = time.perf_counter()
        for _ in range(case["repeats"]):
            run()
        torch.cuda.synchronize()
        print((time.perf_counter() - begin) / case["repeats"], flush=True)


if __name__ == "__main__":
    main()
