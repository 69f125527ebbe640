"""What an object depends on, as one digest: a kernel whose digest is unchanged is not compiled again.

Kernels, formulas and helpers count by their syntax tree, so a comment elsewhere in the file does not matter; intrinsics
and the plain functions that make their LLVM code count by the whole file that they stand in.
"""

from __future__ import annotations

import ast
import dis
import functools
import hashlib
import importlib.metadata
import inspect
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

import numpy as np

from dlcore.compiler import levels, rooms
from dlcore.compiler.language import FASTMATH, INTRINSICS, Function, Kernel
from dlcore.compiler.rooms import PACKAGE, Job

# Sources of this package that decide what an object holds, beside the level's constants and settings.
TOOLCHAIN = ("emit.py", "entry.py")


@functools.cache
def toolchain() -> str:
    """Versions and sources of the compiler; comments and layout of its sources do not count."""
    parts = [f"{name} {importlib.metadata.version(name)}" for name in ("numba", "llvmlite", "numpy")]
    parts += [ast.dump(ast.parse((PACKAGE / "compiler" / name).read_text())) for name in TOOLCHAIN]
    return "\n".join([*parts, *sorted(FASTMATH)])


def settings(job: Job) -> str:
    """What Numba is told by the environment of a worker."""
    found = levels.environment(job.level, job.wide)
    return repr(sorted((k, v) for k, v in found.items() if k.startswith("NUMBA_")))


@functools.cache
def _file_digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def object_digest(job: Job) -> str:
    """The name of a job's object in the cache."""
    spec = job.spec
    shape = (spec.text, spec.over, spec.lists, spec.symbols(job.level.constants), spec.sliced, spec.chunked)
    parts = [toolchain(), settings(job), repr(job.level), repr(job.bound), str(job.wide), job.symbol, repr(shape)]
    return hashlib.sha256("\n".join([*parts, *describe(job.kernel)]).encode()).hexdigest()[:32]


def c99_digest(kernels: list[Kernel]) -> str:
    """What the C text of these kernels depends on."""
    sources = [_file_digest(path) for path in sorted((PACKAGE / "compiler").glob("c99*.py"))]
    specs = [repr(rooms.DECLARATIONS.get(k.name)) for k in kernels]
    return hashlib.sha256(
        "\n".join([toolchain(), *sources, *specs, *(d for k in kernels for d in describe(k))]).encode()
    ).hexdigest()


@functools.cache
def describe(kernel: Kernel | Function) -> list[str]:
    """Everything that the code of a kernel depends on, as lines."""
    lines: list[str] = []
    _Walk(lines).value("kernel", kernel)
    return lines


def source_tree(function: Callable[..., Any]) -> ast.FunctionDef:
    """The syntax tree of a function; OSError where its source is not at hand."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    assert isinstance(tree, ast.FunctionDef), f"{function} is no def"
    return tree


def scope_of(function: FunctionType) -> dict[str, Any]:
    """The values of the names that a function does not define itself: its closure, its globals."""
    closed = zip(function.__code__.co_freevars, (c.cell_contents for c in function.__closure__ or ()), strict=True)
    return {n: function.__globals__[n] for n in _global_names(function.__code__) if n in function.__globals__} | dict(
        closed
    )


def _global_names(code: CodeType) -> Iterator[str]:
    for instruction in dis.get_instructions(code):
        if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            yield instruction.argval
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _global_names(constant)


class _Walk:
    """Depth first through the values that a function names."""

    def __init__(self, lines: list[str]) -> None:
        self.lines, self.seen = lines, set[int]()

    def value(self, name: str, value: Any) -> None:
        if isinstance(value, (bool, int, float, complex, str, bytes, np.generic, type(None))):
            self.lines.append(f"{name} = {type(value).__name__} {value!r}")
        elif isinstance(value, np.ndarray):
            self.lines.append(f"{name} = {value.dtype} {value.shape} {value.tobytes().hex()}")
        elif isinstance(value, (tuple, list)):
            for i, member in enumerate(value):
                self.value(f"{name}[{i}]", member)
        elif isinstance(value, ModuleType):
            self.lines.append(f"{name} = module {value.__name__}")
        elif id(value) in self.seen:
            self.lines.append(f"{name} = {type(value).__name__} above")
        else:
            self.seen.add(id(value))
            self.definition(name, value)

    def definition(self, name: str, value: Any) -> None:
        if isinstance(value, (Kernel, Function)):
            for python in filter(None, (value.python, getattr(value, "wide", None))):
                self.by_tree(name, python)
        elif value in INTRINSICS if _hashable(value) else False:
            self.by_file(name, INTRINSICS[value].source)
        elif isinstance(value, FunctionType):
            self.by_file(name, value)
        else:
            self.lines.append(
                f"{name} = {getattr(value, '__module__', '')} {getattr(value, '__qualname__', type(value).__name__)}"
            )

    def by_tree(self, name: str, function: Any) -> None:
        if not isinstance(function, FunctionType):  # math.exp as a wide variant
            self.lines.append(f"{name} = {function.__module__}.{function.__name__}")
            return
        tree = source_tree(function)
        if ast.get_docstring(tree) is not None:
            tree.body = tree.body[1:]
        tree.decorator_list = []
        self.lines.append(f"{name}: {ast.dump(tree)}")
        self.scope(name, function)

    def by_file(self, name: str, function: Any) -> None:
        path = Path(inspect.getsourcefile(function) or "")
        inside = path.is_relative_to(PACKAGE) or not any("-packages" in p for p in path.parts)
        self.lines.append(
            f"{name} = {function.__module__}.{function.__qualname__} {_file_digest(path) if inside else ''}"
        )
        if inside:
            self.scope(name, function)

    def scope(self, name: str, function: FunctionType) -> None:
        for inner, value in sorted(scope_of(function).items()):
            self.value(f"{name}.{inner}", value)


def _hashable(value: Any) -> bool:
    return getattr(type(value), "__hash__", None) is not None
