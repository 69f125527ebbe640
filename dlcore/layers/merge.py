"""Layers of several inputs."""
from __future__ import annotations

from functools import reduce
from typing import Any

from dlcore import ops
from dlcore.errors import ShapeError
from dlcore.layers.fusion import joined
from dlcore.layers.layer import Layer


class _Merge(Layer):
    """Takes a list of tensors, as in Keras: `Add()([a, b])`."""

    def build(self, input_shape):
        shapes = input_shape if isinstance(input_shape, list) else [input_shape]
        if len(shapes) < 2:
            raise ShapeError(f"layer {self.name!r} merges at least two inputs", got=f"{len(shapes)}",
                             hint=f"{type(self).__name__}()([a, b])")
        if len(set(map(self.must_agree, shapes))) > 1:
            raise ShapeError(f"layer {self.name!r} ({type(self).__name__}) got inputs that do not fit",
                             got=", ".join(map(str, shapes)))

    def must_agree(self, shape: tuple[Any, ...]) -> tuple[Any, ...]:
        """The part of the shape that all inputs share."""
        return shape

    def compute_mask(self, inputs, mask=None):
        """A step is there where it is in every input."""
        known = list({id(m): m for m in mask or () if m is not None}.values())
        return reduce(ops.mul, known) if known else None


class Add(_Merge):
    """The sum of inputs of one shape."""

    def call(self, tensors):
        if len(tensors) == 2 and (fused := joined(*tensors)) is not None:
            return fused
        return reduce(ops.add, tensors)


class Multiply(_Merge):
    """The product of inputs of one shape, element by element."""

    def call(self, tensors):
        return reduce(ops.mul, tensors)


class Concatenate(_Merge):
    """Inputs side by side along `axis` (never the batch's)."""

    def __init__(self, axis: int = -1, **options: Any):
        super().__init__(**options)
        self.axis = axis

    def must_agree(self, shape):
        axis = self.axis % len(shape)
        if axis == 0:
            raise ShapeError(f"layer {self.name!r} cannot concatenate along the batch", got=f"axis {self.axis}")
        return len(shape), shape[:axis], shape[axis + 1:]

    def call(self, tensors):
        return ops.concat(tensors, self.axis)

    def compute_mask(self, inputs, mask=None):
        if self.axis % inputs[0].ndim != 1:
            return super().compute_mask(inputs, mask)
        return ops.concat(mask, 1) if mask and all(m is not None for m in mask) else None
