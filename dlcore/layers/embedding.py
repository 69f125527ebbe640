"""Vectors for ids, and for positions."""
from __future__ import annotations

from typing import Any

import numpy as np

from dlcore import ops
from dlcore.errors import ShapeError, UsageError
from dlcore.layers import initializers
from dlcore.layers.initializers import Initializer
from dlcore.layers.layer import Layer, Shape
from dlcore.layers.trace import current


class Embedding(Layer):
    """A learned vector for each of `input_dim` ids.   ids: i32[B, ...]   returns f32[B, ..., output_dim]

    mask_zero  id 0 is padding: layers that follow leave those steps out
    sparse     a step updates only the rows that its batch looks up, and their state: for large tables.  Adam is lazy then, as
               PyTorch's SparseAdam; weight decay is that of these rows.  With SGD without momentum, Adagrad, Adam and AdamW; where
               gradients are accumulated or something else reads the table too (tied outputs, penalties), all rows are updated
    Data with an id outside 0 .. input_dim - 1 is refused before it is used (DataError with row and position)."""

    input_dtype = "int32"

    def __init__(self, input_dim: int, output_dim: int, embeddings_initializer: str | Initializer = "random_uniform",
                 mask_zero: bool = False, sparse: bool = False, **options: Any):
        super().__init__(**options)
        for name, size in (("input_dim", input_dim), ("output_dim", output_dim)):
            if not isinstance(size, int) or size < 1:
                raise UsageError(f"Embedding's {name} is a positive number", got=repr(size))
        self.input_dim, self.output_dim, self.mask_zero = input_dim, output_dim, mask_zero
        self.sparse, self.embeddings_initializer = bool(sparse), initializers.get(embeddings_initializer)

    def build(self, input_shape: Shape) -> None:
        self.embeddings = self.add_weight("embeddings", (self.input_dim, self.output_dim), self.embeddings_initializer)

    def call(self, ids):
        if ids.dtype != "i32":
            raise ShapeError(f"layer {self.name!r} takes ids", expected="i32", got=ids.dtype,
                             hint='Input(shape, dtype="int32")')
        trace = current()
        if trace:
            trace.limit(ids, self.input_dim)
        return trace.lookup(self.embeddings, ids) if trace and self.sparse else ops.embedding(self.embeddings, ids)

    def compute_mask(self, inputs, mask=None):
        return ops.id_mask(inputs) if self.mask_zero and inputs.ndim == 2 else mask


class _Sinusoid(Initializer):
    """Sines and cosines of wavelengths from 2 pi to 10000 * 2 pi (Vaswani et al., 2017, section 3.5)."""

    def draw(self, shape, rng):
        T, C = shape
        angles = np.arange(T)[:, None] / 10000 ** (np.arange(0, C, 2) / C)
        out = np.empty((T, C))
        out[:, 0::2], out[:, 1::2] = np.sin(angles), np.cos(angles[:, :C // 2])
        return out


class PositionalEmbedding(Layer):
    """x plus a vector for each position.   x: f32[B, T, C], T at most `sequence_length`   returns the same shape

    kind   "learned", or "sinusoidal": fixed sines and cosines, nothing is learned"""

    supports_masking = True

    def __init__(self, sequence_length: int, kind: str = "learned", initializer: str | Initializer = "glorot_uniform",
                 **options: Any):
        super().__init__(**options)
        if not isinstance(sequence_length, int) or sequence_length < 1:
            raise UsageError("PositionalEmbedding's sequence_length is a positive number", got=repr(sequence_length))
        if kind not in ("learned", "sinusoidal"):
            raise UsageError("PositionalEmbedding knows no such kind", expected="learned or sinusoidal", got=repr(kind))
        self.sequence_length, self.kind, self.initializer = sequence_length, kind, initializers.get(initializer)

    def build(self, input_shape: Shape) -> None:
        learned = self.kind == "learned"
        initializer = self.initializer if learned else _Sinusoid()
        # a Variable, which `call` reads as the graph's Tensor
        self.positions: Any = self.add_weight("positions", (self.sequence_length, input_shape[-1]), initializer,
                                              statistic=not learned)

    def call(self, x):
        trace = current()
        if trace is not None and trace.steps is not None:
            return ops.add(x, ops.embedding(self.positions, trace.steps.ids))
        if x.ndim != 3 or x.shape[1] > self.sequence_length:
            raise ShapeError(f"layer {self.name!r} takes sequences of at most {self.sequence_length} vectors",
                             expected=f"(None, up to {self.sequence_length}, C)", got=str((None, *x.shape[1:])))
        return ops.add(x, self.positions[:x.shape[1]])
