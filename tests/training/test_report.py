"""`Model.evaluate(report=True)`: the measures are those of the predictions."""
import numpy as np
import pytest
from sklearn import metrics as sk

import dlcore as dl
from dlcore.errors import UsageError
from dlcore.layers import Dense, Input
from dlcore.training.losses import BinaryCrossentropy, SparseCategoricalCrossentropy

RNG = np.random.default_rng(0)
X = RNG.standard_normal((80, 4)).astype(np.float32)
LABELS = (X[:, 0] + X[:, 1] > 0).astype(np.int64) + (X[:, 2] > 0.5)


def model(outputs, activation, loss):
    made = dl.Sequential([Input((4,)), Dense(outputs, activation=activation)])
    made.compile("adam", loss)
    return made


@pytest.mark.parametrize("loss, activation, answers", [
    ("sparse_categorical_crossentropy", "softmax", LABELS),
    (SparseCategoricalCrossentropy(from_logits=True), None, LABELS),
    ("categorical_crossentropy", "softmax", np.eye(3, dtype=np.float32)[LABELS])])
def test_labels(loss, activation, answers):
    made = model(3, activation, loss)
    found, out = made.evaluate(X, answers, report=True), made.predict(X)
    assert found.metrics["accuracy"] == sk.accuracy_score(LABELS, out.argmax(1))
    probs = np.exp(out) / np.exp(out).sum(1, keepdims=True) if activation is None else out
    probs = probs.astype(np.float64)
    np.testing.assert_allclose(found.metrics["log_loss"], sk.log_loss(LABELS, probs / probs.sum(1, keepdims=True)), rtol=1e-5)
    assert "precision" in str(found) and "macro_f1" in str(found) and "95 %" in str(found)


@pytest.mark.parametrize("loss, activation", [("binary_crossentropy", "sigmoid"), (BinaryCrossentropy(from_logits=True), None)])
def test_two_labels(loss, activation):
    made, answers = model(1, activation, loss), (LABELS > 0).astype(np.float32)
    found = made.evaluate(X, answers, report=True)
    assert abs(found.metrics["roc_auc"] - sk.roc_auc_score(answers, made.predict(X)[:, 0])) < 1e-12


def test_numbers():
    made = model(1, None, "mse")
    found = made.evaluate(X, X[:, 0] * 2, report=True)
    np.testing.assert_allclose(found.metrics["rmse"] ** 2, made.evaluate(X, X[:, 0] * 2), rtol=1e-5)


def test_what_cannot_be_reported():
    with pytest.raises(UsageError, match="one label or one number"):
        model(3, None, "mse").evaluate(X, np.zeros((80, 3)), report=True)
    with pytest.raises(UsageError, match="without weights"):
        model(1, None, "mse").evaluate(X, X[:, 0], sample_weight=np.ones(80), report=True)
