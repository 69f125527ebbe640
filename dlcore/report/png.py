"""Pixels as PNG files (ISO/IEC 15948), by zlib alone."""
from __future__ import annotations

import base64
import math
import struct
import zlib

import numpy as np

from dlcore.errors import ShapeError

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}            # channels -> grey, grey and alpha, RGB, RGBA


def encode(pixels: np.ndarray) -> bytes:
    """A PNG file of (H, W) or (H, W, 1 to 4) pixels, u8.  Raises `ShapeError`."""
    if pixels.ndim == 2:
        pixels = pixels[:, :, np.newaxis]
    if pixels.ndim != 3 or pixels.shape[2] not in _COLOUR_TYPES or pixels.dtype != np.uint8 or 0 in pixels.shape:
        raise ShapeError("pixels do not make an image", expected="u8 of shape (H, W) or (H, W, 1 to 4)",
                         got=f"{pixels.dtype} of shape {pixels.shape}")
    height, width, channels = pixels.shape
    header = struct.pack(">IIBBBBB", width, height, 8, _COLOUR_TYPES[channels], 0, 0, 0)
    # each row is led by its filter: none
    rows = np.zeros((height, 1 + width * channels), np.uint8)
    rows[:, 1:] = pixels.reshape(height, -1)
    return _SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(rows.tobytes(), 9)) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def as_bytes(image: np.ndarray) -> np.ndarray:
    """An image of any numeric type as u8: bytes as they are, other values from their least to their greatest."""
    if image.dtype == np.uint8:
        return image
    values = np.nan_to_num(image.astype(np.float64))
    low, high = float(values.min()), float(values.max())
    if low >= 0 and high <= 1:
        low, high = 0.0, 1.0
    elif low >= 0 and high <= 255:
        low, high = 0.0, 255.0
    return np.rint((values - low) * (255 / (high - low) if high > low else 0.0)).astype(np.uint8)


def grid(images: np.ndarray, columns: int = 0, gap: int = 2) -> np.ndarray:
    """(N, H, W) or (N, H, W, C) images, u8 or numbers from 0 to 1, side by side as one picture, u8 (rows, width, C).

    columns: 0 makes it about square.   gap: dark pixels between two images."""
    if images.dtype != np.uint8:
        images = np.rint(np.clip(images, 0, 1) * 255).astype(np.uint8)
    if images.ndim == 3:
        images = images[..., np.newaxis]
    N, H, W, C = images.shape
    columns = columns or max(1, math.ceil(math.sqrt(N)))
    rows = -(-N // columns)
    out = np.zeros((rows, H + gap, columns, W + gap, C), np.uint8)
    out[np.arange(N) // columns, :H, np.arange(N) % columns, :W] = images
    return out.reshape(rows * (H + gap), columns * (W + gap), C)[:-gap or None, :-gap or None]


def data_uri(image: np.ndarray) -> str:
    """An image as a URI that holds it."""
    return "data:image/png;base64," + base64.b64encode(encode(as_bytes(image))).decode()
