"""Programs on a GPU: an instance that runs a program's steps there as one CUDA graph.

All that kernels use is memory of the GPU (cuda_memory.py).  A step is captured once for each shape and then replayed: the graph
copies scalars and inputs to the GPU, runs the kernels, and copies outputs back.  Where many steps follow one another (`run_rows`)
there are two sets of pinned memory, and the processor prepares a step and reads the loss of the one before while the GPU runs:
it waits for an event, never for the stream.
"""
from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, cast

import numpy as np

from dlcore.errors import ShapeError, UsageError
from dlcore.runtime import debug
from dlcore.runtime.buffers import DTYPES, address_of, as_bytes, put_input
from dlcore.runtime.cuda_device import CudaDevice
from dlcore.runtime.cuda_driver import Context, Event, Launches, too_large
from dlcore.runtime.cuda_memory import Memory, Mirror, Pinned, Staged, mirror_of
from dlcore.runtime.cuda_table import blocks_of
from dlcore.runtime.program import check_step

STAGED = ("inputs", "outputs")
GPU_ONLY = ("arena", "prepared")


class Stage:
    """The pinned memory of a step: its scalars, inputs and outputs, and the word `status`; and the graphs that use them.

    The first stage is what the instance shows."""

    def __init__(self, context: Context, block: np.ndarray, inputs: np.ndarray | None, outputs: np.ndarray | None):
        self.block, self.inputs, self.outputs = block, inputs, outputs
        self.status = Pinned(context, 8).array.view(np.int64)
        self.graphs: dict[tuple[Any, ...], Launches] = {}

    def write(self, place: int, whole: bool, value: Any) -> None:
        """A scalar into its slot of 8 bytes."""
        if whole:
            self.block.view(np.int64)[place] = int(value)
        else:
            self.block.view(np.int64)[place] = 0
            self.block.view(np.float32)[2 * place] = value


