"""Attention and norms against PyTorch: values and gradients, head sizes to 256, every mask."""
from __future__ import annotations

import numpy as np
import pytest
import torch

from dlcore import ops
from dlcore.graph import Graph, plan


def results(make, arrays, dout, masked=None):
    """Output and gradients of `make(tensors)`."""
    graph = Graph()
    tensors = {n: graph.input(n, *a.shape) for n, a in arrays.items()}
    mask = None if masked is None else graph.input("mask", *masked.shape)
    out = make(mask, **tensors)
    program = plan(graph, {"out": out}, gradients={out: list(tensors.values())}, seeds={out: graph.input("dout", *dout.shape)})
    run = program.bind()
    for n, a in {**arrays, "dout": dout, **({} if masked is None else {"mask": masked})}.items():
        run[n][...] = a
    run.run()
    return [run["out"], *(run[f"d {n}"] for n in arrays)]


def compare(found, expected):
    for a, b in zip(found, expected, strict=True):
        b = b.detach().numpy()
        assert abs(a - b).max() <= 1e-5 * max(1, abs(b).max())


@pytest.mark.parametrize("B, T, S, H, G, D, options", [
    (2, 70, 70, 4, 4, 64, {"causal": True}), (2, 64, 64, 4, 4, 32, {"causal": True}), (1, 40, 40, 2, 2, 128, {}),
    (1, 33, 33, 2, 2, 256, {"causal": True}), (2, 50, 90, 4, 2, 64, {}), (2, 130, 130, 4, 1, 16, {"window": 40}),
    (3, 45, 45, 3, 3, 48, {"masked": True}), (2, 300, 300, 4, 4, 64, {"causal": True, "window": 100})])
def test_attention(B, T, S, H, G, D, options):
    rng = np.random.default_rng(0)
    options = dict(options)
    masked = (np.arange(S) < np.linspace(S, S // 2, B)[:, None]).astype(np.float32) if options.pop("masked", False) else None
    shapes = {"q": (B, T, H, D), "k": (B, S, G, D), "v": (B, S, G, D)}
    arrays = {n: rng.standard_normal(s).astype(np.float32) for n, s in shapes.items()}
    dout = rng.standard_normal((B, T, H, D)).astype(np.float32)
    found = results(lambda mask, q, k, v: ops.attention(q, k, v, mask, **options), arrays, dout, masked)
    q, k, v = (torch.tensor(a, requires_grad=True) for a in arrays.values())
    i, j = np.arange(T)[:, None] + S - T, np.arange(S)
    seen = np.ones((B, 1, T, S), bool)
    if options.get("causal"):
        seen &= j <= i
    if "window" in options:
        seen &= abs(i - j) < options["window"]
    if masked is not None:
        seen &= masked[:, None, None] > 0
    expected = torch.nn.functional.scaled_dot_product_attention(
        q.transpose(1, 2), k.repeat_interleave(H // G, 2).transpose(1, 2), v.repeat_interleave(H // G, 2).transpose(1, 2),
        attn_mask=torch.tensor(seen)).transpose(1, 2)
    compare(found, [expected, *torch.autograd.grad(expected, [q, k, v], torch.tensor(dout))])


@pytest.mark.parametrize("name", ["layernorm", "rmsnorm"])
def test_norms(name):
    rng = np.random.default_rng(1)
    names = ("x", "weight", "bias")[:3 if name == "layernorm" else 2]
    arrays = {n: rng.standard_normal((130, 96) if n == "x" else 96).astype(np.float32) for n in names}
    dout = rng.standard_normal((130, 96)).astype(np.float32)
    found = results(lambda mask, **t: getattr(ops, name)(*t.values(), eps=1e-5), arrays, dout)
    tensors = [torch.tensor(a, requires_grad=True) for a in arrays.values()]
    function = torch.nn.functional.layer_norm if name == "layernorm" else torch.nn.functional.rms_norm
    expected = function(tensors[0], (96,), *tensors[1:], eps=1e-5)
    compare(found, [expected, *torch.autograd.grad(expected, tensors, torch.tensor(dout))])
