"""PyTorch's side of benchmarks/gpu.py: a case in a line of JSON in, seconds of one run, or what failed, out."""

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


def layernorm_step(dtype, n, c):
    x, w, b = (torch.randn(*s, device="cuda", requires_grad=True) for s in ((n, c), (c,), (c,)))
    g = torch.randn(n, c, device="cuda")
    return lambda: functional.layer_norm(x, (c,), w, b).backward(g)


def cross_entropy_step(dtype, n, c):
    x, y = torch.randn(n, c, device="cuda", requires_grad=True), torch.zeros(n, dtype=torch.long, device="cuda")

    def step():
        x.grad = None
        functional.cross_entropy(x, y).backward()

    return step


# ---- whole training steps ----------------------------------------------------------------------------------------
def trained(loss, parameters, optimizer, dtype, compiled):
    """A step: products in bf16 where asked for (autocast), weights and optimizer in float32."""
    loss = torch.compile(loss) if compiled else loss

    def step():
        with torch.autocast("cuda", torch.bfloat16, enabled=dtype == torch.bfloat16):
            value = loss()
        value.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def mlp(dtype, batch, *sizes, compiled):
    steps = [m for a, b in zip(sizes, sizes[1:]) for m in (torch.nn.Linear(a, b), torch.nn.ReLU())][:-1]
    model = torch.nn.Sequential(*steps).cuda()
    x, y = torch.randn(batch, sizes[0], device="cuda"), torch.zeros(batch, dtype=torch.long, device="cuda")
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    return trained(lambda: functional.cross_entropy(model(x), y), model.parameters(), optimizer, dtype, compiled)


def text(dtype, batch, steps, ids, wide, hidden, classes, compiled):
    embedding, out = torch.nn.Embedding(ids, wide).cuda(), torch.nn.Linear(2 * hidden, classes).cuda()
    lstm = torch.nn.LSTM(wide, hidden, batch_first=True, bidirectional=True).cuda()
    x, y = torch.randint(0, ids, (batch, steps), device="cuda"), torch.zeros(batch, dtype=torch.long, device="cuda")
    parameters = [*embedding.parameters(), *lstm.parameters(), *out.parameters()]
    optimizer = torch.optim.Adam(parameters, fused=True)
    return trained(lambda: functional.cross_entropy(out(lstm(embedding(x))[0].mean(1)), y), parameters, optimizer, dtype, compiled)


class Block(torch.nn.Module):
    """Causal attention and a dense network, the norms first."""

    def __init__(self, wide, heads):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = torch.nn.LayerNorm(wide), torch.nn.LayerNorm(wide)
        self.qkv, self.out = torch.nn.Linear(wide, 3 * wide), torch.nn.Linear(wide, wide)
        self.expand, self.contract = torch.nn.Linear(wide, 4 * wide), torch.nn.Linear(4 * wide, wide)

    def forward(self, x):
        B, T, C = x.shape
        q, k, v = (t.view(B, T, self.heads, -1).transpose(1, 2) for t in self.qkv(self.norm1(x)).split(C, 2))
        y = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(y.transpose(1, 2).reshape(B, T, C))
        return x + self.contract(functional.gelu(self.expand(self.norm2(x)), approximate="tanh"))


class GPT(torch.nn.Module):
    def __init__(self, vocabulary, steps, depth, heads, wide):
        super().__init__()
        self.tokens, self.positions = torch.nn.Embedding(vocabulary, wide), torch.nn.Embedding(steps, wide)
        self.blocks = torch.nn.ModuleList([Block(wide, heads) for _ in range(depth)])
        self.norm = torch.nn.LayerNorm(wide)

    def forward(self, ids, following):
        x = self.tokens(ids) + self.positions.weight[: ids.shape[1]]
        for block in self.blocks:
            x = block(x)
        logits = self.norm(x) @ self.tokens.weight.T
        return functional.cross_entropy(logits.view(-1, logits.shape[-1]), following.view(-1))


def language_model(dtype, batch, vocabulary, steps, depth, heads, wide, compiled):
    model = GPT(vocabulary, steps, depth, heads, wide).cuda()
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, 0, 0.02)
    x, y = torch.randint(0, min(vocabulary, 50257), (2, batch, steps), device="cuda")
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.99), weight_decay=0.1, fused=True)
    return trained(lambda: model(x, y), model.parameters(), optimizer, dtype, compiled)


MODELS = (mlp, text, language_model)


def run(case, made):
    """Seconds of one run of a case; what was made for the one before is kept."""
    key = json.dumps({**case, "repeats": 0})
    if key not in made:
        if len(made) > 1:                               # the case and its compiled twin take turns
            made.clear()
            torch.cuda.empty_cache()
        dtype, make = torch.bfloat16 if case["precision"] == "bf16" else torch.float32, globals()[case["make"]]
        options = {"compiled": case["compiled"]} if make in MODELS else {}
        made[key] = make(dtype, *case["sizes"], **options)
        for _ in range(3):
            made[key]()
    step = made[key]
    torch.cuda.synchronize()
    begin = time.perf_counter()
    for _ in range(case["repeats"]):
        step()
    torch.cuda.synchronize()
    return (time.perf_counter() - begin) / case["repeats"]


def main():
    torch.backends.cuda.matmul.allow_tf32 = False
    made = {}
    for line in sys.stdin:
        try:
            answer = {"seconds": run(json.loads(line), made)}
        except Exception as fault:
            made.clear()
            answer = {"failed": f"torch: {type(fault).__name__}: {fault}".partition("\n")[0]}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
