"""Elementwise arithmetic of tensors of any rank, with numbers, and with a vector for each row or each column.

    add, sub, mul, div, neg, square, sqrt, reciprocal, exp, log, abs, maximum, minimum, clip
    scale(x, factor) = x * factor,  shift(x, by) = x + by,  for a number or a Slot

Two tensors have the same shape, or the second (or first) is one of these, and is repeated over the other, of shape [..., C]:

    a row      y: [C], or any trailing part of x's shape, such as [T, C]; also [1, C]
    a column   y: [..., 1], the leading part of x's shape followed by ones
    a scalar   y: one element

Its gradient is summed over what it was repeated over.  add and mul have kernels for these; the others are made of them
(x - row = x + (-row), x / row = x * (1 / row)), or repeat first (maximum, minimum).

    out = x + y      dx = dout,  dy = dout               out = sqrt x     dx = dout / (2 out)
    out = x y        dx = dout y,  dy = dout x           out = exp x      dx = dout out
    out = x / y      dx = dout / y,  dy = -dout out / y  out = log x      dx = dout / x
    out = 1 / x      dx = -dout out**2                   out = |x|        dx = dout sign(x)
    out = max(x, y)  the greater gets dout; each a half where they are equal

All can be differentiated again.
"""
from __future__ import annotations

from math import inf, prod

from dlcore.errors import ShapeError
from dlcore.graph import call, op
from dlcore.ops import reduction

add_call = call("add(x: F[S], y: F[S] -> +out: F[S])", over="S", flops="S")
sub_call = call("sub(x: F[S], y: F[S] -> +out: F[S])", over="S", flops="S")
mul_call = call("mul(x: F[S], y: F[S] -> +out: F[S])", over="S", flops="S")
div_call = call("div(x: F[S], y: F[S] -> +out: F[S])", over="S", flops="S")
add_row_call = call("add_row(x: F[N, C], y: F[C] -> +out: F[N, C])", over="N", flops="N * C")
mul_row_call = call("mul_row(x: F[N, C], y: F[C] -> +out: F[N, C])", over="N", flops="N * C")
add_column_call = call("add_column(x: F[N, C], y: F[N] -> +out: F[N, C])", over="N", flops="N * C")
mul_column_call = call("mul_column(x: F[N, C], y: F[N] -> +out: F[N, C])", over="N", flops="N * C")
add_scalar_call = call("add_scalar(x: F[S], y: F[1] -> +out: F[S])", over="S", flops="S")
mul_scalar_call = call("mul_scalar(x: F[S], y: F[1] -> +out: F[S])", over="S", flops="S")
scale_call = call("scale(x: F[S], factor: f32 -> +out: F[S])", over="S", flops="S")
shift_call = call("shift(x: F[S], by: f32 -> +out: F[S])", over="S", flops="S")
square_call = call("square(x: F[S] -> +out: F[S])", over="S", flops="S")
sqrt_call = call("sqrt(x: F[S] -> +out: F[S])", over="S", flops="S")
reciprocal_call = call("reciprocal(x: F[S] -> +out: F[S])", over="S", flops="S")
exp_call = call("exp_forward(x: F[S] -> +out: F[S])", over="S", flops="20 * S")
log_call = call("log_forward(x: F[S] -> +out: F[S])", over="S", flops="20 * S")
abs_call = call("abs_forward(x: F[S] -> +out: F[S])", over="S", flops="S")
abs_gradient_call = call("abs_gradient(dout: F[S], x: F[S] -> +dx: F[S])", over="S", flops="S")
maximum_call = call("maximum(x: F[S], y: F[S] -> +out: F[S])", over="S", flops="S")
minimum_call = call("minimum(x: F[S], y: F[S] -> +out: F[S])", over="S", flops="S")
maximum_gradient_call = call("maximum_gradient(dout: F[S], x: F[S], y: F[S] -> +dx: F[S])", over="S", flops="S")
clip_call = call("clip(x: F[S], low: f32, high: f32 -> +out: F[S])", over="S", flops="2 * S")
clip_gradient_call = call("clip_gradient(dout: F[S], x: F[S], low: f32, high: f32 -> +dx: F[S])", over="S", flops="2 * S")


