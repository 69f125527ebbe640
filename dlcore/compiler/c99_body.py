"""Statements and whole functions of a kernel in C99."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from numba import types

from dlcore.compiler.c99_expression import Expressions, Library, convert, plain, unify
from dlcore.compiler.c99_types import BINARY, C_TYPES, RESERVED, SUM, Value, literal
from dlcore.compiler.digest import scope_of, source_tree
from dlcore.compiler.gate import CompileError

PASSES = 6  # over a function until the types of its variables stand
_NEW, _PAIR = "_new", "_pair"
Place = tuple[int, ...]


@dataclass
class Made:
    """A translated function.  parameters: (name, type, the extents of an array that the function reads)."""

    name: str
    result: Any
    parameters: list[tuple[str, Any, list[int]]]
    text: str = ""
    written: set[str] = field(default_factory=set)  # array parameters that are stored to


def names_in(text: str) -> set[str]:
    return set(re.findall(r"[A-Za-z_]\w*", text))


def safe(name: str) -> str:
    """A name that C leaves free, and that is no extent's."""
    return name + "_" if name in RESERVED or re.search(r"_n\d$", name) else name


def extent_name(array: str, axis: int) -> str:
    return f"{array}_n{axis}"


# ---- statements made simple ------------------------------------------------------------------------------------------
def simplified(body: list[ast.stmt]) -> list[ast.stmt]:
    """One target per assignment; docstrings and `pass` gone."""
    out: list[ast.stmt] = []
    for node in body:
        if isinstance(node, ast.Assign):
            out += _assignments(node)
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) or isinstance(node, ast.Pass):
            continue
        else:
            for name in ("body", "orelse"):
                if hasattr(node, name):
                    setattr(node, name, simplified(getattr(node, name)))
            out.append(node)
    return out


def _assign(target: ast.expr, value: ast.expr, near: ast.AST) -> ast.Assign:
    return ast.fix_missing_locations(ast.copy_location(ast.Assign([target], value), near))


def _assignments(node: ast.Assign) -> list[ast.stmt]:
    if len(node.targets) > 1:  # m = v = value: evaluated once, left to right
        first, *rest = node.targets
        load = ast.parse(ast.unparse(first), mode="eval").body
        return [
            s
            for a in (_assign(first, node.value, node), *(_assign(t, load, node) for t in rest))
            for s in _assignments(a)
        ]
    target, value = node.targets[0], node.value
    if not isinstance(target, ast.Tuple):
        return [node]
    if isinstance(value, ast.IfExp) and isinstance(value.body, ast.Tuple) and isinstance(value.orelse, ast.Tuple):
        each = [ast.IfExp(value.test, yes, no) for yes, no in zip(value.body.elts, value.orelse.elts, strict=True)]
        return _parallel(node, target.elts, each)
    if isinstance(value, ast.Tuple):
        return _parallel(node, target.elts, value.elts)
    pair = value
    lines: list[ast.stmt] = []
    if not (isinstance(value, ast.Attribute) and value.attr == "shape"):
        name = "_".join(t.id for t in target.elts if isinstance(t, ast.Name)) + _PAIR
        lines, pair = [_assign(ast.Name(name, ast.Store()), value, node)], ast.Name(name, ast.Load())
    return lines + [
        _assign(t, ast.Subscript(pair, ast.Constant(i), ast.Load()), node) for i, t in enumerate(target.elts)
    ]


def _parallel(node: ast.Assign, targets: Sequence[ast.expr], values: Sequence[ast.expr]) -> list[ast.stmt]:
    """a, b = x, y, by way of new names where y reads a."""
    later = {n.id for v in values[1:] for n in ast.walk(v) if isinstance(n, ast.Name)}
    if not later & {n for t in targets[:-1] for n in _roots(t)}:
        return [s for t, v in zip(targets, values, strict=True) for s in _assignments(_assign(t, v, node))]
    fresh = [f"{_roots(t)[0]}{_NEW}" for t in targets]
    first = [_assign(ast.Name(n, ast.Store()), v, node) for n, v in zip(fresh, values, strict=True)]
    return [*first, *(_assign(t, ast.Name(n, ast.Load()), node) for t, n in zip(targets, fresh, strict=True))]


