"""Recurrent layers: what they return, directions, masks, states, wrappers, dropout, files."""
import numpy as np
import pytest

import dlcore as dl
from dlcore.errors import ShapeError, UsageError
from dlcore.layers import GRU, LSTM, Bidirectional, Dense, Embedding, Input, Masking, SimpleRNN, TimeDistributed

KINDS = [SimpleRNN, LSTM, GRU]
X = np.random.default_rng(0).standard_normal((4, 6, 3)).astype(np.float32)


def outputs(layer, x=X, mask=False):
    source = Input(x.shape[1:])
    return dl.Model(source, layer(Masking()(source) if mask else source)).predict(x)


def padded(x=X):
    """Steps behind the first 6, 2, 4, 1 are zero."""
    x = x.copy()
    for row, length in enumerate((6, 2, 4, 1)):
        x[row, length:] = 0
    return x


def twin(layer, model_of, **changes):
    """The outputs of a layer like this one, with its weights."""
    other = type(layer).from_config({**layer.get_config(), **changes, "name": "twin"})
    source = Input(model_of.shape[1:])
    model = dl.Model(source, other(source))
    other.set_weights(layer.get_weights())
    return model.predict(model_of)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_returned(kind):
    layer = kind(5, return_sequences=True)
    every = outputs(layer)
    assert every.shape == (4, 6, 5)
    np.testing.assert_allclose(twin(layer, X, return_sequences=False), every[:, -1], atol=1e-6)
    out, *states = twin(layer, X, return_state=True)
    assert len(states) == (2 if kind is LSTM else 1)
    np.testing.assert_array_equal(out, every)
    np.testing.assert_array_equal(states[0], every[:, -1])


@pytest.mark.parametrize("kind", KINDS)
def test_go_backwards_is_the_reversed_sequence(kind):
    layer = kind(5, return_sequences=True, go_backwards=True)
    every = outputs(layer)
    np.testing.assert_array_equal(twin(layer, np.ascontiguousarray(X[:, ::-1]), go_backwards=False), every)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("backwards", [False, True])
