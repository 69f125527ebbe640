"""Convolutions with Keras' names: images [B, H, W, C], sequences [B, T, C]; weights [KH, KW, C_in / groups, C_out]."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dlcore import ops
from dlcore.errors import ShapeError, UsageError
from dlcore.layers import activations, initializers
from dlcore.layers.core import FUSED
from dlcore.layers.fusion import Offer, offer
from dlcore.layers.initializers import Initializer
from dlcore.layers.layer import Layer, Shape
from dlcore.layers.trace import current

Size = int | tuple[int, int] | list[int]


def pair(value: Any, name: str) -> tuple[int, int]:
    """A number for both axes, or two."""
    found = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
    if len(found) != 2 or any(isinstance(n, bool) or not isinstance(n, int) or n < 1 for n in found):
        raise UsageError(f"{name} is a positive whole number, or two", got=repr(value))
    return found


def count(value: Any, name: str) -> int:
    if isinstance(value, (tuple, list)) and len(value) == 1:
        value = value[0]
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise UsageError(f"{name} is a positive whole number", got=repr(value))
    return value


def padded(padding: Any) -> Any:
    """A padding as ops take it; lists, as files have them, are tuples."""
    if isinstance(padding, str) and padding not in ("valid", "same", "causal"):
        raise UsageError("a padding is 'valid', 'same', a number, or (before, after) for each axis", got=repr(padding))
    return tuple(padded(p) for p in padding) if isinstance(padding, (tuple, list)) else padding


class _Convolution(Layer):
    """What they share: a kernel, a bias, an activation."""

    axes = 2

    def __init__(self, activation: str | Callable | None, use_bias: bool, kernel_initializer: str | Initializer,
                 bias_initializer: str | Initializer, **options: Any):
        super().__init__(**options)
        self.use_bias, self.activation = use_bias, activations.get(activation)
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.bias: Any = None

    def channels(self, input_shape: Shape) -> int:
        if len(input_shape) != self.axes + 2:
            what = "[B, H, W, C]" if self.axes == 2 else "[B, T, C]"
            raise ShapeError(f"layer {self.name!r} ({type(self).__name__}) takes {what}", got=f"input {input_shape}",
                             hint="Reshape adds the axis of the channels")
        return input_shape[-1]

    def add_bias(self, channels: int) -> None:
        if self.use_bias:
            self.bias = self.add_weight("bias", (channels,), self.bias_initializer)

    def fused(self) -> str | None:
        """The activation that the kernel applies, or None."""
        return self.activation if self.activation in FUSED else None

    def finish(self, out: Any) -> Any:
        """The activation that the kernel did not apply."""
        return out if self.fused() else activations.apply(self.activation, out)


def differentiable() -> bool:
    trace = current()
    return trace is None or trace.differentiable


def convolved(x: Any, weight: Any, bias: Any, activation: str | None, **options: Any) -> Any:
    """`conv2d`, which in inference takes what stands behind it into its epilogue."""
    keeps = differentiable()

    def emit(weight: Any, bias: Any, residual: Any, activation: str | None) -> Any:
        more = {} if residual is None else {"residual": residual}
        return ops.conv2d(x, weight, bias, activation=activation, differentiable=keeps, **more, **options)
    out = emit(weight, bias, None, activation)
    return out if keeps or activation else offer(out, Offer(emit, weight, bias, FUSED, foldable=True))


class Conv2D(_Convolution):
    """activation(x * kernel + bias).   x: f32[B, H, W, C]   returns f32[B, P, Q, filters]

    padding: "valid", "same", a number, or ((top, bottom), (left, right)).  groups: C and filters are multiples of it."""

    def __init__(self, filters: int, kernel_size: Size, strides: Size = 1, padding: Any = "valid", dilation_rate: Size = 1,
                 groups: int = 1, activation: str | Callable | None = None, use_bias: bool = True,
                 kernel_initializer: str | Initializer = "glorot_uniform", bias_initializer: str | Initializer = "zeros",
                 **options: Any):
        super().__init__(activation, use_bias, kernel_initializer, bias_initializer, **options)
        self.filters, self.groups = count(filters, "filters"), count(groups, "groups")
        self.kernel_size, self.strides = pair(kernel_size, "kernel_size"), pair(strides, "strides")
        self.dilation_rate, self.padding = pair(dilation_rate, "dilation_rate"), padded(padding)

    def build(self, input_shape: Shape) -> None:
        C = self.channels(input_shape)
        if C % self.groups or self.filters % self.groups:
            raise ShapeError(f"layer {self.name!r}: channels and filters are multiples of groups",
                             got=f"{C} channels, {self.filters} filters, {self.groups} groups")
        self.kernel = self.add_weight("kernel", (*self.kernel_size, C // self.groups, self.filters), self.kernel_initializer)
        self.add_bias(self.filters)

    def call(self, x):
        return self.finish(convolved(x, self.kernel, self.bias, self.fused(), stride=self.strides, padding=self.padding,
                                     dilation=self.dilation_rate, groups=self.groups))


class DepthwiseConv2D(_Convolution):
    """A convolution of each channel by itself, `depth_multiplier` times.   x: [B, H, W, C]   returns [B, P, Q, C * multiplier]"""

    def __init__(self, kernel_size: Size, strides: Size = 1, padding: Any = "valid", depth_multiplier: int = 1,
                 dilation_rate: Size = 1, activation: str | Callable | None = None, use_bias: bool = True,
                 depthwise_initializer: str | Initializer = "glorot_uniform", bias_initializer: str | Initializer = "zeros",
                 **options: Any):
        super().__init__(activation, use_bias, depthwise_initializer, bias_initializer, **options)
        self.kernel_size, self.strides = pair(kernel_size, "kernel_size"), pair(strides, "strides")
        self.dilation_rate, self.padding = pair(dilation_rate, "dilation_rate"), padded(padding)
        self.depth_multiplier = count(depth_multiplier, "depth_multiplier")

    def build(self, input_shape: Shape) -> None:
        C = self.channels(input_shape)
        # a Variable, which `call` reads as the graph's Tensor
        self.kernel: Any = self.add_weight("kernel", (*self.kernel_size, C, self.depth_multiplier), self.kernel_initializer)
        self.add_bias(C * self.depth_multiplier)

    def call(self, x):
        KH, KW, C, D = self.kernel.shape
        return self.finish(convolved(x, self.kernel.reshape(KH, KW, 1, C * D), self.bias, self.fused(), stride=self.strides,
                                     padding=self.padding, dilation=self.dilation_rate, groups=C))


class SeparableConv2D(_Convolution):
    """A depthwise convolution, then one of single places across the channels.   returns [B, P, Q, filters]"""

    def __init__(self, filters: int, kernel_size: Size, strides: Size = 1, padding: Any = "valid", dilation_rate: Size = 1,
                 depth_multiplier: int = 1, activation: str | Callable | None = None, use_bias: bool = True,
                 depthwise_initializer: str | Initializer = "glorot_uniform",
                 pointwise_initializer: str | Initializer = "glorot_uniform", bias_initializer: str | Initializer = "zeros",
                 **options: Any):
        super().__init__(activation, use_bias, depthwise_initializer, bias_initializer, **options)
        self.filters, self.depth_multiplier = count(filters, "filters"), count(depth_multiplier, "depth_multiplier")
        self.kernel_size, self.strides = pair(kernel_size, "kernel_size"), pair(strides, "strides")
        self.dilation_rate, self.padding = pair(dilation_rate, "dilation_rate"), padded(padding)
        self.pointwise_initializer = initializers.get(pointwise_initializer)

    def build(self, input_shape: Shape) -> None:
        C = self.channels(input_shape)
        # a Variable, which `call` reads as the graph's Tensor
        self.depthwise: Any = self.add_weight("depthwise_kernel", (*self.kernel_size, C, self.depth_multiplier),
                                              self.kernel_initializer)
        self.pointwise = self.add_weight("pointwise_kernel", (1, 1, C * self.depth_multiplier, self.filters),
                                         self.pointwise_initializer)
        self.add_bias(self.filters)

    def call(self, x):
        KH, KW, C, D = self.depthwise.shape
        x = ops.conv2d(x, self.depthwise.reshape(KH, KW, 1, C * D), stride=self.strides, padding=self.padding,
                       dilation=self.dilation_rate, groups=C)
        return self.finish(convolved(x, self.pointwise, self.bias, self.fused()))


class Conv2DTranspose(_Convolution):
    """The transposed convolution.   x: f32[B, P, Q, C]   returns f32[B, H, W, filters]; kernel [KH, KW, filters, C]

    padding "same": H = P * stride; "valid": as large as a convolution of it can have been."""

    def __init__(self, filters: int, kernel_size: Size, strides: Size = 1, padding: Any = "valid",
                 output_padding: Size | None = None, dilation_rate: Size = 1, activation: str | Callable | None = None,
                 use_bias: bool = True, kernel_initializer: str | Initializer = "glorot_uniform",
                 bias_initializer: str | Initializer = "zeros", **options: Any):
        super().__init__(activation, use_bias, kernel_initializer, bias_initializer, **options)
        self.filters, self.output_padding = count(filters, "filters"), output_padding
        self.kernel_size, self.strides = pair(kernel_size, "kernel_size"), pair(strides, "strides")
        self.dilation_rate, self.padding = pair(dilation_rate, "dilation_rate"), padded(padding)

    def build(self, input_shape: Shape) -> None:
        C = self.channels(input_shape)
        self.kernel = self.add_weight("kernel", (*self.kernel_size, self.filters, C), self.kernel_initializer)
        self.add_bias(self.filters)

    def call(self, x):
        out = ops.conv2d_transpose(x, self.kernel, stride=self.strides, padding=self.padding, dilation=self.dilation_rate,
                                   output_padding=self.output_padding)
        return activations.apply(self.activation, out if self.bias is None else ops.add(out, self.bias))


class Conv1D(_Convolution):
    """A convolution along a sequence.   x: f32[B, T, C]   returns f32[B, T', filters]; kernel [K, C / groups, filters]

    padding: "valid", "same", "causal", a number, or (before, after)."""

    axes = 1

    def __init__(self, filters: int, kernel_size: int, strides: int = 1, padding: Any = "valid", dilation_rate: int = 1,
                 groups: int = 1, activation: str | Callable | None = None, use_bias: bool = True,
                 kernel_initializer: str | Initializer = "glorot_uniform", bias_initializer: str | Initializer = "zeros",
                 **options: Any):
        super().__init__(activation, use_bias, kernel_initializer, bias_initializer, **options)
        self.filters, self.groups = count(filters, "filters"), count(groups, "groups")
        self.kernel_size, self.strides = count(kernel_size, "kernel_size"), count(strides, "strides")
        self.dilation_rate, self.padding = count(dilation_rate, "dilation_rate"), padded(padding)

    def build(self, input_shape: Shape) -> None:
        C = self.channels(input_shape)
        self.kernel = self.add_weight("kernel", (self.kernel_size, C // self.groups, self.filters), self.kernel_initializer)
        self.add_bias(self.filters)

    def call(self, x):
        return self.finish(ops.conv1d(x, self.kernel, self.bias, stride=self.strides, padding=self.padding,
                                      dilation=self.dilation_rate, groups=self.groups, activation=self.fused(),
                                      differentiable=differentiable()))
