"""W2 in JAX.  Mode: jit (one dispatch per step)."""

from worker import args, serve  # isort: skip

import jax
import jax.numpy as jnp
import w2_data

LR, BETA_1, BETA_2, EPSILON = 1e-3, 0.9, 0.999, 1e-8
params = [jnp.array(w) for w in w2_data.weights()]
x, y = (jnp.array(a) for a in w2_data.batch(args.batch))
tree = jax.tree_util.tree_map


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


def update(state, x, y):
    p, m, v, t = state
    value, g = jax.value_and_grad(loss)(p, x, y)
    t = t + 1
    m = tree(lambda m, g: BETA_1 * m + (1 - BETA_1) * g, m, g)
    v = tree(lambda v, g: BETA_2 * v + (1 - BETA_2) * g * g, v, g)
    c1, c2 = 1 - BETA_1**t, 1 - BETA_2**t
    p = tree(lambda p, m, v: p - LR * (m / c1) / (jnp.sqrt(v / c2) + EPSILON), p, m, v)
    return (p, m, v, t), value


if args.part == "train":
    state = (params, tree(jnp.zeros_like, params), tree(jnp.zeros_like, params), jnp.zeros((), jnp.float32))
    run = jax.jit(update, donate_argnums=0)

    def step():
        global state
        state, value = run(state, x, y)
        value.block_until_ready()

    serve(step, "jax")
else:
    forward = jax.jit(logits)
    serve(lambda: forward(params, x).block_until_ready(), "jax")
