"""GPUs that can be used: opened once, with the kernels that were compiled for them."""
from __future__ import annotations

import weakref
from collections.abc import Mapping
from typing import Any

import numpy as np

from dlcore.runtime.buffers import address_of
from dlcore.runtime.cuda_driver import Context, Driver
from dlcore.runtime.cuda_memory import Memory, mirrored
from dlcore.runtime.cuda_table import COMMON, CudaTable, cuda_table, is_named

CODE = {(8, 0): "sm_80", (9, 0): "sm_90a", (10, 0): "sm_100"}      # others of 8.x run that of 8.0; newer ones compile the PTX


class CudaDevice:
    """A GPU that can be used.  name, capability, memory (bytes) as the driver tells them; arch: of the code it runs, "" for PTX."""

    def __init__(self, driver: Driver, ordinal: int, table: CudaTable):
        self.context, self.ordinal, self.table = Context(driver, ordinal), ordinal, table
        self.name, self.capability, self.memory = (self.context.facts[n] for n in ("name", "capability", "memory"))
        code = CODE.get(self.capability, "sm_80" if self.capability[0] == 8 else "")
        self.arch = code if code in table.arches else ""
        self._copies: dict[int, tuple[Any, Memory]] = {}
        self._kernels: dict[tuple[str, str], tuple[int, Mapping[str, Any]]] = {}

    def allocate(self, size: int) -> np.ndarray:
        """A buffer of zero bytes on both sides; freed with its last view.  DeviceError where it does not fit."""
        return mirrored(self.context, size)

    def copied(self, array: np.ndarray) -> Memory:
        """A copy of a data set, made once for all instances that read it."""
        key = address_of(array)
        known = self._copies.get(key)
        if known is None or known[0]() is not array.base:
            copy = Memory(self.context, array.nbytes)
            copy.write(0, array)
            try:
                known = weakref.ref(array.base, lambda _: self._copies.pop(key, None)), copy
            except TypeError:                           # a base that cannot be watched: the copy is this instance's own
                return copy
            self._copies[key] = known
        return known[1]

    def function(self, kernel: str, dtypes: str) -> int:
        return self.kernel(kernel, dtypes)[0]

    def kernel(self, kernel: str, dtypes: str) -> tuple[int, Mapping[str, Any]]:
        """(a kernel, how it is launched), loaded when it is first asked for: unpacking its code takes longer than all else of a
        launch.  The code that all GPUs can run serves where the environment says so, or where clusters of blocks find no room."""
        key = kernel, dtypes
        if key not in self._kernels:
            function, launch = self._loaded(kernel, dtypes, "" if is_named(COMMON, kernel) else self.arch)
            cluster = launch.get("cluster", 1)
            if cluster > 1 and self.context.clusters(function, cluster, launch["block"], launch["shared"]) == 0:
                function, launch = self._loaded(kernel, dtypes, "")
            self._kernels[key] = function, launch
        return self._kernels[key]

    def _loaded(self, kernel: str, dtypes: str, arch: str) -> tuple[int, Mapping[str, Any]]:
        entry, launch = self.table.entry(kernel, dtypes), self.table.launch(kernel, dtypes, arch)
        image = self.table.cubin(kernel, dtypes, arch) if arch else self.table.ptx(kernel, dtypes).encode() + b"\0"
        return self.context.function(entry["symbol"], image, launch["shared"]), launch


_devices: dict[int, CudaDevice] = {}


def cuda_device(ordinal: int = 0) -> CudaDevice:
    """The GPU of that number, opened once.  DeviceError says what is missing: kernels, driver, GPU, or a newer one."""
    if ordinal not in _devices:
        table = cuda_table()
        driver = next((d.context.driver for d in _devices.values()), None) or Driver()
        _devices[ordinal] = CudaDevice(driver, ordinal, table)
    return _devices[ordinal]
