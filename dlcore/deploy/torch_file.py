"""PyTorch's file format of before 1.6, read without PyTorch and without running anything that a file says.

    magic, protocol, system, object, keys of the storages: five pickles; then each storage: i64 count, its elements

The pickles are read by the small machine below, which knows the opcodes that such files are made of and three names:
`_rebuild_tensor`, `_rebuild_tensor_v2` and `OrderedDict`.  Whatever else a file asks for is refused.
(Opcodes: CPython's Lib/pickletools.py; layout: torch/serialization.py, `_legacy_save`.)
"""
from __future__ import annotations

import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from dlcore.errors import ModelFileError

MAGIC = 0x1950A86A20F9469CFC6C
KINDS = {"FloatStorage": "<f4", "DoubleStorage": "<f8", "HalfStorage": "<f2", "LongStorage": "<i8", "IntStorage": "<i4",
         "ShortStorage": "<i2", "CharStorage": "i1", "ByteStorage": "u1", "BoolStorage": "?"}
PLAIN = {"BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES",
         "SHORT_BINBYTES", "SHORT_BINSTRING", "BINSTRING"}
CONSTANT: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None, "NEWTRUE": lambda: True, "NEWFALSE": lambda: False, "EMPTY_DICT": dict, "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple}
MOST = 1 << 34          # bytes of one storage


@dataclass(frozen=True)
class Name:
    """A class or function that the file names; it is never looked up."""

    text: str


@dataclass(frozen=True)
class Storage:
    kind: str
    key: str
    count: int


