"""The executor on a driver that is none: its launches are interpreted.  And what users are told where something is missing."""

from __future__ import annotations

import gc

import numpy as np
import pytest
from optim.test_sparse import RULES, Rows, V, batch, dense
from ptx.driver import BEGIN, LAUNCH, REPLAY, FakeDriver, build

import dlcore
from dlcore.errors import DeviceError, UsageError
from dlcore.graph import Graph, plan
from dlcore.ops import matmul, relu
from dlcore.runtime import cuda, device, device_reason, set_device


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return build(tmp_path_factory.mktemp("driver"))


@pytest.fixture
def driver(library, monkeypatch):
    """A fake driver in the place of libcuda, and the processor chosen again afterwards."""
    monkeypatch.setenv("DLCORE_CUDA_DRIVER", str(library))
    monkeypatch.setattr(cuda, "_devices", {})
    fake = FakeDriver(library)
    fake.setup()
    yield fake
    set_device("cpu")
    cuda._devices.clear()
    gc.collect()
    assert fake.problem is None


def network():
    layers = dlcore.layers
    members = [layers.Dense(12, activation="relu"), layers.Dropout(0.25), layers.Dense(3, activation="softmax")]
    model = dlcore.Sequential(members, seed=3)
    model.compile("adam", "sparse_categorical_crossentropy")
    return model


def digits(n=40):
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, n)
    return (rng.standard_normal((n, 5)) + y[:, None]).astype(np.float32), y.astype(np.int32)


def trained(where):
    set_device(where)
    x, y = digits()
    model = network()
    history = model.fit(x, y, batch_size=16, epochs=2, verbose=0)
    return model.predict(x), history.history["loss"], model


def test_training_is_that_of_the_processor(driver):
    """Weights, dropout, Adam, loss, prediction: a whole `fit`, with a smaller last batch."""
    on_gpu, losses, model = trained("cuda")
    assert device.device() == "cuda:0" and "Fake GPU" in device_reason()
    expected, wanted, _ = trained("cpu")
    np.testing.assert_allclose(losses, wanted, rtol=2e-5)
    np.testing.assert_allclose(on_gpu, expected, rtol=0, atol=2e-5)
    assert driver.events.count(REPLAY) >= 2 * 3 + 1 and driver.events.count(BEGIN) < 6


@pytest.mark.parametrize("optimizer, rule, options", RULES[3:6], ids=["adagrad-rows", "adagrad-rows-decay", "adam-rows"])
def test_updates_of_single_rows(driver, optimizer, rule, options):
    """As tests/optim/test_sparse.py."""
    set_device("cuda")
    training, states = Rows(optimizer), [{} for _ in range(V)]
    expected = training.instance["table"].astype(np.float64)
    for step in (1, 2):
        ids, x = batch(step)
        got, g = training.step(ids, x, step, 0.05 / step), dense(ids, x)
        for v in np.unique(ids):
            expected[v] = rule(expected[v], g[v], states[v], 0.05 / step, step, **options)
    np.testing.assert_allclose(got, expected, rtol=0, atol=3e-6)


def test_a_step_is_one_graph(driver):
    set_device("cuda:0")
    graph = Graph()
    out = relu(matmul(graph.input("a", 8, 4), graph.input("b", 4, 8)))
    instance = plan(graph, {"out": out}).bind()
    rng = np.random.default_rng(0)
    for _ in range(3):
        a, b = rng.standard_normal((8, 4)).astype(np.float32), rng.standard_normal((4, 8)).astype(np.float32)
        (found,) = instance.call((a, b))
        np.testing.assert_allclose(found, np.maximum(a @ b, 0), atol=1e-5)
    assert driver.events.count(BEGIN) == 1 and driver.events.count(REPLAY) == 3 and driver.events.count(LAUNCH) == 2


def test_doctor_checks_the_kernels_of_a_gpu(driver):
    from dlcore.cli import selftest

    set_device("cuda")
    ok, text = selftest.entries()
    assert ok and "kernels loaded on Fake GPU, as sm_90a" in text
    instance, values = selftest._instance(*selftest.FUNCTIONS["dense"])
    assert np.isfinite(selftest._loss(instance, values))


