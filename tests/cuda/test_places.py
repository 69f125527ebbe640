"""Arrays that begin anywhere: an array may be part of another, so that its first float32 stands in the middle of 16 bytes."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest
from ops.harness import build, cases, compare, douts, outputs_of, poison, segments
from ptx.device import Emulated, kernel_of
from ptx.machine import launch
from ptx.memory import Memory

from dlcore.graph import plan
from dlcore.graph.spec import DTYPES as BYTES
from dlcore.runtime.cuda_table import cuda_table

SHIFT = 4  # bytes behind a multiple of 256


class Displaced(Emulated):
    """As `Emulated`, but arrays of 4 bytes an element are where no other kind of load than theirs can reach them."""

    def step(self, step, accumulate):
        sizes = dict(zip(step.spec.symbols(), step.dims, strict=True))
        how = self.table.launch(step.kernel, step.dtypes, *self.own)
        blocks = int(eval(how["blocks"], {"ceil": lambda a, b: -(-a // b)}, sizes))
        if blocks <= 0:
            return
        memory = Memory((1 << 14) + sum(prod(a[2]) * BYTES[a[3]] + 1024 for a in step.arrays if a is not None))
        pointers, copies = [], {}
        for array in step.arrays:
            if array is None:
                pointers.append(0)
                continue
            buffer, offset, shape, dtype = array[:4]
            if (buffer, offset) not in copies:  # what is updated in place is one array
                shift, original = SHIFT if BYTES[dtype] == 4 else 0, self.buffers[buffer][offset:][: prod(shape) * BYTES[dtype]]
                address, raw = memory.allocate(shift + original.size)
                raw[shift:] = original
                copies[buffer, offset] = address + shift, original, raw[shift:]
            pointers.append(copies[buffer, offset][0])
        self.write_scalars(step, accumulate)
        scalars, _ = memory.put(self.slots)
        launch(kernel_of(step.kernel, step.dtypes, *self.own), blocks, how["block"], [*step.dims, *pointers, scalars], memory,
               self.shuffle, how["shared"])  # fmt: skip
        for _, original, moved in copies.values():
            original[:] = moved


def few() -> list:
    """The first small case of each room; of attention all, in bf16."""
    found, seen = [], set()
    for p in cases(lambda case: sum(v.size for v in case.inputs.values() if v is not None) <= 2500):
        room, case = p.values
        if room not in seen:
            seen.add(room)
            found.append(pytest.param(room, case, "float32", "", id=p.id))
        if room == "attention" and case.op != "cached_attention":
            found += [pytest.param(room, case, "bf16", arch, id=f"{p.id}-bf16{arch and '-'}{arch}") for arch in ("", "sm_90a")]
    return found


@pytest.mark.parametrize("room, case, precision, arch", few())
def test_values_and_gradients(room, case, precision, arch):
    made = build(room, case, precision=precision)
    program = plan(made.graph, outputs_of(made), **(made.by_all() if case.differentiable else {}), table=cuda_table())
    instance = Displaced(program, arch=arch)
    poison(instance)
    for name, value in made.values.items():
        if name in program.leaves:
            instance[name][...] = value
    instance.run(*segments(program), **case.slots)
    least = 0.03 if precision == "bf16" else 0
    for k, e in enumerate(case.expected()):
        compare(f"out{k}", instance[f"out{k}"], e, max(least, case.tolerance), case.exact and not least)
    wanted = case.gradients(*douts(case)) if case.differentiable else {}
    for name in wanted:
        compare(f"d{name}", instance.gradient(name), wanted[name], max(2 * least, case.gradient_tolerance))
    if least:
        instance.run(*segments(program), accumulate=True, **case.slots)
        for name in wanted:
            compare(f"d{name} accumulated", instance.gradient(name), 2 * np.asarray(wanted[name]), 4 * least)
