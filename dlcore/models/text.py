"""Classifiers of texts: ids of tokens, or of n-grams, to labels."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dlcore.layers import (
    LSTM,
    Bidirectional,
    Dense,
    Dropout,
    Embedding,
    GlobalAveragePooling1D,
    Input,
    LayerNormalization,
    PositionalEmbedding,
    TransformerEncoder,
    WeightedBag,
)
from dlcore.training.model import Sequential


def bilstm(length: int, vocabulary: int, outputs: int, *, embed: int = 128, hidden: Sequence[int] = (64,), dropout: float = 0.3,
           output_activation: str = "softmax", seed: int = 0) -> Sequential:
    """ids [length] -> Embedding -> a bidirectional LSTM for each width in `hidden` -> mean over the steps -> Dense.

    Id 0 is padding: it is left out of states and of the mean.   dropout: on the vectors, between layers and before Dense."""
    layers: list[Any] = [Input((length,), "int32"), Embedding(vocabulary, embed, mask_zero=True)]
    for width in hidden:
        layers += [Dropout(dropout)] if dropout else []
        layers.append(Bidirectional(LSTM(int(width), return_sequences=True)))
    layers.append(GlobalAveragePooling1D())
    layers += [Dropout(dropout)] if dropout else []
    layers.append(Dense(outputs, activation=output_activation))
    return Sequential(layers, seed=seed)


def encoder_classifier(length: int, vocabulary: int, outputs: int, *, embed: int = 128, hidden: Sequence[int] = (256,),
                       heads: int = 4, dropout: float = 0.3, output_activation: str = "softmax", seed: int = 0) -> Sequential:
    """ids [length] -> Embedding and learned positions -> a Transformer block for each width in `hidden`, that of its dense
    network -> norm -> mean over the steps -> Dense.   Id 0 is padding, which no step sees.

    embed: a multiple of heads;   dropout: on the vectors and before Dense, a third of it inside the blocks"""
    layers: list[Any] = [Input((length,), "int32"), Embedding(vocabulary, embed, mask_zero=True), PositionalEmbedding(length)]
    layers += [Dropout(dropout)] if dropout else []
    layers += [TransformerEncoder(int(width), heads, dropout=dropout / 3, activation="gelu", normalize_first=True)
               for width in hidden]
    layers += [LayerNormalization(), GlobalAveragePooling1D(), *([Dropout(dropout)] if dropout else [])]
    layers.append(Dense(outputs, activation=output_activation))
    return Sequential(layers, seed=seed)


def bag_of_ngrams(length: int, features: int, outputs: int, *, embed: int = 64, hidden: Sequence[int] = (), dropout: float = 0.0,
                  output_activation: str = "softmax", seed: int = 0) -> Sequential:
    """ids of n-grams [length] -> one weighted vector -> Dense layers with ReLU -> Dense."""
    layers: list[Any] = [Input((length,), "int32"), WeightedBag(features, embed)]
    for width in hidden:
        layers += [*([Dropout(dropout)] if dropout else []), Dense(int(width), activation="relu")]
    layers += [Dropout(dropout)] if dropout else []
    layers.append(Dense(outputs, activation=output_activation))
    return Sequential(layers, seed=seed)
