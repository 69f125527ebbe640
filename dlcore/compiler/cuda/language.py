"""What a room's `cuda.py` is written in.

    from dlcore.compiler.cuda.language import each, kernel, lowered
    from dlcore.ops.arithmetic import cpu

    each(cpu.add, cpu.sub)                      # over "S": a thread for each element, with the loops of cpu.py
    each(cpu.add_row, over="N, C")              # a thread for each row and column

    @kernel(warps="N")
    def row_sum(item, lane, x, out, add_out):   # a warp for each row
        ...

    lowered("column_sum", "column_parts(x -> parts)", "add_parts(parts -> out)")

`each` runs the code of the CPU's kernel on arrays cut to one item: along every axis of `over` an array arrives with length 1, so
that loops over it turn once and vanish; along one axis of float32 four arrive (`entry.py`).  It is right where the kernel does
nothing but loop over these axes; formulas, order of operations and handling of NaN are then the CPU's.  "CHUNKS" cuts the chunked
axis to the rows of one chunk.

`kernel` is for what is written for a GPU: `threads`, `warps` or `blocks` say how many there are, by the sizes of the call's spec;
`each="S"` runs it as `each` runs the kernel of a CPU.
Parameters are names of the spec, add_<output>, and of these:

    item        the number of the thread, warp or block among those said
    lane        of the warp, 0 to 31 (warps)
    thread      of the block, 0 to `block` - 1 (blocks)

The whole warp, or block, takes part in the call, so collective operations may stand where control flow is uniform.
A spec's scalars are read from device memory once per thread.  The language is that of CPU kernels (`dlcore/compiler/language.py`)
and the names of `intrinsics.py`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dlcore.compiler.language import LOWERINGS, Kernel, Lowering, _step
from dlcore.errors import SpecError

__all__ = ["each", "kernel", "lowered", "lowered_as_cpu"]

BLOCK = 256  # threads of a block, unless a kernel says otherwise
KERNELS: dict[str, list[CudaKernel]] = {}  # call's name -> its kernels, for different dtypes
CUDA_LOWERINGS: dict[str, list[Lowering]] = {}


@dataclass(eq=False)
class CudaKernel:
    """The code of one call on a GPU.

    kind    "each", "threads", "warps" or "blocks";  over: the axes of "each", the number of the others
    block   threads of a block;  dtypes: variants of the spec that it serves, empty: all
    arch    the one architecture for which it takes the place of the kernel that serves the others, empty: it is that one
    shared  bytes of shared memory beyond what it declares: its array of length 0
    cluster blocks that run together and reach each other's shared memory (Hopper); block n is number n % cluster of its cluster
    beside  blocks that are to fit a multiprocessor side by side, which bounds a thread's registers; 0: as the compiler likes"""

    name: str
    python: Callable[..., Any]
    kind: str
    over: str
    block: int = BLOCK
    dtypes: tuple[str, ...] = ()
    arch: str = ""
    shared: int = 0
    cluster: int = 1
    beside: int = 0

    def serves(self, dtypes: str) -> bool:
        return not self.dtypes or dtypes in self.dtypes

    @property
    def parameters(self) -> tuple[str, ...]:
        return tuple(inspect.signature(self.python).parameters)


def _register(made: CudaKernel) -> None:
    KERNELS.setdefault(made.name, []).append(made)


def each(*kernels: Kernel, over: str = "", block: int = BLOCK) -> None:
    """A thread for each item of these CPU kernels.  over: the axes, by default what the call's spec shares out."""
    for k in kernels:
        _register(CudaKernel(k.name, k.python, "each", over, block, k.dtypes))


def kernel(
    *, each: str = "", threads: str = "", warps: str = "", blocks: str = "", block: int = BLOCK, name: str = "",
    dtypes: tuple[str, ...] = (), arch: str = "", shared: int = 0, cluster: int = 1, beside: int = 0,
) -> Callable[[Callable[..., Any]], CudaKernel]:
    """Makes a function the code of the call of its name (or `name`), run by so many threads, warps or blocks, or for each item
    along axes.  arch: on that architecture alone, in the place of another kernel.  shared: bytes of `cuda.shared.array(0, ...)`,
    which may be more than the 48 KiB that arrays of a known length have together.  cluster: of so many blocks, whose number is a
    multiple of it.  beside: how many blocks are to fit a multiprocessor side by side."""
    kinds = {"each": each, "threads": threads, "warps": warps, "blocks": blocks}
    given = [(kind, over) for kind, over in kinds.items() if over]
    if len(given) != 1:
        raise SpecError("a kernel says each=, threads=, warps= or blocks=, one of them", got=str(dict(given)))

    def register(python: Callable[..., Any]) -> CudaKernel:
        made = CudaKernel(name or python.__name__, python, *given[0], block, tuple(dtypes), arch, shared, cluster, beside)
        _register(made)
        return made

    return register


def lowered(name: str, *lines: str, when: str = "", product: str = "f32") -> None:
    """On a GPU the call `name` is made of these calls; as `lowered` of the CPU's language."""
    CUDA_LOWERINGS.setdefault(name, []).append(Lowering(tuple(_step(name, line) for line in lines), when, product))


def lowered_as_cpu(*names: str) -> None:
    """These calls are lowered to the same calls as on the CPU."""
    for name in names:
        CUDA_LOWERINGS.setdefault(name, []).extend(LOWERINGS[name])
