"""The latent variables of a variational autoencoder (Kingma and Welling, Auto-encoding variational Bayes, 2014).

An encoder says for each sample the mean and log(sigma**2) of a normal distribution for each latent number, the axes being
independent.  The prior is the standard normal distribution.
"""
from __future__ import annotations

from typing import Any

from dlcore import ops
from dlcore.errors import ShapeError
from dlcore.layers.layer import Layer


def pair_of_one_shape(layer: Layer, given: Any) -> tuple[Any, Any]:
    mean, log_variance = given
    if mean.shape != log_variance.shape:
        raise ShapeError(f"layer {layer.name!r} takes means and log variances of one shape", expected=str(mean.shape),
                         got=str(log_variance.shape))
    return mean, log_variance


class GaussianSample(Layer):
    """[mean, log_variance], f32[B, D] each -> f32[B, D]: in training a draw, mean + exp(log_variance / 2) * noise, through which
    gradients flow (the reparameterisation of section 2.4); else the mean."""

    def call(self, inputs, training=False):
        mean, log_variance = pair_of_one_shape(self, inputs)
        if not training:
            return mean
        noise = ops.random_normal(*mean.shape, graph=mean.graph)
        return ops.add(mean, ops.mul(ops.exp(ops.scale(log_variance, 0.5)), noise))


class GaussianDivergence(Layer):
    """[mean, log_variance], f32[B, D] each -> f32[B, 1]: the divergence (Kullback-Leibler) from the standard normal distribution
    in nats, sum(mean**2 + exp(log_variance) - 1 - log_variance) / 2 (appendix B)."""

    def call(self, inputs):
        mean, log_variance = pair_of_one_shape(self, inputs)
        terms = ops.sub(ops.add(ops.square(mean), ops.exp(log_variance)), ops.shift(log_variance, 1.0))
        B = mean.shape[0]
        return ops.scale(ops.row_sum(terms.reshape(B, mean.size // B)), 0.5).reshape(B, 1)
