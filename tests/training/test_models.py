"""Functional models, subclasses, shared layers, own losses and metrics, summaries."""
import pickle

import numpy as np
import pytest

import dlcore as dl
from dlcore import ops
from dlcore.errors import ShapeError, UsageError
from dlcore.layers import (
    Activation,
    Add,
    Concatenate,
    Dense,
    Dropout,
    Flatten,
    Input,
    Layer,
    Multiply,
    ReLU,
    Reshape,
    Softmax,
)
from dlcore.optim import SGD, Adam
from dlcore.training import losses


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def test_functional_with_several_inputs_and_outputs():
    a, b = Input((4,), name="left"), Input((3,), name="right")
    h, g = Dense(6, activation="tanh")(a), Dense(6)(b)
    joined = Concatenate()([Add()([h, g]), Multiply()([h, g]), b])
    model = dl.Model([a, b], [Dense(2, name="value")(joined), Dense(3, activation="softmax", name="kind")(joined)])
    model.compile(SGD(0.05), {"value": "mse", "kind": "sparse_categorical_crossentropy"},
                  metrics={"kind": ["accuracy"], "value": ["mae"]}, loss_weights={"kind": 0.5})
    x, value, kind = [normal(33, 4), normal(33, 3, seed=1)], normal(33, 2, seed=2), np.arange(33) % 3
    outputs = model.predict(x)
    assert [o.shape for o in outputs] == [(33, 2), (33, 3)]
    w = dict(zip([v.path for v in model.variables], model.get_weights(), strict=True))
    hh, gg = np.tanh(x[0] @ w["dense/kernel"] + w["dense/bias"]), x[1] @ w["dense_1/kernel"] + w["dense_1/bias"]
    j = np.concatenate([hh + gg, hh * gg, x[1]], 1)
    np.testing.assert_allclose(outputs[0], j @ w["value/kernel"] + w["value/bias"], atol=2e-6)
    logs = model.evaluate(x, [value, kind], return_dict=True)
    assert list(logs) == ["loss", "value_loss", "kind_loss", "value_mae", "kind_accuracy"]
    assert logs["loss"] == pytest.approx(logs["value_loss"] + 0.5 * logs["kind_loss"], rel=1e-6)
    assert logs["value_loss"] == pytest.approx(((outputs[0] - value) ** 2).mean(), rel=1e-5)
    history = model.fit({"left": x[0], "right": x[1]}, {"kind": kind, "value": value}, epochs=20, verbose=0)
    assert history.history["loss"][-1] < logs["loss"]
    assert [o.shape for o in model.predict_on_batch([x[0][:2], x[1][:2]])] == [(2, 2), (2, 3)]
    assert len(model.train_on_batch(x, [value, kind])) == 5


def two_heads(**options):
    x = Input((4,))
    h = Dense(6, activation="tanh")(x)
    return dl.Model(x, {"value": Dense(2)(h), "kind": Dense(3, activation="softmax")(h)}, **options)


def test_outputs_are_called_by_the_keys_of_a_dict(tmp_path):
    model = two_heads(seed=3)
    model.compile(SGD(0.05), {"kind": "sparse_categorical_crossentropy", "value": "mse"}, metrics={"kind": ["accuracy"]},
                  loss_weights={"value": 0.5})
    x, y = normal(33, 4), {"kind": np.arange(33) % 3, "value": normal(33, 2, seed=2)}
    out = model.predict(x, batch_size=8)
    assert list(out) == ["value", "kind"] and [a.shape for a in out.values()] == [(33, 2), (33, 3)]
    logs = model.evaluate(x, y, return_dict=True)
    assert list(logs) == ["loss", "value_loss", "kind_loss", "kind_accuracy"]
    assert logs["value_loss"] == pytest.approx(((out["value"] - y["value"]) ** 2).mean(), rel=1e-5)
    in_order = model.evaluate(x, [y["value"], y["kind"]], return_dict=True)
    assert in_order == logs
    model.fit(x, y, epochs=2, verbose=0, validation_data=(x, y))
    model.fit([(x[:8], {k: v[:8] for k, v in y.items()})], epochs=1, verbose=0)
    for batch in (model.predict_on_batch(x[:5]), model.predict([x[:2], x[2:5]].__iter__())):
        assert list(batch) == ["value", "kind"]
        np.testing.assert_allclose(batch["kind"], model.predict(x[:5])["kind"], atol=1e-6)
    model.save(tmp_path / "m.dlc")
    for again in (dl.load(tmp_path / "m.dlc"), pickle.loads(pickle.dumps(model))):
        assert again.network.output_keys == ("value", "kind")
        got = again.predict(x)
        assert list(got) == ["value", "kind"] and all(np.array_equal(got[k], v) for k, v in model.predict(x).items())
        assert again.evaluate(x, y, return_dict=True) == model.evaluate(x, y, return_dict=True)
        again.fit(x, y, epochs=1, verbose=0)
    one = dl.Model(a := Input((4,)), {"y": Dense(1)(a)})
    one.compile("sgd", "mse", metrics=["mae"])
    assert one.predict(x)["y"].shape == (33, 1) and one.predict_on_batch(x)["y"].shape == (33, 1)
    assert list(one.evaluate(x, {"y": normal(33)}, return_dict=True)) == ["loss", "mae"]
    assert one.evaluate(x, normal(33), report=True) is not None


