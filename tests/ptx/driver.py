"""A driver that is none: the executor's calls go to a small library whose launches are run by the interpreter.

The GPU's memory is out of the processor's reach.  What is put into a stream is done as late as it may be: when somebody waits for
it.  So pinned memory that is written too early, or read too early, holds the wrong bytes, as it can on a GPU.
"""

from __future__ import annotations

import ctypes
import subprocess
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from ptx.machine import launch
from ptx.memory import Memory
from ptx.parse import Kernel, parse

from dlcore.runtime.cuda_table import cuda_table

NAMES = "ALLOC FREE PIN UNPIN FUNCTION LAUNCH BEGIN END MAKE REPLAY COPY_IN COPY_OUT FILL EVENT RECORD WAIT FOLLOW SYNC MARK SPAN"
(ALLOC, FREE, PIN, UNPIN, FUNCTION, LAUNCH, BEGIN, END, MAKE, REPLAY, COPY_IN, COPY_OUT, FILL, EVENT, RECORD, WAIT, FOLLOW,
 SYNC, MARK, SPAN) = range(20)  # fmt: skip
COUNT = count()
Told = ctypes.CFUNCTYPE(
    ctypes.c_int64, ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64, ctypes.POINTER(ctypes.c_void_p)
)


def build(folder: Path) -> Path:
    """Compiles the library."""
    path = folder / "libfakecuda.so"
    source = Path(__file__).resolve().parent.parent / "cuda" / "fake_driver.c"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", str(path), str(source)], check=True)
    return path


@cache
def kernel_of(symbol: str, arch: str) -> Kernel:
    name, dtypes = next(
        (n, d) for n, c in cuda_table().calls.items() for d, e in c["entries"].items() if e["symbol"] == symbol
    )
    return parse(cuda_table().ptx(name, dtypes, arch))


