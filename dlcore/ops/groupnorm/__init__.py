"""Group normalisation (Wu, He, 2018) and instance normalisation (Ulyanov et al., 2016: one channel in each group).

For each sample and group of channels, over all places and the group's channels (n numbers):

    mean = sum x / n     var = sum (x - mean)^2 / n     rstd = 1 / sqrt(var + eps)     out = (x - mean) rstd weight + bias

With xhat = (x - mean) rstd and g = dout weight:  dx = (g - mean(g) - xhat mean(g xhat)) rstd, dweight = sum dout xhat, dbias = sum
dout.
"""
from __future__ import annotations

from math import prod

from dlcore.errors import ShapeError
from dlcore.graph import call, op
from dlcore.ops.reduction import column_sum

forward_call = call("groupnorm_forward(x: F[B, S, C], weight: f32[C], bias: f32[C], eps: f32"
                    " -> out: F[B, S, C], mean: f32[B, G], rstd: f32[B, G]; sums: f32[B, C])", over="B", flops="8 * B * S * C")
sums_call = call("groupnorm_sums(dout: F[B, S, C], x: F[B, S, C], mean: f32[B, G], rstd: f32[B, G]"
                 " -> dweights: f32[B, C], dbiases: f32[B, C])", over="B", flops="4 * B * S * C")
dx_call = call("groupnorm_dx(dout: F[B, S, C], x: F[B, S, C], weight: f32[C], mean: f32[B, G], rstd: f32[B, G],"
               " dweights: f32[B, C], dbiases: f32[B, C] -> +dx: F[B, S, C])", over="B", flops="8 * B * S * C")


def normalised(x, weight, bias, groups: int, eps: float, what: str):
    C = x.shape[-1]
    if x.ndim < 2 or groups < 1 or C % groups or weight.shape != (C,) or bias.shape != (C,):
        raise ShapeError(f"{what}: channels, groups, weight and bias do not fit", where=x.graph.where(),
                         expected="x [B, ..., C], C a multiple of groups, weight and bias [C]",
                         got=f"x {list(x.shape)}, {groups} groups, weight {list(weight.shape)}, bias {list(bias.shape)}")
    places = x.reshape(x.shape[0], prod(x.shape[1:-1]), C)
    out, mean, rstd = forward_call(places, weight, bias, eps, G=groups)

    def backward(dout):
        d = dout.reshape(*places.shape)
        dweights, dbiases = sums_call(d, places, mean, rstd)
        dx = dx_call(d, places, weight, mean, rstd, dweights, dbiases)
        return dx.reshape(*x.shape), column_sum(dweights), column_sum(dbiases)
    return out.reshape(*x.shape), backward


@op
def groupnorm(x, weight, bias, groups: int = 32, eps: float = 1e-5):
    """x: f32[B, ..., C], C a multiple of `groups`   weight, bias: f32[C]   returns as x"""
    return normalised(x, weight, bias, groups, eps, "groupnorm")


@op
def instancenorm(x, weight, bias, eps: float = 1e-5):
    """`groupnorm` of one channel in each group."""
    return normalised(x, weight, bias, x.shape[-1], eps, "instancenorm")