def test_dicts_of_outputs_in_larger_models(tmp_path):
    """A model in a model, and a subclass that returns a dict."""
    inner, x = two_heads(), Input((4,))
    parts = inner(x)
    model = dl.Model(x, {"sum": Dense(1)(Concatenate()([parts["kind"], parts["value"]])), **parts})
    given = normal(7, 4)
    out = model.predict(given)
    assert list(out) == ["sum", "value", "kind"]
    assert all(np.array_equal(out[k], v) for k, v in inner.predict(given).items())
    model.save(tmp_path / "m.dlc")
    assert all(np.array_equal(v, out[k]) for k, v in dl.load(tmp_path / "m.dlc").predict(given).items())

    class Heads(dl.Model):
        def __init__(self, **options):
            super().__init__(**options)
            self.left, self.right = Dense(2), Dense(3)

        def call(self, x):
            return {"left": self.left(x), "right": self.right(x)}
    own = Heads()
    own.compile("sgd", {"right": "mse", "left": "mae"})
    own.fit(given, {"left": normal(7, 2), "right": normal(7, 3)}, verbose=0)
    assert {k: v.shape for k, v in own.predict(given).items()} == {"left": (7, 2), "right": (7, 3)}


def test_dicts_of_outputs_that_name_none():
    x = Input((4,))
    for wrong in ({1: Dense(1)(x)}, {"": Dense(1)(x)}, {"a": [Dense(1)(x)]}, {}):
        with pytest.raises(UsageError):
            dl.Model(x, wrong)
    model = two_heads()
    with pytest.raises(UsageError, match="not there"):
        model.compile("sgd", {"value": "mse", "kinds": "mse"})


def test_an_output_without_loss():
    x = Input((4,))
    h = Dense(5, activation="relu")(x)
    model = dl.Model(x, [Dense(1, name="y")(h), h])
    model.compile("adam", {"y": "mse"})
    history = model.fit(normal(20, 4), normal(20), verbose=0)
    assert list(history.history) == ["loss"]
    assert [o.shape for o in model.predict(normal(3, 4))] == [(3, 1), (3, 5)]


def test_shapes_of_layers():
    x = Input((4, 6))
    assert Flatten()(x).shape == (None, 24)
    assert Reshape((3, -1))(x).shape == (None, 3, 8)
    assert Dense(5)(x).shape == (None, 4, 5)
    assert Concatenate(axis=1)([x, x]).shape == (None, 8, 6)
    assert Softmax()(ReLU(0.1)(Activation("gelu")(Dropout(0.5)(x)))).shape == (None, 4, 6)
    with pytest.raises(ShapeError, match="cannot reshape"):
        Reshape((5, -1))(x)
    with pytest.raises(ShapeError, match="do not fit"):
        Add()([x, Input((4, 5))])
    with pytest.raises(ShapeError, match="along the batch"):
        Concatenate(axis=0)([x, x])
    with pytest.raises(UsageError, match="positive number of units"):
        Dense(0)
    with pytest.raises(UsageError, match="below 1"):
        Dropout(1.0)
    with pytest.raises(UsageError, match="unknown activation"):
        Activation("swoosh")
    with pytest.raises(UsageError, match="without the batch"):
        Input(784)