class FakeDriver:
    """What the library tells is done here.

    events: what was asked for, in order, by number.  live: the GPU's memory in use, by address.  pinned: the processor's."""

    def __init__(self, path: Path, memory: int = 1 << 24) -> None:
        self.library, self.memory = ctypes.CDLL(str(path)), Memory(memory)
        self.memory.base += next(COUNT) << 36  # no two drivers give out the same address
        self.symbols: list[tuple[str, str]] = []  # of functions: name, and the architecture that its code is for
        self.graphs: list[list[tuple[Any, ...]]] = []
        self.capturing: list[tuple[Any, ...]] | None = None
        self.queues: dict[int, list[tuple[Any, ...]]] = {0: [], 1: []}
        self.tickets, self.passed = 0, set[int]()
        self.recorded: dict[int, tuple[int, int]] = {}  # event -> (stream, ticket)
        self.marks: list[int] = []
        self.clock, self.times = 0, dict[int, int]()  # an instruction takes a nanosecond; event -> when it was
        self.events: list[int] = []
        self.live: dict[int, int] = {}
        self.pinned: dict[int, Any] = {}
        self.problem: Exception | None = None
        self.told = Told(self.tell)

    def setup(self, version: int = 13000, count: int = 1, capability: tuple[int, int] = (9, 0), pools: bool = True) -> None:
        self.arch = {(9, 0): "sm_90a"}.get(capability, "")
        self.library.fake_setup(self.told, version, count, *capability, pools)

    def tell(self, what: int, a: int, b: int, c: int, parameters: Any) -> int:
        self.events.append(what)
        try:
            return self.done(what, a, b, c, parameters)
        except Exception as e:  # an exception cannot pass through C: the launch fails, and the test looks here
            self.problem = e
            return 719

    def done(self, what: int, a: int, b: int, c: int, parameters: Any) -> int:
        if what in (ALLOC, FREE, PIN, UNPIN):
            return self.memories(what, a)
        if what == FUNCTION:
            self.symbols.append((ctypes.string_at(a).decode(), self.arch if b else ""))
            return len(self.symbols)
        if what == LAUNCH:
            words = range(len(kernel_of(*self.symbols[a - 1]).parameters))
            self.put(0, (LAUNCH, a, b, c, [ctypes.c_int64.from_address(parameters[n]).value for n in words]))
        elif what in (COPY_IN, COPY_OUT, FILL):
            self.put(parameters[0] or 0, (what, a, b, c))
        elif what == BEGIN:
            self.capturing = []
        elif what == END:
            self.graphs.append(self.capturing or [])
            self.capturing = None
            return len(self.graphs)
        elif what == MAKE:
            return a
        elif what == REPLAY:
            self.queues[b] += self.graphs[a - 1]
        elif what == EVENT:
            self.marks.append(a)
            return len(self.marks)
        elif what == RECORD:
            self.tickets += 1
            self.recorded[a] = b, self.tickets
            self.put(b, (RECORD, self.tickets))
        elif what == WAIT:
            self.drain(*self.recorded.get(a, (0, 0)))
        elif what == MARK:
            self.put(b, (MARK, a))
        elif what == SPAN:  # of events that were made to know the time, and are past
            known = all(e in self.times and not self.marks[e - 1] & 2 for e in (a, b))
            return self.times[b] - self.times[a] if known else -1
        elif what == FOLLOW:
            self.put(a, (FOLLOW, *self.recorded.get(b, (0, 0))))
        elif what == SYNC:
            self.drain(a, -1)
        return 0

    def memories(self, what: int, a: int) -> int:
        if what == ALLOC:
            try:
                address, _ = self.memory.allocate(a)
            except Exception:
                return 0
            self.live[address] = a
            return address
        if what == PIN:
            memory = ctypes.create_string_buffer(a)
            self.pinned[ctypes.addressof(memory)] = memory
            return ctypes.addressof(memory)
        if what == FREE:  # of memory that an earlier test left to the collector nothing is known here
            self.drain(0, -1)
            self.live.pop(a, None)
        else:
            self.pinned.pop(a, None)
        return 0

    # ---- streams -------------------------------------------------------------------------------------------------
    def put(self, stream: int, action: tuple[Any, ...]) -> None:
        if self.capturing is not None:
            self.capturing.append(action)
        else:
            self.queues[stream].append(action)

    def drain(self, stream: int, ticket: int) -> None:
        """Does what a stream holds, up to the record with that ticket; -1: everything."""
        queue = self.queues[stream]
        while queue and (ticket < 0 or ticket not in self.passed):
            self.act(queue.pop(0))

    def act(self, action: tuple[Any, ...]) -> None:
        what, *rest = action
        if what == LAUNCH:
            function, blocks, block, words = rest
            self.clock += launch(kernel_of(*self.symbols[function - 1]), blocks, block & 0xFFFFFFFF,
                                 [np.int64(w) for w in words], self.memory, shared=block >> 32)  # fmt: skip
        elif what == COPY_IN:
            self.bytes_at(rest[0], rest[2])[:] = np.frombuffer(ctypes.string_at(rest[1], rest[2]), np.uint8)
        elif what == COPY_OUT:
            ctypes.memmove(rest[0], self.bytes_at(rest[1], rest[2]).tobytes(), rest[2])
        elif what == FILL:
            self.bytes_at(rest[0], rest[2])[:] = rest[1]
        elif what == MARK:
            self.times[rest[0]] = self.clock
        elif what == RECORD:
            self.passed.add(rest[0])
        elif what == FOLLOW:
            self.drain(*rest)

    def bytes_at(self, address: int, size: int) -> np.ndarray:
        """Bytes of one live allocation."""
        inside = [a for a, s in self.live.items() if a <= address and address + size <= a + s]
        if not inside:
            raise AssertionError(f"a copy of {size} bytes leaves the GPU's memory")
        return self.memory.bytes[address - self.memory.base :][:size]
