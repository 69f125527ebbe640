"""The entry of a CUDA kernel, as the text of a Python function that Numba compiles around the kernel's own:

    void dl_<name>_<dtypes>(int64 sizes..., pointers..., const int64 *scalars)

sizes     the spec's size symbols in order of first appearance
pointers  its arrays in order; an absent `?` array is NULL and reaches the kernel with length 0
scalars   in device memory: its scalars in order, in slots of 8 bytes (f32 in the first four), then one i64 per `+` output

A kernel that runs by `each` along one axis on arrays of float32 serves four elements a thread: they are read 16 bytes at a time
into registers, where the kernel's loops find four, and written so.  The last, and arrays that begin elsewhere, come one by one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from dlcore.compiler.cuda.language import CudaKernel
from dlcore.errors import SpecError
from dlcore.graph.spec import Item, Spec, whole_size

WARP = 32
_SYMBOL = re.compile(r"[A-Za-z_]\w*")
OWN = ("item", "lane", "thread")  # parameters of kernels that no spec has
FOURS = """\
from dlcore.compiler.cuda.intrinsics import cuda, f32 as float32, u64 as uint64
from dlcore.compiler.cuda.vectors import address_of, load_4, store_4
"""


@dataclass(frozen=True)
class Entry:
    """text: source of `entry`;  blocks: how many blocks a launch has, an expression of the spec's sizes."""

    text: str
    blocks: str
    block: int


def build(kernel: CudaKernel, spec: Spec) -> Entry:
    _check(kernel, spec)
    return _Writer(kernel, spec).entry()


def _check(kernel: CudaKernel, spec: Spec) -> None:
    known = {i.name for i in spec.items} | {f"add_{i.name}" for i in spec.added} | {"begin", "end", *OWN, *spec.sizes}
    if unknown := [p for p in kernel.parameters if p not in known]:
        raise SpecError(f"CUDA kernel {kernel.name}: parameter {unknown[0]!r} is not in its spec", where=spec.text)
    unused = [i.name for i in spec.items if i.kind not in ("read", "work") and i.name not in kernel.parameters]
    unused += [f"add_{i.name}" for i in spec.added if f"add_{i.name}" not in kernel.parameters]
    if unused:
        raise SpecError(f"CUDA kernel {kernel.name} takes no {unused[0]!r}", where=spec.text)


