"""Networks from a sequence of ids to the logits of another: what both have in common with the steps of `models/translate.py`.

    encoded(source)                     (what stays, what each step changes): tensors with the batch first
    advance(ids, constants, states)     (logits of the next id, the new states)
    alignments(source, target)          pairs of (queries, keys) of the attention over the source, for pictures
"""
from __future__ import annotations

import math
from typing import Any

import numpy as np

from dlcore import ops
from dlcore.errors import ShapeError, UsageError
from dlcore.layers.additive_attention import AdditiveAttention
from dlcore.layers.core import Dense, Dropout
from dlcore.layers.embedding import Embedding, PositionalEmbedding
from dlcore.layers.initializers import RandomNormal
from dlcore.layers.layer import Layer
from dlcore.layers.layer_norm import LayerNormalization
from dlcore.layers.recurrent import LSTM
from dlcore.layers.trace import mask_of, note, set_mask
from dlcore.layers.transformer import TransformerDecoder, TransformerEncoder
from dlcore.layers.wrappers import Bidirectional


class _Translation(Layer):
    """source_vocabulary, target_vocabulary   how many ids there are on each side; id 0 of the source is padding
    source_length, target_length   the most steps of a sequence

    source: i32[B, S], target: i32[B, T], what is to be continued; returns f32[B, T, target_vocabulary], the logits of what follows
    each step.  The table of target ids is the last projection too (Press and Wolf, 2017)."""

    input_dtype = "int32"

    def __init__(self, source_vocabulary: int, target_vocabulary: int, source_length: int, target_length: int, layers: int,
                 width: int, dropout: float, **options: Any):
        super().__init__(**options)
        sizes = {"source_vocabulary": source_vocabulary, "target_vocabulary": target_vocabulary, "source_length": source_length,
                 "target_length": target_length, "layers": layers, "width": width}
        for name, size in sizes.items():
            if not isinstance(size, int) or size < 1:
                raise UsageError(f"{type(self).__name__}'s {name} is a positive number", got=repr(size))
        self.source_length, self.target_length, self.width = source_length, target_length, width
        self.target_vocabulary = target_vocabulary
        normal = RandomNormal(0.0, width ** -0.5)
        self.source_tokens = Embedding(source_vocabulary, width, normal, mask_zero=True)
        self.target_tokens = Embedding(target_vocabulary, width, normal)
        self.drop = Dropout(dropout)

    def check(self, source, target) -> None:
        if source.ndim != 2 or target.ndim != 2 or source.shape[1] > self.source_length or target.shape[1] > self.target_length:
            raise ShapeError(f"layer {self.name!r} takes two sequences of ids", got=f"{list(source.shape)}, {list(target.shape)}",
                             expected=f"(None, up to {self.source_length}) and (None, up to {self.target_length})")

    def logits(self, x):
        """f32[..., target_vocabulary]"""
        rows, table = x.reshape(-1, self.width), self.target_tokens.embeddings
        return note(ops.matmul(rows, table, "nt").reshape(*x.shape[:-1], self.target_vocabulary), "tied", (rows, table))

    def encoded(self, source):
        raise NotImplementedError

    def advance(self, ids, constants, states):
        raise NotImplementedError

    def alignments(self, source, target):
        raise NotImplementedError

    def attention_weights(self, pair: tuple[np.ndarray, np.ndarray], mask: np.ndarray) -> np.ndarray:
        """f32[B, heads, T, S], rows that sum to 1, of one pair of `alignments`.   mask: f32[B, S]"""
        raise NotImplementedError


class TranslationTransformer(_Translation):
    """Encoder and decoder of Vaswani et al. (Attention is all you need, 2017), with norms before each part and at both ends.

    layers, heads, width, inner   blocks on each side, heads, columns, and columns of the blocks' dense networks
    dropout    of embeddings and of what each part adds.   Positions are sines and cosines.   Further: see `_Translation`"""

    def __init__(self, source_vocabulary: int, target_vocabulary: int, source_length: int, target_length: int, layers: int = 3,
                 heads: int = 4, width: int = 128, inner: int = 512, dropout: float = 0.1, **options: Any):
        super().__init__(source_vocabulary, target_vocabulary, source_length, target_length, layers, width, dropout, **options)
        if width % heads:
            raise UsageError("width is a multiple of heads", got=f"{width} and {heads}")
        self.source_positions = PositionalEmbedding(source_length, "sinusoidal")
        self.target_positions = PositionalEmbedding(target_length, "sinusoidal")
        self.encoder = [TransformerEncoder(inner, heads, dropout, normalize_first=True, name=f"encoder_{i}")
                        for i in range(layers)]
        self.decoder = [TransformerDecoder(inner, heads, dropout, normalize_first=True, name=f"decoder_{i}")
                        for i in range(layers)]
        self.encoder_norm, self.decoder_norm = LayerNormalization(1e-5), LayerNormalization(1e-5)

    def call(self, source, target):
        self.check(source, target)
        memory = self.encode(source)
        x = self.embedded(self.target_tokens, self.target_positions, target)
        for block in self.decoder:
            x = block(x, memory)
        return self.logits(self.decoder_norm(x))

    def embedded(self, table, positions, ids):
        vectors = table(ids)
        x = ops.scale(vectors, math.sqrt(self.width))
        set_mask(x, mask_of(vectors))
        return self.drop(positions(x))

    def encode(self, source):
        x = self.embedded(self.source_tokens, self.source_positions, source)
        for block in self.encoder:
            x = block(x)
        return self.encoder_norm(x)

    def encoded(self, source):
        memory = self.encode(source)
        crossed = [t for block in self.decoder for t in block.cross_attention.keys_values(memory)]
        return [ops.id_mask(source), *crossed], []

    def advance(self, ids, constants, states):
        mask, crossed = constants[0], constants[1:]
        x = self.embedded(self.target_tokens, self.target_positions, ids)
        for n, block in enumerate(self.decoder):
            k, v = crossed[2 * n:2 * n + 2]
            x = block.advance(x, k, v, mask)
        return self.logits(self.decoder_norm(x)), []

    def alignments(self, source, target):
        memory, found = self.encode(source), []
        x = self.embedded(self.target_tokens, self.target_positions, target)
        for block in self.decoder:
            def seen(h, cross=block.cross_attention):
                k, v = cross.keys_values(memory)
                found.append((cross.queries(h), k))
                return cross.attend(h, k, v, mask_of(memory))
            x = block.passed(x, seen)
        return found

    def attention_weights(self, pair, mask):
        q, k = pair                                         # f32[B, T, H, D], f32[B, S, H, D]
        s = np.einsum("bthd,bshd->bhts", q, k) / math.sqrt(q.shape[-1])
        return _softmax(s, mask[:, None, None])


