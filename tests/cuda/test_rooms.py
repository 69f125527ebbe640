"""Every room's cases on its CUDA kernels: the PTX that ships, interpreted."""

from __future__ import annotations

import numpy as np
import pytest
from ops.harness import Built, build, cases, compare, outputs_of, poison, segments
from ptx.device import Emulated

from dlcore.graph import plan
from dlcore.runtime.cuda_table import cuda_table


def start(made: Built, program, shuffle=None) -> Emulated:
    instance = Emulated(program, shuffle=shuffle)
    poison(instance)
    for name, value in made.values.items():
        if name in program.leaves:
            instance[name][...] = value
    return instance


@pytest.mark.parametrize("room, case", cases())
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
    from ops.harness import douts

    wanted = case.gradients(*[d for d, e in zip(douts(case), case.expected()) if e.dtype.kind == "f"])
    for name in case.differentiable:
        compare(f"d{name}", instance.gradient(name), wanted[name], case.gradient_tolerance)
    instance.run(*segments(program), accumulate=True, **case.slots)
    for name in case.differentiable:
        compare(f"d{name} accumulated", instance.gradient(name), 2 * np.asarray(wanted[name]), 2 * case.gradient_tolerance)


