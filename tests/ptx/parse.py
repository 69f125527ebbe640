"""PTX text -> a kernel: parameters, shared and local memory, instructions with their operands."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import numpy as np

# type of an instruction -> how its register is seen
TYPES = {
    "b8": np.uint8, "u8": np.uint8, "s8": np.int8, "b16": np.uint16, "u16": np.uint16, "s16": np.int16, "b32": np.uint32,
    "u32": np.uint32, "s32": np.int32, "f32": np.float32, "b64": np.uint64, "u64": np.uint64, "s64": np.int64,
    "f64": np.float64, "bf16": np.uint16, "bf16x2": np.uint32, "tf32": np.uint32, "pred": np.bool_,
}  # fmt: skip
SPECIAL = re.compile(r"%(n?tid|n?ctaid)\.[xyz]$|%laneid$|%warpid$|%dynamic_smem_size$")

STATEMENT = re.compile(r"\s*([\w$]+:|[{}](?=\s|$)|[^;{}]*(?:\{[^}]*\}[^;{}]*)*;)")


class PtxError(RuntimeError):
    """What a kernel does that a GPU would not forgive, or that the interpreter does not know."""


@dataclass(frozen=True)
class Operand:
    """kind: "reg", "imm", "special", "symbol", "memory", "vector", "pair", "not", "none"."""

    kind: str
    name: str = ""
    value: object = None
    offset: int = 0
    parts: tuple[Operand, ...] = ()


@dataclass
class Instruction:
    words: list[str]  # "ld.global.f32" split at its dots
    operands: list[Operand]
    predicate: str = ""
    negated: bool = False
    text: str = ""
    target: int = -1  # of a branch


@dataclass
class Kernel:
    name: str
    parameters: list[tuple[str, str]] = field(default_factory=list)
    shared: dict[str, int] = field(default_factory=dict)  # name -> byte
    shared_bytes: int = 0
    local: dict[str, int] = field(default_factory=dict)
    local_bytes: int = 0
    code: list[Instruction] = field(default_factory=list)
    leaders: set[int] = field(default_factory=set)  # where branches lead
    cluster: int = 1  # blocks that run together


def parse(text: str) -> Kernel:
    """The one entry of a module."""
    text = re.sub(r"//[^\n]*|/\*.*?\*/", "", text, flags=re.S)
    head = re.search(r"\.entry\s+([\w$]+)\s*\(", text)
    if head is None:
        raise PtxError("no entry")
    closing = text.index(")", head.end())
    kernel = Kernel(head[1])
    for p in filter(None, (p.strip() for p in text[head.end() : closing].split(","))):
        kernel.parameters.append((p.split()[-1], re.findall(r"\.([busf]\d+)\b", p)[-1]))
    opening = text.index("{", closing)
    clusters = re.search(r"\.reqnctapercluster\s+(\d+)", text[closing:opening])
    kernel.cluster = int(clusters[1]) if clusters else 1
    declared = re.findall(r"\.shared[^;]*;", text[: head.start()])
    for declaration in sorted(declared, key=lambda d: "[]" in d):  # what has no length comes last
        _memory(kernel, declaration)
    _Body(kernel, text[opening + 1 : text.rindex("}")]).read()
    return kernel


def _memory(kernel: Kernel, text: str) -> None:
    m = re.search(r"\.(shared|local)\s+(?:\.align\s+(\d+)\s+)?\.(\w+)\s+([\w$]+)(?:\[(\d+)\])?", text)
    if m is None:
        raise PtxError(f"a declaration that cannot be read: {text}")
    where, align, size = m[1], int(m[2] or 8), np.dtype(TYPES[m[3]]).itemsize * int(m[5] or ("[]" not in text))
    used = kernel.shared_bytes if where == "shared" else kernel.local_bytes
    begin = -(-used // align) * align
    begin += align if begin // align % 2 == 0 else 0  # as far aligned as is said, and no further
    if where == "shared":
        kernel.shared[m[4]], kernel.shared_bytes = begin, begin + size
    else:
        kernel.local[m[4]], kernel.local_bytes = begin, begin + size


class _Body:
    """Reads statements; names that a scope of its own declares are told apart by the scope's number."""

    def __init__(self, kernel: Kernel, text: str) -> None:
        self.kernel, self.text = kernel, text
        self.scopes: list[dict[str, str]] = [{}]
        self.count, self.labels = 0, dict[str, int]()

    def read(self) -> None:
        for statement in re.findall(STATEMENT, self.text):
            statement = statement.strip()
            if statement == "{":
                self.count += 1
                self.scopes.append({})
            elif statement == "}":
                self.scopes.pop()
            elif re.fullmatch(r"[\w$]+:", statement):
                self.labels[self.name(statement[:-1], declare=False)] = len(self.kernel.code)
            elif statement != ";":
                self.statement(" ".join(statement.rstrip(";").split()))
        self.kernel.code.append(Instruction(["ret"], [], text="ret"))
        self.kernel.leaders = set(self.labels.values())
        for i in self.kernel.code:
            if i.words[0] == "bra":
                i.target = self.labels[i.operands[-1].name]

    def name(self, word: str, declare: bool) -> str:
        if declare and len(self.scopes) > 1:
            self.scopes[-1][word] = f"{word}@{self.count}"
        return next((s[word] for s in reversed(self.scopes) if word in s), word)

    def statement(self, text: str) -> None:
        if text.startswith("{"):  # a scope that is opened on the line of its first statement
            self.count += 1
            self.scopes.append({})
            text = text[1:].strip()
        if text.startswith(".reg"):
            for word in text.split(None, 2)[2].split(","):
                self.name(word.strip(), declare=True)
        elif text.startswith((".shared", ".local")):
            _memory(self.kernel, text)
        elif not text.startswith("."):
            self.instruction(text)

    def instruction(self, text: str) -> None:
        m = re.match(r"@(!?)(%?[\w$]+)\s+(.*)", text)
        negated, predicate, rest = (m[1] == "!", self.name(m[2], False), m[3]) if m else (False, "", text)
        word, _, tail = rest.partition(" ")
        operands = [self.operand(o) for o in _split(tail)]
        self.kernel.code.append(Instruction(word.split("."), operands, predicate, negated, text))

    def operand(self, text: str) -> Operand:
        if text.startswith("{"):
            return Operand("vector", parts=tuple(self.operand(t) for t in _split(text[1:-1])))
        if text.startswith("["):
            m = re.match(r"(.+?)\s*\+\s*(-?\w+)$", text[1:-1].strip())
            base, offset = (m[1], int(m[2], 0)) if m else (text[1:-1].strip(), 0)
            return Operand("memory", parts=(self.operand(base),), offset=offset)
        if text == "_":
            return Operand("none")
        if re.match(r"0[fF][0-9A-Fa-f]{8}$", text):
            return Operand("imm", value=np.uint32(int(text[2:], 16)).view(np.float32))
        if re.match(r"0[dD][0-9A-Fa-f]{16}$", text):
            return Operand("imm", value=np.uint64(int(text[2:], 16)).view(np.float64))
        if re.match(r"-?(0x[0-9A-Fa-f]+|\d+)U?$", text):
            return Operand("imm", value=int(text.rstrip("U"), 0))
        if text.startswith("!"):
            return Operand("not", parts=(self.operand(text[1:]),))
        if SPECIAL.match(text):
            return Operand("special", text)
        if "|" in text:
            return Operand("pair", parts=tuple(self.operand(t) for t in text.split("|")))
        name = self.name(text, False)
        return Operand("reg" if text.startswith("%") or name != text else "symbol", name)


def _split(text: str) -> list[str]:
    """At commas that stand in no brackets."""
    found, depth, word = [], 0, ""
    for c in text:
        depth += (c in "{[(") - (c in "}])")
        if c == "," and depth == 0:
            found.append(word.strip())
            word = ""
        else:
            word += c
    return [*found, word.strip()] if word.strip() else found