class CudaInstance:
    """As `Instance`, on a GPU: views of memory by name, `run`, `call`, `run_rows`.  `threads` is ignored.

    A view of weights, gradients or state is the processor's copy, made anew each time that it is asked for: a view that was taken
    before a run does not see what the run wrote."""

    def __init__(self, program: Any, buffers: Mapping[str, Any], device: CudaDevice):
        self.program, self.device, self.busy_ns = program, device, 0
        self._host: dict[str, np.ndarray] = {}          # of mirrored buffers and data sets
        self._check_room(buffers)
        self.buffers = MappingProxyType({n: self._buffer(n, s, buffers) for n, s in program.sizes.items()})
        self._views: dict[str, np.ndarray] = {}
        self._running = self._accumulating = False
        self._written: dict[tuple[str, ...], list[Memory]] = {}
        self._arrived: Event | None = None              # of inputs that were sent ahead
        self._sent = False
        self._place_scalars()
        self._inputs = [name for name, leaf in program.leaves.items() if leaf[0] == "inputs"]
        self._word = self._status_word()

    # ---- memory --------------------------------------------------------------------------------------------------
    def _check_room(self, given: Mapping[str, Any]) -> None:
        """DeviceError where what is to be made will not fit."""
        sizes = {n: s for n, s in self.program.sizes.items() if n not in given}
        needed = sum(sizes.values())
        available, total = self.device.context.free_bytes() if needed > self.device.memory >> 4 else (needed, 0)
        if needed > available:
            most = sorted(sizes, key=lambda n: -sizes[n])[:3]
            raise too_large(needed, available, total, ", ".join(f"{n} {sizes[n] / 2**20:.0f} MiB" for n in most))

    def _buffer(self, name: str, size: int, given: Mapping[str, Any]) -> Memory:
        if name not in given:
            if name.startswith("data/"):
                raise UsageError(f"the data set {name[5:]!r} is missing", where=f"bind({{{name!r}: array}})")
            if name in STAGED:
                return Staged(self.device.context, size)
            if name in GPU_ONLY:
                return Memory(self.device.context, size)
            return self._mirror(name, self.device.allocate(size))
        if isinstance(given[name], Memory):             # another instance's
            if given[name].nbytes < size or (name in STAGED) != isinstance(given[name], Staged):
                raise ShapeError("a buffer is too small", where=f"buffer {name}", expected=f"{size} bytes",
                                 got=f"{given[name].nbytes} bytes")
            return given[name]
        array = as_bytes(name, given[name], size)
        if mirror_of(array) is not None or not array.size:
            return self._mirror(name, array) if array.size else Memory(self.device.context, 0)
        if name.startswith("data/"):
            self._host[name] = array
            return self.device.copied(array)
        raise UsageError(f"the buffer {name} lies in the processor's memory", where=f"bind on cuda:{self.device.ordinal}",
                         hint="call set_device before the model is built, or make it with dlcore.runtime.shared_memory(bytes)")

    def _mirror(self, name: str, array: np.ndarray) -> Memory:
        self._host[name] = array
        found = mirror_of(array)
        return Memory(self.device.context, 0) if found is None else found

    def _status_word(self) -> list[Any] | None:
        """[what the processor sees of `status`, its value on the GPU], the same for all instances on this state."""
        if "status" not in self.program.leaves:
            return None
        buffer, offset, _, _ = self.program.leaves["status"]
        memory = self.buffers[buffer]
        assert isinstance(memory, Mirror)
        return memory.word(offset)

    # ---- scalars -------------------------------------------------------------------------------------------------
    def _place_scalars(self) -> None:
        """One block of 8-byte slots: for each step its scalars, then the bits of its `+` outputs."""
        steps, context = self.program.steps, self.device.context
        self._first, total = [], 0
        for step in steps:
            self._first.append(total)
            total += len(step.scalars) + len(step.add)
        self._block = Staged(context, 8 * max(1, total))
        staged = [self.buffers[n] if n in self.buffers else None for n in STAGED]
        self._stages = [Stage(context, self._block.host, *(None if s is None else s.host for s in staged))]     # type: ignore[attr-defined]
        self._places: dict[str, list[tuple[int, bool]]] = {name: [] for name in self.program.slots}
        self._bits: list[int] = []
        stage, whole_block = self._stages[0], self._block.host.view(np.int64)
        for step, first in zip(steps, self._first, strict=True):
            check_step(step)
            for n, (scalar, item) in enumerate(zip(step.scalars, step.spec.scalars, strict=True)):
                whole = item.dtype != "f32"
                if hasattr(scalar, "low"):
                    self._places[scalar.name].append((first + n, whole))
                else:
                    stage.write(first + n, whole, scalar)
            for n, bit in enumerate(step.add, len(step.scalars)):
                whole_block[first + n] = bit == 1
                if bit == 2:
                    self._bits.append(first + n)
        self._values: dict[str, Any] = {}
        self._unset = set()
        for name, info in self.program.slots.items():
            self._store(name, 1 if name == "loss_scale" else 0)
            if not info.fits(self._values[name]):
                self._unset.add(name)

    def _store(self, name: str, value: Any, stage: int = 0) -> None:
        for place, whole in self._places[name]:
            self._stages[stage].write(place, whole, value)
        self._values[name] = value

    @property
    def slots(self) -> dict[str, Any]:
        """The values that the slots have now."""
        return dict(self._values)

    def _set_slots(self, slots: Mapping[str, Any], stage: int = 0) -> None:
        """All are checked before one is written."""
        known = self.program.slots
        for name, value in slots.items():
            if name not in known:
                raise UsageError(f"this program has no slot {name}", expected=", ".join(known) or "no slots",
                                 got=f"{name}={value!r}")
        checked = {name: known[name].checked(value) for name, value in slots.items()}
        for name, value in checked.items():
            self._store(name, value, stage)
        self._unset -= checked.keys()

    # ---- looking -------------------------------------------------------------------------------------------------
    def __getitem__(self, name: str) -> np.ndarray:
        """A view of an output or leaf, of the arena a copy; KeyError for another name."""
        if name == "status" and self._word is not None:
            return self._word[0]
        where = self.program.outputs.get(name) or self.program.leaves.get(name)
        if where is None:
            raise KeyError(f"{name!r}; outputs: {', '.join(self.program.outputs)}; leaves: {', '.join(self.program.leaves)}")
        if where[0] not in STAGED:
            return self._view(*where)
        if name not in self._views:
            self._views[name] = self._view(*where)
        return self._views[name]

    def _view(self, buffer: str, offset: int, shape: tuple[int, ...], dtype: str) -> np.ndarray:
        size = int(np.prod(shape)) * DTYPES[dtype].itemsize
        memory = self.buffers[buffer]
        if isinstance(memory, Staged):
            raw = memory.host[offset:offset + size]
        elif buffer in self._host:
            if isinstance(memory, Mirror):
                memory.look()
            raw = self._host[buffer][offset:offset + size]
        else:
            raw = memory.read(offset, size)
            raw.flags.writeable = False
        return raw.view(DTYPES[dtype]).reshape(shape)

    def array(self, step: int, n: int) -> np.ndarray | None:
        """A copy of array `n` of a step as the GPU has it, None where it is absent."""
        where = self.program.steps[step].arrays[n]
        if where is None:
            return None
        buffer, offset, shape, dtype, _ = where
        raw = self.buffers[buffer].read(offset, int(np.prod(shape)) * DTYPES[dtype].itemsize)
        return raw.view(DTYPES[dtype]).reshape(shape)

    def gradient(self, name: str) -> np.ndarray:
        """A view of the gradient of a weight."""
        if "gradients" not in self.buffers:
            raise UsageError("this program computes no gradients of weights", where=name)
        _, offset, shape, dtype = self.program.leaves[name]
        return self._view("gradients", offset, shape, dtype)

    @property
    def status(self) -> int:
        """What `check_finite` found: 0 while all is well.  The host clears it by setting 0."""
        return 0 if self._word is None else int(self._word[0][0])

    @status.setter
    def status(self, value: int) -> None:
        self["status"][0] = value

    # ---- graphs --------------------------------------------------------------------------------------------------
    def _launches(self, segments: tuple[str, ...], stage: int = 0, sent: bool = False) -> Launches:
        """The graph of these segments on the memory of a stage.  sent: without the copy of the inputs."""
        graphs, key = self._stages[stage].graphs, (segments, sent)
        if key not in graphs:
            if unknown := [s for s in segments if s not in self.program.segments]:
                raise UsageError(f"this program has no segment {unknown[0]}", expected=", ".join(self.program.segments))
            wanted = segments or self.program.default_segments()
            steps = [n for n, step in enumerate(self.program.steps) if step.segment in wanted]
            self._written[segments] = [self.buffers[b] for b in sorted(
                {a[0] for n in steps for a in self.program.steps[n].arrays if a is not None and a[4]})]
            calls = [self._call(n) for n in steps]
            graphs[key] = Launches(self.device.context, calls, self._before(stage, sent), self._after(stage))
        return graphs[key]

    def _before(self, stage: int, sent: bool = False) -> list[tuple[int, int, int]]:
        """Copies (to, from, bytes) at the head of a step."""
        held = self._stages[stage]
        copies = [(self._block.address, address_of(held.block), held.block.size)]
        if held.inputs is not None and held.inputs.size and not sent:
            copies.append((self.buffers["inputs"].address, address_of(held.inputs), held.inputs.size))
        return copies

    def _after(self, stage: int) -> list[tuple[int, int, int]]:
        """Copies at its end."""
        held, copies = self._stages[stage], []
        if held.outputs is not None and held.outputs.size:
            copies.append((address_of(held.outputs), self.buffers["outputs"].address, held.outputs.size))
        if self._word is not None:
            buffer, offset, _, _ = self.program.leaves["status"]
            copies.append((address_of(held.status), self.buffers[buffer].address + offset, 8))
        return copies

    def _call(self, n: int) -> tuple[int, int, int, int, list[int]]:
        """(function, blocks, threads of a block, bytes of shared memory, arguments) of a step; see `compiler/cuda/entry.py`."""
        step = self.program.steps[n]
        function, launch = self.device.kernel(step.kernel, step.dtypes)
        pointers = [0 if a is None else self._address(step, a) for a in step.arrays]
        scalars = self._block.address + 8 * self._first[n]
        words = [*step.dims, *pointers, scalars]
        return function, blocks_of(launch, step), launch["block"], launch["shared"], words

    def _address(self, step: Any, array: tuple[Any, ...]) -> int:
        buffer, offset, shape, dtype, _ = array
        size = int(np.prod(shape)) * DTYPES[dtype].itemsize
        if offset < 0 or offset + size > self.buffers[buffer].nbytes:
            raise ShapeError("an array reaches beyond its buffer", where=f"{step.label}: {buffer} at {offset}",
                             expected=f"at most {self.buffers[buffer].nbytes} bytes", got=f"{dtype}{list(shape)}")
        return self.buffers[buffer].address + offset

    # ---- running -------------------------------------------------------------------------------------------------
    def run(self, *segments: str, accumulate: bool = False, threads: int | None = None, **slots: Any) -> None:
        """Runs segments (by default all that the program has but `prepare`); see `Instance.run`."""
        if slots:
            self._set_slots(slots)
        sent, self._sent = self._sent, False
        graph = self._launches(segments, 0, sent)
        if self._unset:
            self._check_unset(segments or self.program.default_segments())
        if accumulate != self._accumulating:
            for stage in self._stages:
                stage.block.view(np.int64)[self._bits] = accumulate
            self._accumulating = accumulate
        self._start()
        try:
            graph.begin(self._arrived if sent else None)
            self._end(graph, 0, segments)
        finally:
            self._running = False

    def _start(self) -> None:
        if self._running:
            raise UsageError("this instance is running in another thread", hint="bind one instance per thread")
        self._running = True
        try:
            for memory in self.buffers.values():
                memory.to_gpu()
        except BaseException:
            self._running = False
            raise

    def _end(self, graph: Launches, stage: int, segments: tuple[str, ...]) -> None:
        """Waits for a step, and takes note of what it wrote."""
        graph.finish()
        for memory in self._written[segments]:
            memory.written()
        if self._word is not None:
            self._word[1] = int(self._stages[stage].status[0])
            self._word[0][0] = self._word[1]

    def send(self) -> None:
        """Begins to copy the inputs to the GPU beside what runs there; the next `run` uses them.  To be called when they have been
        written, while this instance does not run."""
        memory = self.buffers.get("inputs")
        if isinstance(memory, Staged) and memory.nbytes:
            if self._arrived is None:
                self._arrived = Event(self.device.context)
            self.device.context.send(self._arrived, memory.address, address_of(memory.host), memory.nbytes)
            self._sent = True

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
        """A training step for each of `rates`; see `Instance.run_rows`.  While one runs the next is prepared behind it; a step
        behind one that met a NaN changes nothing, because its updates read the status too."""
        count, counted = len(rates), "step" in self.program.slots
        if count and self._unset - {"lr", "step"}:
            self._check_unset(self.program.default_segments())
        rows, sums = ([self._staged(stage, name) for stage in self._two()] for name in ("rows", "sums"))
        batch = len(rows[0])
        self._start()
        try:
            graphs = [self._launches((), stage) for stage in range(2)]
            for n in range(count + 1):
                now, before = n & 1, (n - 1) & 1
                if n < count:
                    rows[now][...] = order[begin + n * batch:begin + (n + 1) * batch]
                    self._set_slots({"lr": rates[n], "step": step + n} if counted else {"lr": rates[n]}, now)
                    graphs[now].begin()
                if n == 0:
                    continue
                self._end(graphs[before], before, ())
                if self.status:
                    if n < count:                       # the step behind it, which changes nothing
                        graphs[now].finish()
                    self._show(before)
                    self._set_slots({"lr": rates[n - 1], "step": step + n - 1} if counted else {"lr": rates[n - 1]})
                    return n - 1
                totals += sums[before]
            self._show((count - 1) & 1 if count else 0)
        finally:
            self._running = False
        return count

    def _two(self) -> list[Stage]:
        """Both stages; the second holds what the first does."""
        first = self._stages[0]
        if len(self._stages) == 1:
            staged = [self.buffers.get(n) for n in STAGED]
            self._stages.append(Stage(self.device.context, self._block.stage(), *(
                s.stage() if isinstance(s, Staged) else None for s in staged)))
        second = self._stages[1]
        second.block[:] = first.block
        if first.inputs is not None and second.inputs is not None:
            second.inputs[:] = first.inputs
        return self._stages

    def _staged(self, stage: Stage, name: str) -> np.ndarray:
        """A view of an input or output in a stage's memory."""
        buffer, offset, shape, dtype = self.program.outputs.get(name) or self.program.leaves[name]
        held = stage.inputs if buffer == "inputs" else stage.outputs
        assert held is not None
        return held[offset:offset + int(np.prod(shape)) * DTYPES[dtype].itemsize].view(DTYPES[dtype]).reshape(shape)

    def _show(self, stage: int) -> None:
        """Makes what a stage holds that of the instance."""
        if stage == 1:
            first, held = self._stages
            for to, source in ((first.inputs, held.inputs), (first.outputs, held.outputs), (first.block, held.block)):
                if to is not None and source is not None:
                    to[:] = source

    # ---- measuring and looking for faults ------------------------------------------------------------------------
    def time(self, repeats: int = 20, threads: int = 1) -> list[float]:
        """Seconds of each step on the GPU, between events of a graph: the median of `repeats` replays behind one that is not
        counted.  `threads` is ignored.  What the replays write (weights, state, ...) is put back."""
        segments, instance = self.program.default_segments(), cast(Any, self)
        order = [n for n, _ in debug.steps_of(self.program, segments)]
        graph = Launches(self.device.context, [self._call(n) for n in order], self._before(0), timed=True)
        samples = []
        with debug.kept(instance):
            for _ in range(max(1, repeats) + 1):
                self._start()
                try:
                    graph.begin()
                    graph.finish()
                finally:
                    self._running = False
                for memory in {id(self.buffers[b]): self.buffers[b] for b in debug.written(self.program)}.values():
                    memory.written()
                samples.append(graph.spans())
        found = [0.0] * len(self.program.steps)
        for n, seconds in zip(order, np.median(samples[1:], axis=0), strict=True):
            found[n] = float(seconds)
        return found

    def run_step(self, n: int) -> None:
        """Runs one step by itself."""
        for memory in self.buffers.values():
            memory.to_gpu()
        Launches(self.device.context, [self._call(n)], self._before(0)).run_plainly()

    def first_bad_step(self) -> Any:
        """As `Instance.first_bad_step`."""
        instance: Any = self
        return debug.first_bad_step(instance)
