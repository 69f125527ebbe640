"""Attention on tensor cores: the room's cases, and the edges of tiles of 128 queries, 64 keys, and 64 or 32 rows in backward; by
`mma.sync`, and by the code that sm_90a has for itself."""

from __future__ import annotations

import re

import numpy as np
import pytest
from ops.harness import build, douts, outputs_of, segments
from ptx import device
from ptx.device import start
from ptx.parse import PtxError, parse
from ptx.shapes import ATTENTION, error

from dlcore.graph import Graph, plan
from dlcore.ops import attention
from dlcore.ops.attention import ref
from dlcore.ops.attention.ref import case
from dlcore.runtime.cuda_table import cuda_table

KERNEL = "attention_forward_64"
SHUFFLED = ("a-tile", "causal", "tiles", "wide", "wide-tiles", "packed")  # warps in random order, which takes longer


@pytest.mark.parametrize("case, arch", [
    pytest.param(c, arch, id=f"attention-bf16-{c.id}{arch and '-' + arch}") for c in ATTENTION for arch in ("", "sm_90a")
])  # fmt: skip
def test_values_and_gradients(case, arch):
    """Operands and probabilities have 8 bits: what they are made into is right to a hundredth, and twice that when accumulated."""
    made = build("attention", case, precision="bf16")
    program = plan(made.graph, outputs_of(made), **made.by_all(), table=cuda_table())
    width = "64" if max(v.shape[-1] for v in case.inputs.values() if v is not None and v.ndim == 4) <= 64 else "128"
    kernels = {s.kernel for s in program.steps}
    assert f"attention_forward_{width}" in kernels
    assert kernels & {f"attention_queries_{width}", f"packed_attention_gradient_{width}"}
    instance = start(made, program, shuffle=2 if case.id in SHUFFLED else None, arch=arch)
    instance.run(*segments(program))
    assert error(instance["out0"], case.expected()[0]) < 1e-2
    wanted = case.gradients(*douts(case))
    assert max(error(instance.gradient(n), wanted[n]) for n in case.differentiable) < 1.5e-2
    if case.id in ("other-values", "packed"):
        instance.run(*segments(program), accumulate=True)
        assert max(error(instance.gradient(n), 2 * wanted[n]) for n in case.differentiable) < 1.5e-2


def test_other_heads_are_float32():
    made = build("attention", case("odd", 1, 9, 9, 1, 1, 5), precision="bf16")
    program = plan(made.graph, outputs_of(made), **made.by_all(), table=cuda_table())
    assert {"attention_forward", "attention_queries"} <= {s.kernel for s in program.steps}


def forward_error(monkeypatch, arch: str, text: str, seed: int) -> float:
    """Of 200 causal queries and as many keys: tiles that are seen whole, in part, and not by all warps."""
    rng, graph, T = np.random.default_rng(0), Graph(precision="bf16"), 200
    given = {n: rng.standard_normal((1, T, 1, 16)) for n in "qkv"}
    program = plan(graph, {"out": attention(*(graph.input(n, 1, T, 1, 16) for n in given), causal=True)}, table=cuda_table())
    known = device.kernel_of
    with monkeypatch.context() as patch:
        patch.setattr(device, "kernel_of", lambda name, *rest: parse(text) if name == KERNEL else known(name, *rest))
        instance = device.Emulated(program, shuffle=seed, arch=arch)
        for name, value in given.items():
            instance[name][...] = value
        instance.run()
    return error(instance["out"], ref.attention(*given.values(), causal=True))


def faulty(monkeypatch, arch: str, text: str, said: str) -> bool:
    """Is a fault seen: by an error that names it, or by wrong numbers in one of a few random orders?"""
    for seed in (1, 2, 3):
        try:
            if not forward_error(monkeypatch, arch, text, seed) < 1e-2:
                return True
        except PtxError as e:
            assert re.search(said, str(e)), e
            return True
    return False


