"""Helpers of these tests lie beside this folder: `ptx`, the interpreter, and `ops.harness`."""

from __future__ import annotations

import sys
from pathlib import Path

TESTS = str(Path(__file__).resolve().parent.parent)
if TESTS not in sys.path:
    sys.path.append(TESTS)

import gc  # noqa: E402  (what follows is found there)

import pytest  # noqa: E402
from ptx.driver import FakeDriver, build  # noqa: E402

from dlcore.runtime import cuda_device, set_device  # noqa: E402


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return build(tmp_path_factory.mktemp("driver"))


@pytest.fixture
def driver(library, monkeypatch):
    """A fake driver in the place of libcuda, and the processor chosen again afterwards."""
    monkeypatch.setenv("DLCORE_CUDA_DRIVER", str(library))
    monkeypatch.setattr(cuda_device, "_devices", {})
    fake = FakeDriver(library)
    fake.setup()
    yield fake
    set_device("cpu")
    cuda_device._devices.clear()
    gc.collect()
    assert fake.problem is None
