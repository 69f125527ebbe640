"""Forecasts of series: the last steps of some variables -> the next steps of the first of them.

    x: f32[B, variables, steps]   returns f32[B, targets, horizon]

Unless `normalize` is off, each window is normalised, and the forecast brought back (`ReversibleNormalization`).
"""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dlcore.layers import (
    LSTM,
    Add,
    Dense,
    Dropout,
    FirstVariables,
    Input,
    LayerNormalization,
    PositionalEmbedding,
    Rescaling1D,
    Reshape,
    ReversibleNormalization,
    Segments,
    SeriesDecomposition,
    TimeDistributed,
    TransformerEncoder,
)
from dlcore.training.model import Model


def _around(steps: int, variables: int, targets: int, normalize: bool, seed: int, forecast: Callable[[Any], Any]) -> Model:
    """The model around what makes f32[B, targets, horizon] of f32[B, variables, steps]."""
    x = Input((variables, steps))
    if not normalize:
        return Model(x, forecast(x), seed=seed)
    inside, shift, scale = ReversibleNormalization(name="normalization")(x)
    return Model(x, Rescaling1D(name="back")([forecast(inside), shift, scale]), seed=seed)


def dlinear(steps: int, variables: int, horizon: int, targets: int, *, window: int = 25, normalize: bool = False,
            seed: int = 0) -> Model:
    """Zeng et al., Are transformers effective for time series forecasting?, 2023: the moving average of `window` steps and what is
    left of each variable, each through a linear layer that all variables share; the two forecasts are added."""
    def forecast(x: Any) -> Any:
        rest, trend = SeriesDecomposition(window, name="decomposition")(FirstVariables(targets)(x))
        return Add()([Dense(horizon, name="rest")(rest), Dense(horizon, name="trend")(trend)])
    return _around(steps, variables, targets, normalize, seed, forecast)


def segment_lstm(steps: int, variables: int, horizon: int, targets: int, *, patch: int, width: int = 128, layers: int = 1,
                 dropout: float = 0.1, mix: bool = False, normalize: bool = True, seed: int = 0) -> Model:
    """Segments of `patch` steps, an LSTM over them, its last state -> the whole horizon (the encoder of Lin et al., SegRNN, 2023,
    with the LSTM of Hochreiter and Schmidhuber, 1997).

    mix   a step of the LSTM sees all variables' segments; otherwise each variable is read by itself, with the same weights.
    patch: divides `steps`"""
    def lstm(x: Any, around: Callable[[Any], Any]) -> Any:
        x = Dense(width, activation="relu", name="segment")(x)
        for i in range(layers):
            x = around(LSTM(width, return_sequences=i < layers - 1, name=f"lstm_{i}"))(x)
        return Dropout(dropout)(x) if dropout else x

    def forecast(x: Any) -> Any:
        if mix:
            last = lstm(Segments(patch)(x), lambda layer: layer)
            return Reshape((targets, horizon))(Dense(targets * horizon, name="head")(last))
        x = Reshape((targets, steps // patch, patch))(FirstVariables(targets)(x))
        return Dense(horizon, name="head")(lstm(x, TimeDistributed))
    return _around(steps, variables, targets, normalize, seed, forecast)


def series_transformer(steps: int, variables: int, horizon: int, targets: int, *, patch: int, width: int = 128, layers: int = 2,
                       heads: int = 4, dropout: float = 0.1, mix: bool = True, normalize: bool = True, seed: int = 0) -> Model:
    """Transformer blocks over tokens of a series.

    mix   a token is a variable's whole past, and attention is between variables (Liu et al., iTransformer, 2024); otherwise a
          token is a segment of `patch` steps of one variable, and each variable is read by itself, with the same weights (Nie et
          al., A time series is worth 64 words (PatchTST), 2023; here segments do not overlap).  width: a multiple of heads"""
    def blocks(x: Any, around: Callable[[Any], Any]) -> Any:
        x = Dropout(dropout)(x) if dropout else x
        for i in range(layers):
            x = around(TransformerEncoder(2 * width, heads, dropout=dropout, activation="gelu", normalize_first=True,
                                          name=f"block_{i}"))(x)
        return LayerNormalization(1e-5, name="last_norm")(x)

    def forecast(x: Any) -> Any:
        if mix:
            x = blocks(Dense(width, name="variable")(x), lambda layer: layer)
            return Dense(horizon, name="head")(FirstVariables(targets)(x))
        count = steps // patch
        x = Dense(width, name="segment")(Reshape((targets, count, patch))(FirstVariables(targets)(x)))
        x = blocks(TimeDistributed(PositionalEmbedding(count, name="positions"))(x), TimeDistributed)
        return Dense(horizon, name="head")(Reshape((targets, count * width))(x))
    return _around(steps, variables, targets, normalize, seed, forecast)
