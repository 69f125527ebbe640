"""Copies that move elements and do no arithmetic: fill, accumulate, concat, slices, transposition.

A slice of a leading axis and a reshape are free views of a tensor (`t[a:b]`, `t.reshape(...)`); what stands here needs memory
of its own.  An array with an axis to be cut or joined is read as rows [everything before the axis, the axis and everything
after], so one kernel serves every axis:

    concat      out[n] = a[n], b[n], ...        d(a)[n] = dout[n, its columns]
    slice_axis  out[n] = x[n, start:stop]       dx[n] = zeros but for dout[n] at start     (pad_axis, whose gradient is a slice)
    transpose   out[n, m] = x[m, n]             dx = transpose(dout)
"""
from __future__ import annotations

from itertools import pairwise
from math import prod

from dlcore.errors import ShapeError
from dlcore.graph import call, op

fill_call = call("fill(value: f32 -> +out: F[S])", over="S")
accumulate_call = call("accumulate(x: F[S] -> +out: F[S])", over="S")
concat_call = call("concat(a: F[N, A], b: F[N, B]?, c: F[N, C]?, d: F[N, D]?, e: F[N, E]?, f: F[N, H]?, g: F[N, I]?,"
                   " h: F[N, J]? -> +out: F[N, T])", over="N")
slice_columns_call = call("slice_columns(x: F[N, C], start: i64 -> +out: F[N, D])", over="N")
pad_columns_call = call("pad_columns(x: F[N, C], start: i64 -> +out: F[N, D])", over="N")
transpose_call = call("transpose(x: F[M, N] -> +out: F[N, M])", over="N")
MOST_PARTS = 8          # that one concat kernel joins


def rows(x, axis: int):
    """x as [everything before the axis, the axis and everything after]."""
    return x.reshape(prod(x.shape[:axis]), prod(x.shape[axis:]))


def normal_axis(axis: int, rank: int, name: str) -> int:
    """`axis` counted from the front.  ShapeError where there is none."""
    if not -rank <= axis < rank:
        raise ShapeError(f"{name}: there is no axis {axis}", expected=f"{-rank} to {rank - 1}", got=str(axis))
    return axis % rank


@op
def fill(value: float, *shape: int, graph):
    """A tensor of this shape whose every element is `value` (a number or a Slot)."""
    return fill_call(value, graph=graph, S=prod(shape)).reshape(*shape), None


@op
def accumulate(x):
    """A copy of x; what the planner calls where a sum does not vanish."""
    return accumulate_call(x.reshape(x.size)).reshape(*x.shape), lambda dout: dout


@op
def concat(parts, axis: int = -1):
    """Tensors joined along an axis; all other sizes are the same.  ShapeError where they are not."""
    first = parts[0].shape
    axis = normal_axis(axis, len(first), "concat")
    for p in parts:
        if p.shape[:axis] != first[:axis] or p.shape[axis + 1:] != first[axis + 1:]:
            raise ShapeError(f"concat: tensors differ off axis {axis}", expected=f"like {list(first)}", got=str(list(p.shape)))
    ends = [0]
    for p in parts:
        ends.append(ends[-1] + p.shape[axis])
    joined = [rows(p, axis) for p in parts]
    while len(joined) > 1:
        joined = [join(joined[i:i + MOST_PARTS]) for i in range(0, len(joined), MOST_PARTS)]

    def backward(dout):
        return tuple(slice_axis(dout, a, b, axis) for a, b in pairwise(ends))
    return joined[0].reshape(*first[:axis], ends[-1], *first[axis + 1:]), backward


def join(parts):
    """At most MOST_PARTS matrices of the same rows, side by side."""
    absent = [None] * (MOST_PARTS - len(parts))
    return concat_call(*parts, *absent, T=sum(p.shape[1] for p in parts))


@op
def slice_axis(x, start: int, stop: int, axis: int = -1):
    """x[..., start:stop, ...] along an axis, copied.  Negative ends count from the back, as in Python."""
    axis = normal_axis(axis, len(x.shape), "slice_axis")
    n = x.shape[axis]
    first, last, _ = slice(start, stop).indices(n)
    if last <= first:
        raise ShapeError(f"slice_axis: {start}:{stop} of an axis of {n} is empty", expected="start < stop",
                         got=f"{start}:{stop}")
    shape, inner = (*x.shape[:axis], last - first, *x.shape[axis + 1:]), prod(x.shape[axis + 1:])
    out = slice_columns_call(rows(x, axis), first * inner, D=(last - first) * inner)
    return out.reshape(*shape), lambda dout: pad_axis(dout, first, n, axis)


@op
def pad_axis(x, start: int, size: int, axis: int = -1):
    """Zeros of `size` along an axis, with x from `start` on: the gradient of a slice."""
    axis = normal_axis(axis, len(x.shape), "pad_axis")
    n = x.shape[axis]
    if start < 0 or start + n > size:
        raise ShapeError(f"pad_axis: {n} elements from {start} on do not fit", expected=f"at most {size}", got=str(start + n))
    shape, inner = (*x.shape[:axis], size, *x.shape[axis + 1:]), prod(x.shape[axis + 1:])
    out = pad_columns_call(rows(x, axis), start * inner, D=size * inner)
    return out.reshape(*shape), lambda dout: slice_axis(dout, start, start + n, axis)


@op
def transpose(x):
    """Rows become columns: [M, N] -> [N, M]."""
    if len(x.shape) != 2:
        raise ShapeError("transpose: not a matrix", expected="[M, N]", got=str(list(x.shape)))
    return transpose_call(x), lambda dout: transpose(dout)
