"""Training in JAX as its peers' scripts do it: Adam with decoupled decay (Kingma, Ba, 2015; Loshchilov, Hutter, 2019)."""

import jax
import jax.numpy as jnp

EPSILON = 1e-8
tree = jax.tree_util.tree_map


def adam(loss, params, lr, betas=(0.9, 0.999), decay=0.0):
    """(state to begin with, update): update(state, x, y) gives the next state and loss(params, x, y).  decay is for matrices."""
    beta_1, beta_2 = betas

    def update(state, x, y):
        p, m, v, t = state
        value, g = jax.value_and_grad(loss)(p, x, y)
        t = t + 1
        m = tree(lambda m, g: beta_1 * m + (1 - beta_1) * g, m, g)
        v = tree(lambda v, g: beta_2 * v + (1 - beta_2) * g * g, v, g)
        c1, c2 = 1 - beta_1**t, 1 - beta_2**t

        def moved(p, m, v):
            decayed = p * (1 - lr * decay) if decay and p.ndim > 1 else p
            return decayed - lr * (m / c1) / (jnp.sqrt(v / c2) + EPSILON)

        return (tree(moved, p, m, v), m, v, t), value

    return (params, tree(jnp.zeros_like, params), tree(jnp.zeros_like, params), jnp.zeros((), jnp.float32)), update
