"""Layers of networks that are trained against each other: spectral normalisation, inner products, codes drawn at random."""
from __future__ import annotations

from typing import Any

from dlcore import ops
from dlcore.errors import ShapeError, UsageError
from dlcore.layers.layer import Layer, Shape, Symbol, Variable
from dlcore.layers.trace import current

TINY = 1e-12


class SpectralNormalization(Layer):
    """A layer whose `kernel` is divided by its greatest singular value (Miyato et al., Spectral normalization for generative
    adversarial networks, 2018).

    layer              one that has a kernel: Dense, Conv1D, Conv2D, ...
    power_iterations   steps towards the singular vectors in each training step; the left one is kept as a statistic

    The kernel is read as a matrix [all else, last axis].  With v = W u / |W u|, u' = W^T v / |W^T v| the value is v^T W u'; its
    gradient flows through W alone (algorithm 1).   x and what is returned: those of `layer`"""

    def __init__(self, layer: Layer, power_iterations: int = 1, **options: Any):
        super().__init__(**options)
        if not isinstance(layer, Layer):
            raise UsageError("SpectralNormalization takes a layer", got=repr(layer))
        if isinstance(power_iterations, bool) or not isinstance(power_iterations, int) or power_iterations < 1:
            raise UsageError("power_iterations is a whole number from 1", got=repr(power_iterations))
        self.layer, self.power_iterations = layer, power_iterations

    def build(self, input_shape: Shape) -> None:
        self.layer.ensure_built((Symbol(tuple(input_shape[1:]), "f32"),))
        kernel = vars(self.layer).get("_held", {}).get("kernel")
        if not isinstance(kernel, Variable) or len(kernel.shape) < 2:
            raise UsageError("SpectralNormalization takes a layer with a kernel", expected="Dense, Conv1D, Conv2D, ...",
                             got=type(self.layer).__name__)
        # a Variable, which `call` reads as the graph's Tensor
        self.vector: Any = self.add_weight("vector_u", (kernel.shape[-1],), "random_normal", statistic=True)

    def call(self, x, training=False):
        trace, kernel = current(), vars(self.layer)["_held"]["kernel"]
        assert trace is not None
        with trace.replacing(kernel, self.normalised(trace, kernel, training)):
            return self.layer(x)

    def normalised(self, trace: Any, kernel: Variable, training: bool):
        """The kernel of one graph, made once however often the layer is called in it."""
        key = ("spectral", id(self))
        if key not in trace.tables:
            weight = trace.tensor(kernel)
            matrix = weight.reshape(weight.size // weight.shape[-1], weight.shape[-1])
            u = self.vector.reshape(matrix.shape[1], 1)
            with weight.graph.inside():             # singular vectors are constants to the gradient
                for _ in range(self.power_iterations):
                    v = unit(ops.matmul(matrix, u))
                    u = unit(ops.matmul(matrix, v, "tn"))
            sigma = ops.matmul(v, ops.matmul(matrix, u), "tn")
            trace.tables[key] = ops.mul(weight, ops.reciprocal(sigma.reshape(1)))
            if training and self.trainable and trace.moves:
                with weight.graph.in_segment("update"):
                    ops.moving_average(self.vector, u.reshape(u.size), weight.graph.status, momentum=0.0)
        return trace.tables[key]


def unit(x):
    """A column of length 1."""
    return ops.mul(x, ops.reciprocal(ops.sqrt(ops.shift(ops.sum(ops.square(x)), TINY))))


class InnerProduct(Layer):
    """[a, b], f32[B, C] each -> f32[B, 1]: the sum over c of a[c] b[c]."""

    def call(self, inputs):
        a, b = inputs
        if a.shape != b.shape or a.ndim != 2:
            raise ShapeError(f"layer {self.name!r} takes two matrices of one shape", expected=str(a.shape), got=str(b.shape))
        return ops.row_sum(ops.mul(a, b)).reshape(a.shape[0], 1)


class RandomCode(Layer):
    """x of any shape -> f32[B, width]: in training independent standard normal numbers, drawn anew in every step; else zeros."""

    def __init__(self, width: int, **options: Any):
        super().__init__(**options)
        if isinstance(width, bool) or not isinstance(width, int) or width < 1:
            raise UsageError("a random code has at least one number", got=repr(width))
        self.width = width

    def call(self, x, training=False):
        if not training:
            return ops.fill(0.0, x.shape[0] * self.width, graph=x.graph).reshape(x.shape[0], self.width)
        return ops.random_normal(x.shape[0], self.width, graph=x.graph)
