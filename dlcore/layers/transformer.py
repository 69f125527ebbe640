"""Transformer blocks and language models made of them."""
from __future__ import annotations

import math
from typing import Any

from dlcore import ops
from dlcore.errors import ShapeError, UsageError
from dlcore.layers import initializers
from dlcore.layers.attention import MultiHeadAttention
from dlcore.layers.core import Dense, Dropout
from dlcore.layers.embedding import Embedding, PositionalEmbedding
from dlcore.layers.initializers import Initializer, RandomNormal
from dlcore.layers.layer import Layer
from dlcore.layers.layer_norm import LayerNormalization, RMSNormalization
from dlcore.layers.trace import note

NORMS = {"layer": LayerNormalization, "rms": RMSNormalization}


class _Block(Layer):
    """What encoder and decoder share: attention and a dense network, each with a residual path and a norm.

    normalize_first   the norm stands before each part (Xiong et al., 2020), not behind the sum
    gated             the dense network is contract(activation(gate(x)) * expand(x)) (Shazeer, GLU variants, 2020)"""

    supports_masking = True
    causal = False

    def __init__(self, intermediate_dim: int, num_heads: int, dropout: float = 0.0, activation: str = "relu",
                 layer_norm_epsilon: float = 1e-5, kernel_initializer: str | Initializer = "glorot_uniform",
                 bias_initializer: str | Initializer = "zeros", normalize_first: bool = False, use_bias: bool = True,
                 num_key_value_heads: int | None = None, sliding_window: int | None = None, rotary_base: float | None = None,
                 normalization: str = "layer", output_initializer: str | Initializer | None = None, gated: bool = False,
                 **options: Any):
        super().__init__(**options)
        if normalization not in NORMS:
            raise UsageError("unknown normalization", expected=", ".join(NORMS), got=repr(normalization))
        self.intermediate_dim, self.num_heads, self.dropout, self.activation = intermediate_dim, num_heads, dropout, activation
        self.epsilon, self.normalize_first, self.normalization = layer_norm_epsilon, normalize_first, normalization
        self.initial = {"kernel_initializer": initializers.get(kernel_initializer),
                        "bias_initializer": initializers.get(bias_initializer)}
        self.output_initializer = initializers.get(output_initializer or kernel_initializer)
        self.use_bias, self.gated = use_bias, gated
        self.self_options = {"num_key_value_heads": num_key_value_heads, "sliding_window": sliding_window,
                             "rotary_base": rotary_base, "use_causal_mask": self.causal}

    def build(self, input_shape):
        shape = input_shape[0] if isinstance(input_shape, list) else input_shape
        if len(shape) != 3 or shape[-1] % self.num_heads:
            raise ShapeError(f"layer {self.name!r} takes sequences of vectors that its heads share",
                             expected=f"(None, T, a multiple of {self.num_heads})", got=str(shape))
        self.drop = Dropout(self.dropout)
        self.attention = self.part(self.attends(shape[-1], **self.self_options), shape)
        self.attention_norm = self.norm(shape)
        if isinstance(input_shape, list):
            self.cross_attention = self.part(self.attends(shape[-1]), input_shape[:2])
            self.cross_norm = self.norm(shape)
        if self.gated:
            self.gate = self.part(Dense(self.intermediate_dim, self.activation, self.use_bias, **self.initial), shape)
        self.expand = self.part(Dense(self.intermediate_dim, None if self.gated else self.activation, self.use_bias,
                                      **self.initial), shape)
        self.contract = self.part(Dense(shape[-1], None, self.use_bias, self.output_initializer,
                                        self.initial["bias_initializer"]), (*shape[:-1], self.intermediate_dim))
        self.dense_norm = self.norm(shape)

    def attends(self, width: int, **options: Any) -> MultiHeadAttention:
        return MultiHeadAttention(self.num_heads, width // self.num_heads, use_bias=self.use_bias,
                                  kernel_initializer=self.initial["kernel_initializer"],
                                  bias_initializer=self.initial["bias_initializer"],
                                  output_initializer=self.output_initializer, **options)

    def norm(self, shape: Any) -> Layer:
        return self.part(NORMS[self.normalization](self.epsilon), shape)

    def part(self, layer: Any, shape: Any) -> Any:
        """A layer, built; its biases are not decayed."""
        layer.build(shape)
        layer._built = True
        for v in layer._weights:
            v.decay = len(v.shape) > 1
        return layer

    def dense(self, x):
        """The dense network."""
        return self.contract(ops.mul(self.gate(x), self.expand(x)) if self.gated else self.expand(x))

    def residual(self, x, norm, function):
        """x + function(norm(x)), or norm(x + function(x))."""
        if self.normalize_first:
            return ops.add(x, self.drop(function(norm(x))))
        return norm(ops.add(x, self.drop(function(x))))


class TransformerEncoder(_Block):
    """Self-attention and a dense network of `intermediate_dim` columns.   x: f32[B, T, C]   returns the same shape

    Padded steps are not seen.  Arguments are those of Keras Hub; besides, `num_key_value_heads`, `sliding_window` and
    `rotary_base` are those of `MultiHeadAttention`, and `normalization` is "layer" or "rms"."""

    def call(self, x):
        x = self.residual(x, self.attention_norm, self.attention)
        return self.residual(x, self.dense_norm, self.dense)


