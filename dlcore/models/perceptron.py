"""The multilayer perceptron."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dlcore.layers import Dense, Dropout, Flatten, Input
from dlcore.training.model import Sequential


def mlp(input_shape: Sequence[int], hidden: Sequence[int], outputs: int, *, activation: str = "relu",
        output_activation: str | None = None, dropout: float = 0.0, kernel_initializer: str = "he_uniform",
        name: str | None = None, seed: int = 0) -> Sequential:
    """input -> hidden layers, each with its activation and dropout -> outputs.

    input_shape        without the batch; several axes are flattened
    hidden             widths of the hidden layers
    output_activation  "softmax" for classes, "sigmoid" for yes/no decisions, None for numbers
    """
    layers: list[Any] = [Input(tuple(input_shape))]
    if len(input_shape) > 1:
        layers.append(Flatten())
    for width in hidden:
        layers.append(Dense(int(width), activation=activation, kernel_initializer=kernel_initializer))
        if dropout:
            layers.append(Dropout(dropout))
    layers.append(Dense(int(outputs), activation=output_activation))
    return Sequential(layers, name=name, seed=seed)
