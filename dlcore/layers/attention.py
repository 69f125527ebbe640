"""Multi-head attention."""
from __future__ import annotations

from typing import Any

import numpy as np

from dlcore import ops
from dlcore.errors import ShapeError, UsageError
from dlcore.layers import initializers
from dlcore.layers.initializers import Initializer
from dlcore.layers.layer import Layer
from dlcore.layers.trace import current


class _Parts(Initializer):
    """Matrices side by side, each with initial values of its own: a weight that holds several projections."""

    def __init__(self, initializer: Initializer, widths: list[int]):
        super().__init__()
        self.initializer, self.widths = initializer, widths

    def draw(self, shape, rng):
        return np.concatenate([self.initializer((*shape[:-1], width), rng) for width in self.widths], -1)


class MultiHeadAttention(Layer):
    """Attention of `query` over `value` (Vaswani et al., 2017), with a projection of the heads back to the query's width.

        MultiHeadAttention(4, 32)(x)                    self-attention: one weight makes queries, keys and values
        MultiHeadAttention(4, 32)(query, value)         the keys are made of `value`
        MultiHeadAttention(4, 32)(query, value, key)

    key_dim, value_dim     width of a head's queries and keys, and of its values (key_dim)
    num_key_value_heads    heads of keys and values, shared by several of the queries each (num_heads)
    output_shape           columns of the result (those of the query)
    use_causal_mask        a step sees itself and what comes before it
    sliding_window         a step sees those less than so many steps away
    rotary_base            positions are told by rotating queries and keys, with this base (10000); None: they are not

    Padded steps of `value`, or of `key`, are not seen.  query: f32[B, T, C], value, key: f32[B, S, ...]; returns f32[B, T, C]."""

    supports_masking = True

    def __init__(self, num_heads: int, key_dim: int, value_dim: int | None = None, use_bias: bool = True,
                 output_shape: int | None = None, num_key_value_heads: int | None = None, use_causal_mask: bool = False,
                 sliding_window: int | None = None, rotary_base: float | None = None,
                 kernel_initializer: str | Initializer = "glorot_uniform", bias_initializer: str | Initializer = "zeros",
                 output_initializer: str | Initializer | None = None, **options: Any):
        super().__init__(**options)
        self.num_heads, self.key_dim, self.value_dim = num_heads, key_dim, value_dim or key_dim
        self.groups = num_key_value_heads or num_heads
        sizes = {"num_heads": num_heads, "key_dim": key_dim, "value_dim": self.value_dim, "num_key_value_heads": self.groups}
        for name, size in sizes.items():
            if not isinstance(size, int) or size < 1:
                raise UsageError(f"MultiHeadAttention's {name} is a positive number", got=repr(size))
        if num_heads % self.groups:
            raise UsageError("num_heads is a multiple of num_key_value_heads", got=f"{num_heads} and {self.groups}")
        if rotary_base is not None and key_dim % 2:
            raise UsageError("rotary positions need an even key_dim", got=str(key_dim))
        self.use_bias, self.columns, self.use_causal_mask = use_bias, output_shape, use_causal_mask
        self.sliding_window, self.rotary_base = sliding_window, rotary_base
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.output_initializer = initializers.get(output_initializer or kernel_initializer)

    # ---- weights -----------------------------------------------------------------------------------------------------
    def build(self, input_shape):
        shapes = input_shape if isinstance(input_shape, list) else [input_shape]
        if any(len(s) != 3 for s in shapes):
            raise ShapeError(f"layer {self.name!r} attends over sequences of vectors", expected="(None, T, C)",
                             got=", ".join(map(str, shapes)))
        H, G, D, V = self.num_heads, self.groups, self.key_dim, self.value_dim
        width = shapes[0][-1]
        self.packed = len(shapes) == 1 and D == V
        if self.packed:
            self.qkv = self.projection("qkv", width, [H * D, G * D, G * V])
        else:
            value, key = shapes[1 % len(shapes)], shapes[2] if len(shapes) > 2 else shapes[1 % len(shapes)]
            self.query = self.projection("query", width, [H * D])
            self.key = self.projection("key", key[-1], [G * D])
            self.value = self.projection("value", value[-1], [G * V])
        self.out = self.projection("output", H * V, [self.columns or width], self.output_initializer)

    def projection(self, name: str, inputs: int, widths: list[int], initializer: Initializer | None = None) -> list[Any]:
        """[kernel, bias], or [kernel], of inputs to sum(widths) columns."""
        first = _Parts(initializer or self.kernel_initializer, widths)
        kernel = self.add_weight(f"{name}_kernel", (inputs, sum(widths)), first)
        if not self.use_bias:
            return [kernel]
        return [kernel, self.add_weight(f"{name}_bias", (sum(widths),), self.bias_initializer, decay=False)]

    # ---- forward -----------------------------------------------------------------------------------------------------
    def call(self, query, value=None, key=None, query_mask=None, value_mask=None, key_mask=None):
        value = query if value is None else value
        mask = query_mask if value is query else value_mask if key_mask is None else key_mask
        trace, options = current(), {"causal": self.use_causal_mask, "window": self.sliding_window}
        if self.packed:
            qkv = self.turned(ops.dense(query, *self.qkv).reshape(*query.shape[:2], -1, self.key_dim),
                              self.num_heads + self.groups)
            if trace is not None and trace.steps is not None:
                out = trace.steps.attend(self.path, qkv, self.groups, self.sliding_window)
            else:
                out = ops.packed_attention(qkv, self.groups, mask, **options)
            compared = [qkv]
        else:
            k, v = self.keys_values(value, key)
            q = self.queries(query)
            out, compared = ops.attention(q, k, v, mask, **options), [q, k]
        if trace is not None and trace.attended is not None:
            trace.attended.append((self, compared, mask))
        return ops.dense(out.reshape(*query.shape[:2], -1), *self.out)

    def queries(self, query):
        """f32[B, T, H, D]: the queries of a layer that attends over another sequence."""
        return self.turned(ops.dense(query, *self.query).reshape(*query.shape[:2], -1, self.key_dim))

    def keys_values(self, value, key=None):
        """(f32[B, S, G, D], f32[B, S, G, V]): what the other sequence is to such a layer."""
        key = value if key is None else key
        k = ops.dense(key, *self.key).reshape(*key.shape[:2], -1, self.key_dim)
        return self.turned(k), ops.dense(value, *self.value).reshape(*value.shape[:2], -1, self.value_dim)

    def attend(self, query, k, v, mask=None):
        """The layer's output for keys and values that were made before, as a step of a sequence reads them."""
        out = ops.attention(self.queries(query), k, v, mask)
        return ops.dense(out.reshape(*query.shape[:2], -1), *self.out)

    def turned(self, x, heads: int | None = None):
        """Rotary positions on the first heads of x."""
        if self.rotary_base is None:
            return x
        trace = current()
        assert trace is not None        # layers are called on tensors only while one is open
        cos, sin = trace.angles(x.shape[1], self.key_dim // 2, float(self.rotary_base))
        return ops.rotary(x, cos, sin, heads)