def test_memory_is_given_back(driver):
    set_device("cuda")
    graph = Graph()
    instance = plan(graph, {"out": relu(graph.input("x", 100))}).bind()
    assert driver.live
    view = instance["out"]
    del instance
    gc.collect()
    assert driver.live, "a view keeps its memory"
    del view
    gc.collect()
    assert not driver.live


@pytest.mark.filterwarnings("ignore:overflow encountered")
def test_a_step_that_diverges_names_the_call(driver):
    set_device("cuda")
    x, y = digits()
    x[7] = 3e38

    model = network()
    with pytest.raises(dlcore.errors.DivergedError) as caught:
        model.fit(x, y, batch_size=40, epochs=1, verbose=0)
    assert "dense" in str(caught.value)


@pytest.mark.parametrize("facts, message, hint", [
    ({"version": 12040}, "the NVIDIA driver is too old", "install a newer driver"),
    ({"count": -1}, "the GPU failed at starting the driver", "no GPU can be seen"),
    ({"count": 0}, "there is no GPU 0", "nvidia-smi"),
    ({"capability": (7, 5)}, "Fake GPU is too old", "--device cpu"),
])  # fmt: skip
def test_what_is_missing_is_said(driver, facts, message, hint):
    driver.setup(**facts)
    with pytest.raises(DeviceError) as caught:
        set_device("cuda")
    assert message in caught.value.message and hint in caught.value.hint and caught.value.exit_code == 7
    assert message in set_device("auto") and device.device() == "cpu"


def test_without_a_driver(monkeypatch):
    monkeypatch.setenv("DLCORE_CUDA_DRIVER", "libnothing.so.7")
    monkeypatch.setattr(cuda, "_devices", {})
    with pytest.raises(DeviceError, match="there is no NVIDIA driver"):
        set_device("cuda")
    assert set_device("auto").startswith("cpu: there is no NVIDIA driver")


def test_a_gpu_that_is_not_there(driver):
    with pytest.raises(DeviceError, match="there is no GPU 3") as caught:
        set_device("cuda:3")
    assert caught.value.expected == "0 to 0" and caught.value.got == "cuda:3"
    with pytest.raises(UsageError, match="no such device"):
        set_device("gpu")


def test_a_full_gpu_says_how_much_was_asked_for(driver):
    set_device("cuda")
    graph = Graph()
    program = plan(graph, {"out": relu(relu(graph.input("x", 1 << 23)))})
    with pytest.raises(DeviceError, match="memory is full") as caught:
        program.bind()
    assert caught.value.expected == "32 MiB" and "8 of 16 MiB free" in caught.value.got


def test_a_lost_device(driver):
    set_device("cuda")
    graph = Graph()
    instance = plan(graph, {"out": relu(graph.input("x", 10))}).bind()
    driver.library.fake_fail(719)
    with pytest.raises(DeviceError, match="running a step") as caught:
        instance.run()
    driver.library.fake_fail(0)
    assert "CUDA_ERROR_LAUNCH_FAILED" in caught.value.got and "started again" in caught.value.hint


def test_kernels_that_do_not_fit_the_gpu(driver):
    set_device("cuda")
    graph = Graph()
    instance = plan(graph, {"out": relu(graph.input("x", 10))}).bind()
    driver.library.fake_fail(209)
    with pytest.raises(DeviceError, match="loading dl_relu_forward_f32") as caught:
        instance.run()
    driver.library.fake_fail(0)
    assert "other GPUs" in caught.value.hint


def test_memory_of_the_processor_is_refused(driver):
    graph = Graph()
    graph.weight("w", 10)
    set_device("cuda")
    program = plan(graph, {"out": relu(graph.leaves["w"])})
    with pytest.raises(UsageError, match="lies in the processor's memory"):
        program.bind({"weights": dlcore.runtime.allocate(64)})
    set_device("cpu")
    with pytest.raises(UsageError, match="was planned for a GPU"):
        program.bind()
