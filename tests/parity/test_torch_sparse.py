"""Updates of single rows beside PyTorch's sparse gradients: SGD, Adagrad, SparseAdam."""
from __future__ import annotations

import numpy as np
import pytest
import torch

import dlcore
from dlcore.layers import Dense, Embedding, Flatten, Input

V, D, T, B = 60, 7, 5, 16
# Adam's first step in a row is lr * sign(gradient), whatever its size: at a high rate the rounding of a gradient near 0 counts
PAIRS = {"sgd": (dlcore.SGD, torch.optim.SGD, 0.05), "adagrad": (dlcore.optim.Adagrad, torch.optim.Adagrad, 0.05),
         "adam": (dlcore.Adam, torch.optim.SparseAdam, 0.005)}


@pytest.mark.parametrize("name", PAIRS)
def test_trajectory_of_a_table(name):
    ours, theirs, lr = PAIRS[name]
    model = dlcore.Sequential([Input((T,), "int32"), Embedding(V, D, sparse=True), Flatten(), Dense(1)], seed=3)
    model.layers[2].trainable = False
    model.compile(ours(lr), "mean_squared_error")
    table = torch.nn.Embedding(V, D, sparse=True)
    weight, kernel, bias = (torch.tensor(w) for w in model.get_weights())
    with torch.no_grad():
        table.weight.copy_(weight)
    optimizer = theirs(table.parameters(), lr=lr)
    rng = np.random.default_rng(0)
    for _ in range(40):
        x, y = rng.integers(0, V // 2, (B, T)).astype(np.int32), rng.standard_normal((B, 1)).astype(np.float32)
        model.train_on_batch(x, y)
        optimizer.zero_grad()
        (table(torch.tensor(x).long()).flatten(1) @ kernel + bias - torch.tensor(y)).square().mean().backward()
        optimizer.step()
    np.testing.assert_allclose(model.get_weights()[0], table.weight.detach().numpy(), rtol=0, atol=2e-5)
