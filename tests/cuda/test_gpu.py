"""The rooms' cases on a GPU, where there is one; and the way they go there on a driver that is none.

`.ci/gpu` runs this, the same under NVIDIA's compute-sanitizer, and the benchmarks.
"""

from __future__ import annotations

import faulthandler
import gc
import os
import sys
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from ops.harness import cases, compare, douts, run_gradients
from ptx.driver import FakeDriver, build

from dlcore.errors import DeviceError
from dlcore.graph import Graph, plan
from dlcore.ops import conv2d, matmul
from dlcore.ops.conv2d.ref import conv2d as conv2d_ref
from dlcore.runtime import cuda_device, set_device
from dlcore.runtime.cuda_table import cuda_table

SECONDS = 60  # that a case on a GPU may take


@contextmanager
def gpu(request):
    """Computing on the GPU.  A kernel that never ends, or after which the GPU refuses everything, ends the process: under
    pytest-xdist the other cases go on in a new one."""
    faulthandler.dump_traceback_later(SECONDS, exit=True, file=2)
    set_device("cuda")
    try:
        yield
    except DeviceError as fault:
        if "process must be started again" in fault.hint and "PYTEST_XDIST_WORKER" in os.environ:
            request.config.pluginmanager.getplugin("capturemanager").suspend_global_capture(in_=True)
            print(f"{request.node.name}: {fault}", file=sys.stderr, flush=True)
            os._exit(3)
        raise
    finally:
        faulthandler.cancel_dump_traceback_later()
        set_device("cpu")


def reason() -> str:
    """Why there is no GPU to run on; "" if there is one."""
    try:
        set_device("cuda")
    except DeviceError as error:
        return error.message
    finally:
        set_device("cpu")
    return ""


def on_gpu() -> list:
    if missing := reason():
        return [pytest.param("", None, id="gpu", marks=pytest.mark.skip(reason=f"no GPU: {missing}"))]
    return [pytest.param(*p.values, id=f"gpu-{p.id}") for p in cases()]


PRODUCTS = [f"{size} {form}" for size in ("large", "middle", "less") for form in ("nn", "nt", "tn")]
LARGE = [(precision, form) for precision in ("float32", "bf16", "tf32x3") for form in (*PRODUCTS, "long", "longer", "convolution")
         if (precision, form) != ("float32", "longer")]
LIMIT = {"float32": 3e-6, "bf16": 1e-2, "tf32x3": 3e-6}  # of the norm


def large_on_gpu() -> list:
    if missing := reason():
        return [pytest.param("", "", id="gpu-large", marks=pytest.mark.skip(reason=f"no GPU: {missing}"))]
    return [pytest.param(*p, id=f"gpu-{'conv2d' if p[1] == 'convolution' else 'matmul'}-large-{p[0]}-{p[1]}") for p in LARGE]


def large_product(form: str) -> tuple[dict[str, np.ndarray], Any, np.ndarray]:
    """(operands, op, what is right) of a product that is made by the kernels for large ones."""
    rng = np.random.default_rng(0)
    if form == "convolution":
        x, w = rng.standard_normal((8, 31, 33, 32), np.float32), rng.standard_normal((3, 3, 32, 72), np.float32)
        options = {"padding": "same", "stride": 2}
        wanted = conv2d_ref(x.astype(np.float64), w.astype(np.float64), **options)
        return {"a": x, "b": w}, lambda a, b: conv2d(a, b, **options), wanted
    sizes = {"long": (130, 200, 5000), "longer": (300, 400, 5000)}
    sizes |= {"large": (2060, 2100, 500), "middle": (1030, 1100, 1000), "less": (330, 401, 500)}
    M, N, K = sizes[form.split()[0]]
    kind = "tn" if "long" in form else form.split()[1]
    a, b = (rng.standard_normal(s, np.float32) for s in
            {"nn": ((M, K), (K, N)), "nt": ((M, K), (N, K)), "tn": ((K, M), (K, N))}[kind])  # fmt: skip
    exact_a, exact_b = a.astype(np.float64), b.astype(np.float64)
    wanted = {"nn": lambda: exact_a @ exact_b, "nt": lambda: exact_a @ exact_b.T, "tn": lambda: exact_a.T @ exact_b}[kind]()
    return {"a": a, "b": b}, lambda x, y: matmul(x, y, kind), wanted


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
