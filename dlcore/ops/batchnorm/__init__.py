"""Batch normalisation over all axes but the last (Ioffe, Szegedy, 2015), with what follows it: a residual and relu.

    mean = sum_n x_n / N     var = sum_n (x_n - mean)^2 / N     rstd = 1 / sqrt(var + eps)
    out  = f((x - mean) rstd weight + bias + residual)

With d the gradient by what f is applied to, and xhat = (x - mean) rstd:

    dbias = sum_n d     dweight = sum_n d xhat     dx = weight rstd (d - dbias / N - xhat dweight / N)     dresidual = d

Sums are made as partial sums of CHUNKS parts, whose means and squares are joined in order (Chan, Golub, LeVeque, 1983), so that no
bit depends on the threads.  With statistics that are given (inference), the normalisation is a scale and a shift of each channel,
and can be differentiated again.
"""
from __future__ import annotations

from math import prod

from dlcore.errors import ShapeError, UsageError
from dlcore.graph import call, op
from dlcore.ops import arithmetic
from dlcore.ops.activation import relu_gradient
from dlcore.ops.reduction import column_sum

statistics_call = call("batchnorm_statistics(x: F[N, C] -> mean: f32[C], var: f32[C])", over="", flops="4 * N * C")
forward_call = call("batchnorm_forward(x: F[N, C], mean: f32[C], var: f32[C], weight: f32[C], bias: f32[C], residual: F[N, C]?,"
                    " eps: f32, relu: i64 -> out: F[N, C])", over="N", flops="5 * N * C")
backward_call = call("batchnorm_backward(dout: F[N, C], x: F[N, C], mean: f32[C], var: f32[C], weight: f32[C],"
                     " bias: f32[C], eps: f32, relu: i64 -> +dx: F[N, C], dweight: f32[C], dbias: f32[C])", over="",
                     flops="12 * N * C")
moving_call = call("moving_average(value: f32[C], status: i64[1], momentum: f32 -> ~moving: f32[C])", over="1", flops="3 * C")


def channels(x, *vectors, residual=None) -> None:
    C = x.shape[-1]
    if any(v.shape != (C,) for v in vectors) or (residual is not None and residual.shape != x.shape):
        raise ShapeError("batchnorm: vectors have one number for each channel, a residual the shape of x", where=x.graph.where(),
                         expected=f"[{C}] and {list(x.shape)}",
                         got=", ".join(str(list(v.shape)) for v in (*vectors, *([] if residual is None else [residual]))))


def is_relu(activation: str | None) -> int:
    if activation not in (None, "relu"):
        raise UsageError("batchnorm applies relu or nothing", got=repr(activation))
    return int(activation == "relu")


def rows_of(x):
    return x.reshape(prod(x.shape[:-1]), x.shape[-1])


@op
def batch_statistics(x):
    """(mean, var) of each channel over all other axes, f32[C] both; var is that of the batch, divided by N.  Nothing flows back:
    `batchnorm` knows how they depend on x."""
    return statistics_call(rows_of(x)), None


@op
def batchnorm(x, weight, bias, mean, var, residual=None, eps: float = 1e-5, activation: str | None = None):
    """relu or nothing of the normalised x, scaled and shifted, plus residual.

    x: f32[..., C]   weight, bias: f32[C]   residual: as x   mean, var: `batch_statistics(x)`; the gradient by x includes the way
    through them   returns as x"""
    relu = is_relu(activation)
    channels(x, weight, bias, mean, var, residual=residual)
    rows, more = rows_of(x), None if residual is None else rows_of(residual)
    out = forward_call(rows, mean, var, weight, bias, more, eps, relu)
    shaped = out.reshape(*x.shape)

    def backward(dout):
        if relu and residual is not None:       # the residual needs it too; without one its sign is told by x, in passing
            dout = relu_gradient(dout, shaped)
        inside = relu if residual is None else 0
        dx, dweight, dbias = backward_call(rows_of(dout), rows, mean, var, weight, bias, eps, inside)
        found = (dx.reshape(*x.shape), dweight, dbias, None, None)
        return found if residual is None else (*found, dout)
    return shaped, backward


@op
def batchnorm_inference(x, weight, bias, mean, var, residual=None, eps: float = 1e-5, activation: str | None = None):
    """The same with statistics that do not depend on x."""
    relu = is_relu(activation)
    channels(x, weight, bias, mean, var, residual=residual)
    rows, more = rows_of(x), None if residual is None else rows_of(residual)
    out = forward_call(rows, mean, var, weight, bias, more, eps, relu).reshape(*x.shape)

    def backward(dout):
        d = relu_gradient(dout, out) if relu else dout
        rstd = arithmetic.reciprocal(arithmetic.sqrt(arithmetic.shift(var, eps)))
        xhat = arithmetic.mul(arithmetic.sub(x, mean), rstd)
        scaled, dxhat = arithmetic.mul(weight, rstd), column_sum(rows_of(arithmetic.mul(d, xhat)))
        dbias = column_sum(rows_of(d))
        dmean = arithmetic.neg(arithmetic.mul(dbias, scaled))
        dvar = arithmetic.scale(arithmetic.mul(arithmetic.mul(dxhat, scaled), rstd), -0.5)
        found = (arithmetic.mul(d, scaled), dxhat, dbias, dmean, dvar)
        return found if residual is None else (*found, d)
    return out, backward


@op
def moving_average(moving, value, status, momentum: float = 0.99):
    """The new version of `moving`: momentum * moving + (1 - momentum) * value, unless `status` says that the step went wrong.

    Called in the segment `update`; moving: a statistic, f32[C]."""
    return moving_call(value, status, momentum, moving), None
