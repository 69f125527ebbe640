"""Vectors for ids."""
from __future__ import annotations

from typing import Any

from dlcore import ops
from dlcore.errors import ShapeError, UsageError
from dlcore.layers import initializers
from dlcore.layers.initializers import Initializer
from dlcore.layers.layer import Layer, Shape
from dlcore.layers.trace import current


class Embedding(Layer):
    """A learned vector for each of `input_dim` ids.   ids: i32[B, ...]   returns f32[B, ..., output_dim]

    mask_zero  id 0 is padding: layers that follow leave those steps out.
    Data with an id outside 0 .. input_dim - 1 is refused before it is used (DataError with row and position)."""

    input_dtype = "int32"

    def __init__(self, input_dim: int, output_dim: int, embeddings_initializer: str | Initializer = "random_uniform",
                 mask_zero: bool = False, **options: Any):
        super().__init__(**options)
        for name, size in (("input_dim", input_dim), ("output_dim", output_dim)):
            if not isinstance(size, int) or size < 1:
                raise UsageError(f"Embedding's {name} is a positive number", got=repr(size))
        self.input_dim, self.output_dim, self.mask_zero = input_dim, output_dim, mask_zero
        self.embeddings_initializer = initializers.get(embeddings_initializer)

    def build(self, input_shape: Shape) -> None:
        self.embeddings = self.add_weight("embeddings", (self.input_dim, self.output_dim), self.embeddings_initializer)

    def call(self, ids):
        if ids.dtype != "i32":
            raise ShapeError(f"layer {self.name!r} takes ids", expected="i32", got=ids.dtype,
                             hint='Input(shape, dtype="int32")')
        trace = current()
        if trace:
            trace.limit(ids, self.input_dim)
        return ops.embedding(self.embeddings, ids)

    def compute_mask(self, inputs, mask=None):
        return ops.id_mask(inputs) if self.mask_zero and inputs.ndim == 2 else mask