class _Writer:
    def __init__(self, kernel: CudaKernel, spec: Spec) -> None:
        self.kernel, self.spec = kernel, spec
        self.axes = [a.strip() for a in (kernel.over or spec.axis).split(",")] if kernel.kind == "each" else []
        self.lines: list[str] = []
        self.shared = [i for i in spec.arrays if i.name in kernel.parameters and self.axes and self.axes[0] in i.sizes]

    def entry(self) -> Entry:
        if self.in_fours():
            return self.entry_of_fours()
        per = {"each": self.kernel.block, "threads": self.kernel.block, "warps": self.kernel.block // WARP, "blocks": 1}
        items = " * ".join(self.axes) if self.axes else self.kernel.over
        items, count = whole_size(self.spec, items), per[self.kernel.kind]
        self.place(items)
        arguments = ", ".join(self.argument(p) for p in self.kernel.parameters)
        self.lines.append(f"if item < {items}:")
        self.lines += [f"    {line}" for line in [*self.cuts(), f"body({arguments})"]]
        return Entry(self.text(), f"ceil({items}, {count})" if count > 1 else items, self.kernel.block)

    def text(self) -> str:
        parameters = [*self.spec.symbols(), *(f"p_{a.name}" for a in self.spec.arrays), "scalars"]
        return f"def entry({', '.join(parameters)}):\n" + "".join(f"    {line}\n" for line in self.lines)

    # ---- four elements a thread -------------------------------------------------------------------------------------
    def in_fours(self) -> bool:
        """Is all that threads share float32, along one axis, and does the kernel not ask where it is?"""
        if len(self.axes) != 1 or not self.axes[0].isidentifier() or self.axes[0] == "CHUNKS" or not self.shared:
            return False
        alike = all(i.sizes == (self.axes[0],) and not i.optional and i.kind != "work" for i in self.shared)
        floats = all(i.dtype == "f32" or self.spec.lists.get(i.dtype) == ("f32",) for i in self.shared)
        others = [size for i in self.spec.arrays if i not in self.shared for size in i.sizes]
        elsewhere = any(self.axes[0] in _SYMBOL.findall(size) for size in others)
        return alike and floats and not elsewhere and not {"begin", "end", self.axes[0]} & set(self.kernel.parameters)

    def entry_of_fours(self) -> Entry:
        axis, items = self.axes[0], whole_size(self.spec, f"ceil({self.axes[0]} / 4)")
        addresses = " | ".join(f"address_of(view(p_{i.name}, 0, (int64(1),)))" for i in self.shared)
        self.place(items)
        self.lines += ["first = 4 * item", f"if first + 4 <= {axis} and ({addresses}) & uint64(15) == uint64(0):"]
        self.lines += [f"    {line}" for line in self.of_four()]
        self.lines += [f"elif first < {axis}:", f"    for at_{axis} in range(first, min(first + 4, {axis})):"]
        self.lines += [f"        body({', '.join(self.argument(p) for p in self.kernel.parameters)})"]
        return Entry(FOURS + self.text(), f"ceil({items}, {self.kernel.block})", self.kernel.block)

    def of_four(self) -> list[str]:
        """Four elements of every shared array into registers, the kernel on them, and what it wrote back to memory."""
        made, written, names = [], [], {i.name for i in self.shared}
        for i in self.shared:
            at = f"address_of(view(p_{i.name}, first, (int64(4),)))"
            made.append(f"four_{i.name} = cuda.local.array(4, float32)")
            read = f"four_{i.name}[0], four_{i.name}[1], four_{i.name}[2], four_{i.name}[3] = load_4({at})"
            if i.kind in ("read", "update"):
                made.append(read)
            elif i.kind == "add":
                made += [f"if {self.argument('add_' + i.name)}:", f"    {read}"]
            if i.written:
                written.append(f"store_4({at}, four_{i.name}[0], four_{i.name}[1], four_{i.name}[2], four_{i.name}[3])")
        arguments = [f"four_{p}" if p in names else self.argument(p) for p in self.kernel.parameters]
        return [*made, f"body({', '.join(arguments)})", *written]

    # ---- one item a thread, warp or block ---------------------------------------------------------------------------

    def place(self, items: str) -> None:
        """Which item this thread serves."""
        if self.kernel.kind == "blocks":
            self.lines += ["item, thread = block_index(), thread_index()"]
        elif self.kernel.kind == "warps":
            self.lines += ["thread = thread_index()", f"lane = thread & {WARP - 1}"]
            self.lines += [f"item = block_index() * {self.kernel.block // WARP} + (thread >> 5)"]
        else:
            self.lines += [f"item = block_index() * {self.kernel.block} + thread_index()"]

    def cuts(self) -> list[str]:
        """at_<axis> of each axis of `each`, the last one being the fastest; the rows of a chunk."""
        made, rest = [], "item"
        for n, axis in enumerate(reversed(self.axes)):
            last = n == len(self.axes) - 1
            if last:
                made.append(f"at_{axis} = {rest}")
            else:
                made += [f"rest_{n} = quotient({rest}, {axis})", f"at_{axis} = {rest} - rest_{n} * {axis}"]
                rest = f"rest_{n}"
        if "CHUNKS" in self.axes:
            rows = self.spec.chunked
            made += [f"row_0 = at_CHUNKS * {rows} // CHUNKS", f"row_1 = (at_CHUNKS + 1) * {rows} // CHUNKS"]
        return made

    def argument(self, name: str) -> str:
        item = next((i for i in self.spec.items if i.name == name), None)
        if item is not None:
            return self.scalar(item) if item.scalar else self.array(item)
        if name.startswith("add_"):
            place = len(self.spec.scalars) + [f"add_{i.name}" for i in self.spec.added].index(name)
            return f"scalars[{place}] != 0"
        if name in ("begin", "end") and self.axes:
            return self.bounds()[name == "end"]
        return name

    def bounds(self) -> tuple[str, str]:
        """`begin` and `end` of a kernel that runs by `each`: its item along the axis that the CPU shares out."""
        if "CHUNKS" in self.axes:
            return "row_0", "row_1"
        axis = self.spec.axis if self.spec.axis in self.axes else self.axes[0]
        return (f"at_{axis}", f"at_{axis} + 1") if axis in self.axes else ("item", "item + 1")

    def scalar(self, item: Item) -> str:
        place = self.spec.scalars.index(item)
        return f"float_of(scalars[{place}])" if item.dtype == "f32" else f"scalars[{place}]"

    def array(self, item: Item) -> str:
        """A view of the array: whole, or cut along the axes that threads share."""
        shape = list(item.sizes)
        strides = [" * ".join(["1", *(f"({s})" for s in shape[n + 1 :])]) for n in range(len(shape))]
        kept, offset, uncut, ordered = [], "0", False, True
        for n, size in enumerate(item.sizes):
            at, length = self.cut(item, n, size)
            if at:
                offset += f" + ({at}) * ({strides[n]})"
            if length == "1" and at:
                ordered = ordered and not uncut
            else:
                uncut = True
            if not (length == "1" and item.sizes[n] == "CHUNKS" and n == 0 and self.chunk_part() and len(shape) > 1):
                kept.append((length or shape[n], strides[n]))
        lengths, steps = [k[0] for k in kept], [k[1] for k in kept]
        pointer = f"p_{item.name}"
        if item.optional:
            lengths[0] = f"(0 if is_null({pointer}) else {lengths[0]})"
        make = "view" if ordered else "strided_view"
        tail = f", ({', '.join(steps)},)" if make == "strided_view" else ""
        return f"{make}({pointer}, {offset}, ({', '.join(f'int64({n})' for n in lengths)},){tail})"

    def chunk_part(self) -> bool:
        return bool(self.spec.chunked) and "CHUNKS" in self.axes

    def cut(self, item: Item, n: int, size: str) -> tuple[str, str]:
        """(where the array begins along an axis, its length there); empty where it is whole: as on the CPU, a kernel that takes
        `begin` finds its place by itself in arrays that the shared axis does not lead."""
        if n > 0 and size == self.spec.axis and "begin" in self.kernel.parameters:
            return "", ""
        if self.chunk_part() and size == self.spec.chunked and n == 0:
            return "row_0", "row_1 - row_0"
        return (f"at_{size}", "1") if size in self.axes else ("", "")

