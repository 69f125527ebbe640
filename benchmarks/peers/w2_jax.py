"""W2 in JAX.  Mode: jit (one dispatch per step)."""

from worker import args, serve  # isort: skip

import jax
import jax.numpy as jnp
import w2_data
from jax_adam import adam

LR = 1e-3
params = [jnp.array(w) for w in w2_data.weights()]
x, y = (jnp.array(a) for a in w2_data.batch(args.batch))


def lstm(kernel, recurrent, bias, x, reverse):
    """x: [T, B, C]"""
    products = x @ kernel + bias

    def cell(state, product):
        h, c = state
        i, f, g, o = jnp.split(product + h @ recurrent, 4, -1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    zeros = jnp.zeros((x.shape[1], w2_data.HIDDEN))
    return jax.lax.scan(cell, (zeros, zeros), products, reverse=reverse)[1]


def logits(params, x):
    table, *rest = params
    h = table[x].transpose(1, 0, 2)
    both = jnp.concatenate([lstm(*rest[:3], h, False), lstm(*rest[3:6], h, True)], -1)
    return both.mean(0) @ rest[6] + rest[7]


def loss(params, x, y):
    return -jnp.take_along_axis(jax.nn.log_softmax(logits(params, x)), y[:, None], 1).mean()


if args.part == "train":
    state, update = adam(loss, params, LR)
    run = jax.jit(update, donate_argnums=0)

    def step():
        global state
        state, value = run(state, x, y)
        value.block_until_ready()

    serve(step, "jax")
else:
    forward = jax.jit(logits)
    serve(lambda: forward(params, x).block_until_ready(), "jax")
