"""Outputs of the kernels against the naive float64 reference, every buffer poisoned before."""
from __future__ import annotations

import pytest
from ops.harness import BASE, FORWARD, build, build_added, cases, compare, outputs_of, segments

from dlcore.graph import plan


def has_floats(case) -> bool:
    return any(e.dtype.kind == "f" for e in case.expected())


@pytest.mark.parametrize("room, case", cases())
def test_values(room, case):
    made = build(room, case, trained=False)
    program = plan(made.graph, outputs_of(made))
    instance = made.start(program)
    instance.run(*segments(program, *FORWARD), **case.slots)
    expected = case.expected()
    assert len(made.outs) == len(expected)
    for k, e in enumerate(expected):
        compare(f"out{k}", instance[f"out{k}"], e, case.tolerance, case.exact)


@pytest.mark.parametrize("room, case", cases(has_floats))
def test_values_added(room, case):
    """An output that the planner lets the op add to memory: base + op(...)."""
    made, totals = build_added(room, case)
    program = plan(made.graph, totals)
    instance = made.start(program)
    instance.run(*segments(program, *FORWARD), **case.slots)
    for k, e in enumerate(case.expected()):
        if f"total{k}" in totals:
            compare(f"total{k}", instance[f"total{k}"], BASE + e, case.tolerance)
