"""Kernels as C99 text, for exports that need no library but libm.

`translate()` gives what is shipped as dlcore/runtime/kernels_c99.json:

    {"digest": ..., "version": 1,
     "constants": {"PANEL": 8, ...},        sizes of the spec that are constants here
     "prelude": "#include <math.h> ...",    what every file begins with, `dl_scalar` among it
     "functions": {name: text},             what kernels call, each after those that it calls itself
     "kernels": {call: {"dtypes": "f32", "symbol": "dl_call", "needs": [names of functions, in order], "text": ...}}}

A kernel's text defines, by the contract of the native entry (see `entry`),

    static void dl_<call>(int64_t begin, int64_t end, const int64_t *dims, void *const *pointers,
                          const dl_scalar *scalars)

A file is the prelude, the functions that its kernels need, each once, and the kernels.  Nothing in it allocates.
"""

from __future__ import annotations

import ast
import re
from typing import Any

from numba import types
from numba.core.registry import cpu_target

from dlcore.compiler import levels, rooms
from dlcore.compiler.c99_body import Body, Made, names_in, wrapped
from dlcore.compiler.c99_types import C_TYPES, SHORT
from dlcore.compiler.entry import Signature
from dlcore.compiler.gate import CompileError
from dlcore.compiler.language import INTRINSICS, KERNELS, Function, Kernel
from dlcore.graph.declaration import DECLARATIONS
from dlcore.graph.spec import Item, Spec

VERSION = 1
PRELUDE = """\
#include <math.h>
#include <stdint.h>
#include <string.h>

typedef union { float f32; double f64; int64_t i64; } dl_scalar;
"""
ENTRY = (
    "static void {}(int64_t begin, int64_t end, const int64_t *dims, void *const *pointers, const dl_scalar *scalars)"
)


class Texts:
    """Functions that have been translated, in an order in which C can read them."""

    def __init__(self) -> None:
        self.functions: dict[str, str] = {}  # name -> text
        self.made: dict[tuple[int, tuple[Any, ...]], Made] = {}
        self.open: list[str] = []  # being translated: the functions call each other in no circle

    def support(self, name: str, text: str) -> str:
        if self.functions.setdefault(name, text) != text:
            raise CompileError(f"two functions are called {name} in C", hint="give one of them another name")
        return name

    def intrinsic(self, intrinsic: Any) -> str:
        found = INTRINSICS[intrinsic]
        if not re.search(rf"\b{found.name}\s*\(", found.c):
            raise CompileError(
                f"the C body of intrinsic {found.name} defines no function of that name", got=found.c[:200]
            )
        name = f"dl_{found.name}"
        text = re.sub(rf"\b{found.name}(?=\s*\()", name, found.c)
        return self.support(name, text if text.startswith("static") else f"static inline {text}\n")

    def function(self, function: Function, arguments: tuple[Any, ...]) -> Made:
        key = id(function), arguments
        if key not in self.made:
            name = self.name_for(function, arguments)
            if name in self.open:
                raise CompileError(f"{name} calls itself")
            self.open.append(name)
            made = Body(name, self, function.python, arguments, function.inline).translate()
            self.open.pop()
            self.support(name, made.text)
            self.made[key] = made
        return self.made[key]

    def name_for(self, function: Function, arguments: tuple[Any, ...]) -> str:
        """dl_exp, or dl_exp_f64 where another dl_exp, or a kernel of that name, is there already."""
        kinds = [SHORT[a.dtype] + str(a.ndim) if isinstance(a, types.Array) else SHORT[a] for a in arguments]
        names = [f"dl_{function.name}", "_".join([f"dl_{function.name}", *kinds])]
        names += [f"{names[1]}_{i}" for i in range(2, 100)]
        taken = {m.name for m in self.made.values()} | set(self.functions) | {f"dl_{name}" for name in DECLARATIONS}
        return next(n for n in names if n not in taken)


def needs(text: str, functions: dict[str, str]) -> list[str]:
    """The functions that a text uses, directly or through others, in the order in which C must read them."""
    found, waiting = set[str](), [text]
    while waiting:
        for name in names_in(waiting.pop()) & functions.keys() - found:
            found.add(name)
            waiting.append(functions[name])
    return [name for name in functions if name in found]


def c_size(expression: str, constants: dict[str, int]) -> str:
    """A size expression of a spec in C."""

    def text(node: ast.expr) -> str:
        if isinstance(node, ast.Constant):
            return str(node.value)
        if isinstance(node, ast.Name):
            return str(constants.get(node.id, node.id))
        if isinstance(node, ast.Call):
            over, by = (text(a) for a in node.args)
            return f"(({over} + {by} - 1) / {by})"
        assert isinstance(node, ast.BinOp)
        sign = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*"}[type(node.op)]
        return f"({text(node.left)} {sign} {text(node.right)})"

    whole = text(ast.parse(expression, mode="eval").body)
    return whole[1:-1] if re.fullmatch(r"\([^()]*\)", whole) else whole


