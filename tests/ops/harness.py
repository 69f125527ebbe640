"""What every test of a room does: a case becomes a program, is given its inputs, runs, and is compared.

Tests import it as `ops.harness`; `cases(...)` are the parameters, called `[<room>-<op>-<id>]`.
"""
from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import pytest

from dlcore.graph import Graph, plan
from dlcore.ops import ROOMS, scale
from dlcore.ops.case import Case

FORWARD = ("prepare", "forward")                    # what reads weights only is planned into `prepare`
WRITTEN = ("arena", "outputs", "gradients")         # buffers in which nothing may be read before it is written
BASE = 0.5
DTYPES = {np.dtype(np.int32): "i32", np.dtype(np.int64): "i64", np.dtype(np.uint8): "u8"}


@cache
def room_cases() -> dict[str, list[Case]]:
    """All cases, by room."""
    return {room: list(importlib.import_module(f"dlcore.ops.{room}.ref").CASES) for room in ROOMS}


def cases(wanted: Callable[[Case], bool] = lambda case: True) -> list:
    """Parameters for `pytest.mark.parametrize("room, case", ...)`."""
    found = []
    for room, members in room_cases().items():
        for case in members:
            if wanted(case):
                name = case.id if case.op == room else f"{case.op}-{case.id}"
                found.append(pytest.param(room, case, id=f"{room}-{name}"))
    return found


def find_op(room: str, case: Case) -> Callable:
    return getattr(importlib.import_module(f"dlcore.ops.{room}"), case.op)


# ---- a case as a program -----------------------------------------------------------------------------------------
@dataclass
class Built:
    """A case's graph before it is planned, and what is to be written into its leaves."""

    case: Case
    graph: Graph
    inputs: dict = field(default_factory=dict)          # name -> tensor
    leaves: dict = field(default_factory=dict)          # name -> tensor; differs from `inputs` where these are copies
    outs: tuple = ()
    values: dict = field(default_factory=dict)          # leaf -> array

    def leaf(self, name: str, value, kept: bool = False):
        """A tensor that holds this array.  kept: among the weights, so that its gradient can be accumulated."""
        self.values[name] = value
        if name == "status":
            return self.graph.status
        if value.dtype in DTYPES:
            return self.graph.input(name, *value.shape, dtype=DTYPES[value.dtype])
        if kept:
            return self.graph.weight(name, *value.shape)
        finite = np.isfinite(value).all()               # debug mode refuses inputs that are not
        return self.graph.input(name, *value.shape) if finite else self.graph.statistic(name, *value.shape)

    def read(self, trained: bool) -> None:
        """Makes the tensors that the op reads; see `build`."""
        for name, value in self.case.inputs.items():
            kept = trained and name in self.case.differentiable
            self.leaves[name] = None if value is None else self.leaf(name, value, kept)
        self.inputs = dict(self.leaves)

    def start(self, program):
        """An instance with all leaves written and everything else poisoned."""
        instance = program.bind()
        poison(instance)
        for name, value in self.values.items():
            if name in program.leaves:
                instance[name][...] = value
        return instance

    def by_all(self) -> dict:
        """`gradients` and `seeds` for the planner: every float output, by every differentiable input."""
        tensors = [self.leaves[n] for n in self.case.differentiable]
        seeds = {}
        for k, out in enumerate(self.outs):
            if out.dtype in ("f32", "f64"):
                seeds[out] = self.leaf(f"dout{k}", douts(self.case)[k])
        return {"gradients": {out: tensors for out in seeds}, "seeds": seeds}


def build(room: str, case: Case, wide: bool = False, trained: bool = True, precision: str = "float32") -> Built:
    """trained: what is differentiable lies among the weights."""
    made = Built(case, Graph(wide=wide, precision=precision))
    made.read(trained)
    made.outs = case.outputs(find_op(room, case), made.graph, made.inputs)
    return made


def build_added(room: str, case: Case, precision: str = "float32") -> tuple[Built, dict]:
    """A case whose float outputs are added to memory that holds BASE already, and these totals by name."""
    made, bases = Built(case, Graph(precision=precision)), {}
    made.read(trained=False)
    for k, e in enumerate(case.expected()):
        if e.dtype.kind == "f":
            bases[k] = scale(made.leaf(f"base{k}", np.full(e.shape, BASE)), 1.0)        # before the op, which so can add to it
    made.outs = case.outputs(find_op(room, case), made.graph, made.inputs)
    return made, {f"total{k}": made.graph.sum([base, made.outs[k]]) for k, base in bases.items()}


