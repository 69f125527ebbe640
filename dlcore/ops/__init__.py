"""Operations on symbolic tensors, one room (folder) per family; names are imported when first used.

Adding an operation: a folder with `__init__.py` (equations, calls, the op), `cpu.py` (kernels), `ref.py` (naive float64 and the
cases to test), and one line in `ROOMS`.  The build, the tests, the benchmarks and the docs walk this table.
"""
from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, Any

from dlcore.errors import UsageError
from dlcore.graph.tensor import install_operators

ROOMS: dict[str, tuple[str, ...]] = {
    "arithmetic": ("add", "sub", "mul", "div", "neg", "scale", "shift", "square", "sqrt", "reciprocal", "exp", "log", "abs",
                   "maximum", "minimum", "clip", "abs_gradient", "maximum_gradient", "clip_gradient"),
    "activation": ("relu", "leaky_relu", "elu", "sigmoid", "tanh", "gelu", "gelu_tanh", "silu", "softplus", "relu_gradient",
                   "leaky_relu_gradient", "elu_gradient", "sigmoid_gradient", "tanh_gradient", "gelu_gradient",
                   "gelu_tanh_gradient", "silu_gradient", "softplus_gradient"),
    "softmax": ("softmax", "log_softmax"),
    "reduction": ("row_sum", "column_sum", "spread_rows", "spread_columns", "spread", "sum", "mean", "max"),
    "shape": ("fill", "accumulate", "concat", "slice_axis", "pad_axis", "transpose"),
    "matmul": ("matmul", "dense"),
    "conv2d": ("conv2d", "conv1d", "conv2d_transpose", "conv2d_product", "conv2d_data", "conv2d_weight"),
    "pooling": ("max_pool2d", "adaptive_max_pool2d", "max_pool2d_scatter", "max_pool2d_pick", "average_pool2d",
                "adaptive_average_pool2d", "average_pool2d_mean", "average_pool2d_spread"),
    "batchnorm": ("batch_statistics", "batchnorm", "batchnorm_inference", "moving_average"),
    "groupnorm": ("groupnorm", "instancenorm"),
    "resize": ("resize_nearest", "resize_nearest_transposed", "resize_bilinear", "resize_bilinear_transposed"),
    "shuffle": ("channel_shuffle", "pixel_shuffle", "pixel_unshuffle"),
    "softmax_cross_entropy": ("softmax_cross_entropy",),
    "binary_cross_entropy": ("binary_cross_entropy",),
    "regression_loss": ("mean_squared_error", "mean_absolute_error", "huber"),
    "dropout": ("dropout",),
    "random": ("random_normal", "random_uniform"),
    "layernorm": ("layernorm",),
    "rmsnorm": ("rmsnorm",),
    "rotary": ("rotary_angles", "rotary"),
    "attention": ("attention", "packed_attention"),
    "cached_attention": ("cached_attention",),
    "additive_attention": ("additive_attention",),
    "embedding": ("embedding",), "row_gradient": ("row_gradient",),
    "mask": ("id_mask", "step_mask"),
    "sequence_pooling": ("sequence_mean", "sequence_max"),
    "rnn": ("rnn", "reverse_steps", "scale_steps", "scale_columns"),
    "lstm": ("lstm",),
    "gru": ("gru",),
    "gather": ("gather",),
    "augment": ("draw_augmentations", "augment", "draw_mosaics", "mosaic", "mix_rows"),
    "resample": ("resample",),
    "box_match": ("match_cells", "match_priors"),
    "box_loss": ("yolo_quality", "yolo_loss", "prior_loss"),
    "roi_align": ("roi_align",),
    "proposals": ("propose",),
    "accuracy": ("sparse_accuracy", "categorical_accuracy", "binary_accuracy"),
    "penalty": ("penalty",),
    "check": ("check_finite", "norm", "clip_factor"),
}
_HOME = {name: room for room, names in ROOMS.items() for name in names}
__all__ = ["ROOMS", *_HOME]


class _Ops(ModuleType):
    """`dlcore.ops.softmax` is the op, also once `dlcore.ops.softmax`, the room it lives in, has been imported.

    The import system binds a submodule's name in its package; where that name is an op's, the op is bound instead.  (The room
    itself: `importlib.import_module("dlcore.ops.softmax")`, or `from dlcore.ops.softmax import ...`.)
    """

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, getattr(value, name) if isinstance(value, ModuleType) and name in _HOME else value)

    def __getattr__(self, name: str) -> Any:
        if name not in _HOME:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
        self.__dict__[name] = value
        return value

    def __dir__(self) -> list[str]:
        return sorted(__all__)


sys.modules[__name__].__class__ = _Ops


def _operator(name: str) -> Callable[..., Any]:
    def operate(*operands: Any) -> Any:
        return getattr(sys.modules[__name__], name)(*operands)
    return operate


def _power(x: Any, exponent: float) -> Any:
    """x ** 2, x ** 0.5, x ** -1; others have no kernel."""
    named = {2: "square", 0.5: "sqrt", -1: "reciprocal"}
    if exponent not in named:
        raise UsageError(f"x ** {exponent} is not there", expected="x ** 2, x ** 0.5 or x ** -1",
                         hint="exp(scale(log(x), exponent)) for positive x")
    return _operator(named[exponent])(x)


install_operators(pow=_power, **{name: _operator(name) for name in ("add", "sub", "mul", "div", "neg", "matmul")})

if TYPE_CHECKING:       # what `_Ops.__getattr__` finds
    def __getattr__(name: str) -> Any: ...
