"""Matrix products in JAX."""

from worker import args, serve  # isort: skip

import jax
import jax.numpy as jnp
import matmul_data

_, dtype, a, b, _ = matmul_data.operands(args.part, args.batch)
left, right = (jnp.asarray(array, jnp.bfloat16 if dtype == "bf16" else jnp.float32) for array in (a, b))
product = jax.jit(jnp.matmul)
serve(lambda: product(left, right).block_until_ready(), "jax")
