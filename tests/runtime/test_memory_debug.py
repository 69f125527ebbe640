"""DLCORE_DEBUG: guard zones, poison, inputs; and the replay that names the first call that went wrong."""
from __future__ import annotations

import numpy as np
import pytest
from runtime.handmade import Builder, Place, filled, training

from dlcore.errors import DataError
from dlcore.graph.declaration import Slot
from dlcore.runtime import allocate, kernel_table
from dlcore.runtime.buffers import GUARD, damage, mend
from dlcore.runtime.debug import MemoryFault


@pytest.fixture(params=["1", "2"])
def debug(request, monkeypatch):
    monkeypatch.setenv("DLCORE_DEBUG", request.param)
    return int(request.param)


def test_buffers_are_aligned_and_zero(monkeypatch):
    for level in ("", "1"):
        monkeypatch.setenv("DLCORE_DEBUG", level)
        for size in (1, 64, 1000):
            buffer = allocate(size)
            assert buffer.nbytes == size and not buffer.any() and buffer.dtype == np.uint8
            assert buffer.ctypes.data % 64 == 0
        assert allocate(0).nbytes == 0


def test_guard_zones_show_where(debug):
    buffer = allocate(1000)
    assert damage(buffer) == ""
    around = buffer.base
    at = buffer.ctypes.data - around.ctypes.data
    around[at + 1008] = 1
    assert damage(buffer) == "1 bytes 8 bytes behind its end" and damage(buffer[:1000].view(np.uint8)) != ""
    mend(buffer)
    around[at - 3] = 1
    assert damage(buffer) == "1 bytes 3 bytes before its beginning" and GUARD >= 4096
    mend(buffer)
    assert damage(buffer) == "" and damage(np.zeros(4)) == ""


def overrunning(inner: bool):
    """A call that writes behind its output: behind the buffer, or into its neighbour in the same buffer."""
    b = Builder()
    x = b.leaf("x", "inputs", 64)
    hidden = b.array("arena", 64)
    b.call("affine", x, hidden, scalars=(1.0, 0), label="first layer")
    b.call("overrun", hidden, b.array("arena", 64), scalars=(Slot("extra", "i64"),), label="second layer")
    if inner:
        b.array("arena", 64)
    b.call("affine", hidden, b.output("out", 64), scalars=(1.0, 0), label="third layer")
    return b.program()


@pytest.mark.parametrize("extra", [1, 5, -70])
def test_an_overrun_is_caught_and_named(kernels, debug, extra):
    instance = overrunning(False).bind(table=kernel_table(folder=kernels))
    instance.run()
    with pytest.raises(MemoryFault, match="second layer wrote outside its outputs") as e:
        instance.run(extra=extra)
    assert "arena" in e.value.where and "overrun[f32], call 1" in e.value.got


def test_an_overrun_inside_a_buffer_is_caught_at_level_2(kernels, monkeypatch):
    monkeypatch.setenv("DLCORE_DEBUG", "2")
    instance = overrunning(True).bind(table=kernel_table(folder=kernels))
    instance.run()
    with pytest.raises(MemoryFault, match="second layer") as e:
        instance.run(extra=1)
    assert e.value.where == "buffer arena: 4 bytes, the first at 512"


def test_what_is_not_written_is_nan(kernels, debug):
    """A program that reads memory which nothing wrote gives NaN, not yesterday's numbers."""
    b = Builder()
    b.leaf("x", "inputs", 8)
    b.call("affine", b.array("arena", 8), b.output("out", 8), scalars=(1.0, 0))
    b.output("never", 8)
    instance = b.program().bind(table=kernel_table(folder=kernels))
    instance.run()
    assert np.isnan(instance["out"]).all() and np.isnan(instance["never"]).all()


def test_debug_runs_give_the_same_bits(kernels, monkeypatch, debug):
    program = training()
    checked = filled(program, kernels)
    monkeypatch.setenv("DLCORE_DEBUG", "")
    plain = filled(program, kernels)
    for instance in (checked, plain):
        instance.run("forward", "backward")
        instance.run("forward", "backward", accumulate=True)
        instance.run("update", lr=0.5)
    for name in ("out", "b2"):
        np.testing.assert_array_equal(checked[name], plain[name])
    np.testing.assert_array_equal(checked.gradient("b2"), plain.gradient("b2"))


def test_inputs_are_checked(kernels, debug):
    instance = filled(training(), kernels)
    instance["x"][2, 3] = np.nan
    with pytest.raises(DataError, match="not finite") as e:
        instance.run(lr=0.1)
    assert e.value.where == "x[2, 3]" and e.value.got == "nan"


def test_the_first_bad_step_is_named(kernels):
    b = Builder()
    x, weight = b.leaf("x", "inputs", 4, 6), b.leaf("w", "weights", 24)
    hidden, cut = b.array("arena", 24), b.output("cut", 24)
    b.call("affine", Place("inputs", 0, (24,)), hidden, scalars=(1.0, -1), label="shift")
    b.call("logarithm", hidden, cut, label="log of layer 1")
    b.segment = "backward"
    b.call("plus", cut, cut, Place("gradients", 0, (24,)), add=(2,))
    b.segment = "update"
    b.call("sgd", Place("gradients", 0, (24,)), b.leaf("status", "state", 1, dtype="i64"), weight, scalars=(1.0,))
    b.sizes["gradients"] = b.sizes["weights"]
    instance = b.program().bind(table=kernel_table(folder=kernels))
    instance["x"][:] = 2
    assert instance.first_bad_step() is None
    instance["x"].reshape(-1)[[5, 7]] = 1, 0.5
    instance["cut"][:] = 3
    instance.gradient("w")[:] = 4
    bad = instance.first_bad_step()
    assert (bad.step, bad.label, bad.kernel, bad.segment) == (1, "log of layer 1", "logarithm", "forward")
    assert (bad.array, bad.count, bad.index, bad.value) == ("out", 2, (5,), -np.inf)
    assert "log of layer 1 (forward, call 1) wrote 2 values that are not finite into out[24]" in str(bad)
    assert (instance["cut"] == 3).all() and (instance.gradient("w") == 4).all() and not instance["w"].any()
    assert x.shape == (4, 6)
