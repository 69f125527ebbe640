"""Layers on series: each variable a row of its last steps, f32[B, C, T]."""
from __future__ import annotations

from typing import Any

from dlcore import ops
from dlcore.errors import ShapeError, UsageError
from dlcore.layers.layer import Layer, Shape


def check_series(layer: Layer, x: Any) -> None:
    if x.ndim != 3:
        raise ShapeError(f"layer {layer.name!r} takes variables of several steps", expected="(None, C, T)",
                         got=str((None, *x.shape[1:])))


class ReversibleNormalization(Layer):
    """Each variable of each sample with mean 0 and variance 1 over its steps, times gamma, plus beta, and what undoes it: Kim et
    al., Reversible instance normalization for accurate time-series forecasting against distribution shift, 2022.

    x: f32[B, C, T]   returns (the same shape, shift f32[B, C], scale f32[B, C]); y * scale + shift (see `Rescaling1D`) brings
    forecasts of normalised variables back: with the mean m and the deviation s = sqrt(variance + epsilon),

        out = (x - m) / s * gamma + beta      scale = s / gamma      shift = m - beta * scale

    affine   whether there are gamma and beta, one for each variable"""

    def __init__(self, epsilon: float = 1e-5, affine: bool = True, **options: Any):
        super().__init__(**options)
        if not epsilon > 0:
            raise UsageError("ReversibleNormalization's epsilon is positive", got=repr(epsilon))
        self.epsilon, self.affine = float(epsilon), affine

    def build(self, input_shape: Shape) -> None:
        if self.affine:
            self.gamma = self.add_weight("gamma", (input_shape[1],), "ones", decay=False)
            self.beta = self.add_weight("beta", (input_shape[1],), "zeros", decay=False)

    def call(self, x):
        check_series(self, x)
        B, C, T = x.shape
        rows = x.reshape(B * C, T)
        mean = ops.scale(ops.row_sum(rows), 1 / T)
        centred = ops.sub(rows, ops.spread_rows(mean, T))
        deviation = ops.sqrt(ops.shift(ops.scale(ops.row_sum(ops.square(centred)), 1 / T), self.epsilon))
        if not self.affine:
            out = ops.div(centred, ops.spread_rows(deviation, T))
            return out.reshape(B, C, T), mean.reshape(B, C), deviation.reshape(B, C)
        gamma = ops.spread_columns(self.gamma, B).reshape(B * C)
        beta = ops.spread_columns(self.beta, B).reshape(B * C)
        scale = ops.div(deviation, gamma)
        out = ops.add(ops.div(centred, ops.spread_rows(scale, T)), ops.spread_rows(beta, T))
        shift = ops.sub(mean, ops.mul(beta, scale))
        return out.reshape(B, C, T), shift.reshape(B, C), scale.reshape(B, C)


class Rescaling1D(Layer):
    """[y, shift, scale] -> y * scale + shift, of the first D variables.

    y: f32[B, D, H]   shift, scale: f32[B, C], C at least D, one number for each variable   returns f32[B, D, H]"""

    def call(self, inputs):
        y, shift, scale = inputs
        check_series(self, y)
        B, D, H = y.shape
        if shift.shape != scale.shape or len(shift.shape) != 2 or shift.shape[1] < D:
            raise ShapeError(f"layer {self.name!r} takes a shift and a scale for each variable", expected=f"(None, {D}) or more",
                             got=f"{(None, *shift.shape[1:])} and {(None, *scale.shape[1:])}")
        if shift.shape[1] > D:
            shift, scale = (ops.slice_axis(t, 0, D) for t in (shift, scale))
        rows = ops.mul(y.reshape(B * D, H), ops.spread_rows(scale.reshape(B * D), H))
        return ops.add(rows, ops.spread_rows(shift.reshape(B * D), H)).reshape(B, D, H)


class SeriesDecomposition(Layer):
    """A trend, the mean of `size` steps around each one, and what is left; the first and the last step are repeated beyond the
    ends (Wu et al., Autoformer, 2021; Zeng et al., Are transformers effective for time series forecasting?, 2023).

    x: f32[B, C, T]   returns (x - trend, trend), both of that shape;   size: an odd number"""

    def __init__(self, size: int = 25, **options: Any):
        super().__init__(**options)
        if not isinstance(size, int) or isinstance(size, bool) or size < 1 or size % 2 == 0:
            raise UsageError("SeriesDecomposition takes an odd number of steps", expected="1, 3, 5, ...", got=repr(size))
        self.size = size

    def call(self, x):
        check_series(self, x)
        B, C, T = x.shape
        side, rows = self.size // 2, x.reshape(B * C, T)
        parts = [rows]
        if side:
            ends = (ops.slice_axis(rows, 0, 1), ops.slice_axis(rows, T - 1, T))
            first, last = (ops.spread_rows(end.reshape(B * C), side) for end in ends)
            parts = [first, rows, last]
        longer = ops.concat(parts).reshape(B * C, T + 2 * side, 1, 1)
        trend = ops.average_pool2d(longer, (self.size, 1), (1, 1)).reshape(B, C, T)
        return ops.sub(x, trend), trend


class Segments(Layer):
    """Steps cut into segments of all variables together: x f32[B, C, T] -> f32[B, T / size, C * size].   `size` divides T."""

    def __init__(self, size: int, **options: Any):
        super().__init__(**options)
        if not isinstance(size, int) or isinstance(size, bool) or size < 1:
            raise UsageError("Segments takes a positive number of steps", got=repr(size))
        self.size = size

    def call(self, x):
        check_series(self, x)
        B, C, T = x.shape
        if T % self.size:
            raise ShapeError(f"layer {self.name!r} cuts segments of {self.size} steps", expected=f"a multiple of {self.size} steps",
                             got=str(T))
        parts = [ops.slice_axis(x, at, at + self.size, 2).reshape(B, 1, C * self.size) for at in range(0, T, self.size)]
        return parts[0] if len(parts) == 1 else ops.concat(parts, axis=1)


class FirstVariables(Layer):
    """x: f32[B, C, T] -> f32[B, count, T]."""

    def __init__(self, count: int, **options: Any):
        super().__init__(**options)
        self.count = count

    def call(self, x):
        check_series(self, x)
        return x if x.shape[1] == self.count else ops.slice_axis(x, 0, self.count, 1)
