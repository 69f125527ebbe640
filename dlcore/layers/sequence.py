"""Layers on sequences [B, T, C]: padding, and one vector for a whole sequence."""
from __future__ import annotations

from typing import Any

from dlcore import ops
from dlcore.errors import ShapeError, UsageError
from dlcore.layers.layer import Layer


class Masking(Layer):
    """Steps whose numbers are all `mask_value` are padding: they become 0, and layers that follow leave them out.

    x: f32[B, T, C]   returns the same shape"""

    def __init__(self, mask_value: float = 0.0, **options: Any):
        super().__init__(**options)
        self.mask_value = float(mask_value)

    def call(self, x):
        if x.ndim != 3:
            raise ShapeError(f"layer {self.name!r} takes sequences of vectors", expected="(None, T, C)",
                             got=str((None, *x.shape[1:])))
        there = ops.step_mask(x, self.mask_value)
        steps = x.reshape(-1, x.shape[2])
        return ops.mul(steps, ops.spread_rows(there.reshape(steps.shape[0]), x.shape[2])).reshape(*x.shape)

    def compute_mask(self, inputs, mask=None):
        return ops.step_mask(inputs, self.mask_value)


class _Pooling1D(Layer):
    def __init__(self, keepdims: bool = False, **options: Any):
        super().__init__(**options)
        if not isinstance(keepdims, bool):
            raise UsageError(f"{type(self).__name__}'s keepdims is True or False", got=repr(keepdims))
        self.keepdims = keepdims

    def pooled(self, pool, x, mask):
        out = pool(x, mask)
        return out.reshape(x.shape[0], 1, x.shape[2]) if self.keepdims else out


class GlobalAveragePooling1D(_Pooling1D):
    """The mean over the steps of a sequence that are not padding.   x: f32[B, T, C]   returns f32[B, C]"""

    def call(self, x, mask=None):
        return self.pooled(ops.sequence_mean, x, mask)


class GlobalMaxPooling1D(_Pooling1D):
    """The maximum over the steps of a sequence that are not padding.   x: f32[B, T, C]   returns f32[B, C]"""

    def call(self, x, mask=None):
        return self.pooled(ops.sequence_max, x, mask)
