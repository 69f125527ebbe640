"""W4 and W5 in JAX, one dispatch a step, buffers donated.  Modes: jit, jit-bf16 (operands of products rounded)."""

from worker import args, serve  # isort: skip

import jax
import jax.numpy as jnp
import numpy as np
import w4_data
from jax_adam import adam

V, T, L, H, C, positions = w4_data.shape(args.part)
PRODUCTS = jnp.bfloat16 if args.mode == "jit-bf16" else jnp.float32
rng = np.random.default_rng(0)


def matrix(*shape):
    return jnp.array(rng.standard_normal(shape, np.float32) * 0.02)


def norm_weights():
    return jnp.ones(C), jnp.zeros(C)


def block_weights():
    return {"norm1": norm_weights(), "norm2": norm_weights(),
            **{name: (matrix(*shape), jnp.zeros(shape[1])) for name, shape in
               (("qkv", (C, 3 * C)), ("out", (C, C)), ("expand", (C, 4 * C)), ("contract", (4 * C, C)))}}


def norm(x, weights):
    gamma, beta = weights
    x = x - x.mean(-1, keepdims=True)
    return x * jax.lax.rsqrt(jnp.square(x).mean(-1, keepdims=True) + 1e-5) * gamma + beta


def product(a, b):
    return jnp.matmul(a.astype(PRODUCTS), b.astype(PRODUCTS))


def dense(x, weights):
    return (product(x, weights[0]) + weights[1].astype(PRODUCTS)).astype(x.dtype)


def attention(x):
    q, k, v = (t.reshape(*t.shape[:2], H, C // H).swapaxes(1, 2) for t in jnp.split(x, 3, -1))
    scores = product(q, k.swapaxes(2, 3)).astype(jnp.float32) * (C // H) ** -0.5
    scores = jnp.where(jnp.tril(jnp.ones((T, T), bool)), scores, -jnp.inf)
    return product(jax.nn.softmax(scores, -1), v).swapaxes(1, 2).reshape(*x.shape[:2], C).astype(x.dtype)


def loss(w, x, y):
    h = w["tokens"][x] + w["positions"][:T]
    for b in w["blocks"]:
        h = h + dense(attention(dense(norm(h, b["norm1"]), b["qkv"])), b["out"])
        h = h + dense(jax.nn.gelu(dense(norm(h, b["norm2"]), b["expand"]), approximate=True), b["contract"])
    logits = product(norm(h, w["norm"]), w["tokens"].T).astype(jnp.float32)
    return -jnp.take_along_axis(jax.nn.log_softmax(logits), y[..., None], -1).mean()


weights = {"tokens": matrix(V, C), "positions": matrix(positions, C), "norm": norm_weights(),
           "blocks": [block_weights() for _ in range(L)]}
options = w4_data.OPTIONS
state, update = adam(loss, weights, options["lr"], options["betas"], options["weight_decay"])
del weights
x, y = (jnp.array(a) for a in w4_data.batch(args.part, args.batch))
run = jax.jit(update, donate_argnums=0)


def step():
    global state
    state, value = run(state, x, y)
    value.block_until_ready()


serve(step, "jax")
