"""A bag of features: one vector for a set of ids, each weighted by how telling it is."""
from __future__ import annotations

from typing import Any

from dlcore import ops
from dlcore.errors import ShapeError, UsageError
from dlcore.layers import initializers
from dlcore.layers.initializers import Initializer
from dlcore.layers.layer import Layer, Shape
from dlcore.layers.trace import current


class WeightedBag(Layer):
    """The weighted sum of learned vectors, its weights scaled to length 1 (Joulin et al., Bag of tricks for efficient text
    classification, 2016, with weights as in tf-idf).

        out[b] = sum_l w[ids[b, l]] table[ids[b, l]] / sqrt(sum_l w[ids[b, l]]**2)

    ids: i32[B, L], 0 is padding   returns f32[B, output_dim].   The weights w are not trained: `set_importance`.
    sparse: a step updates only the rows that its batch looks up; see `Embedding`."""

    input_dtype = "int32"

    def __init__(self, input_dim: int, output_dim: int, embeddings_initializer: str | Initializer = "random_uniform",
                 sparse: bool = False, **options: Any):
        super().__init__(**options)
        for name, size in (("input_dim", input_dim), ("output_dim", output_dim)):
            if not isinstance(size, int) or size < 1:
                raise UsageError(f"WeightedBag's {name} is a positive number", got=repr(size))
        self.input_dim, self.output_dim = input_dim, output_dim
        self.sparse, self.embeddings_initializer = bool(sparse), initializers.get(embeddings_initializer)

    def build(self, input_shape: Shape) -> None:
        if len(input_shape) != 2:
            raise ShapeError(f"layer {self.name!r} takes rows of ids", expected="(None, L)", got=str(input_shape))
        self.embeddings = self.add_weight("embeddings", (self.input_dim, self.output_dim), self.embeddings_initializer)
        self.importance = self.add_weight("importance", (self.input_dim, 1), "ones", statistic=True)

    def set_importance(self, values: Any) -> None:
        """f32[input_dim]: the weight of each id; that of padding becomes 0."""
        values = values.astype("float32").reshape(self.input_dim, 1).copy()
        values[0] = 0
        self.importance.assign(values)

    def call(self, ids):
        trace = current()
        if trace:
            trace.limit(ids, self.input_dim)
        B, L = ids.shape
        w = ops.embedding(self.importance, ids).reshape(B, L)
        vectors = trace.lookup(self.embeddings, ids) if trace and self.sparse else ops.embedding(self.embeddings, ids)
        total = ops.scale(ops.sequence_mean(ops.scale_steps(vectors, w)), float(L))
        length = ops.sqrt(ops.shift(ops.row_sum(ops.mul(w, w)), 1e-12))
        share = ops.reciprocal(length).reshape(B, 1)
        return ops.scale_steps(total.reshape(B, 1, self.output_dim), share).reshape(B, self.output_dim)
