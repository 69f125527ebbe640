"""Where programs run: the processor, or a GPU.  One choice for the process, made before models are built.

    set_device("cuda")      the first GPU, or an error that says what is missing: it never falls back
    set_device("auto")      the processor, until the kernels have been proven on GPUs; `device_reason()` says what else there is
"""
from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from dlcore.errors import DeviceError, UsageError
from dlcore.runtime.buffers import allocate

if TYPE_CHECKING:
    from dlcore.runtime.cuda_device import CudaDevice

_current: CudaDevice | None = None
_opened = False                         # has there been a GPU in this process?
_reason = "cpu: the default"


def set_device(name: str = "auto") -> str:
    """Chooses "cpu", "cuda", "cuda:1" or "auto" for all models made from now on; returns `device_reason()`.

    Raises UsageError for another name; DeviceError where a GPU that was asked for cannot be used."""
    global _current, _reason
    if not isinstance(name, str) or not re.fullmatch(r"auto|cpu|cuda(:\d+)?", name):
        raise UsageError("no such device", expected="auto, cpu, cuda or cuda:NUMBER", got=repr(name))
    if name == "cpu":
        _current, _reason = None, "cpu: asked for"
    elif name == "auto":
        _current = None
        try:
            _reason = f"cpu: {_look()} can be used by --device cuda, whose kernels as they are have not been proven on a GPU"
        except DeviceError as error:
            _reason = f"cpu: {error.message}"
    else:
        _current = _open(int(name.partition(":")[2] or 0))
        _reason = f"cuda: asked for; {_current.name}"
    return _reason


def _open(ordinal: int) -> CudaDevice:
    global _opened
    from dlcore.runtime.cuda_device import cuda_device
    found = cuda_device(ordinal)
    _opened = True
    return found


def _look() -> str:
    """The name of the first GPU, of which nothing is started."""
    from dlcore.runtime.cuda_driver import Driver
    from dlcore.runtime.cuda_table import cuda_table
    cuda_table()
    return Driver().usable(0)["name"]


def device_kind() -> str:
    """"cpu", or "cuda" and the name of the GPU: what bits depend on beside the processor's level."""
    return "cpu" if _current is None else f"cuda {_current.name}"


def device() -> str:
    """"cpu", or "cuda:" and the number of the GPU."""
    return "cpu" if _current is None else f"cuda:{_current.ordinal}"


def device_reason() -> str:
    """Why it was chosen."""
    return _reason


def current_cuda() -> CudaDevice | None:
    return _current


def bind_cuda(program: Any, buffers: Mapping[str, Any]) -> Any:
    """An instance of a program that was planned for a GPU.  UsageError where the process has gone back to the processor."""
    from dlcore.runtime.cuda import CudaInstance
    if _current is None:
        raise UsageError("the program was planned for a GPU", where="bind", got="the device cpu", hint='set_device("cuda")')
    return CudaInstance(program, buffers, _current)


def device_table(wide: bool = False) -> Any:
    """The kernels of the chosen device; `wide` programs run on the processor."""
    if _current is None or wide:
        from dlcore.runtime.table import kernel_table
        return kernel_table(wide)
    return _current.table


def shared_memory(size: int) -> np.ndarray:
    """A buffer of `size` zero bytes (u8) that programs of the chosen device can be bound to.  Who reads or writes it after a
    program was bound to it calls `look` first."""
    return allocate(size) if _current is None else _current.allocate(size)


def look(buffer: np.ndarray) -> np.ndarray:
    """To be called before the processor reads or writes a buffer of `shared_memory`, which a GPU may have written: fetches what is
    newer there, and has it copied back before the next run.  Returns the buffer."""
    if _opened:
        from dlcore.runtime.cuda_memory import mirror_of
        if (mirror := mirror_of(buffer)) is not None:
            mirror.look()
    return buffer
