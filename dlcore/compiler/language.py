"""What a room's `cpu.py` is written in.

    from dlcore.compiler.language import call, constant, formula, helper, intrinsic, kernel, lowered

    PANEL = constant("PANEL")                          # of the CPU level that is being compiled

    @formula
    def relu(x):
        return x if not x < 0 else x * np.float32(0)   # scalars in, scalar out: always inlined

    @kernel
    def relu_forward(x, out, add_out):                 # parameters: names of the call's spec, begin, end, add_<output>
        for i in range(x.shape[0]):
            out[i] = relu(x[i]) + (out[i] if add_out else np.float32(0))

    lowered("matmul_nn", "pack(b -> panels)", "multiply(a, panels -> out)", when="M <= 96")

Rules of a kernel's body: range loops, while, if, indexing with indices that are not negative (they do not wrap),
arithmetic, comparisons, conditional expressions, min, max, `math`, casts such as `np.float32(...)`, formulas, helpers,
intrinsics.  No allocation, no exceptions, no recursion.  Integer literals are int64 and float literals float64: write
`np.float32(0.5)` where float32 is meant.  Arrays of dtype bf16 hold uint16 bits.  Arrays that a kernel writes never
overlap others, and the compiler is told so.

Importing this module imports no Numba; a room that defines an `intrinsic` does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

from dlcore.compiler import levels as cpu_levels
from dlcore.compiler.levels import Level
from dlcore.errors import SpecError
from dlcore.graph.declaration import call

__all__ = ["call", "constant", "formula", "helper", "intrinsic", "kernel", "lowered"]

Python = TypeVar("Python", bound=Callable[..., Any])

# No nnan, ninf: masks are -inf and a NaN must stay visible.  No afn, arcp: with them the vector body and the scalar
# tail of a loop differ in the last bits, so results would depend on where a thread's share ends.
FASTMATH = frozenset({"reassoc", "contract", "nsz"})

KERNELS: dict[str, list[Kernel]] = {}  # call's name -> its kernels, for different levels or dtypes
LOWERINGS: dict[str, list[Lowering]] = {}  # call's name -> alternatives in order of declaration
INTRINSICS: dict[Any, Intrinsic] = {}  # Numba's intrinsic -> its name and C body


def _for_cpu(function: Function) -> Any:
    from dlcore.compiler.emit import dispatcher

    return dispatcher(function)


_dispatcher: Callable[[Any], Any] = _for_cpu


def set_dispatcher(made: Callable[[Any], Any]) -> None:
    """In a process that compiles for another device: how a formula or helper becomes what Numba calls there."""
    global _dispatcher
    _dispatcher = made


@dataclass(eq=False)
class Function:
    """A Python function that kernels call.  In plain Python it is that function; Numba sees a dispatcher of its own.

    inline: always part of its caller.  wide: what stands in for it where f32 is read as f64, or None."""

    python: Callable[..., Any]
    inline: bool
    wide: Callable[..., Any] | None = None

    def __call__(self, *arguments: Any) -> Any:
        return self.python(*arguments)

    @property
    def name(self) -> str:
        return self.python.__name__

    @cached_property
    def dispatcher(self) -> Any:
        return _dispatcher(self)

    @property
    def _numba_type_(self) -> Any:
        return self.dispatcher._numba_type_


@dataclass(eq=False)
class Kernel:
    """The code of one call.

    levels: for which CPU levels it is compiled; empty: all that are not special.  dtypes: for which variants of the
    spec, such as ("f32_bf16",); empty: all."""

    name: str
    python: Callable[..., Any]
    levels: tuple[str, ...] = ()
    dtypes: tuple[str, ...] = ()

    def __call__(self, *arguments: Any) -> Any:
        return self.python(*arguments)

    def serves(self, level: Level, dtypes: str) -> bool:
        at_level = level.name in self.levels if self.levels else not level.special
        return at_level and (not self.dtypes or dtypes in self.dtypes)


@dataclass(frozen=True)
class Lowering:
    """One way to make a call of several kernels; `steps` are (kernel, names read, names written)."""

    steps: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...]
    when: str = ""
    product: str = "f32"
    held: str = ""


@dataclass(frozen=True)
class Intrinsic:
    """Name and C99 text of an intrinsic; the text defines one function of that name.  `source`: what its code depends
    on."""

    name: str
    c: str
    source: Callable[..., Any] = field(compare=False)


def constant(name: str) -> int:
    """A constant of the CPU level that is being compiled: PANEL, TILE or LANES (see levels.py)."""
    known = cpu_levels.current().constants
    if name not in known:
        raise SpecError(f"no level constant {name!r}", expected=", ".join(known))
    return known[name]


def kernel(
    function: Python | None = None, *, name: str = "", levels: tuple[str, ...] = (), dtypes: tuple[str, ...] = ()
) -> Any:
    """Makes a function the code of the call of its name (or `name`, for functions that a factory makes).

    levels: CPU levels to compile it for, by default all but the special one, v4_bf16.  dtypes: variants of the spec
    that it serves, values of F and G joined by "_", by default all.  Several kernels of one call must differ in
    these."""

    def register(python: Python) -> Kernel:
        made = Kernel(name or python.__name__, python, tuple(levels), tuple(dtypes))
        KERNELS.setdefault(made.name, []).append(made)
        return made

    return register(function) if function is not None else register


def formula(function: Python | None = None, *, wide: Callable[..., Any] | None = None) -> Any:
    """A function of scalars for kernels, epilogues and other formulas; always inlined.

    wide: a function to use instead where f32 is read as f64: needed where the formula is made for float32 (bits,
    polynomials). Elsewhere `np.float32(...)` in it simply becomes `np.float64(...)`."""

    def made(python: Python) -> Function:
        return Function(python, inline=True, wide=wide)

    return made(function) if function is not None else made


def helper(function: Python | None = None, *, wide: Callable[..., Any] | None = None) -> Any:
    """A function that kernels share and that may take arrays; LLVM decides whether it is inlined."""

    def made(python: Python) -> Function:
        return Function(python, inline=False, wide=wide)

    return made(function) if function is not None else made


def intrinsic(*, c: str, name: str = "") -> Callable[[Python], Any]:
    """`numba.extending.intrinsic`, with a portable C99 body for the C export.

    c: the text of one function called `name` (by default the Python function's name): `static` is put before it.
    Arrays arrive as pointers to their first element, scalars by value.  An intrinsic made by a factory needs a name of
    its own."""

    def made(python: Python) -> Any:
        from numba.extending import intrinsic as numba_intrinsic

        result = numba_intrinsic(python)
        INTRINSICS[result] = Intrinsic(name or python.__name__, c.strip(), python)
        return result

    return made


def lowered(name: str, *lines: str, when: str = "", product: str = "f32", held: str = "") -> None:
    """On this device the call `name` is made of these calls: `lowered("matmul_nn", "pack(b -> panels)", ...)`.

    Names that the call does not have are scratch; sizes can be read as scalars.  Several for one name are alternatives,
    tried in this order: the first whose `product` is the plan's product type and whose `when`, a condition on sizes,
    holds.  held: an array of the call that this program must leave as it is, a weight where nothing is trained: what is
    made of it alone is made once."""
    steps = tuple(_step(name, line) for line in lines)
    LOWERINGS.setdefault(name, []).append(Lowering(steps, when, product, held))


def _step(name: str, line: str) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """("pack", ("b",), ("panels",)) of "pack(b -> panels)"."""
    inner, opening, rest = line.strip().partition("(")
    reads, arrow, writes = rest.removesuffix(")").partition("->")
    if not (opening and arrow and rest.endswith(")") and inner.strip().isidentifier()):
        raise SpecError(
            f"lowering of {name}: a line that cannot be read", expected='"inner(reads -> writes)"', got=line
        )
    split = [tuple(n for word in side.split(",") if (n := word.strip())) for side in (reads, writes)]
    return inner.strip(), split[0], split[1]
