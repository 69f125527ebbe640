"""Programs on a GPU: a device, and an instance that runs a program's steps there as one CUDA graph.

Memory is the driver's managed memory, which moves to whoever touches it, so that weights, gradients and activations are NumPy
arrays as on the processor; inputs, outputs and scalars are pinned memory, which the GPU reads and writes where it lies.  A run
writes the scalars, replays the graph, and waits.  Data sets are copied once, when an instance is bound to them.
"""
from __future__ import annotations

import ctypes
import weakref
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from dlcore.errors import ShapeError, UsageError
from dlcore.runtime import debug
from dlcore.runtime.buffers import DTYPES, address_of, as_bytes, put_input
from dlcore.runtime.cuda_driver import Context, Driver, Launches
from dlcore.runtime.cuda_table import CudaTable, cuda_table
from dlcore.runtime.program import check_step

PINNED = ("inputs", "outputs")
INTEGERS = ("i8", "u8", "i32", "i64")
CODE = {(8, 0): "sm_80", (9, 0): "sm_90a", (10, 0): "sm_100"}      # others of 8.x run that of 8.0; newer ones compile the PTX


class CudaDevice:
    """A GPU that can be used.  name, capability, memory (bytes) as the driver tells them; arch: of the code it runs, "" for PTX."""

    def __init__(self, driver: Driver, ordinal: int, table: CudaTable):
        self.context, self.ordinal, self.table = Context(driver, ordinal), ordinal, table
        self.name, self.capability, self.memory = (self.context.facts[n] for n in ("name", "capability", "memory"))
        code = CODE.get(self.capability, "sm_80" if self.capability[0] == 8 else "")
        self.arch = code if code in table.arches else ""
        self._known: dict[int, int] = {}                # address -> bytes of live memory
        self._copies: dict[int, tuple[Any, np.ndarray]] = {}

    def allocate(self, size: int, pinned: bool = False) -> np.ndarray:
        """A buffer of zero bytes that processor and GPU see; freed with its last view.  DeviceError where it does not fit."""
        address = self.context.allocate(size, pinned)
        raw = (ctypes.c_uint8 * max(size, 1)).from_address(address)
        self._known[address] = size
        weakref.finalize(raw, self._free, address, pinned).atexit = False
        array = np.frombuffer(memoryview(raw), np.uint8)[:size]
        array[:] = 0
        return array

    def _free(self, address: int, pinned: bool) -> None:
        self._known.pop(address, None)
        self.context.release(address, pinned)

    def owns(self, array: np.ndarray) -> bool:
        return array.size == 0 or address_of(array) in self._known

    def copied(self, array: np.ndarray) -> np.ndarray:
        """A copy of a data set, made once for all instances that read it."""
        key = address_of(array)
        known = self._copies.get(key)
        if known is None or known[0]() is not array.base:
            copy = self.allocate(array.nbytes)
            copy[:] = array
            try:
                known = weakref.ref(array.base), copy
            except TypeError:                           # a base that cannot be watched: the copy is this instance's own
                return copy
            self._copies[key] = known
        return known[1]

    def function(self, kernel: str, dtypes: str) -> int:
        entry = self.table.entry(kernel, dtypes)
        image = self.table.cubin(kernel, dtypes, self.arch) if self.arch else self.table.ptx(kernel, dtypes).encode() + b"\0"
        return self.context.function(entry["symbol"], image)