@dataclass(frozen=True)
class Part:
    """A tensor before its storage is read."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


_MARK = object()


class Machine:
    """Reads one pickle from a file."""

    def __init__(self, file: BinaryIO, where: str) -> None:
        self.file, self.where = file, where
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def refuse(self, what: str, got: object = "") -> ModelFileError:
        return ModelFileError(f"the file is not one that PyTorch before 1.6 wrote: {what}", where=self.where, got=str(got)[:120])

    def read(self) -> Any:
        try:
            for opcode, argument, _ in pickletools.genops(self.file):
                if opcode.name == "STOP":
                    return self.stack.pop()
                self.step(opcode.name, argument)
        except ModelFileError:
            raise
        except (ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError) as error:
            raise self.refuse("it is malformed", error) from None
        raise self.refuse("it ends too early")

    def marked(self) -> list[Any]:
        """What stands above the last mark, which goes too."""
        at = len(self.stack) - 1
        while self.stack[at] is not _MARK:
            at -= 1
            if at < 0:
                raise self.refuse("a mark is missing")
        found, self.stack[at:] = self.stack[at + 1:], []
        return found

    def step(self, name: str, argument: Any) -> None:
        stack = self.stack
        if name in PLAIN:
            stack.append(argument)
        elif name in CONSTANT:
            stack.append(CONSTANT[name]())
        elif name == "MARK":
            stack.append(_MARK)
        elif name in ("BINPUT", "LONG_BINPUT"):
            self.memo[argument] = stack[-1]
        elif name == "MEMOIZE":
            self.memo[len(self.memo)] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(self.memo[argument])
        elif name == "GLOBAL":
            stack.append(Name(argument.replace(" ", ".")))
        elif name == "TUPLE":
            stack.append(tuple(self.marked()))
        elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
            n = int(name[-1])
            stack[-n:] = [tuple(stack[-n:])]
        elif name in ("SETITEM", "SETITEMS"):
            items = self.marked() if name == "SETITEMS" else [stack.pop(-2), stack.pop()]
            stack[-1].update(zip(items[::2], items[1::2], strict=True))
        elif name in ("APPEND", "APPENDS"):
            items = self.marked() if name == "APPENDS" else [stack.pop()]
            stack[-1].extend(items)
        elif name == "BINPERSID":
            stack.append(self.storage(stack.pop()))
        elif name == "REDUCE":
            arguments = stack.pop()
            stack.append(self.made(stack.pop(), arguments))
        elif name == "BUILD":               # attributes of an OrderedDict (`_metadata`): nothing that is needed
            stack.pop()
        elif name not in ("PROTO", "FRAME"):
            raise self.refuse("an opcode that such files do not have", name)

    def storage(self, value: Any) -> Storage:
        tag, kind, key, _, count, *view = value
        name = kind.text.rpartition(".")[2] if isinstance(kind, Name) else ""
        if tag != "storage" or name not in KINDS or not isinstance(count, int) or count < 0 or (view and view[0] is not None):
            raise self.refuse("a storage of a kind that is not known", value)
        return Storage(KINDS[name], str(key), count)

    def made(self, function: Any, arguments: tuple[Any, ...]) -> Any:
        name = function.text if isinstance(function, Name) else ""
        if name == "collections.OrderedDict":
            return dict(*arguments)
        if name in ("torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2"):
            storage, offset, shape, strides = arguments[:4]
            return Part(storage, int(offset), tuple(map(int, shape)), tuple(map(int, strides)))
        if name == "torch._utils._rebuild_parameter":
            return arguments[0]
        raise self.refuse("it asks for something that is not run", name or function)


def read(path: str | Path) -> Any:
    """What the file holds: dicts, lists, numbers and texts as they are, tensors as NumPy arrays.  Raises `ModelFileError`."""
    where = str(path)
    try:
        with open(path, "rb") as file:
            if file.read(2) == b"PK":
                raise ModelFileError("this is PyTorch's newer zip format", where=where,
                                     hint="save with torch.save(..., _use_new_zipfile_serialization=False), or as .safetensors")
            file.seek(0)
            magic = Machine(file, where).read()
            if magic != MAGIC:
                raise ModelFileError("the file is not one that PyTorch before 1.6 wrote", where=where, got=f"magic {magic!r}"[:120])
            _, system, value, keys = (Machine(file, where).read() for _ in range(4))
            if not isinstance(system, Mapping) or system.get("little_endian") is not True:
                raise ModelFileError("the file was written by a machine of another byte order", where=where)
            return resolved(value, storages(file, value, keys, where), where)
    except OSError as error:
        raise ModelFileError("the file cannot be read", where=where, got=str(error)) from None


def parts_in(value: Any) -> list[Part]:
    if isinstance(value, Part):
        return [value]
    members = value.values() if isinstance(value, Mapping) else value if isinstance(value, (list, tuple)) else ()
    return [part for member in members for part in parts_in(member)]


def storages(file: BinaryIO, value: Any, keys: Any, where: str) -> dict[str, np.ndarray]:
    kinds = {part.storage.key: part.storage for part in parts_in(value)}
    found: dict[str, np.ndarray] = {}
    for key in map(str, keys if isinstance(keys, (list, tuple)) else ()):
        count = int.from_bytes(file.read(8), "little")
        known = kinds.get(key)
        if known is None or count != known.count or count * np.dtype(known.kind).itemsize > MOST:
            raise ModelFileError("the storages do not fit the tensors", where=where, got=f"{count} elements of {key}")
        data = file.read(count * np.dtype(known.kind).itemsize)
        if len(data) != count * np.dtype(known.kind).itemsize:
            raise ModelFileError("the file ends too early", where=where)
        found[key] = np.frombuffer(data, known.kind)
    return found


def resolved(value: Any, data: Mapping[str, np.ndarray], where: str) -> Any:
    """The same with arrays in place of parts."""
    if isinstance(value, Mapping):
        return {key: resolved(member, data, where) for key, member in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(resolved(member, data, where) for member in value)
    if not isinstance(value, Part):
        return value
    flat = data.get(value.storage.key)
    last = value.offset + sum((n - 1) * s for n, s in zip(value.shape, value.strides, strict=True))
    if flat is None or min((value.offset, *value.shape, *value.strides)) < 0 or (0 not in value.shape and last >= len(flat)):
        raise ModelFileError("a tensor lies outside its storage", where=where, got=str(value.shape))
    strides = [s * flat.itemsize for s in value.strides]
    return np.lib.stride_tricks.as_strided(flat[value.offset:], value.shape, strides).copy()
