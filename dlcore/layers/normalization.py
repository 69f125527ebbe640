"""Normalisations over the batch and over groups of channels."""
from __future__ import annotations

from typing import Any

from dlcore import ops
from dlcore.errors import ShapeError, UsageError
from dlcore.layers import initializers
from dlcore.layers.fusion import Offer, offer, scaled
from dlcore.layers.initializers import Initializer
from dlcore.layers.layer import Layer, Shape
from dlcore.layers.trace import current


class BatchNormalization(Layer):
    """Channels of mean `beta` and standard deviation `gamma`, over all axes but the last.   x: f32[B, ..., C]   returns as x

    Training uses the batch's mean and variance and moves `moving_mean` and `moving_variance` towards them: moving * momentum +
    batch * (1 - momentum); inference uses these, and is folded into a convolution in front of it."""

    def __init__(self, momentum: float = 0.99, epsilon: float = 1e-3, center: bool = True, scale: bool = True,
                 beta_initializer: str | Initializer = "zeros", gamma_initializer: str | Initializer = "ones", **options: Any):
        super().__init__(**options)
        if not 0 <= momentum <= 1 or epsilon <= 0:
            raise UsageError("BatchNormalization: momentum lies between 0 and 1, epsilon above 0", got=f"{momentum}, {epsilon}")
        self.momentum, self.epsilon, self.center, self.scale = momentum, epsilon, center, scale
        self.beta_initializer = initializers.get(beta_initializer)
        self.gamma_initializer = initializers.get(gamma_initializer)

    def build(self, input_shape: Shape) -> None:
        if len(input_shape) < 2:
            raise ShapeError(f"layer {self.name!r} needs an axis of channels", got=f"input {input_shape}")
        C = input_shape[-1]
        self.gamma = self.add_weight("gamma", (C,), self.gamma_initializer) if self.scale else None
        self.beta = self.add_weight("beta", (C,), self.beta_initializer) if self.center else None
        self.moving_mean = self.add_weight("moving_mean", (C,), "zeros", statistic=True)
        self.moving_variance = self.add_weight("moving_variance", (C,), "ones", statistic=True)

    def call(self, x, training=False):
        C = x.shape[-1]
        weight = ops.fill(1.0, C, graph=x.graph) if self.gamma is None else self.gamma
        bias = ops.fill(0.0, C, graph=x.graph) if self.beta is None else self.beta
        if training and self.trainable:
            mean, var = ops.batch_statistics(x)
            if (trace := current()) is None or trace.moves:
                with x.graph.in_segment("update"):
                    ops.moving_average(self.moving_mean, mean, x.graph.status, momentum=self.momentum)
                    ops.moving_average(self.moving_variance, var, x.graph.status, momentum=self.momentum)
            normalise = ops.batchnorm
        else:
            mean, var, normalise = self.moving_mean, self.moving_variance, ops.batchnorm_inference
            if (folded := self.folded(x, weight, bias, mean, var)) is not None:
                return folded

        def emit(weight: Any, bias: Any, residual: Any, activation: str | None) -> Any:
            more = () if residual is None else (residual,)
            return normalise(x, weight, bias, mean, var, *more, eps=self.epsilon, activation=activation)
        return offer(emit(weight, bias, None, None), Offer(emit, weight, bias, ("relu",)))

    def folded(self, x, weight, bias, mean, var):
        """In inference, the convolution in front with weights that do this too; None where there is none."""
        trace = current()
        if trace is None or trace.differentiable:
            return None
        scale = ops.mul(weight, ops.reciprocal(ops.sqrt(ops.shift(var, self.epsilon))))
        return scaled(x, scale, ops.sub(bias, ops.mul(mean, scale)))


class GroupNormalization(Layer):
    """Each sample's groups of channels have mean 0 and variance 1, then gamma and beta.   x: f32[B, ..., C]   returns as x

    groups: C is a multiple of it; -1: as many as channels (instance normalisation)."""

    def __init__(self, groups: int = 32, epsilon: float = 1e-3, center: bool = True, scale: bool = True,
                 beta_initializer: str | Initializer = "zeros", gamma_initializer: str | Initializer = "ones", **options: Any):
        super().__init__(**options)
        if not isinstance(groups, int) or (groups < 1 and groups != -1) or epsilon <= 0:
            raise UsageError("GroupNormalization: groups is a positive number or -1, epsilon above 0", got=f"{groups}, {epsilon}")
        self.groups, self.epsilon, self.center, self.scale = groups, epsilon, center, scale
        self.beta_initializer = initializers.get(beta_initializer)
        self.gamma_initializer = initializers.get(gamma_initializer)

    def build(self, input_shape: Shape) -> None:
        C = input_shape[-1]
        self.gamma = self.add_weight("gamma", (C,), self.gamma_initializer) if self.scale else None
        self.beta = self.add_weight("beta", (C,), self.beta_initializer) if self.center else None

    def call(self, x):
        C = x.shape[-1]
        weight = ops.fill(1.0, C, graph=x.graph) if self.gamma is None else self.gamma
        bias = ops.fill(0.0, C, graph=x.graph) if self.beta is None else self.beta
        return ops.groupnorm(x, weight, bias, groups=C if self.groups == -1 else self.groups, eps=self.epsilon)
