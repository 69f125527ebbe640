"""Architectures composed of layers.  Imported when first used."""
from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_PUBLIC = {"mlp": "perceptron", "lenet": "convolutional", "cnn": "convolutional", "resnet": "convolutional",
           "mobilenet": "convolutional", "vit": "vision_transformer", "bilstm": "text", "bag_of_ngrams": "text",
           "encoder_classifier": "text", "autoencoder": "variational",
           "attention_maps": "maps",
           "dlinear": "series", "segment_lstm": "series", "series_transformer": "series",
           "yolo_tiny": "detection", "ssd": "detection", "faster_rcnn": "detection",
           "dcgan": "dcgan"}
__all__ = [*_PUBLIC]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'dlcore.models' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"dlcore.models.{_PUBLIC[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)


if TYPE_CHECKING:
    from dlcore.models.convolutional import cnn as cnn
    from dlcore.models.convolutional import lenet as lenet
    from dlcore.models.convolutional import mobilenet as mobilenet
    from dlcore.models.convolutional import resnet as resnet
    from dlcore.models.dcgan import dcgan as dcgan
    from dlcore.models.detection import faster_rcnn as faster_rcnn
    from dlcore.models.detection import ssd as ssd
    from dlcore.models.detection import yolo_tiny as yolo_tiny
    from dlcore.models.maps import attention_maps as attention_maps
    from dlcore.models.perceptron import mlp as mlp
    from dlcore.models.series import dlinear as dlinear
    from dlcore.models.series import segment_lstm as segment_lstm
    from dlcore.models.series import series_transformer as series_transformer
    from dlcore.models.text import bag_of_ngrams as bag_of_ngrams
    from dlcore.models.text import bilstm as bilstm
    from dlcore.models.text import encoder_classifier as encoder_classifier
    from dlcore.models.variational import autoencoder as autoencoder
    from dlcore.models.vision_transformer import vit as vit