def test_values_of_layers():
    x = Input((4, 6))
    outs = [ReLU(0.1)(x), Softmax()(x), Reshape((6, 4))(x), Concatenate(axis=1)([x, x]), Activation("silu")(x),
            Activation(lambda t: ops.scale(t, 3.0))(x), Flatten()(x)]
    v = normal(5, 4, 6)
    got = dl.Model(x, outs).predict(v)
    e = np.exp(v.astype(np.float64))
    want = [np.where(v > 0, v, 0.1 * v), e / e.sum(-1, keepdims=True), v.reshape(5, 6, 4), np.concatenate([v, v], 1),
            v * e / (1 + e), 3 * v, v.reshape(5, 24)]
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, atol=2e-6)


class Scale(Layer):
    """A layer of a user's own."""

    def __init__(self, start="ones", **options):
        super().__init__(**options)
        self.start = start

    def build(self, input_shape):
        self.factor = self.add_weight("factor", (input_shape[-1],), self.start)
        self.more = [self.add_weight(f"more_{i}", (input_shape[-1],), "zeros") for i in range(2)]

    def call(self, x):
        return ops.add(ops.mul(x, self.factor), ops.add(self.more[0], self.more[1]))


class Block(Layer):
    """Layers inside a layer."""

    def __init__(self, units, **options):
        super().__init__(**options)
        self.first, self.rest = Dense(units, activation="relu"), [Dense(units), Scale()]

    def call(self, x, training=False):
        h = self.first(x)
        for layer in self.rest:
            h = layer(h)
        return ops.add(h, x) if training else h


def test_subclassed_layers():
    model = dl.Sequential([Block(5, input_shape=(5,)), Dense(1)])
    assert [v.path for v in model.variables] == [
        "block/dense/kernel", "block/dense/bias", "block/dense_1/kernel",
        "block/dense_1/bias", "block/scale/factor", "block/scale/more_0", "block/scale/more_1", "dense/kernel",
        "dense/bias"]
    model.compile(SGD(0.1), "mse")
    x, y = normal(20, 5), normal(20, 1, seed=1)
    before = model.get_weights()
    w = [a.astype(np.float64) for a in before]
    h = (np.maximum(x @ w[0] + w[1], 0) @ w[2] + w[3]) * w[4]
    np.testing.assert_allclose(model.predict(x), h @ w[7] + w[8], atol=2e-6)
    training_out = (h + x) @ w[7] + w[8]            # `training` is True there
    assert model.train_on_batch(x, y) == pytest.approx(((training_out - y) ** 2).mean(), rel=1e-5)
    after = model.get_weights()
    for i in (2, 4, 5, 6):                          # the two `more` are added up: equal gradients
        assert not np.array_equal(before[i], after[i])
    np.testing.assert_array_equal(after[5], after[6])


class Net(dl.Model):
    """A model of a user's own."""

    def __init__(self, units=8, **options):
        super().__init__(**options)
        self.hidden, self.top = Dense(units, activation="relu"), Dense(2, activation="softmax")
        self.drop = Dropout(0.2)

    def call(self, x, training=False):
        return self.top(self.drop(self.hidden(x)))


def test_subclassed_model():
    model = Net(units=6)
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    x = normal(64, 3)
    y = (x[:, 0] > 0).astype(int)
    with pytest.raises(UsageError, match="not built"):
        model.get_weights() or model.store
    history = model.fit(x, y, epochs=100, batch_size=16, verbose=0)
    assert history.history["accuracy"][-1] > 0.9
    assert model.predict(x).shape == (64, 2)
    assert [v.path for v in model.variables] == ["dense/kernel", "dense/bias", "dense_1/kernel", "dense_1/bias"]
    built = Net()
    built.build((None, 3))
    assert built.count_params() == 3 * 8 + 8 + 8 * 2 + 2


