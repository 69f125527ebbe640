"""The entry of a kernel -> PTX by numba-cuda, PTX -> cubin by ptxas.  No driver is asked for anything.

numba-cuda wants the current device's compute capability where a kernel calls device functions, and would load the driver for it:
it is told that of the lowest architecture.  ptxas is called directly: by way of nvJitLink, setmaxnreg is lost.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
import shutil
import subprocess
import sysconfig
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from dlcore.compiler import language
from dlcore.compiler.cuda import entry
from dlcore.compiler.cuda.language import CudaKernel
from dlcore.compiler.gate import CompileError
from dlcore.graph.spec import Spec

NUMBA_CUDA = "0.30.4"
CAPABILITY = (8, 0)  # of the PTX that all architectures can run
ARCHES = ("sm_80", "sm_90a", "sm_100")
OWN_PTX = {"sm_90a": (9, 0, "a")}  # of kernels for one architecture alone


def missing() -> str:
    """What is not there of the tools, in words; empty where all is."""
    if importlib.util.find_spec("numba_cuda") is None:
        return "numba-cuda is not installed"
    found = importlib.metadata.version("numba-cuda")
    if found != NUMBA_CUDA:
        return f"numba-cuda is {found}, not {NUMBA_CUDA}"
    if not ptxas():
        return "ptxas is not installed (nvidia-cuda-nvcc 13.0)"
    return ""


def ptxas() -> str:
    """The path of ptxas: that of the wheel, else the system's; empty for none."""
    wheel = Path(sysconfig.get_path("platlib")) / "nvidia" / "cu13" / "bin" / "ptxas"
    return str(wheel) if wheel.exists() else shutil.which("ptxas") or ""


def prepare() -> None:
    """Once per process, before rooms are imported: formulas and helpers are compiled for the device."""
    import numba.cuda.dispatcher
    from numba.cuda import types
    from numba.cuda.np import arrayobj

    numba.cuda.dispatcher.get_current_device = lambda: SimpleNamespace(compute_capability=CAPABILITY)
    arrayobj.fix_integer_index = lambda context, builder, kind, index, size: context.cast(
        builder, index, kind, types.intp if kind.signed else types.uintp
    )
    language.set_dispatcher(_device_function)


def _device_function(function: Any) -> Any:
    from numba import cuda

    return cuda.jit(function.python, device=True, forceinline=True)


def to_ptx(kernel: CudaKernel, spec: Spec, bound: dict[str, str], symbol: str) -> tuple[str, entry.Entry]:
    """The PTX of one variant of a kernel, its entry named `symbol`; of a kernel for one architecture, PTX that it alone runs."""
    from numba import cuda
    from numba.cuda import types

    from dlcore.compiler.cuda import intrinsics

    elements = {
        "f32": types.float32,
        "f64": types.float64,
        "bf16": types.uint16,
        "i8": types.int8,
        "u8": types.uint8,
        "i32": types.int32,
        "i64": types.int64,
    }
    made = entry.build(kernel, spec)
    names = ("view", "strided_view", "is_null", "float_of", "block_index", "thread_index", "quotient")
    space = {name: getattr(intrinsics, name) for name in names}
    space |= {"int64": types.int64, "ceil": _ceil, "body": cuda.jit(kernel.python, device=True, forceinline=True)}
    exec(made.text, space)
    pointers = [types.CPointer(elements[spec.dtype(a, bound)]) for a in spec.arrays]
    signature = types.void(*[types.int64 for _ in spec.symbols()], *pointers, types.CPointer(types.int64))
    text = cuda.compile(
        space["entry"],
        signature,
        device=False,
        abi="numba",
        cc=OWN_PTX.get(kernel.arch, CAPABILITY),
        output="ptx",
        launch_bounds=made.block,
    )[0]
    return _tidy(text, symbol), made


@language.helper
def _ceil(a: int, b: int) -> int:
    return (a + b - 1) // b


def _tidy(ptx: str, symbol: str) -> str:
    """A short name for the entry; without the comments and the variables that only Numba's own launcher needs."""
    named = re.search(r"\.visible \.entry ([\w$]+)\(", ptx)
    if named is None or re.search(r"\bcall\b", ptx):
        raise CompileError(f"{symbol}: " + ("no entry" if named is None else "a call was not inlined"))
    ptx = re.sub(r"\.common \.global \.align 8 \.u64 \w*NumbaEnv\w*;\n", "", ptx)
    ptx = re.sub(r"//[^\n]*", "", ptx.replace(named[1], symbol))
    return re.sub(r"\n\s*\n+", "\n", ptx).strip() + "\n"


def to_cubin(ptx: str, arch: str, folder: Path) -> tuple[bytes, dict[str, int]]:
    """The cubin for one architecture, and what ptxas reports: registers, spill and stack bytes, shared bytes.

    ptxas aims at a number of blocks side by side and spills a few registers for it; told that one block will do, it does not."""
    relaxed = re.sub(r"(\.maxntid[^\n]*\n)", r"\1.minnctapersm 1\n", ptx)
    data, said = _assemble(ptx, arch, folder)
    if said["spills"] or said["stack"]:
        data, said = _assemble(relaxed, arch, folder)
    return data, said


def _assemble(ptx: str, arch: str, folder: Path) -> tuple[bytes, dict[str, int]]:
    source, target = folder / "kernel.ptx", folder / "kernel.cubin"
    source.write_text(ptx)
    command = [ptxas(), "-v", f"-arch={arch}", str(source), "-o", str(target)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise CompileError("ptxas refuses a kernel", got=done.stderr.strip())
    if "serialized" in done.stderr:  # wgmma whose registers are touched while it runs: ptxas puts waits between
        raise CompileError("ptxas cannot let products run", got=done.stderr.strip())
    return target.read_bytes(), report(done.stderr)


def report(text: str) -> dict[str, int]:
    def number(pattern: str) -> int:
        found = re.findall(pattern, text)
        return sum(int(n) for n in found)

    return {
        "registers": number(r"Used (\d+) registers"),
        "stack": number(r"(\d+) bytes stack frame"),
        "spills": number(r"(\d+) bytes spill (?:stores|loads)"),
        "shared": number(r"(\d+) bytes smem"),
    }
