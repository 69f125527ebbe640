"""The little language: one string says what a call reads, writes and needs.

    layernorm_forward(x: F[N, C], weight: f32[C], eps: f32 -> out: F[N, C], mean: f32[N]; work: f32[CHUNKS, C])

    spec  = name "(" [items] ["->" items] [";" items] ")"              read, written, scratch
    item  = ["~" | "+"] name ":" dtype ["[" sizes "]" ["?"]]           no brackets: a scalar;  "?": may be absent
    size  = sums, differences and products of Symbols, numbers and ceil(a / b)

`out` is wholly overwritten; `+out` can add (the kernel's argument `add_out` says whether); `~m` is the new version of memory
that is read and updated in place.  dtypes are those of `DTYPES`, or the variables F and G, each with its list.

`over` says what threads share:

    "N"             arrays led by N arrive sliced: the kernel's loops start at zero
    "N in CHUNKS"   the kernel is called once per chunk: arrays led by N arrive as its rows, by CHUNKS as its one part
    an expression   such as "ceil(M / TILE) * P": nothing is sliced, the kernel asks for `begin` and `end`
    "1"             one thread
    ""              the call has no kernel of its own: every device lowers it

A capital symbol that the CPU level (or the GPU) defines, such as PANEL, is a constant: `solve` and `symbols` are told which.
The standard library is all that is needed.
"""
from __future__ import annotations

import ast
import itertools
import keyword
import re
from collections.abc import Container, Mapping
from dataclasses import dataclass
from types import CodeType

from dlcore.errors import ShapeError, SpecError

# bytes of one element
DTYPES = {"f32": 4, "f64": 8, "bf16": 2, "i8": 1, "u8": 1, "i32": 4, "i64": 8}
VARIABLES = ("F", "G")
# a plan's precision -> the products that lowerings serve
PRODUCTS = {"float32": "f32", "bf16": "bf16", "tf32x3": "tf32x3", "int8": "i8"}
TRAINING = ("float32", "bf16", "tf32x3")        # those of them that have gradients: int8 is for answers
SCALARS = ("f32", "f64", "i32", "i64")
KINDS = {"~": "update", "+": "add"}
GRID = 64           # elements: where work on rows of one element may be cut between threads

_TOKEN = re.compile(r"\s*(->|[A-Za-z_]\w*|\d+|\S)")
_CONDITION = (ast.Expression, ast.BoolOp, ast.And, ast.Or, ast.UnaryOp, ast.Not, ast.USub, ast.Compare, ast.Lt, ast.LtE,
              ast.Gt, ast.GtE, ast.Eq, ast.NotEq, ast.BinOp, ast.Add, ast.Sub, ast.Mult, ast.FloorDiv, ast.Mod, ast.Name,
              ast.Load, ast.Constant)


