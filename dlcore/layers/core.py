"""Dense, activations, dropout, and layers that only change the shape."""
from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from dlcore import ops
from dlcore.errors import ShapeError, UsageError
from dlcore.layers import activations, initializers
from dlcore.layers.initializers import Initializer
from dlcore.layers.layer import Layer, Shape
from dlcore.layers.trace import Deferred, current

# activations that the matrix kernel applies to its result while it is in registers
FUSED = ("relu", "leaky_relu", "elu", "sigmoid", "tanh", "gelu", "gelu_tanh", "silu", "softplus")


class Dense(Layer):
    """activation(x @ kernel + bias).   x: f32[B, ..., K]   returns f32[B, ..., units]"""

    supports_masking = True

    def __init__(self, units: int, activation: str | Callable | None = None, use_bias: bool = True,
                 kernel_initializer: str | Initializer = "glorot_uniform",
                 bias_initializer: str | Initializer = "zeros", **options: Any):
        super().__init__(**options)
        if not isinstance(units, int) or units < 1:
            raise UsageError("Dense needs a positive number of units", got=repr(units))
        self.units, self.use_bias, self.activation = units, use_bias, activations.get(activation)
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.bias: Any = None

    def build(self, input_shape: Shape) -> None:
        if len(input_shape) < 2:
            raise ShapeError(f"layer {self.name!r} needs at least one axis behind the batch",
                             got=f"input {input_shape}",
                             hint="a single number per sample has the shape (1,)")
        self.kernel = self.add_weight("kernel", (input_shape[-1], self.units), self.kernel_initializer)
        if self.use_bias:
            self.bias = self.add_weight("bias", (self.units,), self.bias_initializer)

    def call(self, x):
        K = self.kernel.shape[0]
        if x.shape[-1] != K:
            raise ShapeError(f"layer {self.name!r} was built for {K} columns", expected=f"(..., {K})", got=str(x.shape))
        fused = self.activation if self.activation in FUSED else None
        trace = current()
        out = ops.dense(x, self.kernel, self.bias, activation=fused,
                        differentiable=trace is None or trace.differentiable)
        if fused == "sigmoid" and trace is not None:        # the logits are made where a loss asks for them
            kernel, bias = self.kernel, self.bias
            trace.note(out, "sigmoid", Deferred(x.graph, lambda: ops.dense(x, kernel, bias)))
        return out if fused else activations.apply(self.activation, out)


class Activation(Layer):
    """An activation by name, or a function of a tensor."""

    supports_masking = True

    def __init__(self, activation: str | Callable, **options: Any):
        super().__init__(**options)
        self.activation = activations.get(activation)

    def call(self, x):
        return activations.apply(self.activation, x)


class ReLU(Layer):
    """max(x, 0); with `negative_slope`, x * negative_slope below 0."""

    supports_masking = True

    def __init__(self, negative_slope: float = 0.0, **options: Any):
        super().__init__(**options)
        self.negative_slope = negative_slope

    def call(self, x):
        return ops.leaky_relu(x, self.negative_slope) if self.negative_slope else activations.apply("relu", x)


class LeakyReLU(Layer):
    """x, or x * negative_slope below 0."""

    def __init__(self, negative_slope: float = 0.3, **options: Any):
        super().__init__(**options)
        if negative_slope < 0:
            raise UsageError("LeakyReLU's slope is at least 0", got=repr(negative_slope))
        self.negative_slope = negative_slope

    def call(self, x):
        return ops.leaky_relu(x, self.negative_slope)


class Softmax(Layer):
    """softmax over the last axis; a cross-entropy behind it is computed on its input."""

    supports_masking = True

    def call(self, x):
        return activations.apply("softmax", x)


class Dropout(Layer):
    """In training, sets a share `rate` of the numbers to 0 and scales the others by 1 / (1 - rate); else the
    identity."""

    supports_masking = True

    def __init__(self, rate: float, **options: Any):
        super().__init__(**options)
        if not 0 <= rate < 1:
            raise UsageError("Dropout's rate is at least 0 and below 1", got=repr(rate))
        self.rate = rate

    def call(self, x, training=False):
        if not training or self.rate == 0:
            return x
        return ops.dropout(x, self.rate)


class Flatten(Layer):
    """[B, ...] to [B, product of the rest]."""

    def call(self, x):
        return x.reshape(x.shape[0], x.size // x.shape[0])


class Reshape(Layer):
    """[B, ...] to [B, *target_shape]; one size may be -1."""

    def __init__(self, target_shape: Shape, **options: Any):
        super().__init__(**options)
        self.target_shape = tuple(target_shape)

    def call(self, x):
        size, shape = x.size // x.shape[0], list(self.target_shape)
        if shape.count(-1) == 1 and (known := -math.prod(shape)):
            shape[shape.index(-1)] = size // known
        if math.prod(shape) != size or any(n < 1 for n in shape):
            raise ShapeError(f"layer {self.name!r} cannot reshape", expected=f"{self.target_shape} behind the batch",
                             got=f"{tuple(x.shape[1:])}, {size} numbers")
        return x.reshape(x.shape[0], *shape)
