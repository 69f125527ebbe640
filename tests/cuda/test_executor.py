"""The executor on a driver that is none: its launches are interpreted.  And what users are told where something is missing."""

from __future__ import annotations

import gc
import json

import numpy as np
import pytest
from click.testing import CliRunner
from optim.test_sparse import RULES, Rows, V, batch, dense
from ptx.driver import BEGIN, COPY_IN, FOLLOW, LAUNCH, MARK, RECORD, REPLAY, SYNC, WAIT

import dlcore
from dlcore.cli import profile
from dlcore.errors import DeviceError, UsageError
from dlcore.graph import Graph, plan
from dlcore.ops import matmul, relu
from dlcore.optim import SGD
from dlcore.runtime import cuda_device, device, device_reason, set_device


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
    assert not driver.live and driver.pinned, "a view keeps its memory, which is the processor's"
    del view
    gc.collect()
    assert not driver.pinned
    weights = dlcore.runtime.shared_memory(100)
    assert list(driver.live.values()) == [100]
    del weights
    gc.collect()
    assert not driver.live


def trained_weights(where, steps):
    """A network's weights before and after `steps` steps, and after two more."""
    set_device(where)
    x, y = digits()
    model = network()
    model.build((None, 5))
    found = [model.get_weights()]
    for n in (steps, 2):
        for _ in range(n):
            model.train_on_batch(x[:16], y[:16])
        found.append(model.get_weights())
    return model, found


def test_both_sides_see_what_the_other_wrote(driver):
    """Weights that the GPU trained are read; those that the processor sets are what the GPU goes on with."""
    model, found = trained_weights("cuda", 3)
    _, wanted = trained_weights("cpu", 3)
    for got, expected in zip(found, wanted, strict=True):
        for a, b in zip(got, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=2e-5)
    x, y = digits()
    before = model.predict(x)
    model.set_weights([2 * w for w in found[0]])
    changed = model.predict(x)
    model.set_weights(found[2])
    assert np.abs(before - changed).max() > 1e-3
    np.testing.assert_array_equal(model.predict(x), before)


def test_averages_of_weights_change_places(driver):
    def run(where):
        set_device(where)
        x, y = digits()
        model = network()
        model.compile(SGD(0.1, use_ema=True, ema_momentum=0.5), "sparse_categorical_crossentropy")
        model.fit(x, y, batch_size=20, epochs=2, verbose=0)
        return model.predict(x)

    np.testing.assert_allclose(run("cuda"), run("cpu"), rtol=0, atol=2e-5)


@pytest.fixture
def long_blocks(monkeypatch):
    """The loop joins 1, 2, 4, ... steps, however long they take."""
    monkeypatch.setattr("dlcore.training.loop.BLOCK_SECONDS", 1e9)


def test_steps_follow_one_another_without_a_stall(driver, long_blocks):
    """In a block of steps the next one is begun before the loss of the one before is waited for, and no stream is waited for."""
    set_device("cuda")
    x, y = digits(56)
    model = network()
    model.fit(x, y, batch_size=8, epochs=1, verbose=0)
    driver.events.clear()
    model.fit(x, y, batch_size=8, epochs=1, verbose=0)
    told = [e for e in driver.events if e in (REPLAY, WAIT, RECORD)]
    joined = [told[i : i + 5] for i in range(len(told))]
    assert [REPLAY, RECORD, REPLAY, RECORD, WAIT] in joined and [WAIT, REPLAY, RECORD, WAIT, REPLAY] in joined
    assert told.count(REPLAY) == told.count(WAIT) == 7
    first, last = driver.events.index(REPLAY), len(driver.events) - driver.events[::-1].index(REPLAY)
    assert SYNC not in driver.events[first:last]


def test_a_bad_step_in_a_block_changes_nothing(driver, long_blocks):
    """The step behind it has begun already: its update reads the status, and leaves the weights as they were."""
    def run(where):
        set_device(where)
        x, y = digits(56)
        x[41] = 3e38
        model = network()
        model.compile(SGD(0.1), "sparse_categorical_crossentropy")
        with pytest.raises(dlcore.errors.DivergedError) as caught:
            model.fit(x, y, batch_size=8, epochs=1, verbose=0, shuffle=False)
        step, weights = model.state.step, model.get_weights()
        model.train_on_batch(x[:8], y[:8])
        return str(caught.value), step, weights, model.get_weights()

    with np.errstate(all="ignore"):
        message, step, weights, later = run("cuda")
        expected, wanted, *both = run("cpu")
    assert step == wanted == 5 and message.splitlines()[:2] == expected.splitlines()[:2]
    for got, right in zip((weights, later), both, strict=True):
        for a, b in zip(got, right, strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=2e-5)