class TransformerDecoder(_Block):
    """Causal self-attention, attention over what an encoder made (if that is given), and a dense network.

    decoder_sequence: f32[B, T, C]   encoder_sequence: f32[B, S, ...]   returns f32[B, T, C].   Arguments: see the encoder."""

    causal = True

    def call(self, decoder_sequence, encoder_sequence=None):
        if encoder_sequence is None:
            return self.passed(decoder_sequence)
        return self.passed(decoder_sequence, lambda h: self.cross_attention(h, encoder_sequence))

    def advance(self, x, k, v, mask):
        """A step of the decoder over keys and values of the encoder's sequence that were made once."""
        return self.passed(x, lambda h: self.cross_attention.attend(h, k, v, mask))

    def passed(self, x, cross=None):
        """x through the parts of the block; cross: the attention over the encoder's sequence, if there is one."""
        x = self.residual(x, self.attention_norm, self.attention)
        if cross is not None:
            x = self.residual(x, self.cross_norm, cross)
        return self.residual(x, self.dense_norm, self.dense)


class CausalLM(Layer):
    """A language model of decoder blocks, GPT-2's by default (Radford et al., 2019): the logits of the next id at each step.

    vocabulary, context   how many ids there are, and the most steps of a sequence
    layers, heads, width  blocks, heads of their attention, columns
    tied                  the table of ids is the last projection too (Press and Wolf, 2017)
    position              "learned", "sinusoidal" or "rotary", with its base
    epsilon               of the norms; None: 1e-5, behind the last block 1e-6 of a root mean square
    gated                 see TransformerDecoder: with normalization="rms", activation="silu", position="rotary" and without
                          biases the blocks are those of Llama (Touvron et al., 2023)

    Weights start normal with deviation 0.02, those before a residual sum with 0.02 / sqrt(2 layers).
    ids: i32[B, T], T at most `context`   returns f32[B, T, vocabulary]"""

    input_dtype = "int32"

    def __init__(self, vocabulary: int, context: int, layers: int = 4, heads: int = 4, width: int = 128, dropout: float = 0.0,
                 use_bias: bool = True, activation: str = "gelu_tanh", tied: bool = True, position: str = "learned",
                 normalization: str = "layer", num_key_value_heads: int | None = None, intermediate_dim: int | None = None,
                 gated: bool = False, epsilon: float | None = None, rotary_base: float = 10000.0, **options: Any):
        super().__init__(**options)
        if position not in ("learned", "sinusoidal", "rotary"):
            raise UsageError("CausalLM knows no such position", expected="learned, sinusoidal or rotary", got=repr(position))
        sizes = {"vocabulary": vocabulary, "context": context, "layers": layers, "heads": heads, "width": width}
        for name, size in sizes.items():
            if not isinstance(size, int) or size < 1:
                raise UsageError(f"CausalLM's {name} is a positive number", got=repr(size))
        if width % heads:
            raise UsageError("width is a multiple of heads", got=f"{width} and {heads}")
        self.vocabulary, self.context, self.width, self.tied, self.position = vocabulary, context, width, tied, position
        normal = RandomNormal(0.0, 0.02)
        self.tokens = Embedding(vocabulary, width, normal)
        self.positions = None if position == "rotary" else PositionalEmbedding(context, position, normal)
        self.drop = Dropout(dropout)
        self.blocks = [TransformerDecoder(
            intermediate_dim or 4 * width, heads, dropout, activation, 1e-5 if epsilon is None else epsilon,
            kernel_initializer=normal, normalize_first=True, gated=gated,
            output_initializer=RandomNormal(0.0, 0.02 / math.sqrt(2 * layers)), use_bias=use_bias, normalization=normalization,
            num_key_value_heads=num_key_value_heads, rotary_base=rotary_base if position == "rotary" else None,
            name=f"block_{i}") for i in range(layers)]
        self.last_norm = (LayerNormalization(1e-5 if epsilon is None else epsilon, center=use_bias) if normalization == "layer"
                          else RMSNormalization(1e-6 if epsilon is None else epsilon))
        self.head = None if tied else Dense(vocabulary, use_bias=False, kernel_initializer=normal, name="head")

    def call(self, ids):
        if ids.ndim != 2 or ids.shape[1] > self.context:
            raise ShapeError(f"layer {self.name!r} takes sequences of at most {self.context} ids",
                             expected=f"(None, up to {self.context})", got=str((None, *ids.shape[1:])))
        x = self.tokens(ids)
        x = self.drop(x if self.positions is None else self.positions(x))
        for block in self.blocks:
            x = block(x)
        x = self.last_norm(x)
        if self.head is not None:
            return self.head(x)
        rows, table = x.reshape(-1, self.width), self.tokens.embeddings
        logits = ops.matmul(rows, table, "nt").reshape(*ids.shape, self.vocabulary)
        return note(logits, "tied", (rows, table))
