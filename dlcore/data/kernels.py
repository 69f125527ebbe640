"""Kernels called on arrays outside of a program: what the loader's thread does, serially and without the GIL."""
from __future__ import annotations

import ctypes
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np

from dlcore.errors import ShapeError
from dlcore.graph.spec import Spec
from dlcore.runtime import kernel_table
from dlcore.runtime.buffers import DTYPES

_ENTRY = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)
_NAMES = {dtype: name for name, dtype in DTYPES.items()}
_KEPT = 64


class DirectKernel:
    """A kernel of the installed table.  Shapes and dtypes are checked against its spec before it runs."""

    def __init__(self, name: str):
        found = kernel_table().calls[name]
        self.spec = Spec(found["spec"], found["over"], found.get("flops", ""), tuple(found["F"]), tuple(found["G"]))
        self._entries: dict[str, Any] = {}
        self._solved: dict[Any, tuple[Any, int]] = {}       # shapes and sizes -> the `dims` block and the extent

    def __call__(self, arrays: Mapping[str, np.ndarray], scalars: Mapping[str, float] | None = None, **sizes: int) -> None:
        """Runs on this thread.  arrays: every array of the spec by name, outputs and scratch too; sizes: those that no array shows.

        Raises ShapeError where an array is missing, scattered, or of another shape or dtype than the spec says."""
        spec = self.spec
        ordered = [arrays[item.name] for item in spec.arrays]
        shapes = tuple(a.shape for a in ordered)
        key = (shapes, *sizes.items())
        if key not in self._solved:
            if len(self._solved) >= _KEPT:
                self._solved.clear()
            self._solved[key] = self._solve(shapes, sizes)
        dims, extent = self._solved[key]
        pointers = (ctypes.c_void_p * len(ordered))(*[a.ctypes.data for a in ordered])
        self._entry(ordered)(0, extent, dims, pointers, self._scalars(scalars or {}))

    def _solve(self, shapes: tuple[tuple[int, ...], ...], sizes: Mapping[str, int]) -> tuple[Any, int]:
        named = {item.name: shape for item, shape in zip(self.spec.arrays, shapes, strict=True)}
        dims = self.spec.solve(named, sizes)
        values = [dims[s] for s in self.spec.symbols()]
        return (ctypes.c_int64 * len(values))(*values), self.spec.value(self.spec.extent, dims)

    def _entry(self, arrays: list[np.ndarray]) -> Any:
        bound: dict[str, str] = {}
        for item, array in zip(self.spec.arrays, arrays, strict=True):
            dtype = _NAMES.get(array.dtype, str(array.dtype))
            want = bound.setdefault(item.dtype, dtype) if item.dtype in self.spec.variables else item.dtype
            if dtype != want or not array.flags.c_contiguous:
                raise ShapeError(f"{self.spec.name}: {item.name} does not fit", expected=f"{want}, contiguous", got=dtype)
        variant = self.spec.key(bound)
        if variant not in self._entries:
            self._entries[variant] = _ENTRY(kernel_table().entry(self.spec.name, variant))
        return self._entries[variant]

    def _scalars(self, given: Mapping[str, float]) -> Any:
        block = (ctypes.c_int64 * max(1, len(self.spec.scalars)))()
        for i, item in enumerate(self.spec.scalars):
            if item.dtype in ("i64", "i32"):
                block[i] = int(given[item.name])
            else:                           # the first four of its eight bytes
                ctypes.c_float.from_buffer(block, 8 * i).value = given[item.name]
        return block


@cache
def direct(name: str) -> DirectKernel:
    """The kernel of that name."""
    return DirectKernel(name)
