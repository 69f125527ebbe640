"""Products of Hopper's warpgroups: the code that sm_90a has for itself, interpreted; what they are ordered by, planted away."""

from __future__ import annotations

import re

import numpy as np
import pytest
from ptx.device import Emulated
from ptx.machine import launch
from ptx.memory import Memory
from ptx.parse import PtxError
from ptx.products import FORMS, block_sizes, in_blocks, of_any_size, rounded
from ptx.warpgroup import _places

from dlcore.graph import Graph, plan
from dlcore.ops import dense, matmul
from dlcore.runtime.cuda_table import cuda_table

OWN = "sm_90a"
SHAPES = {"nn": ((0, 2), (2, 1)), "nt": ((0, 2), (1, 2)), "tn": ((2, 0), (2, 1))}
SIZES = ((192, 256, 96), (131, 65, 37), (1, 330, 1), (9, 12, 600))  # whole tiles; tails; one column; more stages than there are


def code(name: str) -> str:
    return cuda_table().ptx(name, arch=OWN)


def ran(program, values, shuffle=None):
    """The instance of a program whose memory was poisoned before."""
    instance = Emulated(program, shuffle=shuffle, arch=OWN)
    for name in ("outputs", "arena"):
        if name in instance.buffers:
            instance.buffers[name].fill(0xFF)
    for name, value in values.items():
        instance[name][...] = value
    instance.run()
    return instance


@pytest.mark.parametrize("form, sizes", [
    pytest.param(form, sizes, id=f"matmul-wgmma-{form}-{'x'.join(map(str, sizes))}") for form in FORMS for sizes in SIZES
])  # fmt: skip
def test_products(form, sizes):
    """Operands along K and across it, tails of tiles and of slices, warps in random order."""
    rng = np.random.default_rng(4)
    a, b = (rng.standard_normal([sizes[n] for n in shape]).astype(np.float32) for shape in SHAPES[form])
    graph = Graph(precision="bf16")
    out = matmul(graph.input("a", *a.shape), graph.input("b", *b.shape), form)
    program = plan(graph, {"out": out}, table=of_any_size(f"multiply_bf16_{form}"))
    assert "wgmma.mma_async" in code(program.steps[-1].kernel)
    found = ran(program, {"a": a, "b": b}, 5)["out"]
    np.testing.assert_allclose(found, FORMS[form](rounded(a).astype(np.float64), rounded(b)), rtol=0, atol=2e-5 * sizes[2] ** 0.5)


def test_a_long_product_is_made_of_parts():
    rng, graph = np.random.default_rng(4), Graph(precision="bf16")
    a, b = rng.standard_normal((150, 5)).astype(np.float32), rng.standard_normal((150, 9)).astype(np.float32)
    out = matmul(graph.input("a", *a.shape), graph.input("b", *b.shape), "tn")
    program = plan(graph, {"out": out}, table=of_any_size("multiply_bf16_parts"))
    assert "wgmma.mma_async" in code("multiply_bf16_parts") and program.steps[-1].kernel == "add_panel_parts"
    found = ran(program, {"a": a, "b": b})["out"]
    np.testing.assert_allclose(found, rounded(a).T.astype(np.float64) @ rounded(b), rtol=0, atol=3e-4)


def test_a_dense_layer():
    rng, graph = np.random.default_rng(2), Graph(precision="bf16")
    given = {"x": rng.standard_normal((9, 21)), "w": rng.standard_normal((21, 131)), "b": rng.standard_normal(131)}
    given = {name: v.astype(np.float32) for name, v in given.items()}
    out = dense(*(graph.input(n, *v.shape) for n, v in given.items()), "tanh")
    found = ran(plan(graph, {"out": out}, table=of_any_size("multiply_bf16_dense")), given)["out"]
    wanted = np.tanh(rounded(given["x"]).astype(np.float64) @ rounded(given["w"]) + given["b"])
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5)


def product_error(ptx: str, form: str, shuffle: int | None = None, add: bool = False) -> float:
    """Of 72 by 80 by 500 from small whole numbers, whose products are exact."""
    rng, memory = np.random.default_rng(0), Memory(1 << 19)
    sizes = 72, 80, 500
    a, b = (rng.integers(-4, 5, [sizes[n] for n in shape]).astype(np.float32) for shape in SHAPES[form])
    places = [memory.put(in_blocks(v))[0] for v in (a, b)]
    target, out = memory.put(np.full(sizes[:2], 5, np.float32))
    flags, _ = memory.put(np.array([int(add)]))
    how = cuda_table().launch(f"multiply_bf16_{form}", arch=OWN)
    launch(ptx, 1, how["block"], [*block_sizes(form, *sizes), *places, target, flags], memory, shuffle, how["shared"])
    return float(np.abs(out - (FORMS[form](a, b) + 5 * add)).max())


