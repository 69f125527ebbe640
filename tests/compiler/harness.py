"""Calling C entries of kernels with random data, by their specs."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dlcore.graph.spec import Spec, chunks

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
NUMPY = {
    "f32": np.float32,
    "f64": np.float64,
    "bf16": np.uint16,
    "i8": np.int8,
    "u8": np.uint8,
    "i32": np.int32,
    "i64": np.int64,
}
SIZES = (5, 13, 33, 40)
# Sizes that the shapes of a call's arrays do not show to be related.
DERIVED = {
    "I": "ceil(M / TILE)",
    "P": "ceil(N / PANEL)",
    "concat.T": "A + B + C + D + E + H + I + J",
    "slice_columns.D": "C - 1",
    "pad_columns.D": "C + 1",
}
# Sizes and scalars that kernels of one family need to agree.
_WINDOWS = {"H": 6, "W": 7, "P": 6, "Q": 7}, {"top": 0, "left": 0, "whole": 0}
_TAPS = {"B": 3, "H": 7, "W": 6, "G": 2, "J": 3, "N": 5, "KH": 3, "KW": 2, "U": 3, "V": 8, "M": 3 * 7 * 7}
_PLACES = {"height": 7, "width": 7, "columns": 6, "groups": 2, "reach": 3, "row_width": 8, "channels": 3}
_PLACES |= {"taps_high": 3, "taps_wide": 2}
_HEADS = {"B": 2, "T": 13, "S": 13, "H": 4, "A": 4, "E": 2, "L": 2, "D": 8, "V": 8}
_SEEN = {"groups": 2, "k_head": 0, "v_head": 0, "causal": 1, "window": 0}
_WINOGRAD = {"B": 2, "H": 4, "W": 5, "M": 40, "KH": 3, "KW": 3, "J": 16, "G": 1, "N": 16, "PARTS": 3}
FAMILIES: dict[str, tuple[dict[str, int], dict[str, float]]] = {
    "correlate_few": (_TAPS | {"G": 1, "J": 8, "N": 2}, _PLACES | {"groups": 1}),
    "correlate": (_TAPS, _PLACES),
    "weight_parts": (_TAPS | {"PARTS": 3}, _PLACES),
    "winograd": (_WINOGRAD, {"height": 4, "width": 5, "columns": 5, "channels": 16, "top": 1, "left": 1}),
    "depthwise": (_TAPS | {"J": 1, "N": 1, "G": 5}, _PLACES | {"groups": 5}),
    "pack_filters": (_TAPS, {}),
    "turn_filters": (_TAPS, {}),
    "pixel_": ({"B": 2, "H": 3, "W": 5, "R": 2}, {}),
    "groupnorm": ({"G": 5, "C": 40}, {}),
    "attention": (_HEADS, _SEEN),
    "packed_attention": (_HEADS | {"A": 8}, _SEEN),
    "cached_attention": (_HEADS | {"A": 8, "G": 2}, _SEEN | {"position": 5}),
    "resample": ({"P": 8, "B": 3, "Y": 5, "X": 4, "C": 3, "L": 8, "T": 40}, {}),
    "rotary": ({"T": 13, "R": 4, "A": 4, "D": 8}, {}),
    "max_pool2d": _WINDOWS,
    "average_pool2d": _WINDOWS,
}


def compile_rooms(
    *arguments: object, rooms: str = "compiler.toy_room", environment: dict[str, str] | None = None, code: int = 0
) -> subprocess.CompletedProcess[str]:
    """Runs `python -m dlcore.compiler` on rooms of the tests (or, with rooms="", on all of dlcore)."""
    found = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(HERE.parent), os.environ.get("PYTHONPATH", "")]),
        **(environment or {}),
    }
    command = [sys.executable, "-m", "dlcore.compiler", *(["--rooms", rooms] if rooms else []), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=found, cwd=ROOT)
    assert done.returncode == code, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


@dataclass
class Library:
    """A kernels.so with its kernels.json."""

    folder: Path
    load: bool = True  # not where it is for another architecture
    table: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.table = json.loads((self.folder / "kernels.json").read_text())
        if self.load:
            self.so = ctypes.CDLL(str(self.folder / "kernels.so"))

    def spec(self, name: str) -> Spec:
        c = self.table["calls"][name]
        return Spec(c["spec"], c["over"], c["flops"], tuple(c["F"]), tuple(c["G"]))

    def symbols(self, name: str, level: str) -> dict[str, str]:
        return self.table["calls"][name]["entries"]["cpu"].get(level, {})

    def constants(self, level: str) -> dict[str, int]:
        return self.table["levels"][level]["constants"]

    def run(self, call: Case, level: str, begin: int = 0, end: int | None = None) -> None:
        call.run(self.so[self.symbols(call.spec.name, level)[call.dtypes]], begin, end)


@dataclass
class Case:
    """One call with data: `arrays` by name (None: absent), `scalars` and `add` bits by name."""

    spec: Spec
    dims: dict[str, int]
    symbols: tuple[str, ...]
    arrays: dict[str, np.ndarray | None]
    scalars: dict[str, float]
    add: dict[str, int]
    dtypes: str
    wide: bool = False

    def copy(self) -> Case:
        arrays = {n: None if a is None else a.copy() for n, a in self.arrays.items()}
        return Case(
            self.spec, self.dims, self.symbols, arrays, dict(self.scalars), dict(self.add), self.dtypes, self.wide
        )

    @property
    def extent(self) -> int:
        return self.spec.value(self.spec.extent, self.dims)

    def run(self, entry: Any, begin: int = 0, end: int | None = None) -> None:
        """Calls a C entry on the arrays."""
        dims = (ctypes.c_int64 * (len(self.symbols) or 1))(*(self.dims[s] for s in self.symbols))
        given = [self.arrays[a.name] for a in self.spec.arrays]
        pointers = (ctypes.c_void_p * (len(given) or 1))(*(None if a is None else a.ctypes.data for a in given))
        slots = np.frombuffer(self.slots(), np.uint8).copy()
        entry.restype = None
        entry(
            ctypes.c_int64(begin),
            ctypes.c_int64(self.extent if end is None else end),
            dims,
            pointers,
            ctypes.c_void_p(slots.ctypes.data),
        )

    def slots(self) -> bytes:
        """The scalars and bits as the entry reads them."""
        out = b""
        for item in self.spec.scalars:
            kind = NUMPY["f64" if self.wide and item.dtype == "f32" else item.dtype if item.dtype[0] == "f" else "i64"]
            out += kind(self.scalars[item.name]).tobytes().ljust(8, b"\0")
        return out + b"".join(np.int64(self.add[i.name]).tobytes() for i in self.spec.added)

    def written(self) -> dict[str, np.ndarray]:
        return {
            a.name: found
            for a in self.spec.arrays
            if a.written and a.kind != "work" and (found := self.arrays[a.name]) is not None
        }


SIZED = ("boxes", "cells", "priors")       # widths and heights among them are divided by


def random_case(
    spec: Spec,
    bound: dict[str, str],
    constants: dict[str, int],
    rng: np.random.Generator,
    *,
    wide: bool = False,
    positive: bool = False,
    absent: bool = False,
    sizes: dict[str, int] | None = None,
    scalars: dict[str, float] | None = None,
) -> Case:
    """Random data; integers are 0 and 1, which are indices into everything."""
    symbols = spec.symbols(constants)
    fixed, agreed = next((known for name, known in FAMILIES.items() if spec.name.startswith(name)), ({}, {}))
    fixed = {s: n for s, n in fixed.items() if s in symbols}
    dims = {**constants, **{s: int(rng.choice(SIZES)) for s in symbols}, **fixed, **(sizes or {})}
    if spec.chunked:
        dims["CHUNKS"] = chunks(dims[spec.chunked])
    for s in symbols:
        if expression := DERIVED.get(f"{spec.name}.{s}", DERIVED.get(s, "") if s + "," in spec.text else ""):
            if all(n in dims for n in ("M", "N") if n in expression):
                dims[s] = eval(expression.replace("/", ","), {"ceil": lambda a, b: -(-a // b)}, dims)
    arrays: dict[str, np.ndarray | None] = {}
    for item in spec.arrays:
        kind, shape = NUMPY[spec.dtype(item, bound, wide)], spec.shape(item, dims)
        if item.optional and absent:
            arrays[item.name] = None
        elif np.issubdtype(kind, np.floating):
            sized = positive or item.name in SIZED
            arrays[item.name] = (rng.uniform(0.1, 2, shape) if sized else rng.standard_normal(shape)).astype(kind)
            if item.name == "boxes":                # rows that end in two corners, the second behind the first
                arrays[item.name][..., -2:] += arrays[item.name][..., -4:-2]
        else:
            arrays[item.name] = rng.integers(0, 2, shape).astype(kind)
    numbers = {i.name: float(np.float32(rng.uniform(0.1, 0.9))) if i.dtype[0] == "f" else 1 for i in spec.scalars}
    numbers |= {n: v for n, v in agreed.items() if n in numbers} | (scalars or {})
    return Case(
        spec,
        dims,
        symbols,
        arrays,
        numbers,
        {i.name: int(rng.integers(0, 2)) for i in spec.added},
        spec.key(bound, wide),
        wide,
    )


def in_python(kernel: Any, case: Case, begin: int = 0, end: int | None = None) -> None:
    """What the entry does, by the kernel's Python function on NumPy's arrays."""
    import inspect

    names, spec = list(inspect.signature(kernel.python).parameters), case.spec
    end = case.extent if end is None else end
    ranges = [(None, begin, end)]
    if spec.chunked:
        n, parts = case.dims[spec.chunked], case.dims["CHUNKS"]
        ranges = [(c, c * n // parts, (c + 1) * n // parts) for c in range(begin, end)]
    for chunk, low, high in ranges:
        values: dict[str, Any] = {
            "begin": low,
            "end": high,
            **case.dims,
            **{f"add_{n}": bool(b) for n, b in case.add.items()},
        }
        for item in spec.scalars:
            values[item.name] = NUMPY[spec.dtype(item, {}, case.wide)](case.scalars[item.name])
        for item in spec.arrays:
            a = case.arrays[item.name]
            if a is None:
                a = np.zeros((0,) * len(item.sizes), np.float32)
            elif chunk is not None and item.sizes[0] == "CHUNKS":
                a = a[chunk] if a.ndim > 1 else a[chunk : chunk + 1]
            elif spec.sliced and item.sizes[0] == spec.sliced:
                a = a[low:high]
            values[item.name] = a
        with np.errstate(all="ignore"):
            kernel.python(*(values[n] for n in names))


def assert_same(got: Case, wanted: Case, tolerance: float, what: str) -> None:
    """Every written array within `tolerance` of the greatest magnitude in it; NaN and infinities in the same places."""
    for name, expected in wanted.written().items():
        found = got.written()[name]
        if not np.issubdtype(expected.dtype, np.floating):
            np.testing.assert_array_equal(found, expected, err_msg=f"{what}: {name}")
            continue
        finite = expected[np.isfinite(expected)]
        scale = float(np.abs(finite).max()) if finite.size else 1.0
        np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance * scale, err_msg=f"{what}: {name}")
