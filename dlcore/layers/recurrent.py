"""Recurrent layers on sequences [B, T, C], with Keras' names and weights."""
from __future__ import annotations

from typing import Any

from dlcore import ops
from dlcore.errors import ShapeError, UsageError
from dlcore.layers import initializers
from dlcore.layers.initializers import Initializer
from dlcore.layers.layer import Layer, Shape


class _Recurrent(Layer):
    """What SimpleRNN, LSTM and GRU share: arguments, weights, masks, and what they return.

    units             size H of the state
    return_sequences  all outputs [B, T, H] instead of the last one [B, H]
    return_state      (output, state, ...) instead of the output alone
    go_backwards      from the last step to the first; `return_sequences` gives the outputs in that order, as in Keras
    dropout           share of the inputs' columns that is left out in training, the same ones in all steps (Gal and Ghahramani,
                      A theoretically grounded application of dropout in recurrent neural networks, 2016)
    zero_output_for_mask  padded steps give zeros; otherwise they repeat the state before them

    Steps that are padding (see `Masking`, `Embedding(mask_zero=True)`), on either side, leave the state as it was.
    """

    gates = 1                       # columns of the kernel per unit
    states = 1                      # tensors of a state
    supports_masking = True
    keep_order = False              # outputs of go_backwards stand where their inputs do

    def __init__(self, units: int, activation: str = "tanh", use_bias: bool = True,
                 kernel_initializer: str | Initializer = "glorot_uniform",
                 recurrent_initializer: str | Initializer = "orthogonal", bias_initializer: str | Initializer = "zeros",
                 dropout: float = 0.0, return_sequences: bool = False, return_state: bool = False,
                 go_backwards: bool = False, zero_output_for_mask: bool = False, **options: Any):
        super().__init__(**options)
        kind = type(self).__name__
        if not isinstance(units, int) or isinstance(units, bool) or units < 1:
            raise UsageError(f"{kind} needs a positive number of units", got=repr(units))
        if not 0 <= dropout < 1:
            raise UsageError(f"{kind}'s dropout is a probability below 1", expected="0 <= dropout < 1", got=repr(dropout))
        self.units, self.activation, self.use_bias, self.dropout = units, activation, use_bias, dropout
        self.return_sequences, self.return_state, self.go_backwards = return_sequences, return_state, go_backwards
        self.zero_output_for_mask = zero_output_for_mask
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.recurrent_initializer = initializers.get(recurrent_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.bias: Any = None

    def __call__(self, x: Any, initial_state: Any = None) -> Any:
        """On x [B, T, C]; initial_state: the state [B, H], or a list of them, zeros if left out."""
        if initial_state is None:
            return super().__call__(x)
        return super().__call__(x, list(initial_state) if isinstance(initial_state, (tuple, list)) else [initial_state])

    def build(self, input_shape: Any) -> None:
        shape = input_shape[0] if isinstance(input_shape, list) else input_shape
        if len(shape) != 3:
            raise ShapeError(f"layer {self.name!r} takes sequences of vectors", expected="(None, T, C)", got=str(shape))
        N = self.gates * self.units
        self.kernel = self.add_weight("kernel", (shape[-1], N), self.kernel_initializer)
        self.recurrent_kernel = self.add_weight("recurrent_kernel", (self.units, N), self.recurrent_initializer)
        if self.use_bias:
            self.bias = self.add_weight("bias", self.bias_shape(), self.bias_initializer)

    def bias_shape(self) -> Shape:
        return (self.gates * self.units,)

    def call(self, x, initial_state=None, mask=None, training=False):
        states = [None] * self.states if initial_state is None else initial_state
        if len(states) != self.states:
            raise ShapeError(f"layer {self.name!r} has {self.states} states", got=f"{len(states)} initial states")
        if self.dropout and training:
            x = self.dropped(x)
        out, *last = self.recur(x, mask, states)
        if not self.return_sequences:
            out = last[0]
        else:
            if self.zero_output_for_mask and mask is not None:
                out = ops.scale_steps(out, mask)
            out = ops.reverse_steps(out) if self.go_backwards and not self.keep_order else out
        return (out, *last) if self.return_state else out

    def dropped(self, x):
        """x with the same columns left out in all steps of a sample."""
        B, T, C = x.shape
        keep = ops.dropout(ops.fill(1.0, B, C, graph=x.graph), self.dropout)
        return ops.scale_columns(x, keep)

    def recur(self, x, mask, states):
        """(outputs of all steps, last states...)"""
        raise NotImplementedError

    def compute_mask(self, inputs, mask=None):
        if not self.return_sequences or mask is None or isinstance(mask, (tuple, list)):
            return None
        if not self.go_backwards or self.keep_order:
            return mask
        return ops.reverse_steps(mask.reshape(*mask.shape, 1)).reshape(*mask.shape)


def check_functions(layer: str, given: dict[str, str], known: dict[str, tuple[str, ...]]) -> None:
    """UsageError for an activation that the recurrent kernels do not have."""
    for name, value in given.items():
        if value not in known[name]:
            raise UsageError(f"{layer} has no {name} {value!r}", expected=" or ".join(known[name]), got=repr(value))


class SimpleRNN(_Recurrent):
    """h_t = activation(x_t kernel + h_{t-1} recurrent_kernel + bias), activation "tanh" or "relu" (Elman, 1990).

    x: f32[B, T, C]   returns f32[B, units], or see `return_sequences` and `return_state`"""

    def __init__(self, units: int, activation: str = "tanh", **options: Any):
        super().__init__(units, activation, **options)
        check_functions("SimpleRNN", {"activation": activation}, {"activation": ("tanh", "relu")})

    def recur(self, x, mask, states):
        return ops.rnn(x, self.kernel, self.recurrent_kernel, self.bias, mask, states[0], self.go_backwards, self.activation)


class LSTM(_Recurrent):
    """Long short-term memory (Hochreiter and Schmidhuber, 1997); columns of the kernels: input, forget, cell, output.

    x: f32[B, T, C]   returns f32[B, units], or see `return_sequences`; `return_state`: (output, h, c)
    unit_forget_bias  the forget gate's bias begins with 1"""

    gates, states = 4, 2

    def __init__(self, units: int, activation: str = "tanh", recurrent_activation: str = "sigmoid",
                 unit_forget_bias: bool = True, **options: Any):
        super().__init__(units, activation, **options)
        check_functions("LSTM", {"activation": activation, "recurrent_activation": recurrent_activation},
                        {"activation": ("tanh",), "recurrent_activation": ("sigmoid",)})
        self.unit_forget_bias = unit_forget_bias

    def build(self, input_shape: Any) -> None:
        if self.use_bias and self.unit_forget_bias:
            self.bias_initializer = ForgetBias(self.bias_initializer, self.units)
        super().build(input_shape)

    def recur(self, x, mask, states):
        return ops.lstm(x, self.kernel, self.recurrent_kernel, self.bias, mask, *states, self.go_backwards)


class ForgetBias(Initializer):
    """Ones for the second quarter, the forget gate's; the others as another initializer says."""

    def __init__(self, others: Initializer, units: int):
        super().__init__()
        self.others, self.units = others, units

    def draw(self, shape, rng):
        bias = self.others(shape, rng)
        bias[self.units:2 * self.units] = 1
        return bias


class GRU(_Recurrent):
    """Gated recurrent units (Cho et al., 2014), the reset gate behind the product; columns of the kernels: update, reset, new.

    x: f32[B, T, C]   returns f32[B, units], or see `return_sequences` and `return_state`"""

    gates = 3

    def __init__(self, units: int, activation: str = "tanh", recurrent_activation: str = "sigmoid", reset_after: bool = True,
                 **options: Any):
        super().__init__(units, activation, **options)
        check_functions("GRU", {"activation": activation, "recurrent_activation": recurrent_activation},
                        {"activation": ("tanh",), "recurrent_activation": ("sigmoid",)})
        if not reset_after:
            raise UsageError("GRU applies the reset gate behind the recurrent product", expected="reset_after=True",
                             got=f"reset_after={reset_after!r}")

    def bias_shape(self) -> Shape:
        return (2, 3 * self.units)

    def recur(self, x, mask, states):
        return ops.gru(x, self.kernel, self.recurrent_kernel, self.bias, mask, states[0], self.go_backwards)
