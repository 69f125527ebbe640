"""Layers around a layer: in both directions of a sequence, or on each step of it."""
from __future__ import annotations

from typing import Any

from dlcore import ops
from dlcore.errors import ShapeError, UsageError
from dlcore.layers.layer import Layer
from dlcore.layers.recurrent import _Recurrent

MERGE_MODES = ("concat", "sum", "mul", "ave", None)


def copy_of(layer: Any, prefix: str, **changes: Any) -> Any:
    """The same layer anew, with weights of its own."""
    config = {**layer.get_config(), "name": f"{prefix}_{layer.name.removeprefix('forward_')}", **changes}
    return type(layer).from_config(config)


class Bidirectional(Layer):
    """A recurrent layer from the first step on and from the last, their outputs merged.

    layer           SimpleRNN, LSTM or GRU; it is copied, its weights are not
    merge_mode      "concat", "sum", "mul", "ave", or None for both outputs apart
    backward_layer  for the way back, with go_backwards=True; by default like `layer`

    With `return_sequences` both outputs of a step stand together, and padded steps give zeros, as in Keras.
    x: f32[B, T, C]   initial_state: those of the way forth, then those of the way back
    """

    def __init__(self, layer: Any, merge_mode: str | None = "concat", backward_layer: Any = None, **options: Any):
        super().__init__(**options)
        if merge_mode not in MERGE_MODES:
            raise UsageError("Bidirectional knows no such merge_mode", expected=", ".join(map(str, MERGE_MODES)),
                             got=repr(merge_mode))
        for given in (layer, *([backward_layer] if backward_layer is not None else [])):
            if not isinstance(given, _Recurrent):
                raise UsageError("Bidirectional takes a recurrent layer", expected="SimpleRNN, LSTM or GRU", got=repr(given))
        self.merge_mode = merge_mode
        self.forward_layer = copy_of(layer, "forward")
        self.backward_layer = (copy_of(layer, "backward", go_backwards=not layer.go_backwards) if backward_layer is None
                               else copy_of(backward_layer, "backward"))
        same = ("return_sequences", "return_state", "units") if merge_mode else ("return_sequences", "return_state")
        if any(getattr(self.forward_layer, a) != getattr(self.backward_layer, a) for a in same):
            raise UsageError("the two layers of Bidirectional do not go together", expected="equal " + ", ".join(same))
        if self.forward_layer.go_backwards == self.backward_layer.go_backwards:
            raise UsageError("the two layers of Bidirectional walk the same way", expected="one with go_backwards=True")
        for one in (self.forward_layer, self.backward_layer):
            one.zero_output_for_mask, one.keep_order = one.return_sequences, True

    def __call__(self, x: Any, initial_state: Any = None) -> Any:
        return super().__call__(x) if initial_state is None else super().__call__(x, list(initial_state))

    def call(self, x, initial_state=None):
        there, back = self.forward_layer, self.backward_layer
        states = [None, None] if initial_state is None else [initial_state[:there.states], initial_state[there.states:]]
        y, z = there(x, states[0]), back(x, states[1])
        last: tuple[Any, ...] = ()
        if there.return_state:
            (y, *y_last), (z, *z_last) = y, z
            last = (*y_last, *z_last)
        out = self.merged(y, z)
        outs = (*(out if isinstance(out, tuple) else (out,)), *last)
        return outs if len(outs) > 1 else out

    def merged(self, y, z):
        mode = self.merge_mode
        if mode is None:
            return y, z
        if mode == "concat":
            return ops.concat([y, z])
        if mode == "mul":
            return ops.mul(y, z)
        return ops.scale(ops.add(y, z), 0.5 if mode == "ave" else 1.0)

    def compute_mask(self, inputs, mask=None):
        return mask if self.forward_layer.return_sequences and not isinstance(mask, (tuple, list)) else None


class TimeDistributed(Layer):
    """A layer on each step by itself.   x: [B, T, ...]   returns [B, T, what `layer` makes of [B, ...]]"""

    supports_masking = True

    def __init__(self, layer: Layer, **options: Any):
        super().__init__(**options)
        if not isinstance(layer, Layer):
            raise UsageError("TimeDistributed takes a layer", got=repr(layer))
        self.layer = layer
        self.input_dtype = layer.input_dtype

    def call(self, x):
        if x.ndim < 3:
            raise ShapeError(f"layer {self.name!r} takes sequences", expected="(None, T, ...)", got=str((None, *x.shape[1:])))
        out = self.layer(x.reshape(x.shape[0] * x.shape[1], *x.shape[2:]))
        if isinstance(out, (tuple, list)):
            raise UsageError(f"layer {self.name!r} takes a layer of one output", got=f"{len(out)} outputs")
        return out.reshape(*x.shape[:2], *out.shape[1:])
