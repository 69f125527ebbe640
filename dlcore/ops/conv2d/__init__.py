"""Convolutions of images (here H is the height): weights [KH, KW, C_in / groups, C_out], images [B, H, W, C].

    out[b, p, q, n] = sum over kh, kw, c of x[b, p sh + kh dh - top, q sw + kw dw - left, c] weight[kh, kw, c, n]

(zero outside the image), then bias, residual and activation.  The three products are closed under differentiation, so
that every gradient can be differentiated again:

    conv2d_product  out                       dx = conv2d_data(dout, weight)       dweight = conv2d_weight(x, dout)
    conv2d_data     dx from dout and weight   d(dout) = conv2d_product(., weight)  dweight = conv2d_weight(., dout)
    conv2d_weight   dweight from x and dout   dx = conv2d_data(dout, .)            d(dout) = conv2d_product(x, .)

conv2d_data is the transposed convolution; conv1d is a convolution of images one row high; a convolution of one tap that
steps by one is a matrix product.  Activations: as in `dense`, with the same rule for those whose derivative needs their input.

Sources: Dumoulin, Visin, A guide to convolution arithmetic for deep learning, 2016; implicit products of packed patches as in
Chetlur et al., cuDNN: Efficient primitives for deep learning, 2014; 3 x 3 taps by Winograd's algorithm as in Lavin, Gray, 2015.
"""
from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

from dlcore.errors import ShapeError, UsageError
from dlcore.graph import call, op
from dlcore.ops.activation import ACTIVATIONS
from dlcore.ops.matmul import CODES, NONE, PARAMETERS, dense_forward, matmul
from dlcore.ops.reduction import column_sum

STEPS = "sh: i64, sw: i64, dh: i64, dw: i64, top: i64, left: i64"
# `reach`: how many rows and columns of x one output row needs, counted in columns from the first to the last that is read;
# PARTS: how many partial sums of the gradient by the weights
IMAGE, FILTER, REACH = "x: F[B, H, W * G * J]", "weight: f32[KH, KW, J, G, N]", "; reach: F[U, V]"
FLOPS = "2 * M * KH * KW * J * G * N"
conv2d_call = call(f"conv2d({IMAGE}, {FILTER}, height: i64, width: i64, {STEPS} -> +out: F[M, G * N]{REACH})", over="",
                   flops=FLOPS)
conv2d_forward = call(f"conv2d_forward({IMAGE}, {FILTER}, bias: f32[G * N]?, residual: F[M, G * N]?, height: i64, width: i64,"
                      f" {STEPS}, activation: i64, parameter: f32 -> out: F[M, G * N]{REACH})", over="", flops=FLOPS)
# here x is what arrives from behind, [B, P, Q, C_out], and out has the shape of the convolution's input
conv2d_data_call = call(f"conv2d_data({IMAGE}, weight: f32[KH, KW, N, G, J], height: i64, width: i64, {STEPS}"
                        f" -> +out: F[M, G * N]{REACH})", over="", flops="2 * B * H * W * KH * KW * J * G * N")
conv2d_weight_call = call(f"conv2d_weight({IMAGE}, dout: F[M, G * N], height: i64, width: i64, {STEPS}"
                          " -> +dweight: f32[KH * KW * J * G * N]; reach: F[U, V], shared: F[PARTS])", over="", flops=FLOPS)