def test_own_loss_and_metric():
    def squared(y_true, y_pred):
        d = ops.sub(y_pred, y_true)
        return ops.row_sum(ops.mul(d, d))

    def entropy(y_true, y_pred):
        return ops.softmax_cross_entropy(y_pred, y_true)

    def largest(y_true, y_pred):
        return ops.max(y_pred)
    model = dl.Sequential([Dense(3, input_shape=(4,))])
    model.compile(SGD(0.01), squared, metrics=[largest, "mae"])
    x, y = normal(20, 4), normal(20, 3, seed=1)
    p = model.predict(x)
    logs = model.evaluate(x, y, return_dict=True)
    assert logs == {"loss": pytest.approx(((p - y) ** 2).sum(1).mean(), rel=1e-5),
                    "largest": pytest.approx(p.max(1).mean(), rel=1e-5),
                    "mae": pytest.approx(np.abs(p - y).mean(), rel=1e-5)}
    w = model.get_weights()[0]
    model.train_on_batch(x, y)
    np.testing.assert_allclose(model.get_weights()[0], w - 0.01 * 2 * x.T @ (p - y) / 20, atol=2e-6)
    model.compile("adam", entropy, metrics=["accuracy"])
    labels = np.arange(20, dtype=np.uint8) % 3
    logs = model.evaluate(x, labels, return_dict=True)
    assert logs["accuracy"] == pytest.approx((model.predict(x).argmax(1) == labels).mean(), abs=1e-6)


@pytest.mark.parametrize("loss, activation, targets", [
    ("sparse_categorical_crossentropy", "softmax", "ids"), ("categorical_crossentropy", "softmax", "one-hot"),
    ("binary_crossentropy", "sigmoid", "one-hot")])
def test_cross_entropy_is_computed_on_logits(loss, activation, targets):
    """However it is written, and without overflow where a softmax has become 0 or 1."""
    x, ids = normal(12, 4), np.arange(12) % 3
    y = ids if targets == "ids" else np.eye(3, dtype=np.float32)[ids]
    kind = {"sparse_categorical_crossentropy": losses.SparseCategoricalCrossentropy,
            "categorical_crossentropy": losses.CategoricalCrossentropy,
            "binary_crossentropy": losses.BinaryCrossentropy}[loss]
    made = []
    for layers, one in (([Dense(3, activation=activation)], loss), ([Dense(3), Activation(activation)], loss),
                        ([Dense(3)], kind(from_logits=True)), ([Dense(3, activation=activation), Reshape((3,))], loss)):
        model = dl.Sequential([Input((4,)), *layers])
        model.compile(SGD(0.1), one, metrics=["accuracy"])
        first = model.evaluate(x, y)
        model.train_on_batch(x, y)
        made.append((first, model.get_weights()[0]))
        model.set_weights([200 * w for w in model.get_weights()])
        assert np.isfinite(model.train_on_batch(x, y)).all()
        with pytest.raises(UsageError, match="from_logits=True"):
            plain = dl.Sequential([Dense(3, input_shape=(4,))])
            plain.compile("adam", loss)
            plain.train_on_batch(x, y)
    for first, weight in made[1:]:
        np.testing.assert_allclose(first, made[0][0], rtol=2e-6)
        np.testing.assert_allclose(weight, made[0][1], atol=2e-6)


@pytest.mark.parametrize("end", [[Dense(1, activation="sigmoid")], [Dense(1), Activation("sigmoid")]])
def test_a_certain_mistake_costs_what_it_should(end):
    """A sigmoid that is 1 in float32, where the answer is 0: the loss is the logit, and a step has its gradient."""
    model = dl.Sequential([Input((1,)), *end])
    model.compile(SGD(1.0), "binary_crossentropy", metrics=["accuracy"])
    model.set_weights([np.array([[1000.0]]), np.zeros(1)])
    x, y = np.ones((1, 1), np.float32), np.zeros(1)
    assert model.evaluate(x, y) == [1000.0, 0.0] and model.predict(x) == 1
    assert model.train_on_batch(x, y)[0] == 1000.0
    assert model.get_weights()[0] == 999.0          # the gradient of the logit is sigmoid - answer = 1


def test_numpy_cannot_compute_with_tensors():
    model = dl.Sequential([Dense(2, input_shape=(3,))])
    model.compile("adam", lambda t, p: np.mean((p - t) ** 2))
    with pytest.raises(UsageError, match="has no numbers yet(.|\n)*dlcore.ops"):
        model.train_on_batch(normal(4, 3), normal(4, 2))


