"""The encoder of BERT, and one vector for what it read."""
from __future__ import annotations

from typing import Any

from dlcore import ops
from dlcore.errors import ShapeError, UsageError
from dlcore.layers.core import Dropout
from dlcore.layers.embedding import Embedding
from dlcore.layers.initializers import RandomNormal
from dlcore.layers.layer import Layer
from dlcore.layers.layer_norm import LayerNormalization
from dlcore.layers.trace import set_mask
from dlcore.layers.transformer import TransformerEncoder

POOLS = ("mean", "cls", "max")


class BertEncoder(Layer):
    """BERT's encoder (Devlin et al., 2019): vectors of ids, positions and segments, a norm, blocks with the norm behind each sum.

    vocabulary, context   how many ids there are, and the most steps of a sequence
    layers, heads, width  blocks, heads of their attention, columns;  intermediate_dim: of their dense networks (4 width)
    segments              kinds of segments: of a pair of texts the first has 0, the second 1
    epsilon               of the norms

    Id 0 is padding, which no step sees.  ids: i32[B, T], T at most `context`; segments: i32[B, T], all 0 where they are left
    out; returns f32[B, T, width]"""

    input_dtype = "int32"

    def __init__(self, vocabulary: int, context: int = 512, layers: int = 6, heads: int = 12, width: int = 384,
                 intermediate_dim: int | None = None, segments: int = 2, dropout: float = 0.0, activation: str = "gelu",
                 epsilon: float = 1e-12, **options: Any):
        super().__init__(**options)
        sizes = {"vocabulary": vocabulary, "context": context, "layers": layers, "heads": heads, "width": width,
                 "segments": segments}
        for name, size in sizes.items():
            if not isinstance(size, int) or size < 1:
                raise UsageError(f"BertEncoder's {name} is a positive number", got=repr(size))
        if width % heads:
            raise UsageError("width is a multiple of heads", got=f"{width} and {heads}")
        self.context, self.width, self.kinds = context, width, segments
        self.normal = RandomNormal(0.0, 0.02)
        self.tokens = Embedding(vocabulary, width, self.normal)
        self.norm, self.drop = LayerNormalization(epsilon), Dropout(dropout)
        self.blocks = [TransformerEncoder(intermediate_dim or 4 * width, heads, dropout, activation, epsilon,
                                          kernel_initializer=self.normal, name=f"block_{i}") for i in range(layers)]

    def build(self, input_shape):
        # Variables, which `call` reads as the graph's tensors
        self.positions: Any = self.add_weight("positions", (self.context, self.width), self.normal)
        self.segments: Any = self.add_weight("segments", (self.kinds, self.width), self.normal)

    def call(self, ids, segments=None):
        if ids.ndim != 2 or ids.shape[1] > self.context:
            raise ShapeError(f"layer {self.name!r} takes sequences of at most {self.context} ids",
                             expected=f"(None, up to {self.context})", got=str((None, *ids.shape[1:])))
        places = self.positions[:ids.shape[1]]
        if segments is None:                        # one table, which inference adds up once
            x = ops.add(self.tokens(ids), ops.add(places, self.segments[:1]))
        else:
            x = ops.add(ops.add(self.tokens(ids), places), ops.embedding(self.segments, segments))
        x = self.drop(self.norm(x))
        set_mask(x, ops.id_mask(ids))
        for block in self.blocks:
            x = block(x)
        return x

    def compute_mask(self, inputs, mask=None):
        return ops.id_mask(inputs[0] if isinstance(inputs, (list, tuple)) else inputs)


class Pooled(Layer):
    """One vector for a sequence: "mean" or "max" over the steps that are no padding, or "cls", the first step.

    x: f32[B, T, C]   returns f32[B, C]"""

    def __init__(self, how: str = "mean", **options: Any):
        super().__init__(**options)
        if how not in POOLS:
            raise UsageError("sequences are not pooled so", expected=", ".join(POOLS), got=repr(how))
        self.how = how

    def call(self, x, mask=None):
        if self.how == "cls":
            return ops.slice_axis(x, 0, 1, 1).reshape(x.shape[0], x.shape[2])
        return (ops.sequence_mean if self.how == "mean" else ops.sequence_max)(x, mask)
