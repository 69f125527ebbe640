"""Pooling of images, and layers that change their size or the order of their channels."""
from __future__ import annotations

from typing import Any

from dlcore import ops
from dlcore.errors import ShapeError, UsageError
from dlcore.layers.convolution import Size, count, differentiable, padded, pair
from dlcore.layers.layer import Layer


class _Pooling2D(Layer):
    def __init__(self, pool_size: Size = 2, strides: Size | None = None, padding: Any = "valid", **options: Any):
        super().__init__(**options)
        self.pool_size, self.padding = pair(pool_size, "pool_size"), padded(padding)
        self.strides = self.pool_size if strides is None else pair(strides, "strides")


class MaxPooling2D(_Pooling2D):
    """The greatest of each window.   x: f32[B, H, W, C]   returns f32[B, P, Q, C]"""

    def call(self, x):
        return ops.max_pool2d(x, size=self.pool_size, stride=self.strides, padding=self.padding, differentiable=differentiable())


class AveragePooling2D(_Pooling2D):
    """The mean of each window; places outside the image do not count.   x: f32[B, H, W, C]   returns f32[B, P, Q, C]"""

    def call(self, x):
        return ops.average_pool2d(x, size=self.pool_size, stride=self.strides, padding=self.padding)


class _Global(Layer):
    def __init__(self, keepdims: bool = False, **options: Any):
        super().__init__(**options)
        self.keepdims = keepdims

    def pooled(self, x: Any, pool: Any, **options: Any) -> Any:
        out = pool(x, size=1, **options)
        return out if self.keepdims else out.reshape(x.shape[0], x.shape[3])


class GlobalAveragePooling2D(_Global):
    """The mean of each channel.   x: f32[B, H, W, C]   returns f32[B, C], with `keepdims` f32[B, 1, 1, C]"""

    def call(self, x):
        return self.pooled(x, ops.adaptive_average_pool2d)


class GlobalMaxPooling2D(_Global):
    """The greatest of each channel.   x: f32[B, H, W, C]   returns f32[B, C], with `keepdims` f32[B, 1, 1, C]"""

    def call(self, x):
        return self.pooled(x, ops.adaptive_max_pool2d, differentiable=differentiable())


class AdaptiveAveragePooling2D(Layer):
    """Means over as many windows as `output_size` says.   x: f32[B, H, W, C]   returns f32[B, *output_size, C]"""

    def __init__(self, output_size: Size, **options: Any):
        super().__init__(**options)
        self.output_size = pair(output_size, "output_size")

    def call(self, x):
        return ops.adaptive_average_pool2d(x, size=self.output_size)


class AdaptiveMaxPooling2D(AdaptiveAveragePooling2D):
    """Maxima over as many windows as `output_size` says."""

    def call(self, x):
        return ops.adaptive_max_pool2d(x, size=self.output_size, differentiable=differentiable())


class UpSampling2D(Layer):
    """`size` times as many rows and columns.   interpolation: "nearest" or "bilinear"."""

    def __init__(self, size: Size = 2, interpolation: str = "nearest", **options: Any):
        super().__init__(**options)
        if interpolation not in ("nearest", "bilinear"):
            raise UsageError("UpSampling2D interpolates 'nearest' or 'bilinear'", got=repr(interpolation))
        self.size, self.interpolation = pair(size, "size"), interpolation

    def call(self, x):
        resize = ops.resize_nearest if self.interpolation == "nearest" else ops.resize_bilinear
        return resize(x, height=x.shape[1] * self.size[0], width=x.shape[2] * self.size[1])


class ZeroPadding2D(Layer):
    """Rows and columns of zeros around images.   padding: a number, (rows, columns), or ((top, bottom), (left, right))."""

    def __init__(self, padding: Any = 1, **options: Any):
        super().__init__(**options)
        axes = padding if isinstance(padding, (tuple, list)) else (padding, padding)
        self.padding = tuple(tuple(p) if isinstance(p, (tuple, list)) else (p, p) for p in axes)
        if len(self.padding) != 2 or any(len(p) != 2 or not all(isinstance(n, int) and n >= 0 for n in p) for p in self.padding):
            raise UsageError("ZeroPadding2D: a number, two, or ((top, bottom), (left, right))", got=repr(padding))

    def call(self, x):
        for axis, (before, after) in zip((1, 2), self.padding, strict=True):
            if before or after:
                x = ops.pad_axis(x, before, before + x.shape[axis] + after, axis)
        return x


class Cropping2D(Layer):
    """Rows and columns cut off images.   cropping: a number, (rows, columns), or ((top, bottom), (left, right))."""

    def __init__(self, cropping: Any = 0, **options: Any):
        super().__init__(**options)
        axes = cropping if isinstance(cropping, (tuple, list)) else (cropping, cropping)
        self.cropping = tuple(tuple(p) if isinstance(p, (tuple, list)) else (p, p) for p in axes)
        if len(self.cropping) != 2 or any(len(p) != 2 or not all(isinstance(n, int) and n >= 0 for n in p) for p in self.cropping):
            raise UsageError("Cropping2D: a number, two, or ((top, bottom), (left, right))", got=repr(cropping))

    def call(self, x):
        for axis, (before, after) in zip((1, 2), self.cropping, strict=True):
            if before + after >= x.shape[axis]:
                raise ShapeError(f"layer {self.name!r} cuts everything off", expected=f"fewer than {x.shape[axis]}",
                                 got=f"{before} and {after}")
            if before or after:
                x = ops.slice_axis(x, before, x.shape[axis] - after, axis)
        return x


class ChannelPadding(Layer):
    """Channels of zeros in front of and behind those there are.   x: f32[B, H, W, C]   returns f32[B, H, W, before + C + after]"""

    def __init__(self, before: int, after: int, **options: Any):
        super().__init__(**options)
        if not all(isinstance(n, int) and n >= 0 for n in (before, after)):
            raise UsageError("ChannelPadding: whole numbers from 0", got=f"{before!r}, {after!r}")
        self.before, self.after = before, after

    def call(self, x):
        return ops.pad_axis(x, self.before, self.before + x.shape[3] + self.after, 3)


class ChannelShuffle(Layer):
    """Channels of `groups` groups, mixed: the first of each group, then the second of each."""

    def __init__(self, groups: int, **options: Any):
        super().__init__(**options)
        self.groups = count(groups, "groups")

    def call(self, x):
        return ops.channel_shuffle(x, groups=self.groups)


class PixelShuffle(Layer):
    """[B, H, W, C factor**2] to [B, H factor, W factor, C]; PyTorch's order."""

    def __init__(self, factor: int, **options: Any):
        super().__init__(**options)
        self.factor = count(factor, "factor")

    def call(self, x):
        return ops.pixel_shuffle(x, factor=self.factor)