def test_misspelt_names_are_guessed():
    for make, guess in ((lambda: Dense(3, activation="reul"), "relu"),
                        (lambda: Dense(3, kernel_initializer="he_norml"), "he_normal"),
                        (lambda: losses.get("mean_squared_eror"), "mean_squared_error"),
                        (lambda: dl.Sequential([Dense(2, input_shape=(3,))]).compile("adm", "mse"), "adam"),
                        (lambda: dl.Sequential([Dense(2, input_shape=(3,))]).compile("adam", "mse", ["acuracy"]), "accuracy")):
        with pytest.raises(UsageError, match=f"did you mean '{guess}'"):
            make()


def test_losses_have_a_public_place():
    from dlcore.losses import CategoricalCrossentropy, Huber
    assert CategoricalCrossentropy is losses.CategoricalCrossentropy and dl.losses.Huber is Huber
    assert set(dl.losses.__all__) == {c.__name__ for c in (losses.Loss, *losses.LOSSES.values())}
    with pytest.raises(AttributeError, match="dlcore.losses"):
        _ = dl.losses.Hubert


def test_shared_layers_and_frozen_ones():
    x = Input((4,))
    shared = Dense(4, activation="tanh")
    h = shared(shared(x))
    features = dl.Model(x, h)
    whole = dl.Model(x, Dense(1)(h))
    whole.compile(Adam(0.01), "mse")
    data, y = normal(32, 4), normal(32, 1, seed=1)
    before = features.predict(data)
    whole.fit(data, y, epochs=3, verbose=0)
    w = whole.get_weights()
    assert len(w) == 4 and features.count_params() == 20
    np.testing.assert_allclose(features.predict(data), np.tanh(np.tanh(data @ w[0] + w[1]) @ w[0] + w[1]), atol=2e-6)
    assert not np.allclose(before, features.predict(data))
    shared.trainable = False
    whole.compile(Adam(0.01), "mse")
    whole.fit(data, y, epochs=1, verbose=0)
    after = whole.get_weights()
    np.testing.assert_array_equal(after[0], w[0])
    assert not np.array_equal(after[2], w[2])


def test_two_halves_of_a_gan():
    """Each half trains its own weights and keeps its own optimizer state, on the weights that both share."""
    judge = dl.Sequential([Dense(8, activation="relu", input_shape=(2,)), Dense(1, activation="sigmoid")], name="judge")
    judge.compile(Adam(0.01), "binary_crossentropy")
    maker = dl.Sequential([Dense(8, activation="relu", input_shape=(3,)), Dense(2)], seed=1, name="maker")
    noise = Input((3,))
    judge.trainable = False
    both = dl.Model(noise, judge(maker(noise)))
    both.compile(Adam(0.01), "binary_crossentropy")
    judge.trainable = True
    real, z = normal(16, 2) + 3, normal(16, 3, seed=1)
    for _ in range(3):
        before = judge.get_weights(), maker.get_weights()
        judge.train_on_batch(np.concatenate([real, maker.predict(z)]), np.repeat([1.0, 0.0], 16))
        assert not np.array_equal(judge.get_weights()[0], before[0][0])
        np.testing.assert_array_equal(maker.get_weights()[0], before[1][0])
        between = judge.get_weights()
        both.train_on_batch(z, np.ones(16))
        np.testing.assert_array_equal(judge.get_weights()[0], between[0])
        assert not np.array_equal(maker.get_weights()[0], before[1][0])
    assert {judge.optimizer.name, both.optimizer.name} == {"adam", "adam_2"}
    np.testing.assert_allclose(both.predict(z), judge.predict(maker.predict(z)), atol=1e-6)


class Centred(Layer):
    """Holds a mean that is kept with the model and not trained."""

    def build(self, input_shape):
        self.mean = self.add_weight("mean", (input_shape[-1],), "ones", statistic=True)

    def call(self, x):
        return ops.sub(x, self.mean)


