"""Float32 products on tensor cores, `precision="tf32x3"`: as exact as float32, though each factor that is read has 11 bits."""

from __future__ import annotations

import re

import numpy as np
import pytest
from ptx.device import Emulated
from ptx.machine import launch
from ptx.memory import Memory
from ptx.parse import PtxError
from ptx.products import FORMS, error, of_any_size, run_product

from dlcore.graph import Graph, plan
from dlcore.ops import dense
from dlcore.runtime.cuda_table import cuda_table

SIZES = (128, 128, 48), (131, 65, 37), (1, 130, 1), (9, 12, 72)
CLOSE = 2e-6  # of the norm of a result; float32's own sums reach about half of that


@pytest.mark.parametrize("form, M, N, K", [
    pytest.param(form, *sizes, id=f"matmul-tf32-{form}-{'x'.join(map(str, sizes))}")
    for form in FORMS for sizes in SIZES
])  # fmt: skip
def test_products(form, M, N, K):
    """Rows of whole 16 bytes and others; K of one slice to many; in random order, so that a copy that is not waited for shows."""
    found, wanted, kernels = run_product(of_any_size(f"multiply_tf32_{form}"), form, M, N, K, "tf32x3", 5)
    assert kernels == [f"multiply_tf32_{form}"]
    assert error(found, wanted) < CLOSE
    assert np.abs(found - wanted).max() < 1e-5 * K**0.5


def test_a_long_product_is_made_of_parts():
    found, wanted, kernels = run_product(of_any_size("multiply_tf32_parts"), "tn", 5, 9, 150, "tf32x3")
    assert kernels == ["multiply_tf32_parts", "add_panel_parts"]
    assert error(found, wanted) < CLOSE


def test_a_dense_layer():
    table, rng, graph = of_any_size("multiply_tf32_dense"), np.random.default_rng(2), Graph(precision="tf32x3")
    given = {"x": rng.standard_normal((9, 21)), "w": rng.standard_normal((21, 131)), "b": rng.standard_normal(131)}
    given = {name: v.astype(np.float32) for name, v in given.items()}
    program = plan(graph, {"out": dense(*(graph.input(n, *v.shape) for n, v in given.items()), "tanh")}, table=table)
    assert [s.kernel for s in program.steps] == ["multiply_tf32_dense"] and program.planning["precision"] == "tf32x3"
    instance = Emulated(program)
    for name, v in given.items():
        instance[name][...] = v
    instance.run()
    np.testing.assert_allclose(instance["out"], np.tanh(given["x"].astype(np.float64) @ given["w"] + given["b"]), rtol=0, atol=2e-6)


def multiplied(ptx: str, a: np.ndarray, b: np.ndarray, shuffle: int | None = None) -> np.ndarray:
    memory = Memory(1 << 17)
    places = [memory.put(v)[0] for v in (a, b)]
    target, out = memory.put(np.zeros((len(a), b.shape[1]), np.float32))
    flags, _ = memory.put(np.zeros(1, np.int64))
    launch(ptx, 1, 256, [*a.shape, b.shape[1], *places, target, flags], memory, shuffle)
    return out


def same_sign(K: int) -> tuple[np.ndarray, np.ndarray]:
    """Operands whose sums only grow: what is cut off adds up."""
    rng = np.random.default_rng(0)
    return tuple((1 + rng.random(s)).astype(np.float32) for s in ((8, K), (K, 8)))


def test_sums_are_not_left_to_tensor_cores():
    """matmul: over a K of 1,024 the error stays that of float32's own sum, although each sum of tensor cores is cut off."""
    a, b = same_sign(1024)
    wanted = a.astype(np.float64) @ b
    own = np.zeros((8, 8), np.float32)
    for k in range(1024):
        own += a[:, k : k + 1] * b[k : k + 1]
    found = multiplied(cuda_table().ptx("multiply_tf32_nn"), a, b)
    assert error(found, wanted) < max(CLOSE, error(own, wanted))


def test_values_that_are_no_numbers():
    """matmul: NaN stays NaN, an infinite operand is not finite, and small numbers keep their digits."""
    a, b = np.ones((3, 16), np.float32), np.full((16, 8), 0.5, np.float32)
    a[0, 3], a[1, 5], a[2] = np.nan, np.inf, 1e-32
    found = multiplied(cuda_table().ptx("multiply_tf32_nn"), a, b)
    assert np.isnan(found[0]).all() and not np.isfinite(found[1]).any()
    np.testing.assert_allclose(found[2], 8e-32, rtol=1e-6)


@pytest.mark.parametrize("pattern, by", [
    (r"sub\.f32 s, (%r\d+), t;", r"mov.b32 s, 0;"), (r"and\.b32 t, t, 0xffffe000;", ""), (r"cp\.async\.wait_group 1;", ""),
    (r"cp\.async\.wait_group 1;", "cp.async.wait_group 2;"), (r"bar\.sync\s+0;", ""),
], ids=["no small parts", "bits that nobody promised", "no wait", "a wait for one too few", "no barrier"])  # fmt: skip
def test_planted_faults(pattern, by):
    """matmul: each shows in the numbers, or is a race."""
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal(s).astype(np.float32) for s in ((40, 100), (100, 24)))
    ptx, wanted = cuda_table().ptx("multiply_tf32_nn"), a.astype(np.float64) @ b
    assert error(multiplied(ptx, a, b, 1), wanted) < CLOSE
    broken, count = re.subn(pattern, by, ptx)
    assert count
    seen = False
    for seed in (None, 1, 2):
        try:
            seen = seen or not error(multiplied(broken, a, b, seed), wanted) < CLOSE
        except PtxError as fault:
            assert "a race" in str(fault)
            seen = True
    assert seen