def ceil_divide(a: int, b: int) -> int:
    return -(-a // b)


_devices: dict[int, CudaDevice] = {}


def cuda_device(ordinal: int = 0) -> CudaDevice:
    """The GPU of that number, opened once.  DeviceError says what is missing: kernels, driver, GPU, or a newer one."""
    if ordinal not in _devices:
        table = cuda_table()
        driver = next((d.context.driver for d in _devices.values()), None) or Driver()
        _devices[ordinal] = CudaDevice(driver, ordinal, table)
    return _devices[ordinal]


class CudaInstance:
    """As `Instance`, on a GPU: views of memory by name, `run`, `call`, `run_rows`.  `threads` is ignored."""

    def __init__(self, program: Any, buffers: Mapping[str, Any], device: CudaDevice):
        self.program, self.device, self.busy_ns = program, device, 0
        self.buffers = MappingProxyType({n: self._buffer(n, s, buffers) for n, s in program.sizes.items()})
        self._views: dict[str, np.ndarray] = {}
        self._graphs: dict[tuple[str, ...], Launches] = {}
        self._running = self._accumulating = False
        self._place_scalars()
        self._inputs = [name for name, leaf in program.leaves.items() if leaf[0] == "inputs"]
        self._status = self["status"] if "status" in program.leaves else None

    def _buffer(self, name: str, size: int, given: Mapping[str, Any]) -> np.ndarray:
        if name not in given:
            if name.startswith("data/"):
                raise UsageError(f"the data set {name[5:]!r} is missing", where=f"bind({{{name!r}: array}})")
            return self.device.allocate(size, name in PINNED)
        array = as_bytes(name, given[name], size)
        if self.device.owns(array):
            return array
        if name.startswith("data/"):
            return self.device.copied(array)
        raise UsageError(f"the buffer {name} lies in the processor's memory", where=f"bind on cuda:{self.device.ordinal}",
                         hint="call set_device before the model is built, or make it with dlcore.runtime.shared_memory(bytes)")

    # ---- scalars -------------------------------------------------------------------------------------------------
    def _place_scalars(self) -> None:
        """One pinned block of 8-byte slots: for each step its scalars, then the bits of its `+` outputs."""
        steps = self.program.steps
        self._first, total = [], 0
        for step in steps:
            self._first.append(total)
            total += len(step.scalars) + len(step.add)
        self._block = self.device.allocate(8 * max(1, total), pinned=True)
        self._whole, self._real = self._block.view(np.int64), self._block.view(np.float32)
        self._places: dict[str, list[tuple[int, bool]]] = {name: [] for name in self.program.slots}
        self._bits: list[int] = []
        for step, first in zip(steps, self._first, strict=True):
            check_step(step)
            for n, (scalar, item) in enumerate(zip(step.scalars, step.spec.scalars, strict=True)):
                whole = item.dtype in INTEGERS
                if hasattr(scalar, "low"):
                    self._places[scalar.name].append((first + n, whole))
                else:
                    self._write(first + n, whole, scalar)
            for n, bit in enumerate(step.add, len(step.scalars)):
                self._whole[first + n] = bit == 1
                if bit == 2:
                    self._bits.append(first + n)
        self._values: dict[str, Any] = {}
        self._unset = set()
        for name, info in self.program.slots.items():
            self._store(name, 1 if name == "loss_scale" else 0)
            if not info.fits(self._values[name]):
                self._unset.add(name)

    def _write(self, place: int, whole: bool, value: Any) -> None:
        if whole:
            self._whole[place] = int(value)
        else:
            self._whole[place] = 0
            self._real[2 * place] = value

    def _store(self, name: str, value: Any) -> None:
        for place, whole in self._places[name]:
            self._write(place, whole, value)
        self._values[name] = value

    @property
    def slots(self) -> dict[str, Any]:
        """The values that the slots have now."""
        return dict(self._values)

    def _set_slots(self, slots: Mapping[str, Any]) -> None:
        """All are checked before one is written."""
        known = self.program.slots
        for name, value in slots.items():
            if name not in known:
                raise UsageError(f"this program has no slot {name}", expected=", ".join(known) or "no slots",
                                 got=f"{name}={value!r}")
        checked = {name: known[name].checked(value) for name, value in slots.items()}
        for name, value in checked.items():
            self._store(name, value)
        self._unset -= checked.keys()

    # ---- looking -------------------------------------------------------------------------------------------------
    def __getitem__(self, name: str) -> np.ndarray:
        """A view of an output or leaf; KeyError for another name."""
        if name not in self._views:
            where = self.program.outputs.get(name) or self.program.leaves.get(name)
            if where is None:
                raise KeyError(f"{name!r}; outputs: {', '.join(self.program.outputs)}; leaves: {', '.join(self.program.leaves)}")
            self._views[name] = self._view(*where)
        return self._views[name]

    def _view(self, buffer: str, offset: int, shape: tuple[int, ...], dtype: str) -> np.ndarray:
        size = int(np.prod(shape)) * DTYPES[dtype].itemsize
        return self.buffers[buffer][offset:offset + size].view(DTYPES[dtype]).reshape(shape)

    def array(self, step: int, n: int) -> np.ndarray | None:
        """A view of array `n` of a step, None where it is absent."""
        where = self.program.steps[step].arrays[n]
        return None if where is None else self._view(*where[:4])

    def gradient(self, name: str) -> np.ndarray:
        """A view of the gradient of a weight."""
        if "gradients" not in self.buffers:
            raise UsageError("this program computes no gradients of weights", where=name)
        _, offset, shape, dtype = self.program.leaves[name]
        return self._view("gradients", offset, shape, dtype)

    @property
    def status(self) -> int:
        """What `check_finite` found: 0 while all is well.  The host clears it by setting 0."""
        return 0 if self._status is None else int(self._status[0])

    @status.setter
    def status(self, value: int) -> None:
        self["status"][0] = value

    # ---- running -------------------------------------------------------------------------------------------------
    def _launches(self, segments: tuple[str, ...]) -> Launches:
        """The graph of these segments."""
        found = self._graphs.get(segments)
        if found is None:
            if unknown := [s for s in segments if s not in self.program.segments]:
                raise UsageError(f"this program has no segment {unknown[0]}", expected=", ".join(self.program.segments))
            wanted = segments or self.program.default_segments()
            calls = [self._call(n) for n, step in enumerate(self.program.steps) if step.segment in wanted]
            found = self._graphs[segments] = Launches(self.device.context, calls)
        return found

    def _call(self, n: int) -> tuple[int, int, int, list[int]]:
        """(function, blocks, threads of a block, arguments) of a step; see `dlcore/compiler/cuda/entry.py`."""
        step = self.program.steps[n]
        entry = self.device.table.entry(step.kernel, step.dtypes)
        sizes = dict(zip(step.spec.symbols(), step.dims, strict=True))
        blocks = eval(entry["blocks"], {"__builtins__": {}, "ceil": ceil_divide}, sizes)
        pointers = [0 if a is None else self._address(step, a) for a in step.arrays]
        scalars = address_of(self._block) + 8 * self._first[n]
        return self.device.function(step.kernel, step.dtypes), blocks, entry["block"], [*step.dims, *pointers, scalars]

    def _address(self, step: Any, array: tuple[Any, ...]) -> int:
        buffer, offset, shape, dtype, _ = array
        size = int(np.prod(shape)) * DTYPES[dtype].itemsize
        if offset < 0 or offset + size > self.buffers[buffer].nbytes:
            raise ShapeError("an array reaches beyond its buffer", where=f"{step.label}: {buffer} at {offset}",
                             expected=f"at most {self.buffers[buffer].nbytes} bytes", got=f"{dtype}{list(shape)}")
        return address_of(self.buffers[buffer]) + offset

    def run(self, *segments: str, accumulate: bool = False, threads: int | None = None, **slots: Any) -> None:
        """Runs segments (by default all that the program has but `prepare`); see `Instance.run`."""
        if slots:
            self._set_slots(slots)
        graph = self._launches(segments)
        if self._unset:
            self._check_unset(segments or self.program.default_segments())
        if accumulate != self._accumulating:
            self._whole[self._bits] = accumulate
            self._accumulating = accumulate
        if self._running:
            raise UsageError("this instance is running in another thread", hint="bind one instance per thread")
        self._running = True
        try:
            graph.run()
        finally:
            self._running = False

    def _check_unset(self, segments: tuple[str, ...]) -> None:
        for name in sorted(self._unset):
            info = self.program.slots[name]
            if not info.segments.isdisjoint(segments):
                raise UsageError(f"the slot {name} was never given", where=f"run({name}=...)", expected=info.range())

    def call(self, inputs: tuple[Any, ...], **slots: Any) -> tuple[np.ndarray, ...]:
        """Runs on `inputs` (in the order of the graph's inputs); returns copies of the outputs in order."""
        if len(inputs) != len(self._inputs):
            raise ShapeError("wrong number of inputs", expected=f"{len(self._inputs)}: {', '.join(self._inputs)}",
                             got=str(len(inputs)))
        for name, value in zip(self._inputs, inputs, strict=True):
            put_input(name, self[name], value)
        self.run(**slots)
        return tuple(self[name].copy() for name in self.program.outputs)

    def run_rows(self, order: np.ndarray, begin: int, rates: np.ndarray, step: int, totals: np.ndarray) -> int:
        """A training step for each of `rates`; see `Instance.run_rows`."""
        rows, sums, counted = self["rows"], self["sums"], "step" in self.program.slots
        for done, rate in enumerate(rates):
            rows[...] = order[begin + done * len(rows):begin + (done + 1) * len(rows)]
            self._set_slots({"lr": rate, "step": step + done} if counted else {"lr": rate})
            self.run()
            if self.status:
                return done
            totals += sums
        return len(rates)

    # ---- looking for faults --------------------------------------------------------------------------------------
    def run_step(self, n: int) -> None:
        """Runs one step by itself."""
        Launches(self.device.context, [self._call(n)]).run_one(0)

    def first_bad_step(self) -> Any:
        """As `Instance.first_bad_step`."""
        instance: Any = self
        return debug.first_bad_step(instance)