class TranslationLSTM(_Translation):
    """An encoder of bidirectional LSTMs, and a decoder with additive attention (Bahdanau, Cho and Bengio, 2015).

    The first LSTM of the decoder asks what to attend to; `layers` more read its output and what was found (Wu et al., Google's
    neural machine translation system, 2016, section 3), so that whole sequences are trained on at once.   width: of all
    states, even"""

    def __init__(self, source_vocabulary: int, target_vocabulary: int, source_length: int, target_length: int, layers: int = 1,
                 width: int = 256, dropout: float = 0.3, **options: Any):
        super().__init__(source_vocabulary, target_vocabulary, source_length, target_length, layers, width, dropout, **options)
        if width % 2:
            raise UsageError("width is even: half of it is that of each direction", got=str(width))
        self.encoder = [Bidirectional(LSTM(width // 2, return_sequences=True, return_state=True), name=f"encoder_{i}")
                        for i in range(layers)]
        self.begin = [Dense(width, "tanh", name=f"begin_{i}") for i in range(2)]
        self.first = LSTM(width, return_sequences=True, return_state=True, name="first")
        self.attention = AdditiveAttention(width)
        self.upper = [LSTM(width, return_sequences=True, return_state=True, name=f"upper_{i}") for i in range(layers)]
        self.read_out = Dense(width, "tanh", name="read_out")

    def call(self, source, target):
        self.check(source, target)
        memory, states = self.encode(source)
        s, _ = self.stepped(self.first, self.drop(self.target_tokens(target)), states)
        return self.finished(s, self.attention(s, memory), [None] * len(self.upper))[0]

    def encode(self, source):
        """(f32[B, S, width], the decoder's first h and c)"""
        x = self.source_tokens(source)
        mask = mask_of(x)
        for block in self.encoder:
            x, *last = block(self.drop(x))
            set_mask(x, mask)
        return x, [begin(last[2]) for begin in self.begin]      # h of the way back, which has read all

    def stepped(self, layer, x, states):
        out, h, c = layer(x, states)
        return out, [h, c]

    def finished(self, s, found, states):
        """(logits, the new states of the upper layers), from the first layer's output and what was attended to."""
        made, x = [], s
        for layer, before in zip(self.upper, states, strict=True):
            x, after = self.stepped(layer, self.drop(ops.concat([x, found])), before)
            made += after
        return self.logits(self.drop(self.read_out(ops.concat([x, found])))), made

    def encoded(self, source):
        memory, states = self.encode(source)
        zeros = [ops.fill(0.0, source.shape[0], self.width, graph=source.graph) for _ in range(2 * len(self.upper))]
        return [ops.id_mask(source), memory, self.attention.keys(memory)], [*states, *zeros]

    def advance(self, ids, constants, states):
        mask, memory, keys = constants
        s, first = self.stepped(self.first, self.target_tokens(ids), states[:2])
        pairs = [states[i:i + 2] for i in range(2, len(states), 2)]
        logits, upper = self.finished(s, self.attention.attend(s, keys, memory, mask), pairs)
        return logits, [*first, *upper]

    def alignments(self, source, target):
        memory, states = self.encode(source)
        s, _ = self.stepped(self.first, self.target_tokens(target), states)
        return [(self.attention.queries(s), self.attention.keys(memory))]

    def attention_weights(self, pair, mask):
        q, k = pair                                         # f32[B, T, A], f32[B, S, A]
        vector = next(v for v in self.attention._weights if v.name == "vector").array
        s = (np.tanh(q[:, :, None] + k[:, None]) @ vector)[..., 0]
        return _softmax(s, mask[:, None])[:, None]


def _softmax(s: np.ndarray, mask: np.ndarray) -> np.ndarray:
    s = np.where(mask != 0, s, -np.inf)
    p = np.exp(s - s.max(-1, keepdims=True))
    return (p / p.sum(-1, keepdims=True)).astype(np.float32)
