"""Sums, means and maxima, and their counterparts that repeat.

    row_sum         out[n] = sum over c of x[n, c]        dx = spread_rows(dout)
    column_sum      out[c] = sum over n of x[n, c]        dx = spread_columns(dout)
    spread_rows     out[n, c] = x[n]                      dx = row_sum(dout)
    spread_columns  out[n, c] = x[c]                      dx = column_sum(dout)
    sum             of all elements, one axis or all      dx = dout, repeated
    max             along an axis; the gradient goes to the first greatest element

A sum over what threads share is made in parts, as many as the shape says, and the parts are added in order: so its bits do not
depend on the number of threads.  `axis` may be None (all elements; the result has shape [1]), the first or the last.
"""
from __future__ import annotations

from math import prod

from dlcore.errors import ShapeError
from dlcore.graph import call, op
from dlcore.ops import arithmetic

row_sum_call = call("row_sum(x: F[N, C] -> +out: F[N])", over="N", flops="N * C")
column_sum_call = call("column_sum(x: F[N, C] -> +out: F[C])", over="", flops="N * C")
sum_call = call("sum(x: F[S] -> +out: F[1])", over="", flops="S")
spread_rows_call = call("spread_rows(x: F[N] -> +out: F[N, C])", over="N")
spread_columns_call = call("spread_columns(x: F[C] -> +out: F[N, C])", over="N")
spread_call = call("spread(x: F[1] -> +out: F[S])", over="S")
row_max_call = call("row_max(x: F[N, C] -> out: F[N], index: i32[N])", over="N", flops="N * C")
row_max_backward_call = call("row_max_backward(dout: F[N], index: i32[N] -> +dx: F[N, C])", over="N")


@op
def row_sum(x):
    """[N, C] -> [N]"""
    return row_sum_call(x), lambda dout: spread_rows(dout, x.shape[1])


@op
def spread_rows(x, C: int):
    """[N] -> [N, C], each row one value."""
    return spread_rows_call(x, C=C), lambda dout: row_sum(dout)


@op
def column_sum(x):
    """[N, C] -> [C]"""
    return column_sum_call(x), lambda dout: spread_columns(dout, x.shape[0])


@op
def spread_columns(x, N: int):
    """[C] -> [N, C], every row the same."""
    return spread_columns_call(x, N=N), lambda dout: column_sum(dout)


@op
def spread(x, *shape: int):
    """One element, repeated to any shape."""
    return spread_call(x.reshape(1), S=prod(shape)).reshape(*shape), lambda dout: sum(dout).reshape(*x.shape)


@op
def sum(x, axis: int | None = None):
    """The sum of all elements, shape [1], or along the first or last axis, which goes away."""
    if axis is None:
        return sum_call(x.reshape(x.size)), lambda dout: repeated(dout, x, None)
    m, kept, rows = matrix(x, axis, "sum")
    return (row_sum_call if rows else column_sum_call)(m).reshape(*kept), lambda dout: repeated(dout, x, axis)


@op
def mean(x, axis: int | None = None):
    """The mean of all elements, shape [1], or along the first or last axis, which goes away."""
    total = sum(x, axis)
    share = total.size / x.size
    return arithmetic.scale(total, share), lambda dout: repeated(arithmetic.scale(dout, share), x, axis)


@op
def max(x, axis: int | None = -1):
    """The greatest element along the last axis, or of all (axis=None, shape [1]); NaN if there is one."""
    m, kept, rows = (x.reshape(1, x.size), (1,), True) if axis is None else matrix(x, axis, "max")
    if not rows:
        raise ShapeError("max: along the last axis or over all elements", expected=f"-1, {len(x.shape) - 1} or None",
                         got=str(axis), hint="transpose a matrix first")
    out, index = row_max_call(m)

    def backward(dout):
        return row_max_backward_call(dout.reshape(dout.size), index, C=m.shape[1]).reshape(*x.shape)
    return out.reshape(*kept), backward


def matrix(x, axis: int, name: str):
    """x as a matrix, the shape that is left, and whether it is its rows (last axis) that are reduced, or its columns (first)."""
    rank = len(x.shape)
    if axis in (-1, rank - 1):
        return x.reshape(x.size // x.shape[-1], x.shape[-1]), x.shape[:-1] or (1,), True
    if axis in (0, -rank):
        return x.reshape(x.shape[0], x.size // x.shape[0]), x.shape[1:], False
    raise ShapeError(f"{name}: along the first or the last axis, or over all elements", expected=f"0, {rank - 1}, -1 or None",
                     got=str(axis))


def repeated(dout, x, axis: int | None):
    """The gradient of a sum of x along an axis: dout for every element that was added up."""
    if axis is None:
        return spread(dout, *x.shape)
    m, _, rows = matrix(x, axis, "sum")
    d = dout.reshape(dout.size)
    return (spread_rows(d, m.shape[1]) if rows else spread_columns(d, m.shape[0])).reshape(*x.shape)