@pytest.mark.parametrize("form", [pytest.param(f, id=f"matmul-wgmma-added-{f}") for f in FORMS])
def test_a_product_onto_what_is_there(form):
    assert product_error(code(f"multiply_bf16_{form}"), form, add=True) == 0


ALONG, ACROSS = (1 << 62) + (64 << 32) + (1 << 16), (1 << 62) + (64 << 32) + (512 << 16)  # descriptors without their addresses
READ = "before its product is waited for|while a product reads it"


@pytest.mark.parametrize("form, pattern, by, said", [
    ("nn", r"wgmma\.fence\.sync\.aligned;", "", "without wgmma.fence"),
    ("nt", r"wgmma\.wait_group\.sync\.aligned 0;", "", READ),
    ("tn", r"wgmma\.wait_group\.sync\.aligned 1;", "wgmma.wait_group.sync.aligned 2;", READ),
    ("nt", r"wgmma\.commit_group\.sync\.aligned;", "", READ),
    ("nn", r"bar\.sync\s+0;", "", "a race|there is no mbarrier|no barrier of the block|nobody has begun|while a product reads it"),
    ("nn", r"fence\.mbarrier_init\.release\.cluster;", "", "fence.mbarrier_init"),
    ("nt", r"(try_wait\.parity\.shared::cta\.b64 p, \[%r\d+\], )%r\d+", r"\g<1>1", "still being copied|nobody has begun"),
    ("nt", r"mov\.u32 \t%r(\d+), 57344;", r"mov.u32 \t%r\1, 49152;", "bytes were announced"),
    ("nt", str(ALONG), str(ALONG - (32 << 32)), ""),
    ("nt", str(ALONG), str(ALONG + (1 << 62)), ""),
    ("tn", str(ACROSS), str(ACROSS - (256 << 16)), ""),
    ("tn", str(ACROSS), str(ACROSS + (64 << 32)), ""),
    ("nn", r", 1, 1, 1, 0, 1;", ", 1, 1, 1, 0, 0;", ""),
    ("nt", "4294966272", str((1 << 32) - 64), ""),
], ids=["no fence", "no wait", "a wait for too few", "no group", "no barrier", "barriers not shown", "the wrong phase",
        "too few bytes", "wrong stride", "wrong swizzle", "wrong leading stride", "wrong stride across",
        "operand not turned", "stages not aligned"])  # fmt: skip
def test_planted_faults(form, pattern, by, said):
    """An error that names the fault, or wrong numbers, in step or in one of a few random orders."""
    ptx = code(f"multiply_bf16_{form}")
    assert product_error(ptx, form, 1) == 0
    broken, count = re.subn(pattern, by, ptx)
    assert count
    seen = False
    for seed in (None, 1, 2):
        try:
            seen = seen or product_error(broken, form, seed) > 0
        except PtxError as error:
            assert re.search(said, str(error)), error
            seen = True
    assert seen


def test_operands_begin_where_their_pattern_does():
    """A swizzle of 128 bytes repeats after 1,024; along K operands may begin up to 96 bytes further on."""
    assert _places(ALONG + (1024 + 96 >> 4), 64, False, 1 << 16).min() == 1120
    with pytest.raises(PtxError, match="begins within the pattern"):
        _places(ALONG + (1024 + 128 >> 4), 64, False, 1 << 16)


def test_one_architecture_has_code_of_its_own():
    """matmul: the others run mma.sync, with other tiles."""
    table = cuda_table()
    assert table.launch("multiply_bf16_nn", arch=OWN)["shared"] > 48 << 10 > table.launch("multiply_bf16_nn")["shared"]
    entry = cuda_table().entry("multiply_bf16_nn")
    assert set(entry["own_ptx"]) == set(entry["own_launches"]) == {OWN}
    assert "wgmma" not in table.ptx("multiply_bf16_nn", arch="sm_80")
    assert ".target sm_90a" in code("multiply_bf16_nn") and ".target sm_80" in cuda_table().ptx("multiply_bf16_nn")
