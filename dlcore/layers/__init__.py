"""Layers with Keras's names: weights, their initial values, and a call into `dlcore.ops`.  Imported when first used."""
from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_PUBLIC = {
    "Layer": "layer",
    "Input": "layer",
    "Dense": "core",
    "Activation": "core",
    "ReLU": "core",
    "Softmax": "core",
    "Dropout": "core",
    "Flatten": "core",
    "Reshape": "core",
    "Concatenate": "merge",
    "Add": "merge",
    "Multiply": "merge",
    "Embedding": "embedding",
    "PositionalEmbedding": "embedding",
    "LayerNormalization": "layer_norm",
    "RMSNormalization": "layer_norm",
    "MultiHeadAttention": "attention",
    "AdditiveAttention": "additive_attention",
    "TransformerEncoder": "transformer",
    "TransformerDecoder": "transformer",
    "CausalLM": "transformer",
    "BertEncoder": "bert",
    "Pooled": "bert",
    "UnitNormalization": "layer_norm",
    "TranslationTransformer": "translation",
    "TranslationLSTM": "translation",
    "Masking": "sequence",
    "SimpleRNN": "recurrent",
    "LSTM": "recurrent",
    "GRU": "recurrent",
    "Bidirectional": "wrappers",
    "TimeDistributed": "wrappers",
    "WeightedBag": "bag",
    "GlobalAveragePooling1D": "sequence",
    "GlobalMaxPooling1D": "sequence",
    "Conv1D": "convolution",
    "Conv2D": "convolution",
    "DepthwiseConv2D": "convolution",
    "SeparableConv2D": "convolution",
    "Conv2DTranspose": "convolution",
    "BatchNormalization": "normalization",
    "GroupNormalization": "normalization",
    "MaxPooling2D": "image",
    "AveragePooling2D": "image",
    "GlobalAveragePooling2D": "image",
    "GlobalMaxPooling2D": "image",
    "AdaptiveAveragePooling2D": "image",
    "AdaptiveMaxPooling2D": "image",
    "UpSampling2D": "image",
    "ZeroPadding2D": "image",
    "Cropping2D": "image",
    "ChannelPadding": "image",
    "ChannelShuffle": "image",
    "PixelShuffle": "image",
    "LeakyReLU": "core",
    "GaussianSample": "gaussian",
    "GaussianDivergence": "gaussian",
    "ReversibleNormalization": "series",
    "Rescaling1D": "series",
    "SeriesDecomposition": "series",
    "Segments": "series",
    "FirstVariables": "series",
    "YoloOutput": "detection",
    "PriorOutput": "detection",
    "RegionProposals": "detection",
    "RoIAlign": "detection",
    "RegionOutput": "detection",
    "SpectralNormalization": "spectral",
    "InnerProduct": "spectral",
    "RandomCode": "spectral",
}
_MODULES = ("activations", "initializers", "regularizers")
__all__ = [*_PUBLIC, *_MODULES]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        value = getattr(importlib.import_module(f"dlcore.layers.{_PUBLIC[name]}"), name)
    elif name in _MODULES:
        value = importlib.import_module(f"dlcore.layers.{name}")
    else:
        raise AttributeError(f"module 'dlcore.layers' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)


if TYPE_CHECKING:
    from dlcore.layers import activations, initializers, regularizers
    from dlcore.layers.additive_attention import AdditiveAttention
    from dlcore.layers.attention import MultiHeadAttention
    from dlcore.layers.bag import WeightedBag
    from dlcore.layers.bert import BertEncoder, Pooled
    from dlcore.layers.convolution import Conv1D, Conv2D, Conv2DTranspose, DepthwiseConv2D, SeparableConv2D
    from dlcore.layers.core import Activation, Dense, Dropout, Flatten, LeakyReLU, ReLU, Reshape, Softmax
    from dlcore.layers.detection import PriorOutput, RegionOutput, RegionProposals, RoIAlign, YoloOutput
    from dlcore.layers.embedding import Embedding, PositionalEmbedding
    from dlcore.layers.gaussian import GaussianDivergence, GaussianSample
    from dlcore.layers.image import (
        AdaptiveAveragePooling2D,
        AdaptiveMaxPooling2D,
        AveragePooling2D,
        ChannelPadding,
        ChannelShuffle,
        Cropping2D,
        GlobalAveragePooling2D,
        GlobalMaxPooling2D,
        MaxPooling2D,
        PixelShuffle,
        UpSampling2D,
        ZeroPadding2D,
    )
    from dlcore.layers.layer import Input, Layer
    from dlcore.layers.layer_norm import LayerNormalization, RMSNormalization, UnitNormalization
    from dlcore.layers.merge import Add, Concatenate, Multiply
    from dlcore.layers.normalization import BatchNormalization, GroupNormalization
    from dlcore.layers.recurrent import GRU, LSTM, SimpleRNN
    from dlcore.layers.sequence import GlobalAveragePooling1D, GlobalMaxPooling1D, Masking
    from dlcore.layers.series import FirstVariables, Rescaling1D, ReversibleNormalization, Segments, SeriesDecomposition
    from dlcore.layers.spectral import InnerProduct, RandomCode, SpectralNormalization
    from dlcore.layers.transformer import CausalLM, TransformerDecoder, TransformerEncoder
    from dlcore.layers.translation import TranslationLSTM, TranslationTransformer
    from dlcore.layers.wrappers import Bidirectional, TimeDistributed