class _Entry:
    """The text of one kernel's entry around its translated body."""

    def __init__(self, spec: Spec, signature: Signature, body: Made) -> None:
        self.spec, self.signature, self.body, self.constants = spec, signature, body, dict(signature.constants)

    def text(self) -> str:
        call = f"{self.body.name}({', '.join(self.words())});"
        lines = [f"    {line}" for line in wrapped(call, 110)]
        if self.spec.chunked:
            rows = c_size(self.spec.chunked, self.constants)
            lines = [
                "    for (int64_t chunk = begin; chunk < end; ++chunk) {",
                f"        const int64_t low = chunk * {rows} / CHUNKS, high = (chunk + 1) * {rows} / CHUNKS;",
                *(f"    {line}" for line in lines),
                "    }",
            ]
        used = names_in("\n".join(lines))
        symbols = self.spec.symbols(self.constants)
        sizes = [f"    const int64_t {s} = dims[{i}];" for i, s in enumerate(symbols) if s in used]
        whole = names_in("\n".join([*sizes, *lines]))
        unused = [f"    (void){p};" for p in ("begin", "end", "dims", "pointers", "scalars") if p not in whole]
        return "\n".join([*wrapped(ENTRY.format(f"dl_{self.spec.name}")), "{", *unused, *sizes, *lines, "}"]) + "\n"

    def words(self) -> list[str]:
        words: list[str] = []
        for name, _, needed in self.body.parameters:
            item = self.signature.item(name)
            if item is not None:
                words += (
                    [self.scalar(item)]
                    if item.scalar
                    else [self.pointer(item), *(self.extent(item, a) for a in needed)]
                )
            elif name.startswith("add_"):
                place = len(self.spec.scalars) + [f"add_{i.name}" for i in self.spec.added].index(name)
                words.append(f"scalars[{place}].i64 != 0")
            else:
                low, high = ("low", "high") if self.spec.chunked else ("begin", "end")
                words.append({"begin": low, "end": high}.get(name) or c_size(name, self.constants))
        return words

    def scalar(self, item: Item) -> str:
        kind, place = self.signature.element(item), f"scalars[{self.spec.scalars.index(item)}]"
        return f"{place}.{SHORT[kind]}" if isinstance(kind, types.Float) else f"({C_TYPES[kind]}){place}.i64"

    def pointer(self, item: Item) -> str:
        """The address of the part that the kernel gets."""
        const = "" if item.name in self.body.written else "const "
        base = f"({const}{C_TYPES[self.signature.element(item)]} *)pointers[{self.spec.arrays.index(item)}]"
        if self.signature.part(item):
            first = "chunk"
        elif self.spec.sliced and item.sizes[0] == self.spec.sliced:
            first = "low" if self.spec.chunked else "begin"
        else:
            return base
        row = [c_size(s, self.constants) for s in item.sizes[1:]]
        return f"{base} + {' * '.join([first, *(f'({r})' if ' ' in r else r for r in row)])}"

    def extent(self, item: Item, axis: int) -> str:
        if self.signature.part(item):
            return c_size(item.sizes[axis + 1], self.constants) if len(item.sizes) > 1 else "1"
        size = c_size(item.sizes[axis], self.constants)
        if axis == 0 and self.spec.sliced and item.sizes[0] == self.spec.sliced:
            size = "high - low" if self.spec.chunked else "end - begin"
        if axis == 0 and item.optional:
            return f"pointers[{self.spec.arrays.index(item)}] ? {size} : 0"
        return size


def translate_kernel(texts: Texts, kernel: Kernel, spec: Spec, bound: dict[str, str]) -> str:
    """The text of one kernel: its body as a function, and the entry."""
    signature = Signature.of(kernel, spec, bound, levels.C99.constants, wide=False)
    body = Body(f"dl_{spec.name}_body", texts, kernel.python, signature.types(), inline=False).translate()
    return body.text + "\n" + _Entry(spec, signature, body).text()


def translate() -> tuple[dict[str, Any], list[str]]:
    """Every kernel that the rooms have for f32, in the format above; and the faults of those that cannot be put in
    C."""
    assert levels.current() is levels.C99, "rooms were loaded with the constants of a CPU level"
    cpu_target.typing_context.refresh()
    texts, kernels, faults = Texts(), dict[str, tuple[str, str]](), list[str]()
    for name, group in sorted(KERNELS.items()):
        try:
            spec = rooms.spec_of(name)
            bound = plain_variant(spec)
            dtypes = spec.key(bound)
            chosen = next((k for k in group if not k.levels and (not k.dtypes or dtypes in k.dtypes)), None)
            if chosen is not None:
                kernels[name] = dtypes, translate_kernel(texts, chosen, spec, bound)
        except Exception as e:  # any fault of one kernel is reported beside those of the others
            texts.open.clear()
            faults.append(f"C99 of {name}: {type(e).__name__ + ': ' if not isinstance(e, CompileError) else ''}{e}")
    table = {
        name: {"dtypes": dtypes, "symbol": f"dl_{name}", "needs": needs(text, texts.functions), "text": text}
        for name, (dtypes, text) in kernels.items()
    }
    return {
        "version": VERSION,
        "constants": levels.C99.constants,
        "prelude": PRELUDE,
        "functions": texts.functions,
        "kernels": table,
    }, faults


def plain_variant(spec: Spec) -> dict[str, str]:
    """f32 for every variable that has it."""
    return {v: "f32" if "f32" in spec.lists[v] else spec.lists[v][0] for v in spec.variables}
