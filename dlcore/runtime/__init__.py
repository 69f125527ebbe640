"""The run time: kernel table, buffers, thread team, Program and Instance.

Importing it reads no file and compiles nothing; `kernel_table()` reads `kernels.json` when it is first called.
"""
from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_PUBLIC = {
    "BadStep": "dlcore.runtime.debug",
    "Instance": "dlcore.runtime.program",
    "KernelTable": "dlcore.runtime.table",
    "Program": "dlcore.runtime.program",
    "Step": "dlcore.runtime.program",
    "allocate": "dlcore.runtime.buffers",
    "cpu_level": "dlcore.runtime.table",
    "default_threads": "dlcore.runtime.threads",
    "device_kind": "dlcore.runtime.device",
    "device_reason": "dlcore.runtime.device",
    "device_table": "dlcore.runtime.device",
    "kernel_table": "dlcore.runtime.table",
    "look": "dlcore.runtime.device",
    "set_device": "dlcore.runtime.device",
    "set_threads": "dlcore.runtime.threads",
    "shared_memory": "dlcore.runtime.device",
}
__all__ = ["BadStep", "Instance", "KernelTable", "Program", "Step", "allocate", "cpu_level", "default_threads",
           "device_kind", "device_reason", "device_table", "kernel_table", "look", "set_device", "set_threads", "shared_memory"]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'dlcore.runtime' has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(_PUBLIC[name]), name)
    return value


def __dir__() -> list[str]:
    return __all__


if TYPE_CHECKING:
    from dlcore.runtime.buffers import allocate
    from dlcore.runtime.debug import BadStep
    from dlcore.runtime.device import device_kind, device_reason, device_table, look, set_device, shared_memory
    from dlcore.runtime.program import Instance, Program, Step
    from dlcore.runtime.table import KernelTable, cpu_level, kernel_table
    from dlcore.runtime.threads import default_threads, set_threads