def flat(declaration, *arguments):
    """A call over one axis, made on tensors of any one shape."""
    shapes = [a.shape for a in arguments if not is_number(a)]
    if wrong := [s for s in shapes if s != shapes[0]]:
        raise ShapeError(f"{declaration.name}: shapes differ", expected=str(list(shapes[0])), got=str(list(wrong[0])))
    out = declaration(*[a if is_number(a) else a.reshape(a.size) for a in arguments])
    return out.reshape(*shapes[0])


def is_number(value) -> bool:
    """A number, or a Slot that will hold one; not a tensor."""
    return not hasattr(value, "graph")


# ---- what is repeated --------------------------------------------------------------------------------------------
def repeated(small: tuple[int, ...], large: tuple[int, ...], name: str) -> str:
    """How a tensor of shape `small` is repeated over one of shape `large`: "row", "column" or "scalar"."""
    if prod(small) == 1:
        return "scalar"
    first = next(i for i, n in enumerate(small) if n != 1)
    last = len(small) - next(i for i, n in enumerate(reversed(small)) if n != 1)
    if len(small) <= len(large) and small[first:] == large[first - len(small):]:
        return "row"
    if len(small) == len(large) and small[:last] == large[:last]:
        return "column"
    raise ShapeError(f"{name}: shapes {list(large)} and {list(small)} do not go together",
                     expected=f"{list(large)}, a trailing part of it (a row), a leading part followed by ones (a column), or "
                              "one element", got=str(list(small)), hint="reshape the smaller one")


