"""The rooms' cases on a GPU, where there is one; and the way they go there on a driver that is none.

`.ci/gpu` runs this, the same under NVIDIA's compute-sanitizer, and the benchmarks.
"""

from __future__ import annotations

import gc

import numpy as np
import pytest
from ops.harness import cases, compare, douts, run_gradients
from ptx.driver import FakeDriver, build
from ptx.gpu import gpu, reason
from ptx.shapes import LARGE, large_product

from dlcore.graph import Graph, plan
from dlcore.runtime import cuda_device, set_device
from dlcore.runtime.cuda_table import cuda_table


def on_gpu() -> list:
    if missing := reason():
        return [pytest.param("", None, id="gpu", marks=pytest.mark.skip(reason=f"no GPU: {missing}"))]
    return [pytest.param(*p.values, id=f"gpu-{p.id}") for p in cases()]


LIMIT = {"float32": 3e-6, "bf16": 1e-2, "tf32x3": 3e-6}  # of the norm


def large_on_gpu() -> list:
    if missing := reason():
        return [pytest.param("", "", id="gpu-large", marks=pytest.mark.skip(reason=f"no GPU: {missing}"))]
    return [pytest.param(*p, id=f"gpu-{'conv2d' if p[1] == 'convolution' else 'matmul'}-large-{p[0]}-{p[1]}") for p in LARGE]


@pytest.mark.parametrize("precision, form", large_on_gpu())
def test_large_products(precision, form, request):
    """Those that only large sizes take: in stages of copies, by wgmma on Hopper, in three parts, in parts of K."""
    values, op, wanted = large_product(form)
    with gpu(request):
        graph = Graph(precision=precision)
        out = op(*(graph.input(name, *v.shape) for name, v in values.items()))
        (found,) = plan(graph, {"out": out}).bind().call(tuple(values.values()))
    assert np.linalg.norm(found - wanted) < LIMIT[precision] * np.linalg.norm(wanted)


@pytest.mark.parametrize("precision, form", [pytest.param(*p, id=f"matmul-large-{p[0]}-{p[1]}") for p in LARGE])
def test_large_products_are_large(precision, form):
    """Plans of them have the kernels that they are there for."""
    values, op, _ = large_product(form)
    graph = Graph(precision=precision)
    out = op(*(graph.input(name, *v.shape) for name, v in values.items()))
    kernels = {step.kernel for step in plan(graph, {"out": out}, table=cuda_table()).steps}
    if form == "convolution":
        assert {"float32": "conv2d_tiles", "bf16": "conv2d_panels", "tf32x3": "conv2d_tf32"}[precision] in kernels
    else:
        size = form.split()[0]
        by_size = {"long": "parts", "longer": "parts", "less": "matmul_"}
        word = by_size.get(size, {"float32": f"_{size}", "bf16": "multiply_bf16_", "tf32x3": "multiply_tf32_"}[precision])
        assert any(word in k for k in kernels)


def check(room, case) -> None:
    """Outputs, and gradients written and then accumulated, against the float64 reference."""
    found = run_gradients(room, case)
    for k, e in enumerate(case.expected()):
        compare(f"out{k}", found[f"out{k}"], e, case.tolerance, case.exact)
    if case.differentiable:
        wanted = case.gradients(*douts(case))
        for name in case.differentiable:
            compare(f"d{name}", found[f"d{name}"], wanted[name], case.gradient_tolerance)
            twice = 2 * np.asarray(wanted[name])
            compare(f"d{name} accumulated", found[f"d{name} accumulated"], twice, case.gradient_tolerance)


@pytest.mark.parametrize("room, case", on_gpu())
def test_values_and_gradients(room, case, request):
    with gpu(request):
        check(room, case)


FEW = {"matmul": 1, "layernorm": 2, "softmax_cross_entropy": 2, "embedding": 1}


@pytest.mark.parametrize("room", FEW)
def test_the_way_to_a_gpu(room, monkeypatch, tmp_path):
    """A few cases through the executor: what runs on a GPU is known to run."""
    library = build(tmp_path)
    monkeypatch.setenv("DLCORE_CUDA_DRIVER", str(library))
    monkeypatch.setattr(cuda_device, "_devices", {})
    driver = FakeDriver(library)
    driver.setup()
    set_device("cuda")
    try:
        for p in [p for p in cases(lambda c: sum(v.size for v in c.inputs.values() if v is not None) < 2000)
                  if p.values[0] == room][: FEW[room]]:  # fmt: skip
            check(*p.values)
    finally:
        set_device("cpu")
        cuda_device._devices.clear()
        gc.collect()
    assert driver.problem is None