def test_padding_changes_nothing(kind, backwards):
    layer = kind(5, go_backwards=backwards)
    x = padded()
    got = outputs(layer, x, mask=True)
    for row, length in enumerate((6, 2, 4, 1)):
        np.testing.assert_allclose(got[row], twin(layer, X[row:row + 1, :length])[0], atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_padded_steps_repeat_the_state_or_give_zeros(kind):
    layer = kind(5, return_sequences=True)
    every = outputs(layer, padded(), mask=True)
    np.testing.assert_array_equal(every[1, 2:], np.repeat(every[1, 1:2], 4, 0))
    zeros = outputs(kind(5, return_sequences=True, zero_output_for_mask=True), padded(), mask=True)
    assert not zeros[1, 2:].any() and zeros[1, :2].any()


@pytest.mark.parametrize("kind", KINDS)
def test_initial_state_goes_on_where_another_run_ended(kind):
    layer = kind(5, return_state=True)
    whole = outputs(layer)
    source, states = Input((3, 3)), [Input((5,)) for _ in range(layer.states)]
    model = dl.Model([source, *states], list(layer(source, initial_state=states)))
    half = twin(layer, np.ascontiguousarray(X[:, :3]))
    for got, expected in zip(model.predict([X[:, 3:], *half[1:]]), whole, strict=True):
        np.testing.assert_allclose(got, expected, atol=1e-6)


@pytest.mark.parametrize("mode", ["concat", "sum", "mul", "ave", None])
@pytest.mark.parametrize("sequences", [False, True])
def test_merge_modes(mode, sequences):
    both = Bidirectional(GRU(5, return_sequences=sequences), merge_mode=mode)
    got = outputs(both)
    y, z = twin(both.forward_layer, X), twin(both.backward_layer, X)
    z = z[:, ::-1] if sequences else z      # Bidirectional puts them in order
    if mode is None:
        np.testing.assert_array_equal(got[0], y)
        np.testing.assert_array_equal(got[1], z)
    else:
        made = {"concat": lambda: np.concatenate([y, z], -1), "sum": lambda: y + z, "mul": lambda: y * z,
                "ave": lambda: (y + z) / 2}
        np.testing.assert_allclose(got, made[mode](), atol=1e-6)


def test_bidirectional_returns_states_of_both_ways():
    out, *states = outputs(Bidirectional(LSTM(5, return_sequences=True, return_state=True)))
    assert out.shape == (4, 6, 10) and len(states) == 4
    np.testing.assert_array_equal(states[0], out[:, -1, :5])
    np.testing.assert_array_equal(states[2], out[:, 0, 5:])


def test_time_distributed_is_the_layer_on_each_step():
    dense = Dense(4)
    got = outputs(TimeDistributed(dense))
    np.testing.assert_allclose(got, X @ dense.get_weights()[0], atol=1e-6)


def test_forget_gate_begins_open():
    layer = LSTM(5)
    outputs(layer)
    np.testing.assert_array_equal(layer.get_weights()[2], np.repeat([0, 1, 0, 0], 5))


def test_a_sentence_classifier_learns_and_is_saved(tmp_path):
    """Does the word 3 stand before the word 4?"""
    rng = np.random.default_rng(1)
    x = rng.integers(1, 6, (600, 9))
    x[np.arange(9) >= rng.integers(2, 10, 600)[:, None]] = 0
    places = [np.where((x == w).any(1), (x == w).argmax(1), 99) for w in (3, 4)]
    y = (places[0] < places[1]).astype(int)
    model = dl.Sequential([Embedding(6, 8, mask_zero=True), Bidirectional(LSTM(16, dropout=0.1)), Dense(2, "softmax")])
    model.compile(dl.Adam(0.01), "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(x, y, epochs=30, verbose=0)
    assert model.evaluate(x, y)[1] > 0.95
    model.save(tmp_path / "m.dlc")
    again = dl.Model.load(tmp_path / "m.dlc")
    np.testing.assert_array_equal(again.predict(x), model.predict(x))
    assert [w.shape for w in again.get_weights()] == [w.shape for w in model.get_weights()]


def test_dropout_leaves_columns_out_in_all_steps():
    from dlcore.graph import Graph, plan
    from dlcore.layers.trace import Trace, tracing
    graph = Graph()
    x = graph.input("x", 4, 6, 3)
    with tracing(Trace(graph, True)):
        out = LSTM(2, dropout=0.5).dropped(x)
    instance = plan(graph, {"out": out}).bind()
    instance["x"][...] = 1
    instance.run(seed=3, step=1)
    got = instance["out"]
    assert set(np.unique(got)) == {0.0, 2.0}
    np.testing.assert_array_equal(got, np.repeat(got[:, :1], 6, 1))


@pytest.mark.parametrize("make, message", [
    (lambda: LSTM(0), "positive number of units"),
    (lambda: GRU(4, dropout=1.0), "below 1"),
    (lambda: LSTM(4, activation="relu"), "no activation 'relu'"),
    (lambda: GRU(4, reset_after=False), "reset gate"),
    (lambda: Bidirectional(Dense(3)), "recurrent layer"),
    (lambda: Bidirectional(LSTM(3), merge_mode="max"), "merge_mode"),
    (lambda: Bidirectional(LSTM(3), backward_layer=LSTM(3)), "same way"),
    (lambda: Bidirectional(LSTM(3), backward_layer=LSTM(4, go_backwards=True)), "go together"),
    (lambda: TimeDistributed(3), "takes a layer"),
])
def test_bad_arguments(make, message):
    with pytest.raises(UsageError, match=message):
        make()


def test_bad_shapes():
    with pytest.raises(ShapeError, match="sequences of vectors"):
        LSTM(4)(Input((3,)))
    with pytest.raises(ShapeError, match="2 states"):
        LSTM(4)(Input((3, 2)), initial_state=[Input((4,))])
    with pytest.raises(ShapeError, match="shapes do not fit"):
        GRU(4)(Input((3, 2)), initial_state=[Input((5,))])
