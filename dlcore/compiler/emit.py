"""One kernel, for one CPU level and one choice of dtypes -> the bytes of a native object.  Runs in a worker (see
levels.py).

Numba types and lowers the kernel and its helpers, unoptimised; `entry` puts the C entry in front; here all of it
becomes one module in which only the entry is visible, and LLVM optimises that once.
"""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType
from typing import Any

import numba
from llvmlite import binding as llvm
from numba import types
from numba.core.compiler import Flags, compile_extra
from numba.core.compiler_lock import global_compiler_lock
from numba.core.cpu_options import FastMathOptions
from numba.core.registry import cpu_target
from numba.np import arrayobj

from dlcore.compiler import entry, levels
from dlcore.compiler.language import FASTMATH, Function, Kernel
from dlcore.graph.spec import Spec

OPTIMISATION = 3


def _plain_index(context: Any, builder: Any, kind: Any, index: Any, size: Any) -> Any:
    """An index as it is.  Numba's own adds the size where an index is negative, which keeps LLVM from vectorising: the
    language has no negative indices."""
    return context.cast(builder, index, kind, types.intp if kind.signed else types.uintp)


def prepare() -> None:
    """Once per process, before anything is compiled."""
    arrayobj.fix_integer_index = _plain_index
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    llvm.initialize_native_asmparser()  # inline assembly (vdpbf16ps) needs it
    cpu_target.target_context.refresh()


def python_of(function: Function | Kernel) -> Callable[..., Any]:
    """The Python function to compile here: the wide variant where f32 is read as f64."""
    if not levels.wide():
        return function.python
    if isinstance(function, Function) and function.wide is not None:
        return function.wide
    return widened(function.python)


def widened(python: Any) -> Any:
    """The function with `np.float32` read as `np.float64`."""
    if not isinstance(python, FunctionType):
        return python
    code = python.__code__.replace(co_names=tuple("float64" if n == "float32" else n for n in python.__code__.co_names))
    return FunctionType(code, python.__globals__, python.__name__, python.__defaults__, python.__closure__)


def dispatcher(function: Function) -> Any:
    """What Numba sees of a formula or helper.

    Formulas keep the order that they are written in: reassociated, x - n * HIGH - n * LOW becomes x - n * (HIGH + LOW),
    and exp loses seven bits.  Sums, which need new orders to be vector code, stand in kernels and helpers."""
    flags = FASTMATH - {"reassoc"} if function.inline else FASTMATH
    njit: Any = numba.njit  # its stubs do not know _nrt
    return njit(python_of(function), error_model="numpy", fastmath=set(flags), forceinline=function.inline, _nrt=False)


def _flags() -> Any:
    flags: Any = Flags()
    flags.no_compile = flags.no_cpython_wrapper = flags.no_cfunc_wrapper = flags.noalias = True
    flags.nrt = False  # a kernel that allocates is refused with the line that does
    flags.error_model, flags.fastmath = "numpy", FastMathOptions(set(FASTMATH))
    return flags


@global_compiler_lock
def compile_kernel(kernel: Kernel, spec: Spec, bound: dict[str, str], symbol: str) -> bytes:
    """The object of `kernel` with the dtype variables `bound`; its one visible symbol is the C entry `symbol`.

    Raises Numba's errors where the kernel is not in the language, SpecError where its parameters do not fit the
    spec."""
    level, is_wide = levels.current(), levels.wide()
    context = cpu_target.target_context.with_aot_codegen(symbol, cpu_name=level.cpu)
    library = context.codegen().create_library(symbol)
    library._optimize_functions = library._optimize_final_module = lambda *module: None
    signature = entry.Signature.of(kernel, spec, bound, level.constants, is_wide)
    flags = _flags()
    result = compile_extra(
        cpu_target.typing_context,
        context,
        python_of(kernel),
        signature.types(),
        types.none,
        flags,
        locals={},
        library=library,
    )
    library.add_ir_module(entry.build(context, library, result.fndesc, signature, symbol))
    library.finalize()
    return _optimised_object(library._final_module, level, symbol)


def _optimised_object(numba_module: Any, level: levels.Level, symbol: str) -> bytes:
    target = llvm.Target.from_triple(level.triple).create_target_machine(
        cpu=level.cpu, features=level.features, opt=OPTIMISATION, reloc="pic", codemodel="default"
    )
    module = llvm.parse_assembly(f'source_filename = "{symbol}"\ntarget triple = "{level.triple}"\n')
    module.name = symbol
    module.data_layout = str(target.target_data)
    module.link_in(numba_module)
    _hide(module, symbol)
    options = llvm.create_pipeline_tuning_options(speed_level=OPTIMISATION)
    options.loop_vectorization = options.slp_vectorization = options.loop_interleaving = options.loop_unrolling = True
    builder = llvm.create_pass_builder(target, options)
    passes = builder.getModulePassManager()
    passes.add_global_dead_code_eliminate_pass()
    passes.run(module, builder)
    _rename(module, symbol)
    module.verify()
    return target.emit_object(module)


def _hide(module: Any, symbol: str) -> None:
    """All but the entry is internal.

    Numba's own symbols are weak and named alike for every level: left so, the linker keeps one level's code for all
    (seen: an AVX-512 entry ran AVX2 code, three times slower)."""
    for value in [*module.functions, *module.global_variables]:
        if not value.is_declaration:
            value.linkage = "external" if value.name == symbol else "internal"


def _rename(module: Any, symbol: str) -> None:
    """Names by position: Numba's contain counters of this process, and local names stand in the object."""
    values = [*module.functions, *module.global_variables]
    for i, value in enumerate(v for v in values if not v.is_declaration and v.name != symbol):
        value.name = f"{symbol}.{i}"
