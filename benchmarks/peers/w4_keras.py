"""W4 and W5 in Keras on TensorFlow, the step in a tf.function.  Modes: function, function-bf16 (its policy "mixed_bfloat16").

Keras' own layers: queries, keys and values are three dense layers.  The head of W4 is not tied.
"""

from worker import args, serve  # isort: skip

import os

os.environ.update(KERAS_BACKEND="tensorflow", TF_CPP_MIN_LOG_LEVEL="3")

import keras  # noqa: E402
import tensorflow as tf  # noqa: E402
import w4_data  # noqa: E402
from keras import layers, ops  # noqa: E402

tf.config.threading.set_intra_op_parallelism_threads(args.threads)
tf.config.threading.set_inter_op_parallelism_threads(1)
if args.mode == "function-bf16":
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
V, T, L, H, C, positions = w4_data.shape(args.part)


def network() -> keras.Model:
    ids = keras.Input((T,), dtype="int32")
    tokens = layers.Embedding(V, C)
    h = tokens(ids) + layers.Embedding(positions, C)(ops.arange(T))
    for _ in range(L):
        a = layers.LayerNormalization(epsilon=1e-5)(h)
        h = h + layers.MultiHeadAttention(H, C // H)(a, a, use_causal_mask=True)
        a = layers.Dense(4 * C, activation=lambda x: keras.activations.gelu(x, approximate=True))(
            layers.LayerNormalization(epsilon=1e-5)(h))
        h = h + layers.Dense(C)(a)
    h = layers.LayerNormalization(epsilon=1e-5)(h)
    if V < 1000:
        return keras.Model(ids, layers.Dense(V, use_bias=False, dtype="float32")(h))

    def tied(h: tf.Tensor) -> tf.Tensor:
        return ops.cast(ops.matmul(h, ops.transpose(ops.cast(tokens.embeddings, h.dtype))), "float32")
    return keras.Model(ids, layers.Lambda(tied, dtype=h.dtype)(h))


model = network()
options = w4_data.OPTIONS
optimizer = keras.optimizers.AdamW(options["lr"], options["weight_decay"], *options["betas"])
optimizer.build(model.trainable_variables)
measure = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


@tf.function
def run(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
    with tf.GradientTape() as tape:
        value = measure(y, model(x, training=True))
    optimizer.apply(tape.gradient(value, model.trainable_variables), model.trainable_variables)
    return value


x, y = (tf.constant(a) for a in w4_data.batch(args.part, args.batch))
serve(lambda: run(x, y).numpy(), "keras")
