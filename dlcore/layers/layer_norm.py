"""Normalisation over the last axis."""
from __future__ import annotations

from typing import Any

from dlcore import ops
from dlcore.errors import UsageError
from dlcore.layers.layer import Layer, Shape


class LayerNormalization(Layer):
    """Rows of mean 0 and variance 1, times gamma, plus beta.   x: f32[B, ..., C]   returns the same shape

    center, scale: whether there are beta and gamma."""

    supports_masking = True

    def __init__(self, epsilon: float = 1e-3, center: bool = True, scale: bool = True, **options: Any):
        super().__init__(**options)
        if not epsilon > 0:
            raise UsageError("LayerNormalization's epsilon is positive", got=repr(epsilon))
        self.epsilon, self.center, self.scale = float(epsilon), center, scale

    def build(self, input_shape: Shape) -> None:
        if self.scale:
            self.gamma = self.add_weight("gamma", (input_shape[-1],), "ones", decay=False)
        if self.center:
            self.beta = self.add_weight("beta", (input_shape[-1],), "zeros", decay=False)

    def call(self, x):
        C = x.shape[-1]
        gamma = self.gamma if self.scale else ops.fill(1.0, C, graph=x.graph)
        beta = self.beta if self.center else ops.fill(0.0, C, graph=x.graph)
        return ops.layernorm(x, gamma, beta, self.epsilon)


class RMSNormalization(Layer):
    """Rows of root mean square 1, times `scale`.   x: f32[B, ..., C]   returns the same shape"""

    supports_masking = True

    def __init__(self, epsilon: float = 1e-6, **options: Any):
        super().__init__(**options)
        if not epsilon > 0:
            raise UsageError("RMSNormalization's epsilon is positive", got=repr(epsilon))
        self.epsilon = float(epsilon)

    def build(self, input_shape: Shape) -> None:
        self.scale = self.add_weight("scale", (input_shape[-1],), "ones", decay=False)

    def call(self, x):
        return ops.rmsnorm(x, self.scale, self.epsilon)


class UnitNormalization(Layer):
    """Rows divided by their Euclidean length; rows of zeros stay so.   x: f32[B, ..., C]   returns the same shape"""

    supports_masking = True

    def call(self, x):
        C = x.shape[-1]         # |x| is the root mean square times sqrt(C)
        return ops.rmsnorm(x, ops.fill(C ** -0.5, C, graph=x.graph), 1e-24)
