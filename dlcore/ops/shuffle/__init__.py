"""Channels that change places.

    channel_shuffle   out[..., j G + g] = x[..., g n + j]        G groups of n channels (Zhang et al., ShuffleNet, 2018)
    pixel_shuffle     out[b, h r + i, w r + j, c] = x[b, h, w, c r r + i r + j]      (Shi et al., 2016; PyTorch's order)

Each is a permutation; its gradient is the inverse one.
"""
from __future__ import annotations

from dlcore.errors import ShapeError
from dlcore.graph import call, op

channel_shuffle_call = call("channel_shuffle(x: F[N, G, K] -> +out: F[N, K, G])", over="N")
pixel_shuffle_call = call("pixel_shuffle(x: F[B, H, W, C, R, R] -> +out: F[B, H, R, W, R, C])", over="B")
pixel_unshuffle_call = call("pixel_unshuffle(x: F[B, H, R, W, R, C] -> +out: F[B, H, W, C, R, R])", over="B")


@op
def channel_shuffle(x, groups: int):
    """x: [..., C], C a multiple of `groups`   returns the same shape"""
    C = x.shape[-1]
    if groups < 1 or C % groups:
        raise ShapeError("channel_shuffle: channels are a multiple of groups", where=x.graph.where(), expected=f"{groups} groups",
                         got=f"{C} channels")
    out = channel_shuffle_call(x.reshape(x.size // C, groups, C // groups)).reshape(*x.shape)
    return out, lambda dout: channel_shuffle(dout, C // groups)


@op
def pixel_shuffle(x, factor: int):
    """[B, H, W, C factor**2] -> [B, H factor, W factor, C]"""
    if x.ndim != 4 or factor < 1 or x.shape[3] % factor**2:
        raise ShapeError("pixel_shuffle: channels are a multiple of the factor's square", where=x.graph.where(),
                         expected=f"[B, H, W, C * {factor * factor}]", got=str(list(x.shape)))
    B, H, W, C = x.shape
    out = pixel_shuffle_call(x.reshape(B, H, W, C // factor**2, factor, factor))
    return out.reshape(B, H * factor, W * factor, C // factor**2), lambda dout: pixel_unshuffle(dout, factor)


@op
def pixel_unshuffle(x, factor: int):
    """[B, H factor, W factor, C] -> [B, H, W, C factor**2]"""
    if x.ndim != 4 or factor < 1 or x.shape[1] % factor or x.shape[2] % factor:
        raise ShapeError("pixel_unshuffle: rows and columns are multiples of the factor", where=x.graph.where(),
                         expected=f"multiples of {factor}", got=str(list(x.shape)))
    B, H, W, C = x.shape[0], x.shape[1] // factor, x.shape[2] // factor, x.shape[3]
    out = pixel_unshuffle_call(x.reshape(B, H, factor, W, factor, C))
    return out.reshape(B, H, W, C * factor**2), lambda dout: pixel_shuffle(dout, factor)