def test_inputs_are_copied_while_something_else_runs(driver):
    set_device("cuda")
    graph = Graph()
    instance = plan(graph, {"out": relu(graph.input("x", 100))}).bind()
    instance.run()
    driver.events.clear()
    instance["x"][:] = np.arange(100) - 50
    instance.send()
    assert driver.events[-2:] == [COPY_IN, RECORD] and REPLAY not in driver.events
    instance.run()
    np.testing.assert_array_equal(instance["out"], np.maximum(np.arange(100) - 50, 0))
    assert driver.events.index(FOLLOW) < driver.events.index(REPLAY)
    instance["x"][:] = 7
    instance.run()
    assert (instance["out"] == 7).all()


def test_batches_that_are_loaded_ahead(driver):
    """A source's batches go to the GPU while the step before runs; training is that of the processor."""
    from dlcore.data.loader import Source

    class Rows(Source):
        def __init__(self, x, y):
            super().__init__(len(x), x.shape[1:], y)
            self.x = x

        def fill(self, x, y, rows, seed, epoch, position):
            super().fill(x, y, rows, seed, epoch, position)
            x[...] = self.x[rows]

    def run(where):
        set_device(where)
        model = network()
        history = model.fit(Rows(*digits()), batch_size=16, epochs=2, verbose=0)
        return history.history["loss"]

    np.testing.assert_allclose(run("cuda"), run("cpu"), rtol=2e-5)
    assert FOLLOW in driver.events


def test_without_memory_pools(driver):
    driver.setup(pools=False)
    set_device("cuda")
    graph = Graph()
    (found,) = plan(graph, {"out": relu(graph.input("x", 5))}).bind().call((np.arange(5) - 2.0,))
    np.testing.assert_array_equal(found, [0, 0, 0, 1, 2])


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
    monkeypatch.setattr(cuda_device, "_devices", {})
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
    assert caught.value.expected == "96 MiB" and "8 of 16 MiB free" in caught.value.got
    assert "8 % of this one" in caught.value.hint and "arena 32 MiB" in caught.value.where


def test_a_full_gpu_says_which_batch_fits(driver):
    set_device("cuda")
    x = np.zeros((4096, 300), np.float32)
    model = dlcore.Sequential([dlcore.layers.Dense(300, activation="relu"), dlcore.layers.Dense(300)])
    model.compile("sgd", "mean_squared_error")
    with pytest.raises(DeviceError, match="memory is full") as caught:
        model.train_on_batch(x, x)
    assert "a batch of about" in caught.value.hint and "of 4096" in caught.value.hint


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


def test_each_call_is_timed_by_events(driver):
    """What each call of a training step takes on the fake GPU's clock, an instruction a nanosecond; what it writes is put back."""
    set_device("cuda")
    x, y = digits()
    model = network()
    model.train_on_batch(x[:16], y[:16])
    (runner,) = [r for s, r in model.programs.runners.items() if s.kind == "train"]
    before, program = model.get_weights(), runner.instance.program
    driver.events.clear()
    seconds = runner.instance.time(3)
    assert driver.events.count(REPLAY) == 4 and driver.events.count(BEGIN) == 1
    assert driver.events.count(MARK) == len(program.steps) + 1, "recorded once, as nodes of the graph"
    assert len(seconds) == len(program.steps) and min(seconds) > 1e-8 and max(seconds) > 5 * min(seconds)
    for a, b in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)
    threads = [row["threads"] for row in program.table()]
    assert min(threads) >= 256 and program.describe()["groups"] == len(program.steps)


@pytest.mark.parametrize("options", [[], ["--train"]], ids=["predict", "train"])
def test_profile_of_a_gpu(driver, tmp_path, monkeypatch, options):
    """The table of `dlcore profile`: the same rows as on a processor, and where they ran."""
    monkeypatch.setattr(profile, "loop_overhead", lambda *arguments: {"loop_overhead_us": 1.5})  # dozens of steps more
    x, y = digits(24)
    made = dlcore.TabularClassifier(hidden=(4,), epochs=1, batch_size=8).fit(x, y)
    made.save(tmp_path / "m.dlc")
    words = [str(tmp_path / "m.dlc"), "--batch", "4", "--repeats", "1", "--device", "cuda", *options]
    done = CliRunner().invoke(profile.command, [*words, "--json"], catch_exceptions=False)
    report = json.loads(done.stdout)
    assert report["device"] == "cuda Fake GPU" and report["part"] == (options[0][2:] if options else "predict")
    assert len(report["calls"]) == report["groups"] and all(row["seconds"] > 0 for row in report["calls"])
    assert {"call", "kernel", "shapes", "bytes", "flops", "segment", "group", "threads", "seconds"} == set(report["calls"][0])
    text = "\n".join(profile.lines(report))
    assert "us on cuda Fake GPU" in text and "dense" in text and ("fit adds 1.5 us" in text) == bool(options)
