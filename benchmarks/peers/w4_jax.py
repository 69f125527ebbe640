"""W4 and W5 in JAX, one dispatch a step, buffers donated.  Modes: jit, jit-bf16 (operands of products rounded)."""

from worker import args, serve  # isort: skip

import jax
import jax.numpy as jnp
import numpy as np
import w4_data

V, T, L, H, C, positions = w4_data.shape(args.part)
PRODUCTS = jnp.bfloat16 if args.mode == "jit-bf16" else jnp.float32
LR, (BETA_1, BETA_2), DECAY, EPSILON = w4_data.OPTIONS["lr"], w4_data.OPTIONS["betas"], w4_data.OPTIONS["weight_decay"], 1e-8
rng = np.random.default_rng(0)
tree = jax.tree_util.tree_map


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


def update(state, x, y):
    p, m, v, t = state
    value, g = jax.value_and_grad(loss)(p, x, y)
    t = t + 1
    m = tree(lambda m, g: BETA_1 * m + (1 - BETA_1) * g, m, g)
    v = tree(lambda v, g: BETA_2 * v + (1 - BETA_2) * g * g, v, g)
    c1, c2 = 1 - BETA_1**t, 1 - BETA_2**t

    def moved(p, m, v):
        decayed = p * (1 - LR * DECAY) if p.ndim > 1 else p
        return decayed - LR * (m / c1) / (jnp.sqrt(v / c2) + EPSILON)
    return (tree(moved, p, m, v), m, v, t), value


weights = {"tokens": matrix(V, C), "positions": matrix(positions, C), "norm": norm_weights(),
           "blocks": [block_weights() for _ in range(L)]}
state = (weights, tree(jnp.zeros_like, weights), tree(jnp.zeros_like, weights), jnp.zeros((), jnp.float32))
del weights
x, y = (jnp.array(a) for a in w4_data.batch(args.part, args.batch))
run = jax.jit(update, donate_argnums=0)


def step():
    global state
    state, value = run(state, x, y)
    value.block_until_ready()


serve(step, "jax")
