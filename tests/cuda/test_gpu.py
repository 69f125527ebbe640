"""The rooms' cases on a GPU, where there is one; and the way they go there on a driver that is none.

`.ci/gpu` runs this, the same under NVIDIA's compute-sanitizer, and the benchmarks.
"""

from __future__ import annotations

import gc

import numpy as np
import pytest
from ops.harness import cases, compare, douts, run_gradients
from ptx.driver import FakeDriver, build

from dlcore.errors import DeviceError
from dlcore.runtime import cuda_device, set_device


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
def test_values_and_gradients(room, case):
    set_device("cuda")
    try:
        check(room, case)
    finally:
        set_device("cpu")


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