def as_matrix(x, y, kind: str):
    """x as the [N, C] whose rows, or columns, y goes along with."""
    C = y.size if kind == "row" else x.size // y.size
    return x.reshape(x.size // C, C)


def along(x, y, name: str, row_call, column_call, scalar_call):
    """The call for the way in which y (or x) is repeated; the order of the two does not matter."""
    if (y.size, len(y.shape)) > (x.size, len(x.shape)):
        x, y = y, x
    kind = repeated(y.shape, x.shape, name)
    if kind == "scalar":
        return scalar_call(x.reshape(x.size), y.reshape(1)).reshape(*x.shape)
    return (row_call if kind == "row" else column_call)(as_matrix(x, y, kind), y.reshape(y.size)).reshape(*x.shape)


def spread_to(y, shape: tuple[int, ...], name: str):
    """y, repeated to this shape."""
    if y.shape == shape:
        return y
    kind, size = repeated(y.shape, shape, name), prod(shape)
    spread = reduction.spread_columns if kind == "row" else reduction.spread_rows
    return spread(y.reshape(y.size), size // y.size).reshape(*shape)


def summed_to(dout, y):
    """The gradient of a y that was repeated: dout, summed over what it was repeated over."""
    if dout.shape == y.shape:
        return dout
    kind = repeated(y.shape, dout.shape, "gradient")
    if kind == "scalar":
        return reduction.sum(dout).reshape(*y.shape)
    total = (reduction.column_sum if kind == "row" else reduction.row_sum)(as_matrix(dout, y, kind))
    return total.reshape(*y.shape)


# ---- two operands ------------------------------------------------------------------------------------------------
@op
def add(x, y):
    """x + y, of tensors or a tensor and a number."""
    if is_number(x) or is_number(y):
        return flat(shift_call, *((y, x) if is_number(x) else (x, y))), lambda dout: dout
    out = flat(add_call, x, y) if x.shape == y.shape else along(x, y, "add", add_row_call, add_column_call, add_scalar_call)
    return out, lambda dout: (summed_to(dout, x), summed_to(dout, y))


@op
def sub(x, y):
    """x - y, of tensors or a tensor and a number."""
    if is_number(y):
        return shift(x, -y), lambda dout: dout
    if is_number(x):
        return shift(neg(y), x), lambda dout: neg(dout)
    out = flat(sub_call, x, y) if x.shape == y.shape else add(x, neg(y))
    return out, lambda dout: (summed_to(dout, x), neg(summed_to(dout, y)))


@op
def mul(x, y):
    """x * y, of tensors or a tensor and a number."""
    if is_number(x) or is_number(y):
        tensor, number = (y, x) if is_number(x) else (x, y)
        return flat(scale_call, tensor, number), lambda dout: scale(dout, number)
    out = flat(mul_call, x, y) if x.shape == y.shape else along(x, y, "mul", mul_row_call, mul_column_call, mul_scalar_call)
    return out, lambda dout: (summed_to(mul(dout, y), x), summed_to(mul(dout, x), y))


@op
def div(x, y):
    """x / y, of tensors or a tensor and a number."""
    if is_number(y):
        return scale(x, 1 / y), lambda dout: scale(dout, 1 / y)
    if is_number(x):
        out = scale(reciprocal(y), x)
        return out, lambda dout: neg(mul(dout, div(out, y)))
    out = flat(div_call, x, y) if x.shape == y.shape else mul(x, reciprocal(y))
    return out, lambda dout: (summed_to(div(dout, y), x), neg(summed_to(div(mul(dout, out), y), y)))


@op
def maximum(x, y):
    """The greater of each pair, NaN where one is NaN; y may be a number."""
    if is_number(y):
        return clip(x, y, inf), lambda dout: clip_gradient(dout, x, y, inf)
    return of_pairs(maximum_call, x, y, lambda dout, a, b: maximum_gradient(dout, a, b))


@op
def minimum(x, y):
    """The smaller of each pair, NaN where one is NaN; y may be a number."""
    if is_number(y):
        return clip(x, -inf, y), lambda dout: clip_gradient(dout, x, -inf, y)
    return of_pairs(minimum_call, x, y, lambda dout, a, b: maximum_gradient(dout, b, a))


def of_pairs(declaration, x, y, gradient):
    """maximum or minimum, and its backward; gradient(dout, a, b) is that of the first of a pair."""
    shape = max((x.size, x.shape), (y.size, y.shape))[1]
    a, b = spread_to(x, shape, declaration.name), spread_to(y, shape, declaration.name)
    return flat(declaration, a, b), lambda dout: (summed_to(gradient(dout, a, b), x), summed_to(gradient(dout, b, a), y))


@op
def maximum_gradient(dout, x, y):
    """dout where x > y, half of it where they are equal, else 0."""
    return flat(maximum_gradient_call, dout, x, y), lambda d: (maximum_gradient(d, x, y), None, None)


# ---- one operand -------------------------------------------------------------------------------------------------
@op
def neg(x):
    """-x"""
    return flat(scale_call, x, -1.0), lambda dout: neg(dout)


@op
def scale(x, factor):
    """x * factor, a number or a Slot."""
    return flat(scale_call, x, factor), lambda dout: scale(dout, factor)


@op
def shift(x, by):
    """x + by, a number or a Slot."""
    return flat(shift_call, x, by), lambda dout: dout


@op
def square(x):
    """x**2"""
    return flat(square_call, x), lambda dout: scale(mul(dout, x), 2.0)


@op
def sqrt(x):
    """The square root; NaN below 0."""
    out = flat(sqrt_call, x)
    return out, lambda dout: scale(div(dout, out), 0.5)


@op
def reciprocal(x):
    """1 / x"""
    out = flat(reciprocal_call, x)
    return out, lambda dout: neg(mul(dout, square(out)))


@op
def exp(x):
    """e**x"""
    out = flat(exp_call, x)
    return out, lambda dout: mul(dout, out)


@op
def log(x):
    """The natural logarithm; -inf at 0, NaN below."""
    return flat(log_call, x), lambda dout: div(dout, x)


@op
def abs(x):
    """|x|; its derivative at 0 is 0."""
    return flat(abs_call, x), lambda dout: abs_gradient(dout, x)


@op
def abs_gradient(dout, x):
    """dout * sign(x)"""
    return flat(abs_gradient_call, dout, x), lambda d: (abs_gradient(d, x), None)


@op
def clip(x, low=-inf, high=inf):
    """x, kept within [low, high]; NaN stays NaN.  The gradient passes where x lies within, ends included."""
    return flat(clip_call, x, low, high), lambda dout: clip_gradient(dout, x, low, high)


@op
def clip_gradient(dout, x, low, high):
    """dout where low <= x <= high, else 0."""
    return flat(clip_gradient_call, dout, x, low, high), lambda d: (clip_gradient(d, x, low, high), None)
