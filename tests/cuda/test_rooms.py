"""Every room's cases on its CUDA kernels: the PTX that ships, interpreted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ops.harness import BASE, build, build_added, cases, compare, douts, outputs_of, segments
from ptx.device import start

import dlcore
from dlcore.graph import plan
from dlcore.runtime.cuda_table import cuda_table

# Elements of a case's inputs: what fills caches of a processor tells nothing here, see test_products; and what costs seconds
LARGE = {"attention": 17_000, "conv2d": 40_000}
OTHERS = 80_000
SMALL = 5_000  # up to which gradients are accumulated too


PACKAGE = Path(dlcore.__file__).parent


def on_gpu(parameter) -> bool:
    """Has the room a device file?"""
    return (PACKAGE / "ops" / parameter.values[0] / "cuda.py").exists()


def fits(parameter) -> bool:
    room, case = parameter.values
    return size(case) <= LARGE.get(room, OTHERS)


def size(case) -> int:
    return sum(v.size for v in case.inputs.values() if v is not None)


@pytest.mark.parametrize("room, case", [p for p in cases() if on_gpu(p) and fits(p)])
def test_values_and_gradients(room, case):
    """Outputs, and gradients written and then accumulated, against the float64 reference."""
    made = build(room, case)
    program = plan(made.graph, outputs_of(made), **(made.by_all() if case.differentiable else {}), table=cuda_table())
    instance = start(made, program)
    instance.run(*segments(program), **case.slots)
    for k, e in enumerate(case.expected()):
        compare(f"out{k}", instance[f"out{k}"], e, case.tolerance, case.exact)
    if not case.differentiable:
        return
    wanted = case.gradients(*douts(case))
    for name in case.differentiable:
        compare(f"d{name}", instance.gradient(name), wanted[name], case.gradient_tolerance)
    if size(case) <= SMALL:
        instance.run(*segments(program), accumulate=True, **case.slots)
        for name in case.differentiable:
            compare(f"d{name} accumulated", instance.gradient(name), 2 * np.asarray(wanted[name]), case.gradient_tolerance)


def small_floats(case) -> bool:
    return size(case) <= SMALL and any(e.dtype.kind == "f" for e in case.expected())


@pytest.mark.parametrize("room, case", [p for p in cases(small_floats)[::4] if on_gpu(p)])
def test_values_added(room, case):
    """An output that the planner lets the op add to memory, in every fourth case, with warps in random order."""
    made, totals = build_added(room, case)
    program = plan(made.graph, totals, table=cuda_table())
    instance = start(made, program, shuffle=1)
    instance.run(*segments(program, "prepare", "forward"), **case.slots)
    for k, e in enumerate(case.expected()):
        if f"total{k}" in totals:
            compare(f"total{k}", instance[f"total{k}"], BASE + e, case.tolerance)
