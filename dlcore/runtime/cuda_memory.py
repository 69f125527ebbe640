"""Memory on a GPU, and what of it the processor sees.

Memory   bytes on the GPU alone: activations, packed weights, data sets
Mirror   bytes on both sides: weights, statistics, gradients, state, caches.  The processor's copy is a NumPy array; each side is
         copied to the other when that is about to read what was written here: `look` before the processor does, `to_gpu` before
         a program does
Staged   inputs and outputs: pinned memory that a step's graph copies from and to, and memory on the GPU that its kernels use
"""
from __future__ import annotations

import mmap
import weakref
from typing import Any

import numpy as np

from dlcore.errors import ShapeError
from dlcore.runtime.buffers import address_of
from dlcore.runtime.cuda_driver import Context

HOST, GPU = "host", "gpu"


class Memory:
    """`nbytes` bytes on the GPU from `address` on, 0 at first; freed with this object.  Raises DeviceError."""

    def __init__(self, context: Context, size: int):
        self.context, self.nbytes = context, size
        self.address = context.allocate(size)
        weakref.finalize(self, context.release, self.address).atexit = False

    def read(self, offset: int = 0, size: int | None = None) -> np.ndarray:
        """A copy of these bytes."""
        copy = np.empty(self.nbytes - offset if size is None else size, np.uint8)
        if copy.size:
            self.context.download(address_of(copy), self.address + offset, copy.size)
        return copy

    def write(self, offset: int, array: np.ndarray) -> None:
        """Copies an array's bytes here."""
        raw = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        if offset < 0 or offset + raw.size > self.nbytes:
            raise ShapeError("bytes do not fit the GPU's memory", expected=f"at most {self.nbytes - offset}", got=str(raw.size))
        if raw.size:
            self.context.upload(self.address + offset, address_of(raw), raw.size)

    def to_gpu(self) -> None:
        """Makes the GPU's side the newest."""

    def written(self) -> None:
        """A program has written here."""

    def copy(self) -> np.ndarray:
        return self.read()

    def fill(self, value: int) -> None:
        """Writes one byte everywhere."""
        self.write(0, np.full(self.nbytes, value, np.uint8))

    def __setitem__(self, key: slice, value: Any) -> None:
        self.write(key.start or 0, np.asarray(value, np.uint8))


class Mirror(Memory):
    """Memory with a copy on the processor.  newer: the side that was written last, "" while both are equal.

    words: single i64 that hosts look at after each step, by offset: [the processor's i64[1], its value on the GPU]"""

    def __init__(self, context: Context, size: int, host: int):
        super().__init__(context, size)
        self.host, self.newer = host, HOST
        self.words: dict[int, list[Any]] = {}

    def look(self) -> None:
        """The processor is about to read or write its copy."""
        if self.newer == GPU and self.nbytes:
            self.context.download(self.host, self.address, self.nbytes)
        self.newer = HOST

    def to_gpu(self) -> None:
        if self.newer == HOST and self.nbytes:
            self.context.upload(self.address, self.host, self.nbytes)
            for offset, word in self.words.items():
                self.context.upload(self.address + offset, address_of(word[0]), 8)
                word[1] = int(word[0][0])
            self.newer = ""
        for offset, word in self.words.items():
            if word[0][0] != word[1]:
                self.context.upload(self.address + offset, address_of(word[0]), 8)
                word[1] = int(word[0][0])

    def written(self) -> None:
        self.newer = GPU

    def word(self, offset: int) -> list[Any]:
        if offset not in self.words:
            self.words[offset] = [np.zeros(1, np.int64), 0]
        return self.words[offset]

    def read(self, offset: int = 0, size: int | None = None) -> np.ndarray:
        self.to_gpu()
        return super().read(offset, size)

    def write(self, offset: int, array: np.ndarray) -> None:
        self.to_gpu()
        super().write(offset, array)
        self.newer = GPU


class _HostBytes(mmap.mmap):
    """Zero bytes of the processor that cost nothing until they are touched; keeps the memory of the GPU alive."""

    mirror: Mirror


_mirrors: weakref.WeakValueDictionary[int, Mirror] = weakref.WeakValueDictionary()      # by address of the processor's copy


def mirrored(context: Context, size: int) -> np.ndarray:
    """The processor's copy of new bytes on both sides; they are freed with its last view."""
    raw = _HostBytes(-1, max(size, 1))
    array = np.frombuffer(raw, np.uint8)[:size]
    raw.mirror = Mirror(context, size, address_of(np.frombuffer(raw, np.uint8)))
    _mirrors[raw.mirror.host] = raw.mirror
    return array


def mirror_of(array: np.ndarray) -> Mirror | None:
    """The memory of which an array of `mirrored`, whole, is the processor's copy."""
    return _mirrors.get(address_of(array)) if len(_mirrors) else None


class Pinned:
    """An array of zero bytes that the GPU can copy from and to while the processor does other things."""

    def __init__(self, context: Context, size: int):
        import ctypes

        address = context.pin(size)
        raw = (ctypes.c_uint8 * max(size, 1)).from_address(address)
        weakref.finalize(raw, context.unpin, address).atexit = False
        self.array = np.frombuffer(memoryview(raw), np.uint8)[:size]
        self.array[:] = 0


class Staged(Memory):
    """Memory on the GPU with pinned memory of the processor, `host`, beside it, copied by the graphs of steps."""

    def __init__(self, context: Context, size: int):
        super().__init__(context, size)
        self.host = Pinned(context, size).array

    def fill(self, value: int) -> None:
        super().fill(value)
        self.host.fill(value)

    def stage(self) -> np.ndarray:
        """More pinned memory of that size, which holds what this one does."""
        made = Pinned(self.context, self.nbytes).array
        made[:] = self.host
        return made