def test_statistics_are_kept_and_not_trained(tmp_path):
    model = dl.Sequential([Centred(input_shape=(3,)), Dense(1)])
    model.compile(SGD(0.1), "mse")
    x = normal(8, 3)
    model.layers[0].mean.assign([1, 2, 3])
    model.train_on_batch(x, normal(8, 1, seed=1))
    mean, kernel, bias = model.get_weights()
    np.testing.assert_array_equal(mean, [1, 2, 3])
    np.testing.assert_allclose(model.predict(x), (x - [1, 2, 3]) @ kernel + bias, atol=2e-6)
    assert [v.path for v in model.trainable_variables] == ["dense/kernel", "dense/bias"]
    model.save(tmp_path / "m")
    again = dl.Model.load(tmp_path / "m", {"Centred": Centred})
    np.testing.assert_array_equal(again.predict(x), model.predict(x))


def test_models_inside_models():
    """A trained model becomes a part of another; both go on with the same weights."""
    x, y = normal(32, 4), normal(32, 1, seed=1)
    base = dl.Sequential([Dense(6, activation="relu", input_shape=(4,))])
    base.compile("adam", "mse")
    base.fit(x, normal(32, 6), verbose=0)
    trained = base.get_weights()
    other = dl.Sequential([Dense(6, input_shape=(4,))])
    other.predict(x)
    whole = dl.Sequential([base, Dense(1)])
    whole.compile("adam", "mse")
    np.testing.assert_array_equal(whole.get_weights()[0], trained[0])
    whole.fit(x, y, verbose=0)
    np.testing.assert_array_equal(whole.get_weights()[0], base.get_weights()[0])
    assert not np.array_equal(base.get_weights()[0], trained[0])
    np.testing.assert_allclose(base.predict(x) @ whole.get_weights()[2] + whole.get_weights()[3], whole.predict(x),
                               atol=2e-6)
    first, second = Input((4,)), Input((4,))
    both = dl.Model([first, second], Add()([base(first), other(second)]))
    np.testing.assert_allclose(both.predict([x, x]), base.predict(x) + other.predict(x), atol=2e-6)
    base.fit(x, normal(32, 6), verbose=0)
    np.testing.assert_allclose(both.predict([x, x]), base.predict(x) + other.predict(x), atol=2e-6)


def test_summary():
    model = dl.Sequential([Dense(6, input_shape=(4,)), Dropout(0.1), Dense(2, name="top")], name="net")
    lines = []
    model.summary(print_fn=lines.append)
    text = lines[0]
    assert "dense (Dense)" in text and "(None, 6)" in text and "top (Dense)" in text
    assert "weights: 44, of which trained: 44" in text


def test_misuse():
    with pytest.raises(UsageError, match="unknown loss"):
        dl.Sequential([Dense(2, input_shape=(3,))]).compile("adam", "nothing")
    with pytest.raises(UsageError, match="not compiled"):
        dl.Sequential([Dense(2, input_shape=(3,))]).fit(normal(4, 3), normal(4, 2))
    with pytest.raises(UsageError, match="unknown metric"):
        dl.Sequential([Dense(2, input_shape=(3,))]).compile("adam", "mse", metrics=["f7"])
    with pytest.raises(UsageError, match="does not name"):
        dl.Model(Input((3,)), Dense(2)(Input((3,))))
    with pytest.raises(UsageError, match="two layers are called"):
        dl.Sequential([Dense(2, input_shape=(3,), name="a"), Dense(2, name="a")])
    with pytest.raises(UsageError, match="twice"):
        dl.Sequential([again := Dense(3, input_shape=(3,)), again])
    with pytest.raises(UsageError, match="arrays go to fit"):
        Dense(3)(normal(2, 2))
    with pytest.raises(UsageError, match="seed"):
        dl.Sequential(seed=-1)
    model = dl.Sequential([Dense(2, input_shape=(3,))])
    with pytest.raises(ShapeError, match="2 weights"):
        model.set_weights([normal(3, 2)])
    with pytest.raises(ShapeError, match=r"dense/bias cannot take"):
        model.set_weights([normal(3, 2), normal(3)])
    with pytest.raises(ShapeError, match="one value per sample"):
        model.compile("adam", lambda y_true, y_pred: 1.0)
        model.train_on_batch(normal(4, 3), normal(4, 2))
