"""A case to test: what an op is given, and a naive float64 function that says what it must return.

Every room's `ref.py` holds `CASES`, a list of these; the harness in `tests/ops` finds them through `ROOMS` and runs them all:
values and every gradient (overwriting and accumulating), gradients of the reference against central differences, finite
differences on the very kernels in `wide` plans, every CPU level, 1, 2, 3 and 7 cuts, poisoned outputs, guard zones.
"""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True, eq=False)
class Case:
    """One call of one op.

    Arguments by name go to the op, to `reference` and to `backward` alike: `op(**inputs, **options)`.

    op              name of a function in the room
    id              tells the cases of one op apart; the test is called `[<room>-<op>-<id>]`
    inputs          name -> array, or None for an input left out; float64 arrays become f32 tensors (f64 in `wide` plans),
                    int32, int64 and uint8 arrays become i32, i64 and u8 tensors
    reference       `reference(**inputs, **options)` -> array or tuple of arrays, float64, naive NumPy
    backward        `backward(dout, ..., **inputs, **options)` -> dict name -> gradient, one `dout` for each output, positional
    differentiable  the inputs whose gradients are checked; all keys of the dict that `backward` returns
    options         what is not a tensor: eps=1e-5, activation="relu"
    slots           scalar slots that the run sets: {"seed": 7, "step": 3}
    tolerance       greatest |got - expected| / max(1, max|expected|) allowed for outputs in float32
    gradient_tolerance  the same for gradients in float32
    twice           the gradients can be differentiated again: checked by finite differences of the gradient in float64
    exact           outputs must equal the reference rounded to float32, bit for bit
    apply           `apply(op, graph, inputs, options)` -> tensors, for an op that is not called `op(**inputs, **options)`
    """

    op: str
    id: str
    inputs: dict[str, np.ndarray | None]
    reference: Callable
    backward: Callable | None = None
    differentiable: tuple[str, ...] | list[str] = ()
    options: dict[str, object] = field(default_factory=dict)
    slots: dict[str, float] = field(default_factory=dict)
    tolerance: float = 2e-6
    gradient_tolerance: float = 4e-6
    twice: bool = False
    exact: bool = False
    apply: Callable | None = None

    def outputs(self, op: Callable, graph, tensors: dict) -> tuple:
        """What the op makes of these tensors, always a tuple."""
        out = self.apply(op, graph, tensors, self.options) if self.apply else op(**tensors, **self.options)
        return tuple(out) if isinstance(out, (tuple, list)) else (out,)

    def expected(self) -> tuple[np.ndarray, ...]:
        """The outputs by the reference, always a tuple."""
        out = self.reference(**self.inputs, **self.options)
        return out if isinstance(out, tuple) else (out,)

    def gradients(self, *douts: np.ndarray) -> dict[str, np.ndarray]:
        """The gradients by the reference, given one `dout` for each output."""
        assert self.backward is not None, f"{self.op}-{self.id} has no backward"
        return self.backward(*douts, **self.inputs, **self.options)


def random(*shape: int, seed: int = 0, scale: float = 1.0, away: float = 0.0) -> np.ndarray:
    """Normal numbers that are exact in float32, so that float32 kernels and float64 references see the same values.

    `away` keeps them at least that far from zero: off the kinks of relu, abs and maximum, where differences mislead.
    """
    x = np.random.default_rng(seed).standard_normal(shape) * scale
    x = np.where(np.abs(x) < away, x + np.where(x < 0, -away, away), x)
    return x.astype(np.float32).astype(np.float64)
