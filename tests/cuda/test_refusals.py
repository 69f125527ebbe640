"""What is refused by a GPU, or fails there: kernels are named, avoided, or run by the code that all GPUs can run."""

from __future__ import annotations

import gc

import numpy as np
import pytest
from ptx.driver import BEGIN, LAUNCH, SYNC

import dlcore
from dlcore.errors import DeviceError
from dlcore.graph import Graph, plan
from dlcore.ops import matmul, relu
from dlcore.runtime import cuda_table, set_device


def recurrent():
    """An LSTM of 66 units, whose kernels have clusters on Hopper: (what it gives, what is right)."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1, 3, 4)).astype(np.float32)

    def run(where):
        set_device(where)
        return dlcore.Sequential([dlcore.layers.LSTM(66)], seed=1).predict(x)

    return run("cuda"), run("cpu")


@pytest.mark.parametrize("most, variables, arch", [
    (16, {}, "sm_90a"), (0, {}, ""), (-1, {}, "sm_90a"), (16, {"DLCORE_CUDA_COMMON": "gru_*, lstm_*"}, ""),
], ids=["room", "no room", "not said", "told"])  # fmt: skip
def test_clusters_that_find_no_room(driver, monkeypatch, most, variables, arch):
    """The code of all GPUs takes the place of that with clusters, and is launched in its own way."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    driver.library.fake_clusters(most)
    found, wanted = recurrent()
    np.testing.assert_allclose(found, wanted, rtol=0, atol=2e-6)
    assert driver.symbols[-1] == ("dl_lstm_forward_128_f32", arch)


def test_kernels_that_are_avoided(driver, monkeypatch):
    """A call is then made of what it is made of where they do not serve; the list is read when the kernels' is."""
    monkeypatch.setattr(cuda_table, "_tables", {})
    monkeypatch.setenv("DLCORE_CUDA_AVOID", "lstm_forward_128,lstm_forward_256,lstm_forward_5*")
    found, wanted = recurrent()
    np.testing.assert_allclose(found, wanted, rtol=0, atol=2e-6)
    assert driver.symbols[-1][0] == "dl_lstm_forward_f32"


@pytest.mark.parametrize("singly, what", [("0", "recording a kernel"), ("1", "starting a step")])
def test_a_kernel_that_fails_is_named(driver, monkeypatch, singly, what):
    monkeypatch.setenv("DLCORE_CUDA_SINGLY", singly)
    set_device("cuda")
    graph = Graph()
    instance = plan(graph, {"out": relu(matmul(graph.input("a", 8, 4), graph.input("b", 4, 8)))}).bind()
    driver.library.fake_refuse(2)
    with pytest.raises(DeviceError, match=f"{what}: dl_relu_forward_f32") as caught:
        instance.run()
    driver.library.fake_refuse(0)
    assert "DLCORE_CUDA_COMMON" in caught.value.hint


def test_launches_one_by_one(driver, monkeypatch):
    """Without a graph, and with the same numbers."""
    monkeypatch.setenv("DLCORE_CUDA_SINGLY", "1")
    set_device("cuda")
    graph, rng = Graph(), np.random.default_rng(0)
    instance = plan(graph, {"out": relu(matmul(graph.input("a", 8, 4), graph.input("b", 4, 8)))}).bind()
    for _ in range(2):
        a, b = rng.standard_normal((8, 4)).astype(np.float32), rng.standard_normal((4, 8)).astype(np.float32)
        driver.events.clear()
        (found,) = instance.call((a, b))
        np.testing.assert_allclose(found, np.maximum(a @ b, 0), atol=1e-5)
        assert [e for e in driver.events if e in (BEGIN, LAUNCH, SYNC)][-4:] == [LAUNCH, SYNC, LAUNCH, SYNC]
    assert instance.time(1) and BEGIN in driver.events, "calls are timed in a graph"


def test_memory_is_freed_behind_copies(driver):
    """Inputs that were sent ahead, and that no step took."""
    set_device("cuda")
    graph = Graph()
    instance = plan(graph, {"out": relu(graph.input("x", 100))}).bind()
    instance["x"][:] = 1
    instance.send()
    assert len(driver.queues[1]) == 2
    del instance
    gc.collect()
    assert not driver.live and not driver.pinned and not driver.queues[1]
