"""A program on the interpreter: every step is a launch of the PTX that ships, and may touch its own arrays only."""

from __future__ import annotations

from functools import cache
from math import prod
from typing import Any

import numpy as np
from ptx.machine import launch
from ptx.memory import Memory
from ptx.parse import Kernel, parse

from dlcore.graph.spec import DTYPES as BYTES
from dlcore.runtime.buffers import DTYPES
from dlcore.runtime.cuda_table import CudaTable, cuda_table


@cache
def kernel_of(name: str, dtypes: str, arch: str = "") -> Kernel:
    return parse(cuda_table().ptx(name, dtypes, arch))


def start(made: Any, program: Any, shuffle: int | None = None, arch: str = "") -> Emulated:
    """A program of a case (`ops.harness.Built`) with all leaves written and everything else poisoned."""
    from ops.harness import poison

    instance = Emulated(program, shuffle=shuffle, arch=arch)
    poison(instance)
    for name, value in made.values.items():
        if name in program.leaves:
            instance[name][...] = value
    return instance


class Emulated:
    """As `Instance`: views by name, `run`, gradients; all memory is the interpreter's."""

    def __init__(self, program: Any, table: CudaTable | None = None, shuffle: int | None = None, arch: str = "") -> None:
        self.own = (arch,) if arch else ()  # of an architecture that has code of its own
        self.program, self.table, self.shuffle = program, table or cuda_table(), shuffle
        self.memory = Memory(sum(program.sizes.values()) + (1 << 16) + 1024 * (len(program.sizes) + 2))
        self.address, self.buffers = {}, {}
        for name, size in program.sizes.items():
            self.address[name], self.buffers[name] = self.memory.allocate(size)
            self.buffers[name][...] = 0
        self.scalars, self.slots = self.memory.put(np.zeros(64, np.int64))
        self.values = {name: 1 if name == "loss_scale" else 0 for name in program.slots}
        self.instructions = 0

    def view(self, buffer: str, offset: int, shape: tuple[int, ...], dtype: str) -> np.ndarray:
        size = prod(shape) * BYTES[dtype]
        return self.buffers[buffer][offset : offset + size].view(DTYPES[dtype]).reshape(shape)

    def __getitem__(self, name: str) -> np.ndarray:
        return self.view(*(self.program.outputs.get(name) or self.program.leaves[name]))

    def gradient(self, name: str) -> np.ndarray:
        _, offset, shape, dtype = self.program.leaves[name]
        return self.view("gradients", offset, shape, dtype)

    def run(self, *segments: str, accumulate: bool = False, **slots: float) -> None:
        self.values |= slots
        wanted = segments or self.program.default_segments()
        for step in self.program.steps:
            if step.segment in wanted:
                self.step(step, accumulate)

    def step(self, step: Any, accumulate: bool) -> None:
        symbols = step.spec.symbols()
        dims = dict(zip(symbols, step.dims, strict=True))
        how = self.table.launch(step.kernel, step.dtypes, *self.own)
        blocks = int(eval(how["blocks"], {"ceil": lambda a, b: -(-a // b)}, dims))
        if blocks <= 0:
            return
        owned, pointers = [(self.scalars, 512)], []
        for array in step.arrays:
            if array is None:
                pointers.append(0)
                continue
            buffer, offset, shape, dtype = array[:4]
            pointers.append(self.address[buffer] + offset)
            owned.append((pointers[-1], prod(shape) * BYTES[dtype]))
        self.write_scalars(step, accumulate)
        self.memory.own(owned)
        self.instructions += launch(kernel_of(step.kernel, step.dtypes, *self.own), blocks, how["block"],
                                    [*step.dims, *pointers, self.scalars], self.memory, self.shuffle, how["shared"])  # fmt: skip

    def write_scalars(self, step: Any, accumulate: bool) -> None:
        self.slots[:] = -1
        for n, (scalar, item) in enumerate(zip(step.scalars, step.spec.scalars, strict=True)):
            value = self.values[scalar.name] if hasattr(scalar, "low") else scalar
            if item.dtype == "f32":
                self.slots.view(np.float32)[2 * n] = value
            else:
                self.slots[n] = int(value)
        for n, bit in enumerate(step.add, len(step.scalars)):
            self.slots[n] = bit == 1 or (bit == 2 and accumulate)
