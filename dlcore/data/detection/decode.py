"""What the last layer of a detector says, as boxes: the opposite of the rooms `box_loss` and `proposals`, on NumPy."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from dlcore.metrics.boxes import suppressed
from dlcore.metrics.detection import Detected

MOST = 2000                 # candidates of a picture that are compared with each other


def sigmoid(z: np.ndarray) -> np.ndarray:
    return 0.5 * (1 + np.tanh(0.5 * z))


def from_yolo(said: np.ndarray, cells: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(boxes f32 (P, 4), scores f32 (P, K)) of one picture's output f32 (P, 5 + K)."""
    s = sigmoid(said)
    middle = (2 * s[:, :2] - 0.5 + cells[:, :2]) * cells[:, 2:3]
    half = 2 * s[:, 2:4] ** 2 * cells[:, 3:]
    return np.concatenate([middle - half, middle + half], 1), s[:, 4:5] * s[:, 5:]


def from_priors(said: np.ndarray, priors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same of offsets and classes f32 (P, 5 + K) relative to boxes f32 (P, 4)."""
    size, centre = priors[:, 2:] - priors[:, :2], (priors[:, :2] + priors[:, 2:]) / 2
    middle, half = centre + 0.1 * said[:, :2] * size, size * np.exp(np.minimum(0.2 * said[:, 2:4], 4)) / 2
    odds = np.exp(said[:, 4:] - said[:, 4:].max(1, keepdims=True))
    return np.concatenate([middle - half, middle + half], 1), (odds / odds.sum(1, keepdims=True))[:, 1:]


def from_regions(said: np.ndarray, places: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The same of a flat output: 6 * places numbers of the first stage, `count` regions, and what the second says of them."""
    regions = said[6 * places:6 * places + 4 * count].reshape(count, 4)
    second = said[6 * places + 4 * count:].reshape(count, -1)
    there = (regions[:, 2:] > regions[:, :2]).all(1)
    return from_priors(second[there], regions[there])


def decoder(layer: Any) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """How the outputs of a last layer `YoloOutput` or `PriorOutput`, f32 (n,) a picture, become boxes and scores."""
    kind = type(layer).__name__
    places = layer.places.array if kind == "YoloOutput" else layer.priors.array
    decode = from_yolo if kind == "YoloOutput" else from_priors
    return lambda said: decode(said.reshape(len(places), -1), places)


def found_in(boxes: np.ndarray, scores: np.ndarray, threshold: float, iou: float, frame: np.ndarray, size: tuple[int, int],
             most: int = 300) -> Detected:
    """What is found in one picture: scores from `threshold` on, of each class only the best of its place, in pixels of the picture.

    frame: (scale, left, top) of the picture in the image;  size: its height and width."""
    places, labels = np.nonzero(scores >= threshold)
    values = scores[places, labels]
    order = np.argsort(-values, kind="stable")[:MOST]
    places, labels, values = places[order], labels[order], values[order]
    scale, left, top = frame
    xyxy = (boxes[places].astype(np.float64) - (left, top, left, top)) / scale
    xyxy = np.clip(xyxy, 0, [size[1], size[0], size[1], size[0]])
    kept = suppressed(xyxy, values, labels, iou, most)
    kept = kept[(xyxy[kept, 2:] > xyxy[kept, :2]).all(1)]
    return Detected(labels[kept].astype(np.int64), values[kept], xyxy[kept])
