"""A multilayer perceptron beside PyTorch's: outputs, gradients, fifty steps.  Run by `pytest tests/parity`; needs
torch."""
import numpy as np
import pytest
import torch

import dlcore as dl
from dlcore.layers import Dense, Input
from dlcore.optim import SGD, Adam, AdamW
from dlcore.training import losses

SIZES = (23, 32, 17, 5)
ACTIVATIONS = {"relu": torch.nn.ReLU, "tanh": torch.nn.Tanh, "gelu": torch.nn.GELU, "sigmoid": torch.nn.Sigmoid,
               "silu": torch.nn.SiLU, "elu": torch.nn.ELU, "softplus": torch.nn.Softplus}


def pair(activation="relu"):
    """The same network here (logits) and in torch."""
    ours = dl.Sequential([Input(SIZES[:1]), *(Dense(n, activation=activation) for n in SIZES[1:-1]), Dense(SIZES[-1])])
    parts = []
    for k, n in zip(SIZES, SIZES[1:], strict=False):
        parts += [torch.nn.Linear(k, n), ACTIVATIONS[activation]()]
    theirs = torch.nn.Sequential(*parts[:-1])
    with torch.no_grad():
        for p, w in zip(theirs.parameters(), ours.get_weights(), strict=True):
            p.copy_(torch.from_numpy(w.T.copy()))
    return ours, theirs


def batches(count, rows=48, seed=0):
    rng = np.random.default_rng(seed)
    for _ in range(count):
        yield rng.standard_normal((rows, SIZES[0])).astype(np.float32), rng.integers(0, SIZES[-1], rows)


def weights_of(theirs):
    return [p.detach().numpy().T for p in theirs.parameters()]


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_values_and_gradients(activation):
    ours, theirs = pair(activation)
    x, y = next(batches(1))
    with torch.no_grad():
        np.testing.assert_allclose(ours.predict(x), theirs(torch.from_numpy(x)).numpy(), atol=2e-6)
    ours.compile(SGD(1.0), losses.SparseCategoricalCrossentropy(from_logits=True))
    before = ours.get_weights()
    loss = torch.nn.functional.cross_entropy(theirs(torch.from_numpy(x)), torch.from_numpy(y))
    loss.backward()
    assert ours.train_on_batch(x, y) == pytest.approx(loss.item(), rel=1e-6)
    for w, v, p in zip(before, ours.get_weights(), theirs.parameters(), strict=True):
        np.testing.assert_allclose(w - v, p.grad.numpy().T, atol=1e-6)


OPTIMIZERS = {
    "adam": (lambda: Adam(1e-3, epsilon=1e-8), lambda p: torch.optim.Adam(p, 1e-3)),
    "adamw": (lambda: AdamW(1e-3, weight_decay=0.05, epsilon=1e-8),
              lambda p: torch.optim.AdamW(p, 1e-3, weight_decay=0.05)),
    "sgd": (lambda: SGD(0.05), lambda p: torch.optim.SGD(p, 0.05)),
    "momentum": (lambda: SGD(0.02, momentum=0.9), lambda p: torch.optim.SGD(p, 0.02, momentum=0.9)),
    "nesterov": (lambda: SGD(0.02, momentum=0.9, nesterov=True),
                 lambda p: torch.optim.SGD(p, 0.02, momentum=0.9, nesterov=True)),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_fifty_steps(name):
    ours, theirs = pair()
    mine, yours = OPTIMIZERS[name]
    ours.compile(mine(), losses.SparseCategoricalCrossentropy(from_logits=True))
    optimizer = yours(theirs.parameters())
    for x, y in batches(50):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(theirs(torch.from_numpy(x)), torch.from_numpy(y))
        loss.backward()
        optimizer.step()
        assert ours.train_on_batch(x, y) == pytest.approx(loss.item(), abs=1e-5)
    for w, v in zip(ours.get_weights(), weights_of(theirs), strict=True):
        np.testing.assert_allclose(w, v, atol=1e-5)


LOSSES = {
    "categorical": (lambda: losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1),
                    lambda z, y: torch.nn.functional.cross_entropy(z, y, label_smoothing=0.1)),
    "binary": (lambda: losses.BinaryCrossentropy(from_logits=True),
               torch.nn.functional.binary_cross_entropy_with_logits),
    "mse": (losses.MeanSquaredError, torch.nn.functional.mse_loss),
    "mae": (losses.MeanAbsoluteError, torch.nn.functional.l1_loss),
    "huber": (lambda: losses.Huber(0.7), lambda z, y: torch.nn.functional.huber_loss(z, y, delta=0.7)),
}


@pytest.mark.parametrize("name", LOSSES)
def test_losses(name):
    ours, theirs = pair()
    mine, yours = LOSSES[name]
    x, ids = next(batches(1))
    y = np.eye(SIZES[-1], dtype=np.float32)[ids]
    ours.compile(SGD(1.0), mine())
    before = ours.get_weights()
    loss = yours(theirs(torch.from_numpy(x)), torch.from_numpy(y))
    loss.backward()
    assert ours.train_on_batch(x, y) == pytest.approx(loss.item(), rel=2e-6)
    for w, v, p in zip(before, ours.get_weights(), theirs.parameters(), strict=True):
        np.testing.assert_allclose(w - v, p.grad.numpy().T, atol=1e-6)


def test_torch_tensors_are_taken_as_data():
    ours, _ = pair()
    ours.compile("adam", losses.SparseCategoricalCrossentropy(from_logits=True))
    x, y = next(batches(1))
    ours.fit(torch.from_numpy(x), torch.from_numpy(y), verbose=0)
    np.testing.assert_array_equal(ours.predict(torch.from_numpy(x)), ours.predict(x))
