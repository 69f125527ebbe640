"""A driver that is none: the executor's calls go to a small library whose launches are run by the interpreter."""

from __future__ import annotations

import ctypes
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from ptx.machine import launch
from ptx.memory import ALIGN, Memory
from ptx.parse import Kernel, parse

from dlcore.runtime.cuda_table import cuda_table

ALLOC, FREE, FUNCTION, LAUNCH, BEGIN, END, MAKE, REPLAY = range(8)
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
def kernel_of(symbol: str) -> Kernel:
    name, dtypes = next(
        (n, d) for n, c in cuda_table().calls.items() for d, e in c["entries"].items() if e["symbol"] == symbol
    )
    return parse(cuda_table().ptx(name, dtypes))


class FakeDriver:
    """What the library tells is done here.  events: what was asked for, in order, by number."""

    def __init__(self, path: Path, memory: int = 1 << 24) -> None:
        self.library, self.memory = ctypes.CDLL(str(path)), Memory(memory)
        begin = -self.memory.bytes.ctypes.data % ALIGN
        self.memory.bytes = self.memory.bytes[begin : begin + memory]
        self.memory.base = self.memory.bytes.ctypes.data
        self.symbols: list[str] = []
        self.graphs: list[list[tuple[int, int, int, list[int]]]] = []
        self.capturing: list[tuple[int, int, int, list[int]]] | None = None
        self.events: list[int] = []
        self.live: dict[int, int] = {}
        self.problem: Exception | None = None
        self.told = Told(self.tell)

    def setup(self, version: int = 13000, count: int = 1, capability: tuple[int, int] = (9, 0)) -> None:
        self.library.fake_setup(self.told, version, count, *capability)

    def tell(self, what: int, a: int, b: int, c: int, parameters: Any) -> int:
        self.events.append(what)
        try:
            return self.done(what, a, b, c, parameters)
        except Exception as e:  # an exception cannot pass through C: the launch fails, and the test looks here
            self.problem = e
            return 719

    def done(self, what: int, a: int, b: int, c: int, parameters: Any) -> int:
        if what == ALLOC:
            try:
                address, _ = self.memory.allocate(a)
            except Exception:
                return 0
            self.live[address] = a
            return address
        if what == FREE:
            self.live.pop(a, None)
        elif what == FUNCTION:
            self.symbols.append(ctypes.string_at(a).decode())
            return len(self.symbols)
        elif what == LAUNCH:
            count = len(kernel_of(self.symbols[a - 1]).parameters)
            words = [ctypes.c_int64.from_address(parameters[n]).value for n in range(count)]
            self.issue((a, b, c, words))
        elif what == BEGIN:
            self.capturing = []
        elif what == END:
            self.graphs.append(self.capturing or [])
            self.capturing = None
            return len(self.graphs)
        elif what == MAKE:
            return a
        elif what == REPLAY:
            for call in self.graphs[a - 1]:
                self.issue(call)
        return 0

    def issue(self, call: tuple[int, int, int, list[int]]) -> None:
        if self.capturing is not None:
            self.capturing.append(call)
            return
        function, blocks, block, words = call
        launch(kernel_of(self.symbols[function - 1]), blocks, block, [np.int64(w) for w in words], self.memory)
