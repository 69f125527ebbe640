"""Training on batches that a background thread makes: equal to batches at hand, resumed exactly, errors where they belong."""
from __future__ import annotations

import threading
import time

import numpy as np
import pytest

import dlcore as dl
from dlcore.data.augment import Augment
from dlcore.data.loader import Ahead, LoaderTimes, MappedRows, Source
from dlcore.errors import DataError, ShapeError, UsageError
from dlcore.layers import Dense, Flatten
from dlcore.optim import SGD
from dlcore.training.loaded import LoadedFeed
from dlcore.training.loop import Loop

RNG = np.random.default_rng(0)
X = RNG.integers(0, 256, (70, 6, 6), dtype=np.uint8)
Y = RNG.integers(0, 3, 70).astype(np.int32)
AUGMENT = Augment.parse("crop=1,flip,rotate=5")


def network(shape=(6, 6)):
    model = dl.Sequential([Flatten(input_shape=shape), Dense(8, activation="relu"), Dense(3, activation="softmax")], seed=1)
    model.compile(SGD(0.1), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def weights(model):
    return np.concatenate([w.ravel() for w in model.get_weights()])


def test_a_mapped_file_trains_as_an_array_in_memory(tmp_path):
    x = X.astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    memory, mapped = network(), network()
    memory.fit(x, Y, batch_size=16, epochs=3, verbose=0)
    mapped.fit(np.load(tmp_path / "x.npy", mmap_mode="r"), Y, batch_size=16, epochs=3, verbose=0)
    np.testing.assert_array_equal(weights(memory), weights(mapped))


def test_augmented_batches_are_those_of_the_source():
    """A loop of one's own over `fill` gives the same bits as the thread."""
    model, other, source = network(), network(), AUGMENT(X, Y)
    model.fit(source, batch_size=16, epochs=2, verbose=0)
    from dlcore.training.feed import order
    for epoch in range(2):
        rows = order(70, model.state.seed, epoch, True)
        for position, at in enumerate(range(0, 70, 16)):
            ids = rows[at:at + 16]
            x, y = np.empty((len(ids), 6, 6), np.float32), np.empty(len(ids), np.int32)
            source.fill(x, y, ids, model.state.seed, epoch, position)
            other.train_on_batch(x, y)
    np.testing.assert_array_equal(weights(model), weights(other))


@pytest.mark.parametrize("stop_after", [1, 4, 5, 7])
def test_a_stopped_run_goes_on_to_the_same_bits(stop_after):
    straight, stopped = network(), network()
    straight.fit(AUGMENT(X, Y), batch_size=16, epochs=3, verbose=0)
    state, count = stopped.state, 0
    stopped.ensure_store()
    state.start_epoch()

    def on_step(position):
        nonlocal count
        count += 1
        first.stop = count == stop_after
    first = Loop(stopped, LoadedFeed(stopped, AUGMENT(X, Y), 16, True, state.seed), state, 3, on_step=on_step)
    list(first)
    assert state.epoch * 5 + state.position == stop_after
    list(Loop(stopped, LoadedFeed(stopped, AUGMENT(X, Y), 16, True, state.seed), state, 3))
    np.testing.assert_array_equal(weights(straight), weights(stopped))


def test_sample_weights_go_along():
    weight = RNG.random(70).astype(np.float32)
    given, loaded = network(), network()
    given.fit(X.astype(np.float32) / np.float32(255), Y, sample_weight=weight, batch_size=16, epochs=2, verbose=0)
    loaded.fit(Augment()(X.astype(np.float32) / np.float32(255), Y, weight=weight), batch_size=16, epochs=2, verbose=0)
    np.testing.assert_allclose(weights(given), weights(loaded), atol=1e-6)


def test_mixing_trains_on_targets():
    model = dl.Sequential([Flatten(input_shape=(6, 6)), Dense(3, activation="softmax")], seed=1)
    model.compile(SGD(0.1), "categorical_crossentropy", metrics=["accuracy"])
    history = model.fit(Augment(mixup=0.4)(X, np.eye(3, dtype=np.float32)[Y]), batch_size=32, epochs=3, verbose=0)
    assert np.isfinite(history.history["loss"]).all()


def test_a_step_of_micro_batches():
    x = X.astype(np.float32)
    found = []
    for data in ((x, Y), (MappedRows(x, Y),)):
        model = network()
        model.compile(SGD(0.001, gradient_accumulation_steps=3), "sparse_categorical_crossentropy")
        model.fit(*data, batch_size=8, epochs=2, verbose=0)
        found.append((weights(model), model.state.step))
    assert found[0][1] == found[1][1] == 6
    np.testing.assert_array_equal(found[0][0], found[1][0])


class Slow(Source):
    def __init__(self, seconds=0.0, fails_at=-1):
        super().__init__(64, (4,), np.zeros(64, np.int32))
        self.seconds, self.fails_at, self.threads = seconds, fails_at, set()

    def fill(self, x, y, rows, seed, epoch, position):
        self.threads.add(threading.current_thread().name)
        time.sleep(self.seconds)
        if position == self.fails_at:
            raise DataError("a broken picture", where="cat/7.png")
        x[...] = position
        super().fill(x, y, rows, seed, epoch, position)


def small():
    model = dl.Sequential([Dense(3, activation="softmax", input_shape=(4,))])
    model.compile(SGD(0.1), "sparse_categorical_crossentropy")
    return model


def test_an_error_of_the_thread_ends_training_with_its_message():
    source = Slow(fails_at=2)
    with pytest.raises(DataError, match="a broken picture"):
        small().fit(source, batch_size=16, verbose=0)
    assert source.threads == {"dlcore-loader"}
    assert not [t for t in threading.enumerate() if t.name == "dlcore-loader"]


def test_waiting_is_counted():
    model = small()
    model.ensure_store()
    feed = LoadedFeed(model, Slow(0.005), 16, True, 0)
    runners = list(feed.epoch(0))
    assert len(runners) == feed.times.steps == 4 and feed.times.made >= 0.02
    assert feed.times.waited > 0 and "waited" in feed.times.describe(1.0)
    assert len({id(r) for r in runners}) == 3


def test_the_thread_ends_when_nobody_takes_more():
    model = small()
    model.ensure_store()
    batches = LoadedFeed(model, Slow(), 4, True, 0).epoch(0)
    next(batches)
    batches.close()
    assert not [t for t in threading.enumerate() if t.name == "dlcore-loader"]


def test_ahead_is_bounded():
    made = []
    ahead = Ahead(lambda i, place: made.append((i, place)) or i, 10, 3, LoaderTimes())
    time.sleep(0.1)
    assert made == [(0, 0), (1, 1), (2, 2)]
    assert list(ahead) == list(range(10))
    assert made == [(i, i % 3) for i in range(10)]


def test_what_is_refused():
    with pytest.raises(UsageError, match="has its targets"):
        network().fit(AUGMENT(X, Y), Y)
    with pytest.raises(UsageError, match="targets are missing"):
        network().fit(AUGMENT(X), verbose=0)
    with pytest.raises(ShapeError, match="wrong shape"):
        network((5, 5)).fit(AUGMENT(X, Y), verbose=0)
    with pytest.raises(DataError, match="out of range"):
        network().fit(AUGMENT(X, Y + 1), verbose=0)
    with pytest.raises(UsageError, match="arrays in memory"):
        network().fit(AUGMENT(X, Y), validation_split=0.1)
    with pytest.raises(DataError, match="different numbers of rows"):
        MappedRows(X, Y[:5])
