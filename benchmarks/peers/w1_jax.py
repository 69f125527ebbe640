"""W1 in JAX.  Modes: jit (one dispatch per step), scan (20 steps in one lax.scan; training only)."""

from worker import args, serve  # isort: skip

import jax
import jax.numpy as jnp
import w1_data

LR, BETA_1, BETA_2, EPSILON, SCAN = 1e-3, 0.9, 0.999, 1e-8, 20
params = [(jnp.array(w), jnp.array(b)) for w, b in w1_data.weights()]
x, y = (jnp.array(a) for a in w1_data.batch(args.batch))
tree = jax.tree_util.tree_map


def logits(params, x):
    for weight, bias in params[:-1]:
        x = jax.nn.relu(x @ weight + bias)
    return x @ params[-1][0] + params[-1][1]


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
    steps = SCAN if args.mode == "scan" else 1
    state = (params, tree(jnp.zeros_like, params), tree(jnp.zeros_like, params), jnp.zeros((), jnp.float32))

    def many(state, x, y):
        return jax.lax.scan(lambda s, _: update(s, x, y), state, None, length=steps)

    run = jax.jit(many if steps > 1 else update, donate_argnums=0)

    def step():
        global state
        state, value = run(state, x, y)
        value.block_until_ready()

    serve(step, "jax", steps)
else:
    forward = jax.jit(logits)
    serve(lambda: forward(params, x).block_until_ready(), "jax")