def chunks(n: int) -> int:
    """How many partial sums a reduction over n items keeps: a function of the shape alone, never of the threads."""
    return max(1, min(32, n // 16))


def ceil_divide(a: int, b: int) -> int:
    return -(-a // b)


_SCOPE = {"__builtins__": {}, "ceil": ceil_divide}


@dataclass(frozen=True, slots=True)
class Item:
    """One array or scalar of a call."""

    name: str
    kind: str                   # "read", "out", "update" (~), "add" (+), "work"
    dtype: str                  # of DTYPES, or "F" or "G"
    sizes: tuple[str, ...]      # expressions that `Spec.value` evaluates; empty for a scalar
    optional: bool = False
    text: str = ""              # "F[N, ceil(C / PANEL)]", as written

    @property
    def scalar(self) -> bool:
        return not self.sizes

    @property
    def written(self) -> bool:
        return self.kind != "read"


class Spec:
    """A parsed call.

    name        of the call
    items       all, as written;  arrays, scalars: those with and without brackets
    arguments   what the caller passes, in this order: what is read, then what is updated in place
    outputs     what the caller gets back, in this order: out, `+` and `~`
    sizes       every size symbol in order of first appearance, level constants among them (see `symbols`)
    variables   those of F and G that occur;  lists: {"F": (...), "G": (...)}, the dtypes of each
    axis        the expression in `over` ("N" for "N in CHUNKS", "" where there is no kernel)
    sliced      the symbol whose arrays arrive sliced, or ""
    chunked     "N" where `over` is "N in CHUNKS", else ""
    extent      the expression for the number of items that threads share ("CHUNKS" where chunked)
    grid        cuts between threads fall on multiples of this many items
    flops       expression of the floating-point operations, "0" if not said
    """

    def __init__(self, text: str, over: str, flops: str = "", F: tuple[str, ...] = ("f32",),
                 G: tuple[str, ...] = ("f32",)) -> None:
        self.text, self.over = text, over
        self._codes: dict[str, CodeType] = {}
        self.name, self.items = _Parser(self, text).spec()
        self.lists = {"F": tuple(F), "G": tuple(G)}
        for variable, dtypes in self.lists.items():
            if bad := [d for d in dtypes if d not in DTYPES] or not dtypes:
                raise SpecError(f"{self.name}: {variable}={dtypes} must list dtypes", expected=", ".join(DTYPES), got=str(bad))
        self.arrays = tuple(i for i in self.items if not i.scalar)
        self.scalars = tuple(i for i in self.items if i.scalar)
        self.arguments = tuple(i for i in self.items if i.kind in ("read", "update"))
        self.outputs = tuple(i for i in self.items if i.kind in ("out", "add", "update"))
        self.added = tuple(i for i in self.items if i.kind == "add")
        self.variables = tuple(v for v in VARIABLES if any(i.dtype == v for i in self.arrays))
        self.sizes = tuple(dict.fromkeys(s for i in self.arrays for e in i.sizes for s in _symbols(e)))
        self._share(over)
        self.flops = _Parser(self, flops).whole_size() if flops else self.compile("0")

    def _share(self, over: str) -> None:
        """What `over` means."""
        axis, inside, part = (p.strip() for p in over.partition(" in "))
        self.axis = _Parser(self, over, len(axis)).whole_size() if axis else ""
        led = [a for a in self.arrays if a.sizes[0] == self.axis]
        if inside and (part != "CHUNKS" or not self.axis.isidentifier()):
            raise SpecError(f"{self.name}: over={over!r}", expected='"N", "N in CHUNKS", an expression, "1" or ""')
        if self.axis.isidentifier() and not led:
            raise SpecError(f"{self.name}: over={over!r}, but no array is led by {self.axis}", where=self.text)
        self.chunked = self.axis if inside else ""
        self.sliced = self.axis if led and self.axis.isidentifier() else ""
        self.extent = self.compile("CHUNKS" if inside else self.axis or "0")
        rows = self.chunked or not self.sliced or any(len(a.sizes) > 1 for a in led)
        self.grid = 1 if rows else GRID

    def __repr__(self) -> str:
        return f"Spec({self.text!r}, over={self.over!r})"

    # ---- sizes ------------------------------------------------------------------------------------------------------
    def compile(self, size: str) -> str:
        """Keeps the code of an expression that the parser accepted; returns the expression."""
        if size not in self._codes:
            self._codes[size] = compile(size, self.name if hasattr(self, "name") else "spec", "eval")
        return size

    def symbols(self, constants: Container[str] = ()) -> tuple[str, ...]:
        """The sizes that a kernel gets as `dims`, in this order: all but the level's constants."""
        return tuple(s for s in self.sizes if s not in constants)

    def value(self, size: str, dims: Mapping[str, int]) -> int:
        """An expression of this spec with these sizes; `SpecError` where one is not known."""
        try:
            return eval(self._codes[size], _SCOPE, dims)
        except NameError as e:
            raise SpecError(f"{self.name}: nothing tells the size {e.name}", where=self.text,
                            hint=f"pass it by name: {self.name}(..., {e.name}=...)") from None

    def shape(self, item: Item, dims: Mapping[str, int]) -> tuple[int, ...]:
        return tuple([self.value(s, dims) for s in item.sizes])

    def solve(self, shapes: Mapping[str, tuple[int, ...]], given: Mapping[str, int] | None = None,
              constants: Mapping[str, int] | None = None) -> dict[str, int]:
        """Every size, from the shapes of the arrays at hand, the sizes given by name and the level's constants.

        A size that only absent optional arrays show is 0.  `ShapeError` names argument, expected and got shape."""
        given, constants = given or {}, constants or {}
        if unknown := set(given) - set(self.sizes):
            raise SpecError(f"{self.name} has no size {min(unknown)}", where=self.text, expected=", ".join(self.sizes))
        dims, source, later = {**constants, **given}, dict.fromkeys(given, "given by name"), []
        for a in self.arrays:
            if (shape := shapes.get(a.name)) is None:
                continue
            if len(shape) != len(a.sizes):
                raise self._misfit(a, shape, "")
            for size, n in zip(a.sizes, shape):
                if size.isidentifier() and size not in dims and not (size == "CHUNKS" and self.chunked):
                    dims[size], source[size] = n, f"from {a.name} {list(shape)}"
                else:
                    later.append((a, size, n))
        if self.chunked and self.chunked in dims:
            dims["CHUNKS"] = chunks(dims[self.chunked])
        for a in self.arrays:
            if a.optional and a.name not in shapes:
                dims.update({s: 0 for s in a.sizes if s.isidentifier() and s not in dims and not self._shown(s, a)})
        for a, size, n in later:
            if (m := self.value(size, dims)) != n:
                raise self._misfit(a, shapes[a.name], f" with {size} = {m}" + (f" ({source[size]})" if size in source else ""))
        return dims

    def _shown(self, symbol: str, absent: Item) -> bool:
        return any(symbol in a.sizes for a in self.arrays if a is not absent and a.kind in ("read", "update") and not a.optional)

    def _misfit(self, item: Item, shape: tuple[int, ...], why: str) -> ShapeError:
        return ShapeError(f"{self.name}: {item.name} has a shape that does not fit", where=f"argument {item.name} of {self.text}",
                          expected=item.text + why, got=str(list(shape)))

    # ---- dtypes -----------------------------------------------------------------------------------------------------
    def variants(self, wide: bool = False) -> list[dict[str, str]]:
        """Every binding of the variables, each compiled once; `wide` reads f32 as f64 and has no bf16."""
        lists = [[widened(d) if wide else d for d in self.lists[v] if not (wide and d == "bf16")] for v in self.variables]
        return [dict(zip(self.variables, values)) for values in itertools.product(*lists)]

    def key(self, bound: Mapping[str, str], wide: bool = False) -> str:
        """The name of a variant: "f32", "f32_bf16"; "f32" (wide: "f64") where there are no variables."""
        return "_".join(bound[v] for v in self.variables) or ("f64" if wide else "f32")

    def dtype(self, item: Item, bound: Mapping[str, str], wide: bool = False) -> str:
        """The element type of an item of a variant."""
        return bound[item.dtype] if item.dtype in bound else widened(item.dtype) if wide else item.dtype


def whole_size(spec: Spec, text: str) -> str:
    """A size expression in the form that `Spec.value` evaluates; SpecError where it cannot be read."""
    return _Parser(spec, text).whole_size()


def widened(dtype: str) -> str:
    """`wide` plans read f32 as f64, so that finite differences run on the kernels that ship."""
    return "f64" if dtype == "f32" else dtype


def condition(text: str) -> CodeType:
    """The code of a lowering's `when`: comparisons of sizes and numbers, joined by and, or, not; `holds` evaluates it."""
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except SyntaxError as e:
        raise SpecError(f"a condition that cannot be read\n  {text}\n  {' ' * ((e.offset or 1) - 1)}^") from None
    for node in ast.walk(tree):
        if not isinstance(node, _CONDITION):
            raise SpecError(f"a condition compares sizes and numbers\n  {text}\n  {' ' * getattr(node, 'col_offset', 0)}^")
    return compile(tree, "when", "eval")


def holds(code: CodeType, names: Mapping[str, object]) -> bool:
    """Is the condition true for these sizes and numbers?"""
    try:
        return bool(eval(code, _SCOPE, names))
    except NameError as e:
        raise SpecError(f"a condition names {e.name}, which the call does not have") from None


def _symbols(expression: str) -> list[str]:
    return [s for s in re.findall(r"[A-Za-z_]\w*", expression) if s != "ceil"]


class _Parser:
    """Recursive descent over one string; `start` is where the token at hand begins, and where errors point."""

    def __init__(self, spec: Spec, text: str, stop: int | None = None) -> None:
        self.owner, self.text, self.at = spec, text, 0
        self.stop = len(text) if stop is None else stop
        self.token, self.start = "", 0
        self.next()

    def fail(self, message: str) -> None:
        raise SpecError(f"{message}\n  {self.text}\n  {' ' * self.start}^")

    def next(self) -> str:
        last, m = self.token, _TOKEN.match(self.text, self.at, self.stop)
        if m:
            self.start, self.at, self.token = m.start(1), m.end(), m[1]
        else:
            self.start, self.token = self.stop, ""
        return last

    def take(self, *wanted: str) -> str:
        return self.next() if self.token and self.token in wanted else ""

    def expect(self, token: str) -> None:
        if not self.take(token):
            self.fail(f"expected {token!r}, found {self.found()}")

    def found(self) -> str:
        return repr(self.token) if self.token else "the end"

    # ---- the call ---------------------------------------------------------------------------------------------------
    def spec(self) -> tuple[str, tuple[Item, ...]]:
        name = self.identifier("the call's name")
        items: list[Item] = []
        self.expect("(")
        if self.token not in ("->", ";", ")"):
            self.group("read", items)
        if self.take("->"):
            self.group("out", items)
        if self.take(";"):
            self.group("work", items)
        self.expect(")")
        if self.token:
            self.fail("nothing may follow the closing bracket")
        return name, tuple(items)

    def group(self, kind: str, items: list[Item]) -> None:
        items.append(self.item(kind, items))
        while self.take(","):
            items.append(self.item(kind, items))

    def identifier(self, what: str) -> str:
        if not self.token.isidentifier():
            self.fail(f"expected {what}, found {self.found()}")
        return self.next()

    def item_name(self, items: list[Item]) -> str:
        token = self.token
        if any(i.name == token for i in items):
            self.fail(f"{token!r} stands twice")
        if token[:1].isupper():
            self.fail(f"{token!r} is a size: names of arrays and scalars begin with a small letter")
        if token in ("begin", "end") or token.startswith("add_") or keyword.iskeyword(token):
            self.fail(f"{token!r} is reserved")
        return self.identifier("a name")

    def item(self, kind: str, items: list[Item]) -> Item:
        if self.token in KINDS and kind != "out":
            self.fail(f"{self.token!r} stands before outputs only")
        mark = self.take(*KINDS)
        name = self.item_name(items)
        self.expect(":")
        begin = self.start
        if self.token not in DTYPES and self.token not in VARIABLES:
            self.fail(f"unknown dtype {self.found()}; one of {', '.join((*DTYPES, *VARIABLES))}")
        dtype, sizes, optional = self.next(), [], False
        if self.token == "[":
            sizes = self.size_list()
            if self.token == "?" and kind == "work":
                self.fail("scratch is never absent")
            optional = bool(self.take("?"))
        elif kind != "read":
            self.fail("a scalar can only be read; write f32[1]")
        elif dtype not in SCALARS:
            self.fail(f"a scalar is one of {', '.join(SCALARS)}")
        text = self.text[begin:self.start].strip().rstrip(",;)").rstrip()
        return Item(name, KINDS.get(mark, kind), dtype, tuple(sizes), optional, text)

    # ---- sizes ------------------------------------------------------------------------------------------------------
    def size_list(self) -> list[str]:
        self.expect("[")
        sizes = [self.owner.compile(self.size())]
        while self.take(","):
            sizes.append(self.owner.compile(self.size()))
        self.expect("]")
        return sizes

    def whole_size(self) -> str:
        size = self.size()
        if self.token:
            self.fail(f"expected the end, found {self.found()}")
        return self.owner.compile(size)

    def size(self) -> str:
        text = self.product()
        while sign := self.take("+", "-"):
            text += f" {sign} {self.product()}"
        return text

    def product(self) -> str:
        text = self.factor()
        while self.take("*"):
            text += f" * {self.factor()}"
        return text

    def factor(self) -> str:
        if self.take("("):
            text = f"({self.size()})"
        elif self.take("ceil"):
            self.expect("(")
            text = f"ceil({self.size()}, "
            self.expect("/")
            text += f"{self.size()})"
        elif self.token.isdigit() or self.token[:1].isupper():
            return self.next()
        else:
            self.fail(f"expected a size (a capital symbol, a number or ceil(a / b)), found {self.found()}")
        self.expect(")")
        return text