def outputs_of(made: Built) -> dict:
    return {f"out{k}": out for k, out in enumerate(made.outs)}


def poison(instance) -> None:
    """NaN (as integers -1) wherever nothing may be read before it is written."""
    for name in WRITTEN:
        if name in instance.buffers:
            instance.buffers[name].fill(0xFF)


@cache
def douts(case: Case) -> tuple[np.ndarray, ...]:
    """The gradient that arrives at each output."""
    rng = np.random.default_rng(11)
    return tuple(rng.standard_normal(e.shape).astype(np.float32).astype(np.float64) for e in case.expected())


# ---- comparing ---------------------------------------------------------------------------------------------------
def compare(what: str, got: np.ndarray, expected: np.ndarray, tolerance: float, exact: bool = False) -> None:
    """Fails unless shapes agree, infinities and NaN stand at the same places, and the rest is within the tolerance:
    |got - expected| <= tolerance * max(1, greatest |expected|)."""
    expected = np.asarray(expected)
    assert got.shape == expected.shape, f"{what} has shape {got.shape}, expected {expected.shape}"
    if got.dtype.kind in "iu":
        assert np.array_equal(got, expected), f"{what}: {got} is not {expected}"
        return
    if exact:
        rounded = expected.astype(got.dtype)
        assert np.array_equal(got, rounded, equal_nan=True), f"{what} differs by {np.nanmax(np.abs(got - rounded))}"
        return
    finite = np.isfinite(expected)
    assert np.array_equal(got[~finite], expected[~finite], equal_nan=True), f"{what}: infinities or NaN differ"
    assert np.isfinite(got[finite]).all(), f"{what} is not finite at {np.argwhere(finite & ~np.isfinite(got))[:5].tolist()}"
    if finite.any():
        worst = np.abs(got[finite] - expected[finite]).max() / max(1.0, np.abs(expected[finite]).max())
        assert worst <= tolerance, f"{what} is off by {worst:.3g}, allowed {tolerance:.3g}"


def plan_gradients(room: str, case: Case, wide: bool = False, precision: str = "float32") -> tuple[Built, Any]:
    """A case planned with its outputs and gradients."""
    made = build(room, case, wide, precision=precision)
    program = plan(made.graph, outputs_of(made), **(made.by_all() if case.differentiable else {}))
    return made, program


def run_gradients(room: str, case: Case, threads: int | None = None, precision: str = "float32") -> dict[str, np.ndarray]:
    """Outputs and gradients of a case, copied, after one run; gradients twice, the second accumulated on the first."""
    made, program = plan_gradients(room, case, precision=precision)
    instance = made.start(program)
    instance.run(*segments(program), threads=threads, **case.slots)
    found = {name: instance[name].copy() for name in program.outputs}
    found |= {f"d{n}": instance.gradient(n).copy() for n in case.differentiable}
    if case.differentiable:
        instance.run(*segments(program), threads=threads, accumulate=True, **case.slots)
        found |= {f"d{n} accumulated": instance.gradient(n).copy() for n in case.differentiable}
    for name in case.differentiable:
        assert np.array_equal(instance[name], case.inputs[name]), f"{name} was overwritten"
    return found


def segments(program, *wanted: str) -> tuple[str, ...]:
    """Those of the wanted segments (by default all before an update) that the program has."""
    return tuple(s for s in wanted or (*FORWARD, "backward") if s in program.segments)


# ---- finite differences ------------------------------------------------------------------------------------------
def directions(shape: tuple[int, ...], seed: int) -> list[np.ndarray]:
    """One random direction, and for small arrays each element by itself."""
    found = [np.random.default_rng(seed).standard_normal(shape)]
    size = int(np.prod(shape))
    if size <= 48:
        found += [e.reshape(shape) for e in np.eye(size)]
    return found


def check_slope(what: str, value: Callable[[np.ndarray], float], x: np.ndarray, gradient: np.ndarray, step: float = 1e-5,
                tolerance: float = 2e-6) -> None:
    """Central differences of `value` around x against the gradient, along `directions`."""
    for k, d in enumerate(directions(x.shape, 3)):
        slope = (value(x + step * d) - value(x - step * d)) / (2 * step)
        claimed = float((gradient * d).sum())
        scale = max(1.0, float(np.abs(gradient).max()), abs(slope))
        assert abs(slope - claimed) <= tolerance * scale, f"{what}, direction {k}: gradient says {claimed}, differences {slope}"
