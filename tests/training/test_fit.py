"""`fit`, `evaluate` and `predict` on small problems, against NumPy where the answer is known."""
import numpy as np
import pytest

import dlcore as dl
from dlcore.errors import DataError, ShapeError, UsageError
from dlcore.layers import Dense, Dropout
from dlcore.optim import SGD, Adam


def blobs(rows=203, classes=3, seed=0):
    """Points around class centres, in mixed order."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, classes, rows).astype(np.int32)
    return (rng.standard_normal((rows, 5)) + 3 * np.eye(5)[y]).astype(np.float32), y


def classifier(seed=0, dropout=0.0, metrics=("accuracy",)):
    model = dl.Sequential([Dense(16, activation="relu", input_shape=(5,)), Dropout(dropout),
                           Dense(3, activation="softmax")],
                          seed=seed)
    model.compile(Adam(0.01), "sparse_categorical_crossentropy", metrics=list(metrics))
    return model


def test_learns_and_reports():
    x, y = blobs()
    model = classifier()
    history = model.fit(x, y, batch_size=32, epochs=15, verbose=0, validation_data=blobs(seed=1))
    assert list(history.history) == ["loss", "accuracy", "val_loss", "val_accuracy"]
    assert history.epoch == list(range(15))
    assert history.history["loss"][-1] < 0.5 * history.history["loss"][0]
    assert history.history["val_accuracy"][-1] > 0.9
    loss, accuracy = model.evaluate(x, y)
    probabilities = model.predict(x)
    assert accuracy == pytest.approx((probabilities.argmax(1) == y).mean(), abs=1e-6)
    assert loss == pytest.approx(-np.log(probabilities[np.arange(len(y)), y]).mean(), rel=1e-5)
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-5)


def sgd_by_hand(x, y, weights, lr, batch):
    """One epoch of plain SGD of softmax regression, in the order of the rows, float64."""
    w, b = (a.astype(np.float64) for a in weights)
    losses = []
    for start in range(0, len(x), batch):
        xs, ys = x[start:start + batch].astype(np.float64), y[start:start + batch]
        z = xs @ w + b
        p = np.exp(z - z.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        losses += list(-np.log(p[np.arange(len(ys)), ys]))
        d = (p - np.eye(3)[ys]) / len(ys)
        w, b = w - lr * xs.T @ d, b - lr * d.sum(0)
    return w, b, np.mean(losses)


def test_last_smaller_batch_is_trained():
    x, y = blobs(rows=50)                   # 3 batches of 16, and one of 2
    model = dl.Sequential([Dense(3, activation="softmax", input_shape=(5,))])
    model.compile(SGD(0.1), "sparse_categorical_crossentropy")
    w, b, loss = sgd_by_hand(x, y, model.get_weights(), 0.1, 16)
    history = model.fit(x, y, batch_size=16, shuffle=False, verbose=0)
    np.testing.assert_allclose(model.get_weights()[0], w, atol=2e-6)
    np.testing.assert_allclose(model.get_weights()[1], b, atol=2e-6)
    assert history.history["loss"][0] == pytest.approx(loss, rel=1e-5)


def test_arrays_and_batches_train_alike():
    x, y = blobs(rows=50)
    whole, parts = classifier(), classifier()
    batches = [(x[i:i + 16], y[i:i + 16]) for i in range(0, 50, 16)]
    a = whole.fit(x, y, batch_size=16, epochs=2, shuffle=False, verbose=0)
    b = parts.fit(batches, epochs=2, verbose=0)
    assert a.history == b.history
    for u, v in zip(whole.get_weights(), parts.get_weights(), strict=True):
        np.testing.assert_array_equal(u, v)


def test_train_on_batch_steps_like_fit():
    x, y = blobs(rows=32)
    a, b = classifier(metrics=()), classifier(metrics=())
    a.fit(x, y, batch_size=32, epochs=3, shuffle=False, verbose=0)
    losses = [b.train_on_batch(x, y) for _ in range(3)]
    assert losses[0] > losses[-1]
    for u, v in zip(a.get_weights(), b.get_weights(), strict=True):
        np.testing.assert_array_equal(u, v)


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float64, np.int16])
def test_dtypes_of_data(dtype):
    x = np.random.default_rng(0).integers(0, 20, (40, 5))
    y = blobs(rows=40)[1]
    a, b = classifier(), classifier()
    a.fit(x.astype(np.float32), y, epochs=2, verbose=0)
    b.fit(x.astype(dtype), y.astype(np.int64 if dtype is not np.uint8 else np.uint8), epochs=2, verbose=0)
    for u, v in zip(a.get_weights(), b.get_weights(), strict=True):
        np.testing.assert_array_equal(u, v)
    np.testing.assert_array_equal(a.predict(x.astype(dtype)), a.predict(x.astype(np.float32)))
    np.testing.assert_array_equal(a.predict_on_batch(x[:3].astype(dtype)), a.predict_on_batch(x[:3].astype(np.float32)))


def test_labels_as_whole_floats():
    x, y = blobs(rows=16)
    a, b = classifier(), classifier()
    for _ in range(3):
        assert a.train_on_batch(x, y) == b.train_on_batch(x, y.astype(np.float32)[:, None])
        assert a.train_on_batch(x, y) == b.train_on_batch(x.tolist(), y.astype(np.float64))


def test_compile_starts_the_optimizer_anew():
    x, y = blobs(rows=16)
    a, b = classifier(), classifier()
    for _ in range(3):
        a.train_on_batch(x, y)
    b.set_weights(a.get_weights())
    a.compile(Adam(0.02), "sparse_categorical_crossentropy")
    b.compile(Adam(0.02), "sparse_categorical_crossentropy")
    assert [a.train_on_batch(x, y) for _ in range(3)] == [b.train_on_batch(x, y) for _ in range(3)]


def test_foreign_arrays():
    class Foreign:
        def __init__(self, a):
            self.a = a

        def __array__(self, dtype=None, copy=None):
            return np.asarray(self.a, dtype)

    class Capsule:
        def __init__(self, a):
            self.a = a

        def __dlpack__(self, **options):
            return self.a.__dlpack__(**options)

        def __dlpack_device__(self):
            return self.a.__dlpack_device__()
    x, y = blobs(rows=40)
    results = []
    for wrap in (np.asarray, Foreign, Capsule, np.ndarray.tolist):
        model = classifier()
        model.fit(wrap(x), wrap(y), epochs=1, verbose=0)
        results.append((model.get_weights()[0], model.predict(wrap(x))))
    for weights, out in results[1:]:
        np.testing.assert_array_equal(weights, results[0][0])
        np.testing.assert_array_equal(out, results[0][1])


def test_equal_seeds_give_equal_bits():
    x, y = blobs()
    runs = []
    for seed, fit_seed in ((0, 3), (0, 3), (0, 4), (1, 3)):
        model = classifier(seed, dropout=0.3)
        model.fit(x, y, epochs=2, seed=fit_seed, verbose=0)
        runs.append(np.concatenate([w.ravel() for w in model.get_weights()]))
    np.testing.assert_array_equal(runs[0], runs[1])
    assert not np.array_equal(runs[0], runs[2])
    assert not np.array_equal(runs[0], runs[3])


def test_dropout_draws_anew_each_step_and_rests_at_inference():
    x = np.ones((16, 8), np.float32)
    model = dl.Sequential([Dropout(0.5, input_shape=(8,)), Dense(1, use_bias=False, kernel_initializer="ones")])
    model.compile(SGD(0.0), "mse")
    losses = {model.train_on_batch(x, np.zeros((16, 1), np.float32)) for _ in range(5)}
    assert len(losses) == 5
    np.testing.assert_array_equal(model.predict(x), np.full((16, 1), 8))


def test_validation_split_takes_the_last_rows(capsys):
    x, y = blobs(rows=50)
    model, by_hand = classifier(), classifier()
    a = model.fit(x, y, validation_split=0.2, epochs=2)
    b = by_hand.fit(x[:40], y[:40], validation_data=(x[40:], y[40:]), epochs=2, verbose=0)
    assert a.history == b.history
    printed = capsys.readouterr()
    assert "validation: last 20% of rows (10 of 50), labels 0/1/2 = " in printed.err and printed.out == ""
    assert "sorted" not in printed.err
    order = np.argsort(y, kind="stable")
    classifier().fit(x[order], y[order], validation_split=0.2)
    assert "warning: the rows look sorted by label" in capsys.readouterr().err


def test_sample_weights_and_class_weights():
    x, y = blobs(rows=48)
    weight = np.where(y == 1, 2.0, 0.5)
    a, b, c = (dl.Sequential([Dense(3, activation="softmax", input_shape=(5,))]) for _ in range(3))
    for model in (a, b, c):
        model.compile(SGD(0.1), "sparse_categorical_crossentropy", metrics=["accuracy"], weighted_metrics=["accuracy"])
    start = a.get_weights()
    first = a.fit(x, y, batch_size=48, sample_weight=weight, verbose=0).history
    b.fit(x, y, batch_size=48, class_weight={0: 0.5, 1: 2.0, 2: 0.5}, verbose=0)
    c.train_on_batch(x, y, sample_weight=weight)
    z = x.astype(np.float64) @ start[0] + start[1]
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    d = (p - np.eye(3)[y]) * weight[:, None] / len(y)
    for model in (a, b, c):
        np.testing.assert_allclose(model.get_weights()[0], start[0] - 0.1 * x.T @ d, atol=2e-6)
    loss, right = -np.log(p[np.arange(48), y]), z.argmax(1) == y
    assert first["loss"][0] == pytest.approx((loss * weight).mean(), rel=1e-5)
    assert first["accuracy"][0] == pytest.approx(right.mean(), rel=1e-6)
    assert first["weighted_accuracy"][0] == pytest.approx((right * weight).sum() / weight.sum(), rel=1e-6)


def test_bad_data_is_refused_with_row_and_value():
    x, y = blobs(rows=20)
    model = classifier()
    before = model.get_weights()
    bad = y.copy()
    bad[7] = 3
    with pytest.raises(DataError, match=r"(?s)label in y is out of range.*row 7.*0 to 2.*got +3"):
        model.fit(x, bad, verbose=0)
    with pytest.raises(DataError, match=r"(?s)out of range.*row 7"):
        model.train_on_batch(x, bad)
    model.train_on_batch(x, y)
    trained = model.get_weights()
    # the quick way, which the program itself guards
    with pytest.raises(DataError, match=r"(?s)out of range.*row 7"):
        model.train_on_batch(x, bad)
    for u, v in zip(model.get_weights(), trained, strict=True):
        np.testing.assert_array_equal(u, v)
    hole = x.copy()
    hole[3, 2] = np.nan
    with pytest.raises(DataError, match=r"(?s)x holds a value that is not finite.*row 3, column 2"):
        model.fit(hole, y, verbose=0)
    with pytest.raises(DataError, match=r"(?s)not finite.*3"):
        model.train_on_batch(hole, y)
    with pytest.raises(ShapeError, match=r"(?s)x has the wrong shape.*\(None, 5\).*\(None, 4\)"):
        model.fit(x[:, :4], y, verbose=0)
    with pytest.raises(DataError, match="different numbers of rows"):
        model.fit(x, y[:10], verbose=0)
    with pytest.raises(DataError, match=r"(?s)y must be integers.*row 0.*\.5"):
        model.fit(x, y + 0.5, verbose=0)
    with pytest.raises(DataError, match="the data is empty"):
        model.fit(x[:0], y[:0], verbose=0)
    with pytest.raises(DataError, match="must hold numbers"):
        model.fit(np.array(["a"] * 20), y, verbose=0)
    with pytest.raises(DataError, match="sample_weight needs one number per row"):
        model.fit(x, y, sample_weight=np.ones(3), verbose=0)
    with pytest.raises(DataError, match="must not be negative"):
        model.fit(x, y, sample_weight=-np.ones(20), verbose=0)
    with pytest.raises(UsageError, match="targets are missing"):
        model.fit(x, verbose=0)
    assert len(before) == 4


def test_class_weights_and_counts_that_cannot_be_meant():
    model, (x, y) = classifier(), blobs(40)
    for wrong, says in (([1, 2], "is a dict"), ({9: 2.0}, "names a class"), ({-1: 2.0}, "names a class"),
                        ({0: -1.0}, "finite weight"), ({0: float("nan")}, "finite weight"), ({"a": 1.0}, "finite weight")):
        with pytest.raises(UsageError, match=says):
            model.fit(x, y, class_weight=wrong, verbose=0)
    for counts in ({"epochs": 1.5}, {"batch_size": 2.5}, {"epochs": "3"}, {"epochs": -1}):
        with pytest.raises(UsageError, match="whole number"):
            model.fit(x, y, verbose=0, **counts)
    for callbacks in (["x"], [dl.Callback]):
        with pytest.raises(UsageError, match="no callback"):
            model.fit(x, y, verbose=0, callbacks=callbacks)
    assert model.state.step == 0


def test_a_batch_is_tested_and_batches_are_predicted(capsys):
    model, (x, y) = classifier(), blobs(50)
    before = model.get_weights()
    assert model.test_on_batch(x, y) == model.evaluate(x, y) and model.test_on_batch(x, y, return_dict=True)["loss"] > 0
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))
    want = model.predict(x)
    for batches in ((x[i:i + 16] for i in range(0, 50, 16)), ((x[i:i + 20], y[i:i + 20]) for i in range(0, 50, 20))):
        np.testing.assert_allclose(model.predict(batches), want, atol=1e-6)
    assert np.array_equal(model.predict(x, verbose=1), want) and "50 rows" in capsys.readouterr().err
    with pytest.raises(DataError, match="nothing to predict"):
        model.predict(iter(()))


def test_numbers_as_objects():
    model, (x, _) = classifier(), blobs(20)
    mixed = x.astype(object)
    mixed[0] = [1, 2.5, True] + [0] * (x.shape[1] - 3)
    assert np.array_equal(model.predict(mixed), model.predict(mixed.astype(np.float32)))
    for wrong in ("a", None):
        mixed[1, 0] = wrong
        with pytest.raises(DataError, match="must hold numbers"):
            model.predict(mixed)


def test_iterables():
    x, y = blobs(rows=40)

    def endless():
        while True:
            yield x[:16], y[:16]
    model = classifier()
    history = model.fit(endless(), steps_per_epoch=3, epochs=2, verbose=0)
    assert len(history.history["loss"]) == 2 and model.state.step == 6
    with pytest.raises(DataError, match="ran out"):
        model.fit(((x, y) for _ in range(1)), epochs=2, verbose=0)
    with pytest.raises(UsageError, match="a batch is a tuple"):
        model.fit([x], verbose=0)
    assert model.evaluate([(x[:10], y[:10]), (x[10:], y[10:])]) == pytest.approx(model.evaluate(x, y), rel=1e-5)


def test_batch_sizes_of_evaluation_do_not_matter():
    x, y = blobs(rows=100)
    model = classifier()
    np.testing.assert_allclose(model.evaluate(x, y, batch_size=7), model.evaluate(x, y), rtol=1e-5)
    np.testing.assert_allclose(model.predict(x, batch_size=7), model.predict(x), atol=1e-6)
    np.testing.assert_allclose(np.concatenate([model.predict_on_batch(x[i:i + 1]) for i in range(100)]),
                               model.predict(x),
                               atol=1e-6)


def test_predictions_follow_the_weights():
    """Packed weights are made again after training and after set_weights."""
    x, y = blobs(rows=64)
    model = classifier()
    before = model.predict_on_batch(x)
    model.fit(x, y, verbose=0)
    after = model.predict_on_batch(x)
    assert not np.array_equal(before, after)
    model.set_weights([np.zeros_like(w) for w in model.get_weights()])
    np.testing.assert_allclose(model.predict_on_batch(x), 1 / 3, rtol=1e-6)
    model.layers[-1].bias.assign([0, 0, 20])
    assert (model.predict_on_batch(x)[:, 2] > 0.99).all()
    np.testing.assert_array_equal(model.predict(x), model.predict_on_batch(x))


def test_second_fit_goes_on():
    x, y = blobs(rows=64)
    a, b = classifier(dropout=0.2), classifier(dropout=0.2)
    a.fit(x, y, epochs=4, verbose=0)
    b.fit(x, y, epochs=2, verbose=0)
    history = b.fit(x, y, epochs=2, verbose=0)
    assert history.epoch == [0, 1] and b.state.step == a.state.step == 8
    for u, v in zip(a.get_weights(), b.get_weights(), strict=True):
        np.testing.assert_array_equal(u, v)