@dataclass(frozen=True)
class Geometry:
    """Where the taps of a convolution lie: (rows, columns) of the image, the output, the filter; steps and the padding before."""

    image: tuple[int, int]
    out: tuple[int, int]
    taps: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    before: tuple[int, int]
    groups: int

    @property
    def steps(self) -> tuple[int, ...]:
        return (*self.stride, *self.dilation, *self.before)

    def turned(self, axis: int) -> int:
        """The padding before the gradient that arrives, spread out by the stride, in a convolution with the turned filter."""
        return (self.taps[axis] - 1) * self.dilation[axis] - self.before[axis]

    def forward_reach(self) -> dict[str, int]:
        spans = [(k - 1) * d + 1 for k, d in zip(self.taps, self.dilation, strict=True)]
        return {"U": spans[0], "V": (self.out[1] - 1) * self.stride[1] + spans[1]}

    def data_reach(self) -> dict[str, int]:
        u, last = self.stride[1], self.image[1] - 1 + (self.taps[1] - 1) * self.dilation[1] - self.turned(1)
        first = -self.turned(1) // u
        return {"U": (self.taps[0] - 1) * self.dilation[0] // self.stride[0] + 1, "V": max(1, last // u - first + 1)}


def two(value: Any, name: str, least: int = 1) -> tuple[int, int]:
    """(rows, columns) of a number for both or a pair."""
    pair = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
    if len(pair) != 2 or any(isinstance(n, bool) or not isinstance(n, int) or n < least for n in pair):
        raise UsageError(f"{name} is a whole number of at least {least}, or a pair of them", got=repr(value))
    return pair


def same_padding(size: int, span: int, stride: int) -> tuple[int, int]:
    """(before, after) so that the output has ceil(size / stride) places; the odd one behind, as in Keras and TensorFlow."""
    whole = max((-(-size // stride) - 1) * stride + span - size, 0)
    return whole // 2, whole - whole // 2


def paddings(padding: Any, sizes: tuple[int, ...], spans: tuple[int, ...], strides: tuple[int, ...]) -> list[tuple[int, int]]:
    """[(before, after)] of each axis for "valid", "same", a number, a number for each axis, or pairs."""
    if padding == "valid":
        return [(0, 0)] * len(sizes)
    if padding == "same":
        return [same_padding(*of) for of in zip(sizes, spans, strides, strict=True)]
    axes = padding if isinstance(padding, (tuple, list)) else [padding] * len(sizes)
    pairs = [tuple(p) if isinstance(p, (tuple, list)) else (p, p) for p in axes]
    if len(pairs) != len(sizes) or any(len(p) != 2 or not all(isinstance(n, int) and n >= 0 for n in p) for p in pairs):
        raise UsageError("a padding is 'valid', 'same', a number, a number for each axis, or (before, after) for each",
                         got=repr(padding))
    return [(int(p[0]), int(p[1])) for p in pairs]


def places(size: int, span: int, stride: int, pad: tuple[int, int]) -> int:
    """How often a window of this span fits."""
    return (size + sum(pad) - span) // stride + 1


def geometry_of(x, taps: tuple[int, int], stride: Any, padding: Any, dilation: Any, groups: int, what: str) -> Geometry:
    """For images x and these options.  ShapeError where no window fits."""
    steps, spread = two(stride, f"{what}: stride"), two(dilation, f"{what}: dilation")
    image = x.shape[1], x.shape[2]
    spans = tuple((k - 1) * d + 1 for k, d in zip(taps, spread, strict=True))
    pads = paddings(padding, image, spans, steps)
    out = tuple(places(*of) for of in zip(image, spans, steps, pads, strict=True))
    if min(out) < 1:
        raise ShapeError(f"{what}: the image is smaller than the window", where=x.graph.where(),
                         expected=f"at least {spans[0]} x {spans[1]} with the padding", got=f"{image[0]} x {image[1]}",
                         hint="padding='same', or fewer strides before")
    return Geometry(image, (out[0], out[1]), taps, steps, spread, (pads[0][0], pads[1][0]), groups)


def check(x, weight, groups: int, what: str = "conv2d") -> None:
    if x.ndim != 4 or weight.ndim != 4 or groups < 1 or weight.shape[2] * groups != x.shape[3] or weight.shape[3] % groups:
        raise ShapeError(f"{what}: images and weights do not fit", where=x.graph.where(),
                         expected="x [B, H, W, C_in] and weight [KH, KW, C_in / groups, C_out], C_out a multiple of groups",
                         got=f"x {list(x.shape)}, weight {list(weight.shape)}, groups {groups}")


def parts_of(weights: int) -> int:
    """In how many partial sums the gradient by so many weights is made, where threads share the places."""
    return 16 if weights <= 16384 else 8 if weights <= 262144 else 2


def lines(x):
    """[B, H, W C] of images."""
    return x.reshape(x.shape[0], x.shape[1], x.shape[2] * x.shape[3])


def grouped(weight, groups: int):
    """[KH, KW, C_in / groups, groups, C_out / groups] of weights."""
    return weight.reshape(*weight.shape[:3], groups, weight.shape[3] // groups)


@op
def conv2d_product(x, weight, geometry: Geometry, bias=None, residual=None, shared: bool = False):
    """The convolution, bias and residual alone; all else is in `conv2d`.  shared: may be one with an equal call."""
    g, B, C_out = geometry, x.shape[0], weight.shape[3]
    if pointwise(g) and residual is None and not (shared or bias is not None):
        out = matmul(x.reshape(B * prod(g.out), x.shape[3]), weight.reshape(*weight.shape[2:]))
    elif bias is None and residual is None and not shared:
        out = conv2d_call(lines(x), grouped(weight, g.groups), *g.out, *g.steps, W=g.image[1], M=B * prod(g.out),
                          **g.forward_reach())
    else:
        out = forward(x, weight, g, bias, residual, NONE, 0.0)

    def backward(dout):
        return gradients(dout, x, weight, g, bias, residual)
    return out.reshape(B, *g.out, C_out), backward


@op
def conv2d_data(dout, weight, geometry: Geometry):
    """The gradient of a convolution by its images [B, H, W, C_in], and so a transposed convolution of dout [B, P, Q, C_out]."""
    g = geometry
    if pointwise(g):
        out = matmul(dout.reshape(dout.size // dout.shape[3], dout.shape[3]), weight.reshape(*weight.shape[2:]), "nt")
    else:
        out = conv2d_data_call(lines(dout), grouped(weight, g.groups), *g.image, *g.stride, *g.dilation, g.turned(0),
                               g.turned(1), W=g.out[1], M=dout.shape[0] * prod(g.image), **g.data_reach())

    def backward(dx):
        return conv2d_product(dx, weight, g), conv2d_weight(dx, dout, g)
    return out.reshape(dout.shape[0], *g.image, weight.shape[2] * g.groups), backward


@op
def conv2d_weight(x, dout, geometry: Geometry):
    """The gradient of a convolution by its weights, [KH, KW, C_in / groups, C_out]."""
    g, J, C_out = geometry, x.shape[3] // geometry.groups, dout.shape[3]
    rows = dout.reshape(dout.size // C_out, C_out)
    if pointwise(g):
        out = matmul(x.reshape(dout.size // C_out, J), rows, "tn")
    else:
        out = conv2d_weight_call(lines(x), rows, *g.out, *g.steps, W=g.image[1], J=J, G=g.groups, N=C_out // g.groups,
                                 KH=g.taps[0], KW=g.taps[1], PARTS=parts_of(prod(g.taps) * J * C_out), **g.forward_reach())

    def backward(dweight):
        return conv2d_data(dout, dweight, g), conv2d_product(x, dweight, g)
    return out.reshape(*g.taps, J, C_out), backward


def forward(x, weight, g: Geometry, bias, residual, code: int, parameter: float):
    """The call that does all in one pass, f32[B P Q, C_out]."""
    M, C_out = x.shape[0] * prod(g.out), weight.shape[3]
    if pointwise(g) and residual is None:
        return dense_forward(x.reshape(M, x.shape[3]), weight.reshape(*weight.shape[2:]), bias, code, parameter)
    rows = None if residual is None else residual.reshape(M, C_out)
    return conv2d_forward(lines(x), grouped(weight, g.groups), bias, rows, *g.out, *g.steps, code, parameter, W=g.image[1],
                          M=M, **g.forward_reach())


def gradients(d, x, weight, g: Geometry, bias, residual):
    """By x, weight, and the bias and residual that are there; d: the gradient by what the activation is applied to."""
    found = [conv2d_data(d, weight, g), conv2d_weight(x, d, g)]
    if bias is not None:
        found.append(column_sum(d.reshape(d.size // d.shape[3], d.shape[3])))
    return (*found, d) if residual is not None else tuple(found)


def activated(x, weight, g: Geometry, bias, residual, activation: str | None, differentiable: bool):
    """f(convolution + bias + residual), and how its gradient becomes that of f's argument; x and weight as images."""
    if activation not in CODES:
        raise UsageError(f"a convolution knows no activation {activation!r}", expected=", ".join(n for n in CODES if n))
    function, gradient, reads = ACTIVATIONS.get(activation, (None, None, ""))
    shape, fused = (x.shape[0], *g.out, weight.shape[3]), reads != "x" or not differentiable
    if activation is None:
        out = conv2d_product(x, weight, g, bias, residual)
    elif fused:
        out = forward(x, weight, g, bias, residual, CODES[activation], PARAMETERS.get(activation, 0.0)).reshape(*shape)
    else:
        out = function(conv2d_product(x, weight, g, bias, residual, shared=True))

    def inner(dout, x, weight):
        if gradient is None:
            return dout
        return gradient(dout, out if fused else conv2d_product(x, weight, g, bias, residual, shared=True))
    return out, inner


@op
def conv2d(x, weight, bias=None, stride=1, padding="valid", dilation=1, groups: int = 1, activation: str | None = None,
           residual=None, differentiable: bool = True):
    """f(convolution of x and weight + bias + residual).  f32.

    x: [B, H, W, C_in]   weight: [KH, KW, C_in / groups, C_out]   bias: [C_out]   residual: as out
    stride, dilation: a number or (rows, columns).   padding: "valid", "same" (Keras': the odd place behind), a number, a
    number for each axis, or ((top, bottom), (left, right)).   groups: C_in for a depthwise convolution.
    activation: as in `dense`.   differentiable=False: nothing is kept for a gradient.   returns [B, P, Q, C_out]
    Raises UsageError (options), ShapeError (shapes)."""
    check(x, weight, groups)
    g = geometry_of(x, weight.shape[:2], stride, padding, dilation, groups, "conv2d")
    out, inner = activated(x, weight, g, bias, residual, activation, differentiable)

    def backward(dout):
        return gradients(inner(dout, x, weight), x, weight, g, bias, residual)
    return out, backward if differentiable else None


@op
def conv1d(x, weight, bias=None, stride: int = 1, padding="valid", dilation: int = 1, groups: int = 1,
           activation: str | None = None, differentiable: bool = True):
    """`conv2d` along one axis.   x: [B, T, C_in]   weight: [K, C_in / groups, C_out]   returns [B, T', C_out]

    padding: "valid", "same", "causal" (all before), a number, or (before, after)."""
    if x.ndim != 3 or weight.ndim != 3:
        raise ShapeError("conv1d: sequences and weights do not fit", where=x.graph.where(),
                         expected="x [B, T, C_in] and weight [K, C_in / groups, C_out]",
                         got=f"x {list(x.shape)}, weight {list(weight.shape)}")
    if padding == "causal":
        padding = ((weight.shape[0] - 1) * dilation, 0)
    pads = padding if isinstance(padding, str) else (0, padding)
    image, filters = row_image(x), weight.reshape(1, *weight.shape)
    check(image, filters, groups, "conv1d")
    g = geometry_of(image, filters.shape[:2], (1, stride), pads, (1, dilation), groups, "conv1d")
    out, inner = activated(image, filters, g, bias, None, activation, differentiable)

    def backward(dout):
        image, filters = row_image(x), weight.reshape(1, *weight.shape)     # views made here stand on the tape
        found = gradients(inner(row_image(dout), image, filters), image, filters, g, bias, None)
        return (found[0].reshape(*x.shape), found[1].reshape(*weight.shape), *found[2:])
    return out.reshape(x.shape[0], g.out[1], weight.shape[2]), backward if differentiable else None


def row_image(x):
    """[B, T, C] as images one row high."""
    return x.reshape(x.shape[0], 1, *x.shape[1:])


@op
def conv2d_transpose(x, weight, stride=1, padding="valid", dilation=1, groups: int = 1, output_padding=None):
    """The transposed convolution: what `conv2d` with these options gives images of x's shape from, turned round.

    x: [B, P, Q, C_in]   weight: [KH, KW, C_out / groups, C_in]   returns [B, H, W, C_out]
    padding: as of `conv2d`; "same": H = P * stride.   output_padding: rows and columns that the convolution's last stride
    would leave out; None: as many as Keras gives ("valid": H = P stride + max(K - stride, 0)), 0 with numbers."""
    if x.ndim != 4 or weight.ndim != 4 or weight.shape[3] != x.shape[3] or x.shape[3] % groups:
        raise ShapeError("conv2d_transpose: images and weights do not fit", where=x.graph.where(),
                         expected="x [B, P, Q, C_in] and weight [KH, KW, C_out / groups, C_in]",
                         got=f"x {list(x.shape)}, weight {list(weight.shape)}, groups {groups}")
    steps, spread, taps = two(stride, "stride"), two(dilation, "dilation"), weight.shape[:2]
    spans = tuple((k - 1) * d + 1 for k, d in zip(taps, spread, strict=True))
    image, before = [], []
    more = (None, None) if output_padding is None else two(output_padding, "output_padding", 0)
    given = [(0, 0)] * 2 if padding in ("valid", "same") else paddings(padding, x.shape[1:3], spans, steps)
    for n, span, s, pad, extra in zip(x.shape[1:3], spans, steps, given, more, strict=True):
        if padding == "same":
            size, pad = n * s, same_padding(n * s, span, s)
        else:
            left_out = max(s - span, 0) if extra is None and padding == "valid" else extra or 0
            size = (n - 1) * s + span - sum(pad) + left_out
        if size < 1 or places(size, span, s, pad) != n:
            raise ShapeError("conv2d_transpose: no convolution with these options gives such images", where=x.graph.where(),
                             expected="less padding than taps, output_padding below the stride", got=f"{n} to {size} places")
        image.append(size)
        before.append(pad[0])
    g = Geometry((image[0], image[1]), (x.shape[1], x.shape[2]), (taps[0], taps[1]), steps, spread, (before[0], before[1]), groups)
    return conv2d_data(x, weight, g), lambda dout: (conv2d_product(dout, weight, g), conv2d_weight(dout, x, g))


def pointwise(g: Geometry) -> bool:
    """Is it a matrix product of the images as they lie?"""
    return g.taps == (1, 1) and g.stride == (1, 1) and g.image == g.out and g.groups == 1 and g.before == (0, 0)
