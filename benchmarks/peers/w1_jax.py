"""W1 in JAX.  Modes: jit (one dispatch per step), scan (20 steps in one lax.scan; training only)."""

from worker import args, serve  # isort: skip

import jax
import jax.numpy as jnp
import w1_data
from jax_adam import adam

LR, SCAN = 1e-3, 20
params = [(jnp.array(w), jnp.array(b)) for w, b in w1_data.weights()]
x, y = (jnp.array(a) for a in w1_data.batch(args.batch))


def logits(params, x):
    for weight, bias in params[:-1]:
        x = jax.nn.relu(x @ weight + bias)
    return x @ params[-1][0] + params[-1][1]


def loss(params, x, y):
    return -jnp.take_along_axis(jax.nn.log_softmax(logits(params, x)), y[:, None], 1).mean()


if args.part == "train":
    steps = SCAN if args.mode == "scan" else 1
    state, update = adam(loss, params, LR)

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
