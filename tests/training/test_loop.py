"""The loop: hooks, stopping, resuming at any step to the same bits, steps that diverge."""
import threading

import numpy as np
import pytest

import dlcore as dl
from dlcore.errors import DataError, DivergedError, UsageError
from dlcore.layers import Dense, Dropout
from dlcore.layers.initializers import generator, philox_key
from dlcore.optim import SGD, Adam
from dlcore.runtime.permutation import permutation
from dlcore.training import ArrayFeed, Loop, TrainingState, dataset
from dlcore.training.feed import SHUFFLE, order


def data(rows=70, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((rows, 4)).astype(np.float32), rng.integers(0, 3, rows)


@pytest.mark.parametrize("rows", [0, 1, 2, 3, 8, 9, 1000, 4097])
def test_the_order_of_an_epoch_is_numpys(rows):
    """Drawn in a way of its own, to the same numbers."""
    for epoch in range(3):
        expected = generator(7, SHUFFLE, epoch).permutation(rows)
        got = order(rows, 7, epoch, True)
        assert got.dtype == np.int32 and np.array_equal(got, expected)


def test_too_many_rows_for_an_order():
    with pytest.raises(DataError, match="too many rows"):
        permutation(1 << 31, philox_key(0))


def make(optimizer=None):
    model = dl.Sequential([Dense(8, activation="relu", input_shape=(4,)), Dropout(0.3), Dense(3, activation="softmax")])
    model.compile(optimizer or Adam(0.01), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def bits(model):
    return np.concatenate([w.ravel() for w in model.get_weights()]).tobytes()


@pytest.mark.parametrize("optimizer", [lambda: Adam(0.01), lambda: SGD(0.05, momentum=0.9)])
@pytest.mark.parametrize("at", [1, 4, 5, 8, 13])
def test_resume_at_any_step_gives_the_same_bits(at, optimizer):
    """5 steps an epoch; the state is exported after step `at` and restored into a fresh model."""
    x, y = data()
    whole = make(optimizer())
    feed = ArrayFeed(whole, dataset.make(whole, x, y), 16, True, 7)
    reports = list(Loop(whole, feed, TrainingState(7), 3))
    assert [r.epoch for r in reports] == [0, 1, 2] and all(r.complete and r.rows == 70 for r in reports)

    first = make(optimizer())
    loop = Loop(first, ArrayFeed(first, dataset.make(first, x, y), 16, True, 7), TrainingState(7), 3)
    exported = []

    def on_step(position):
        if loop.state.step == at:
            exported.append(loop.state.export(first))
            loop.stop = True
    loop.on_step = on_step
    partial = list(loop)
    assert partial[-1].complete == (at % 5 == 0)

    second = make(optimizer())
    second.train_on_batch(x, y)             # whatever it did before is overwritten
    state = TrainingState.restore(second, *exported[0])
    resumed = list(Loop(second, ArrayFeed(second, dataset.make(second, x, y), 16, True, 7), state, 3))
    assert bits(second) == bits(whole)
    assert resumed[-1].logs == reports[-1].logs
    assert state.step == 15 and state.epoch == 3 and state.position == 0
    if at in (1, 4, 8, 13):                 # means of an epoch count what was before the stop, too
        assert resumed[0].logs == reports[at // 5].logs


def test_stopped_model_itself_goes_on():
    x, y = data()
    whole, parts = make(), make()
    list(Loop(whole, ArrayFeed(whole, dataset.make(whole, x, y), 16, True, 1), TrainingState(1), 2))
    feed, state = ArrayFeed(parts, dataset.make(parts, x, y), 16, True, 1), TrainingState(1)
    for _ in range(10):
        loop = Loop(parts, feed, state, 2)
        loop.on_step = lambda position, loop=loop: setattr(loop, "stop", True)
        list(loop)
    assert bits(parts) == bits(whole)


def test_a_foreign_state_is_refused():
    x, y = data()
    a = make()
    a.train_on_batch(x, y)
    exported = a.state.export(a)
    other = dl.Sequential([Dense(3, activation="softmax", input_shape=(4,))])
    other.compile("adam", "sparse_categorical_crossentropy")
    with pytest.raises(UsageError, match="another model"):
        TrainingState.restore(other, *exported)


class Record(dl.Callback):
    def __init__(self):
        self.seen = []

    def on_train_begin(self, logs=None):
        self.seen.append("begin")

    def on_epoch_begin(self, epoch, logs=None):
        self.seen.append(("epoch", epoch))

    def on_train_batch_end(self, batch, logs=None):
        self.seen.append((batch, sorted(logs)))

    def on_epoch_end(self, epoch, logs=None):
        self.seen.append(("end", epoch, sorted(logs)))

    def on_train_end(self, logs=None):
        self.seen.append("done")


class StopAt(dl.Callback):
    def __init__(self, batch):
        self.batch = batch

    def on_train_batch_end(self, batch, logs=None):
        self.model.stop_training = batch == self.batch


def test_callbacks():
    x, y = data(40)
    model, record = make(), Record()
    model.fit(x, y, batch_size=20, epochs=2, callbacks=[record], validation_data=(x, y), verbose=0)
    step, whole = ["accuracy", "loss"], ["accuracy", "loss", "val_accuracy", "val_loss"]
    assert record.seen == ["begin", ("epoch", 0), (0, step), (1, step), ("end", 0, whole), ("epoch", 1), (0, step),
                           (1, step), ("end", 1, whole), "done"]
    history = model.fit(x, y, batch_size=10, epochs=5, callbacks=[StopAt(1)], verbose=0)
    assert history.epoch == [] and model.state.position == 2
    history = model.fit(x, y, batch_size=10, epochs=1, verbose=0)       # an epoch of its own
    assert history.epoch == [0] and model.state.position == 0
    history = model.fit(x, y, batch_size=10, epochs=5, callbacks=[StopAt(3)], verbose=0)
    assert history.epoch == [0]


def test_a_step_that_diverges_changes_nothing_and_names_the_call():
    x, y = data(40)
    target = x[:, :1].copy()
    model = dl.Sequential([Dense(8, activation="relu", input_shape=(4,), name="hidden"), Dense(1)])
    model.compile(SGD(1e30), "mse")
    with pytest.raises(DivergedError) as caught:
        model.fit(x, target, epochs=5, batch_size=40, verbose=0)
    assert "training diverged at step" in str(caught.value) and caught.value.exit_code == 5
    assert "smaller learning rate than 1e+30" in str(caught.value) and "wrote" in str(caught.value)
    assert all(np.isfinite(w).all() for w in model.get_weights())
    step, before = model.state.step, bits(model)
    with pytest.raises(DivergedError):
        model.train_on_batch(x, target)
    assert model.state.step == step and bits(model) == before
    model.set_weights([0 * w for w in model.get_weights()])
    model.optimizer.learning_rate = 0.01
    assert np.isfinite(model.train_on_batch(x, target))


def test_learning_rate_may_change_between_steps():
    x, y = data(32)
    model = make(SGD(0.1))
    model.train_on_batch(x, y)
    before = bits(model)
    model.optimizer.learning_rate = 0.0
    model.train_on_batch(x, y)
    assert bits(model) == before


def test_the_number_of_threads_changes_no_bit():
    rng, runs = np.random.default_rng(0), []
    x, y = rng.standard_normal((130, 60)).astype(np.float32), rng.integers(0, 10, 130)
    for threads in (1, 2, 3):
        model = dl.Sequential([Dense(70, activation="gelu", input_shape=(60,)), Dropout(0.2),
                               Dense(10, activation="softmax")])
        model.compile("adam", "sparse_categorical_crossentropy")
        feed = ArrayFeed(model, dataset.make(model, x, y), 50, True, 0)
        for number, runner in enumerate(feed.epoch(0), 1):
            runner.instance.run(threads=threads, **{**runner.constants, **runner.scalars, "lr": 0.01, "step": number})
        runs.append(bits(model))
    assert runs[0] == runs[1] == runs[2]


def test_prediction_in_several_threads():
    x, y = data(64)
    model = make()
    expected = [model.predict_on_batch(x[i:i + 4]) for i in range(0, 64, 4)]
    wrong = []

    def work():
        for _ in range(50):
            for k, i in enumerate(range(0, 64, 4)):
                if not np.array_equal(model.predict_on_batch(x[i:i + 4]), expected[k]):
                    wrong.append(k)
    threads = [threading.Thread(target=work) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


def test_the_call_that_went_wrong_is_found_for_a_batch_that_is_read_in_place():
    x = np.zeros((16, 512), np.float32)                     # large enough that train_on_batch makes no copy
    model = dl.Sequential([Dense(4, input_shape=(512,), name="first"), Dense(1, name="second")])
    model.compile(SGD(0.01), "mse")
    y = np.zeros((16, 1), np.float32)
    model.train_on_batch(x, y)
    with pytest.raises(DivergedError) as caught:
        model.train_on_batch(x + np.float32(3e38), y)
    assert caught.value.where.startswith("first") and np.isfinite(model.train_on_batch(x, y))