@pytest.mark.parametrize("arch", ["", "sm_90a"])
def test_each_barrier_is_needed(monkeypatch, arch):
    """In the loops over keys that are seen whole and in part; in that over keys which only other warps see, those that leave count
    as arrived."""
    text = cuda_table().ptx(KERNEL, "f32", arch)
    assert not faulty(monkeypatch, arch, text, "")
    barriers = [m.span() for m in re.finditer(r"bar\.sync\s+0;", text)]
    assert len(barriers) == 3
    for begin, end in barriers[:2]:
        assert faulty(monkeypatch, arch, text[:begin] + text[end:], "a race|no fence|while a product reads|barrier")


@pytest.mark.parametrize("arch, pattern, by, said", [
    ("", r"cp\.async\.wait_all;", "", "a race|"),
    ("sm_90a", r"cp\.async\.wait_all;", "", "a race|"),
    ("sm_90a", r"fence\.proxy\.async\.shared::cta;", "", "no fence.proxy.async has shown"),
    ("sm_90a", r"wgmma\.fence\.sync\.aligned;", "", "without wgmma.fence"),
    ("sm_90a", r"wgmma\.wait_group\.sync\.aligned 0;", "", "before its product is waited for|while a product reads it"),
    ("sm_90a", r"wgmma\.commit_group\.sync\.aligned;", "", "before its product is waited for|while a product reads it"),
    ("sm_90a", str((1 << 62) | (64 << 32) | (1 << 16)), str((1 << 62) | (32 << 32) | (1 << 16)), ""),
    ("sm_90a", str((1 << 62) | (64 << 32) | (512 << 16)), str((1 << 62) | (32 << 32) | (512 << 16)), ""),
    ("sm_90a", r", 0, 1, 1, 0;", ", 1, 1, 1, 0;", "is read before it is written|"),
    ("sm_90a", r", 1, 1, 1, 1;", ", 1, 1, 1, 0;", ""),
], ids=["copies not waited for", "copies for wgmma not waited for", "copies not shown", "no fence", "no wait", "no group",
        "wrong stride of keys", "wrong stride of values", "sums not begun", "values not turned"])  # fmt: skip
def test_planted_faults(monkeypatch, arch, pattern, by, said):
    broken, count = re.subn(pattern, by, cuda_table().ptx(KERNEL, "f32", arch))
    assert count
    assert faulty(monkeypatch, arch, broken, said)


@pytest.mark.parametrize("pattern, said", [
    (r"bar\.sync\s+0;", "a race|no fence|while a product reads|barrier"),
    (r"cp\.async\.wait_all;", "a race|"),
    (r"fence\.proxy\.async\.shared::cta;", "no fence.proxy.async has shown"),
], ids=["no barrier", "copies not waited for", "copies not shown"])  # fmt: skip
@pytest.mark.parametrize("id, kernel", [
    ("tiles", "attention_queries_64"), ("tiles", "attention_keys_values_64"), ("wide-tiles", "attention_forward_128"),
    ("wide-tiles", "attention_queries_128"), ("wide-tiles", "attention_keys_values_128"),
])  # fmt: skip
def test_planted_faults_of_other_kernels(monkeypatch, id, kernel, pattern, said):
    broken, count = re.subn(pattern, "", cuda_table().ptx(kernel, "f32", "sm_90a"))
    assert count
    case, known = next(c for c in ATTENTION if c.id == id), device.kernel_of
    made = build("attention", case, precision="bf16")
    program = plan(made.graph, outputs_of(made), **made.by_all(), table=cuda_table())
    monkeypatch.setattr(device, "kernel_of", lambda name, *rest: parse(broken) if name == kernel else known(name, *rest))
    wanted = case.gradients(*douts(case))
    for seed in (1, 2, 3):
        instance = start(made, program, shuffle=seed, arch="sm_90a")
        try:
            instance.run(*segments(program))
        except PtxError as e:
            assert re.search(said, str(e)), e
            return
        if not max(error(instance.gradient(n), wanted[n]) for n in case.differentiable) < 1.5e-2:
            return
    raise AssertionError("the fault was not seen")