def _roots(target: ast.expr) -> list[str]:
    """The variables and arrays that a target writes to."""
    if isinstance(target, ast.Tuple):
        return [n for t in target.elts for n in _roots(t)]
    while isinstance(target, ast.Subscript):
        target = target.value
    return [target.id] if isinstance(target, ast.Name) else []


def places(body: list[ast.stmt], at: Place = ()) -> Iterator[tuple[str, Place]]:
    """Every name with where it stands: (statement, branch, statement, branch, ..., statement)."""
    for i, node in enumerate(body):
        nested = [getattr(node, name) for name in ("body", "orelse") if isinstance(getattr(node, name, None), list)]
        own = [n for n in ast.iter_child_nodes(node) if not any(n in block for block in nested)]
        for child in own:
            for inner in ast.walk(child):
                if isinstance(inner, ast.Name):
                    yield inner.id, (*at, i)
        for branch, block in enumerate(nested):
            yield from places(block, (*at, i, branch))


class Body(Expressions):
    """Translates one function for given types of its arguments."""

    def __init__(self, name: str, library: Library, python: Any, arguments: tuple[Any, ...], inline: bool) -> None:
        super().__init__(name, library, scope_of(python))
        tree = source_tree(python)
        self.python, self.inline = python, inline
        self.arguments = {a.arg: kind for a, kind in zip(tree.args.args, arguments, strict=True)}
        self.body = self.used(simplified(tree.body))
        self.result: Any = None
        self.written: set[str] = set()  # C names of arrays that are stored to
        self.roots: dict[str, str] = {}  # local view -> the array it looks into
        self.declared: set[str] = set()
        self.counted = self.header_variables()
        self.homes = dict(self.declarations())

    # ---- what stands where
    # --------------------------------------------------------------------------------------------
    def used(self, body: list[ast.stmt]) -> list[ast.stmt]:
        """The statements without assignments to names that nobody reads."""
        while True:
            whole = ast.Module(body, [])
            read = {n.id for n in ast.walk(whole) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
            read |= {n.target.id for n in ast.walk(whole) if isinstance(n, ast.For) and isinstance(n.target, ast.Name)}
            before = ast.dump(whole)
            body = self._without(body, read)
            if ast.dump(ast.Module(body, [])) == before:
                return body

    def _without(self, body: list[ast.stmt], read: set[str]) -> list[ast.stmt]:
        out = []
        for node in body:
            if isinstance(node, ast.Assign) and isinstance(t := node.targets[0], ast.Name) and t.id not in read:
                continue
            for name in ("body", "orelse"):
                if isinstance(getattr(node, name, None), list):
                    setattr(node, name, self._without(getattr(node, name), read))
            out.append(node)
        return out

    def header_variables(self) -> set[str]:
        """Loop variables that live in the head of their `for`: bound by loops alone, and read inside these only."""
        outside: set[str] = set()

        def walk(node: ast.AST, bound: frozenset[str]) -> None:
            if isinstance(node, ast.For) and isinstance(node.target, ast.Name):
                walk(node.iter, bound)
                for statement in node.body:
                    walk(statement, bound | {node.target.id})
                return
            if isinstance(node, ast.Name) and (isinstance(node.ctx, ast.Store) or node.id not in bound):
                outside.add(node.id)
            for child in ast.iter_child_nodes(node):
                walk(child, bound)

        walk(ast.Module(self.body, []), frozenset())
        loops = {
            n.target.id
            for n in ast.walk(ast.Module(self.body, []))
            if isinstance(n, ast.For) and isinstance(n.target, ast.Name)
        }
        return loops - outside - set(self.arguments)

    def declarations(self) -> Iterator[tuple[str, Place]]:
        """Where each variable is declared: before the first statement, in the innermost block that holds all of its
        uses."""
        stored = {
            n.id
            for n in ast.walk(ast.Module(self.body, []))
            if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)
        }
        found: dict[str, list[Place]] = {}
        for name, at in places(self.body):
            if name in stored and name not in self.counted and name not in self.arguments:
                found.setdefault(name, []).append(at)
        for name, where in found.items():
            depth = 0
            while all(len(p) > depth + 2 for p in where) and len({p[: depth + 2] for p in where}) == 1:
                depth += 2
            yield name, min(p[: depth + 1] for p in where)

    # ---- functions
    # ----------------------------------------------------------------------------------------------------
    def translate(self) -> Made:
        for _ in range(PASSES):
            before = (dict(self.variables), set(self.written), self.result)
            lines = self.once()
            if before == (self.variables, self.written, self.result):
                return self.finish(lines)
        raise CompileError(f"{self.name}: the types of its variables do not settle")

    def once(self) -> list[str]:
        self.declared = set()
        for name, kind in self.arguments.items():
            c = safe(name)
            shape = tuple(extent_name(c, axis) for axis in range(kind.ndim)) if isinstance(kind, types.Array) else ()
            self.variables[name] = Value(c, kind, shape=shape)
        return self.block(self.body, (), 1)

    def finish(self, lines: list[str]) -> Made:
        text = "\n".join(lines)
        used, parameters, words, unused = names_in(text), [], [], []
        for name, kind in self.arguments.items():
            c = safe(name)
            needed: list[int] = []
            if isinstance(kind, types.Array):
                words.append(f"{'' if c in self.written else 'const '}{C_TYPES[kind.dtype]} *{c}")
                needed = [axis for axis in range(kind.ndim) if extent_name(c, axis) in used]
                words += [f"int64_t {extent_name(c, axis)}" for axis in needed]
            else:
                words.append(f"{C_TYPES[kind]} {c}")
            if c not in used:
                unused.append(f"    (void){c};")
            parameters.append((name, kind, needed))
        result = self.result_type()
        head = f"static {'inline ' if self.inline else ''}{result} {self.name}({', '.join(words) or 'void'})"
        written = {n for n in self.arguments if safe(n) in self.written}
        whole = "\n".join([*wrapped(head), "{", *unused, *lines, "}"]) + "\n"
        return Made(self.name, self.result, parameters, whole, written)

    def result_type(self) -> str:
        if self.result is None:
            return "void"
        if isinstance(self.result, types.BaseTuple):
            return self.tuple_name(self.result)
        return C_TYPES[self.result]

    def tuple_name(self, kind: Any) -> str:
        """A struct for several results."""
        name = f"{self.name}_result" if self.result == kind else ""
        if name:
            members = " ".join(f"{C_TYPES[k]} m{i};" for i, k in enumerate(kind.types))
            self.library.support(name, f"typedef struct {{ {members} }} {name};\n")
        return name

    # ---- statements
    # ---------------------------------------------------------------------------------------------------
    def block(self, body: list[ast.stmt], at: Place, depth: int) -> list[str]:
        lines: list[str] = []
        for i, node in enumerate(body):
            here = (*at, i)
            new = [n for n, home in self.homes.items() if home == here]
            method = getattr(self, f"do_{type(node).__name__.lower()}", None)
            if method is None:
                raise self.fail(node, f"{type(node).__name__} is not in the language")
            inline = isinstance(node, ast.Assign) and isinstance(t := node.targets[0], ast.Name) and new == [t.id]
            made = method(node, here, depth, new[0] if inline else "")
            if not inline:
                lines += [
                    f"{'    ' * depth}{self.declaration(n)};" for n in new if n in self.variables and not self.alias(n)
                ]
            lines += made
        return lines

    def alias(self, name: str) -> bool:
        return isinstance(self.variables[name].type, types.BaseTuple)

    def declaration(self, name: str) -> str:
        value = self.variables[name]
        if isinstance(value.type, types.Array):
            return f"{'' if value.text in self.written else 'const '}{C_TYPES[value.type.dtype]} *{value.text}"
        return f"{C_TYPES[value.type]} {value.text}"

    def do_assign(self, node: ast.Assign, at: Place, depth: int, declare: str) -> list[str]:
        target, pad = node.targets[0], "    " * depth
        if isinstance(target, ast.Name):
            value = self.tuple_member(node.value) or self.expression(node.value)
            if isinstance(value.type, types.BaseTuple):
                return self.assign_tuple(target.id, value, pad)
            if isinstance(value.type, types.Array):
                return self.assign_view(node, target.id, value, pad, declare)
            value = self.bind(node, target.id, value)
            return [f"{pad}{self.declaration(declare) if declare else self.variables[target.id].text} = {value.text};"]
        if isinstance(target, ast.Subscript):
            place = self.stored(target)
            value = convert(self.tuple_member(node.value) or self.expression(node.value), plain(place.type))
            return [f"{pad}{place.text} = {value.text};"]
        raise self.fail(node, "an assignment to something else than a name or an element")

    def bind(self, node: ast.AST, name: str, value: Value) -> Value:
        """The value in the type of the variable, which fits all that is assigned to it."""
        known = self.variables.get(name)
        kind = unify(self.where(node), value.type, *([known.type] if known else []))
        self.variables[name] = Value(safe(name), kind)
        return convert(value, kind)

    def assign_view(self, node: ast.AST, name: str, value: Value, pad: str, declare: str) -> list[str]:
        root = value.text.lstrip("(").partition(" ")[0]
        c, shape, lines = safe(name), [], []
        for axis, extent in enumerate(value.shape):
            if extent.isidentifier() or extent.isdigit():
                shape.append(extent)
            else:
                shape.append(extent_name(c, axis))
                lines.append(f"{pad}const int64_t {shape[-1]} = {extent};")
        if name in self.variables and self.variables[name] != Value(c, value.type, shape=tuple(shape)):
            raise self.fail(node, f"{name} is two different views")
        self.variables[name], self.roots[c] = Value(c, value.type, shape=tuple(shape)), root
        return [*lines, f"{pad}{self.declaration(name) if declare else c} = {value.text};"]

    def assign_tuple(self, name: str, value: Value, pad: str) -> list[str]:
        self.variables[name] = Value(safe(name), value.type)
        return [f"{pad}const {value.text.partition('(')[0]}_result {safe(name)} = {value.text};"]

    def tuple_member(self, node: ast.expr) -> Value | None:
        """t[1] of a tuple that a function returned."""
        if (
            isinstance(node, ast.Subscript)
            and isinstance(node.value, ast.Name)
            and isinstance(node.slice, ast.Constant)
        ):
            value, place = self.variables.get(node.value.id), node.slice.value
            if value is not None and isinstance(value.type, types.Tuple | types.UniTuple) and isinstance(place, int):
                return Value(f"{value.text}.m{place}", value.type.types[place])
        return None

    def stored(self, target: ast.Subscript) -> Value:
        place = self.element(target)
        if place.shape:
            raise self.fail(target, "an assignment to a whole row")
        self.note_written(self.expression(target.value))
        return place

    def note_written(self, array: Value) -> None:
        name = array.text.lstrip("(").partition(" ")[0]
        while name:
            self.written.add(name)
            name = self.roots.get(name, "")

    def do_augassign(self, node: ast.AugAssign, at: Place, depth: int, declare: str) -> list[str]:
        pad = "    " * depth
        old = self.expression(ast.parse(ast.unparse(node.target), mode="eval").body)
        value = self.binary(node, type(node.op), old, self.expression(node.value))
        if isinstance(node.target, ast.Name):
            value = self.bind(node, node.target.id, value)
            place = self.variables[node.target.id]
        elif isinstance(node.target, ast.Subscript):
            place = self.stored(node.target)
        else:
            raise self.fail(node, "an assignment to something else than a name or an element")
        sign, level = BINARY[type(node.op)][1:]
        head = f"{place.text} {sign} "
        if plain(value.type) == plain(place.type) and level >= SUM and value.text.startswith(head):
            rest = value.text.removeprefix(head)
            return [f"{pad}{place.text} {sign}= {rest};"]
        return [f"{pad}{place.text} = {convert(value, plain(place.type)).text};"]

    def do_if(self, node: ast.If, at: Place, depth: int, declare: str) -> list[str]:
        pad = "    " * depth
        lines = [f"{pad}if ({self.condition(node.test).text}) {{", *self.block(node.body, (*at, 0), depth + 1)]
        if not node.orelse:
            return [*lines, pad + "}"]
        nested = (*at, 1)
        if (
            len(node.orelse) == 1
            and isinstance(node.orelse[0], ast.If)
            and not any(h == (*nested, 0) for h in self.homes.values())
        ):
            rest = self.block(node.orelse, nested, depth)
            return [*lines, f"{pad}}} else {rest[0].lstrip()}", *rest[1:]]
        return [*lines, pad + "} else {", *self.block(node.orelse, nested, depth + 1), pad + "}"]

    def do_while(self, node: ast.While, at: Place, depth: int, declare: str) -> list[str]:
        if node.orelse:
            raise self.fail(node, "while ... else is not in the language")
        pad = "    " * depth
        body = self.block(node.body, (*at, 0), depth + 1)
        return [f"{pad}while ({self.condition(node.test).text}) {{", *body, pad + "}"]

    def do_for(self, node: ast.For, at: Place, depth: int, declare: str) -> list[str]:
        call = node.iter
        if node.orelse or not (
            isinstance(call, ast.Call) and self.static(call.func) is range and isinstance(node.target, ast.Name)
        ):
            raise self.fail(node, "a loop that is not over range(...)")
        bounds = [convert(self.expression(a), types.int64) for a in call.args]
        start, stop = (literal(0), bounds[0]) if len(bounds) == 1 else bounds[:2]
        step = bounds[2] if len(bounds) == 3 else literal(1)
        if step.constant is None and not step.text.isidentifier():
            raise self.fail(node, "a step that is neither a number nor a name")
        name, pad = node.target.id, "    " * depth
        counter = safe(name) if name in self.counted else f"{safe(name)}_next"
        first = self.bind(node, name, Value(counter, types.int64))
        changing = {
            n.id for s in node.body for n in ast.walk(s) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)
        }
        limit, start_text = stop.at(SUM), start.text
        if names_in(limit) & {safe(n) for n in changing} or "(" in limit or "[" in limit:
            limit = f"{counter}_end"
            start_text += f", {limit} = {stop.text}"
        down = step.constant is not None and step.constant < 0
        advance = {1: f"++{counter}", -1: f"--{counter}"}.get(step.constant, f"{counter} += {step.text}")
        head = f"{pad}for (int64_t {counter} = {start_text}; {counter} {'>' if down else '<'} {limit}; {advance}) {{"
        inner = [] if name in self.counted else [f"{pad}    {self.variables[name].text} = {first.text};"]
        return [head, *inner, *self.block(node.body, (*at, 0), depth + 1), pad + "}"]

    def do_break(self, node: ast.Break, at: Place, depth: int, declare: str) -> list[str]:
        return ["    " * depth + "break;"]

    def do_continue(self, node: ast.Continue, at: Place, depth: int, declare: str) -> list[str]:
        return ["    " * depth + "continue;"]

    def do_expr(self, node: ast.Expr, at: Place, depth: int, declare: str) -> list[str]:
        if not isinstance(node.value, ast.Call):
            raise self.fail(node, "an expression that does nothing")
        return [f"{'    ' * depth}{self.expression(node.value).text};"]

    def do_return(self, node: ast.Return, at: Place, depth: int, declare: str) -> list[str]:
        pad = "    " * depth
        if node.value is None:
            return [f"{pad}return;"]
        if isinstance(node.value, ast.Tuple):
            values = [self.expression(e) for e in node.value.elts]
            self.result = types.Tuple([plain(v.type) for v in values])
            return [f"{pad}return ({self.tuple_name(self.result)}){{ {', '.join(v.text for v in values)} }};"]
        value = self.expression(node.value)
        self.result = unify(self.where(node), value.type, *([self.result] if self.result is not None else []))
        return [f"{pad}return {convert(value, self.result).text};"]


def wrapped(head: str, width: int = 120) -> list[str]:
    """A function's head, broken at commas where it is too long."""
    lines = [""]
    for word in re.split(r"(?<=,) ", head):
        if len(lines[-1]) + len(word) + 1 > width:
            lines.append("    ")
        lines[-1] += ("" if lines[-1].strip() == "" else " ") + word
    return lines
