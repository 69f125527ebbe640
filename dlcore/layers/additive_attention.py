"""Additive attention as a layer."""
from __future__ import annotations

from typing import Any

from dlcore import ops
from dlcore.errors import ShapeError, UsageError
from dlcore.layers import initializers
from dlcore.layers.initializers import Initializer
from dlcore.layers.layer import Layer


class AdditiveAttention(Layer):
    """Attention of `query` over `value` whose scores are v . tanh(query W + value U + b) (Bahdanau et al., 2015).

    units   columns of W and U, the length of v;   padded steps of `value` are not seen
    query: f32[B, T, C], value: f32[B, S, V]; returns f32[B, T, V]"""

    def __init__(self, units: int, kernel_initializer: str | Initializer = "glorot_uniform", **options: Any):
        super().__init__(**options)
        if not isinstance(units, int) or units < 1:
            raise UsageError("AdditiveAttention needs a positive number of units", got=repr(units))
        self.units, self.kernel_initializer = units, initializers.get(kernel_initializer)

    def build(self, input_shape: Any) -> None:
        if not isinstance(input_shape, list) or len(input_shape) != 2 or any(len(s) != 3 for s in input_shape):
            raise ShapeError(f"layer {self.name!r} attends over another sequence of vectors",
                             expected="(None, T, C) and (None, S, V)", got=str(input_shape))
        self.query_kernel = self.add_weight("query_kernel", (input_shape[0][-1], self.units), self.kernel_initializer)
        self.key_kernel = self.add_weight("key_kernel", (input_shape[1][-1], self.units), self.kernel_initializer)
        self.key_bias = self.add_weight("key_bias", (self.units,), "zeros", decay=False)
        self.vector = self.add_weight("vector", (self.units, 1), self.kernel_initializer)

    def call(self, query, value, value_mask=None):
        return self.attend(query, self.keys(value), value, value_mask)

    def queries(self, query):
        """f32[B, T, units]"""
        return ops.dense(query, self.query_kernel)

    def keys(self, value):
        """f32[B, S, units]: what does not change while a sequence is made."""
        return ops.dense(value, self.key_kernel, self.key_bias)

    def attend(self, query, keys, value, mask=None):
        """The layer's output for keys that were made before."""
        vector: Any = self.vector
        return ops.additive_attention(self.queries(query), keys, vector.reshape(self.units), value, mask)
