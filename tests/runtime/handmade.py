"""Small programs on C kernels that gcc makes: the run time is tested without the compiler and the planner."""
from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dlcore.graph.declaration import Slot
from dlcore.graph.spec import Spec, chunks
from dlcore.runtime import Program, Step, kernel_table
from dlcore.runtime.buffers import DTYPES

# name -> spec, over, flops, entries
CALLS = {
    "plus": ("plus(x: F[S], y: F[S] -> +out: F[S])", "S", "S", {"v2": ["f32", "f64"]}),
    "affine": ("affine(x: F[S], factor: f32, by: i64 -> out: F[S])", "S", "2 * S", {"v2": ["f32", "f64"]}),
    "multiply": ("multiply(a: F[M, K], b: F[K, N], bias: F[N]? -> +out: F[M, N])", "M", "2 * M * N * K",
                 {"v2": ["f32"]}),
    "column_parts": ("column_parts(x: F[N, C] -> parts: F[CHUNKS, C])", "N in CHUNKS", "N * C", {"v2": ["f32"]}),
    "add_parts": ("add_parts(parts: F[P, C] -> +out: F[C])", "C", "P * C", {"v2": ["f32"]}),
    "sgd": ("sgd(dweight: f32[S], status: i64[1], lr: f32 -> ~weight: f32[S])", "S", "2 * S", {"v2": ["f32"]}),
    "check": ("check(x: f32[S] -> status: i64[1])", "1", "S", {"v2": ["f32"]}),
    "logarithm": ("logarithm(x: F[S] -> out: F[S])", "S", "10 * S", {"v2": ["f32"]}),
    "overrun": ("overrun(x: F[S], extra: i64 -> out: F[S])", "S", "S", {"v2": ["f32"]}),
    "nap": ("nap(x: F[S], us: i64 -> out: F[S])", "S", "S", {"v2": ["f32"]}),
    "nothing": ("nothing(x: F[S] -> out: F[S])", "S", "S", {"v2": ["f32"]}),
    "halve": ("halve(x: F[S] -> out: F[S])", "S", "S", {"v2": ["f32"]}),
    "level": ("level(x: F[S] -> out: F[S])", "S", "S", {"v2": ["f32"], "v3": ["f32"], "v4": ["f32"]}),
    "panels": ("panels(x: F[S] -> out: F[ceil(S / PANEL), PANEL])", "1", "S", {"v2": ["f32"]}),
    "dot": ("dot(x: bf16[S], y: bf16[S] -> out: f32[16])", "1", "2 * S", {"v4_bf16": ["f32"]}),
}
CONSTANTS = {"v2": {"PANEL": 8}, "v3": {"PANEL": 16}, "v4": {"PANEL": 32}, "v4_bf16": {"PANEL": 32}}


def build_kernels(folder: Path, order: tuple[str, ...] = ("v2", "v3", "v4", "v4_bf16")) -> Path:
    """Compiles `kernels.c` and writes `kernels.json` beside it."""
    subprocess.run(["gcc", "-O2", "-shared", "-fPIC", "-o", str(folder / "kernels.so"),
                    str(Path(__file__).with_name("kernels.c")), "-lm"], check=True)
    calls = {name: {"spec": spec, "over": over, "flops": flops, "F": ["f32"], "G": ["f32"],
                    "entries": {"cpu": {level: {d: f"dl_{name}_{d}_{level}" for d in dtypes}
                                        for level, dtypes in levels.items() if level in order}}}
             for name, (spec, over, flops, levels) in CALLS.items()}
    lowerings = {"double": [{"steps": [["plus", ["x", "x"], ["out"]]], "when": "", "product": "f32"}]}
    (folder / "kernels.json").write_text(json.dumps({
        "version": 1, "arch": "x86_64", "order": list(order), "levels": {o: {"constants": CONSTANTS[o]} for o in order},
        "calls": calls, "lowerings": lowerings}))
    return folder


@dataclass(frozen=True)
class Place:
    """An array of a program under construction."""
    buffer: str
    offset: int
    shape: tuple[int, ...]
    dtype: str = "f32"

    @property
    def bytes(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64)) * DTYPES[self.dtype].itemsize

    def tuple(self):
        return self.buffer, self.offset, self.shape, self.dtype


class Builder:
    """Writes a program down by hand, each array 64-byte aligned in its buffer, each call in a group of its own unless
    `beside` says that it needs nothing of the call before."""

    def __init__(self, wide: bool = False):
        self.steps, self.sizes, self.outputs, self.leaves = [], {}, {}, {}
        self.wide, self.segment, self.group, self.specs = wide, "forward", -1, {}

    def array(self, buffer: str, *shape: int, dtype: str = "f32") -> Place:
        at = -(-self.sizes.get(buffer, 0) // 64) * 64
        if self.wide and dtype == "f32":
            dtype = "f64"
        place = Place(buffer, at, shape, dtype)
        self.sizes[buffer] = at + place.bytes
        return place

    def leaf(self, name: str, buffer: str, *shape: int, dtype: str = "f32") -> Place:
        place = self.array(buffer, *shape, dtype=dtype)
        self.leaves[name] = place.tuple()
        return place

    def output(self, name: str, *shape: int, buffer: str = "outputs", dtype: str = "f32") -> Place:
        place = self.array(buffer, *shape, dtype=dtype)
        self.outputs[name] = place.tuple()
        return place

    def call(self, kernel: str, *arrays: Place | None, scalars=(), add=(), beside: bool = False, dtypes: str = "",
             label: str = "") -> None:
        text, over, flops, _ = CALLS[kernel]
        spec = self.specs.setdefault(kernel, Spec(text, over, flops))
        shapes = {i.name: a.shape for i, a in zip(spec.arrays, arrays, strict=True) if a is not None}
        dims = spec.solve(shapes, {}, {})
        if spec.chunked:
            dims["CHUNKS"] = chunks(dims[spec.chunked])
        self.group += not beside
        written = [i.kind != "read" for i in spec.arrays]
        self.steps.append(Step(
            kernel, dtypes or ("f64" if self.wide else "f32"), spec, spec.value(spec.extent, dims), spec.grid,
            tuple(dims.get(s, 0) for s in spec.sizes),
            tuple(None if a is None else (*a.tuple(), w) for a, w in zip(arrays, written, strict=True)),
            tuple(scalars), tuple(add), self.segment, self.group, spec.value(spec.flops, dims), label or kernel))

    def program(self) -> Program:
        return Program(self.steps, self.sizes, self.outputs, self.leaves, wide=self.wide)


LR = Slot("lr", "f32", 0.0, 10.0)


def training(rows: int = 37, inputs: int = 19, units: int = 23, depth: int = 3) -> Program:
    """A net of linear layers with a gradient of the last bias, summed in chunks, and an update: all segments, several
    groups, sums, bits, a slot and the status word."""
    b = Builder()
    x = b.leaf("x", "inputs", rows, inputs)
    weights = [(b.leaf(f"w{i}", "weights", k, units), b.leaf(f"b{i}", "weights", units))
               for i, k in enumerate([inputs] + [units] * (depth - 1))]
    status = b.leaf("status", "state", 1, dtype="i64")
    b.sizes["gradients"] = b.sizes["weights"]
    for weight, bias in weights:
        h = b.array("arena", rows, units)
        b.call("multiply", x, weight, bias, h, add=(0,))
        x = h
    twice, out = b.array("arena", rows, units), b.output("out", rows, units)
    b.call("plus", flat(x), flat(x), flat(twice), add=(0,))
    b.call("affine", flat(twice), flat(out), scalars=(0.25, 1))
    b.segment = "backward"
    parts = b.array("arena", chunks(rows), units)
    b.call("column_parts", x, parts)
    gradient = Place("gradients", weights[-1][1].offset, (units,))
    b.call("add_parts", parts, gradient, add=(2,))
    b.call("check", gradient, status)
    b.segment = "update"
    b.call("sgd", gradient, status, weights[-1][1], scalars=(LR,))
    return b.program()


def flat(place: Place) -> Place:
    return Place(place.buffer, place.offset, (int(np.prod(place.shape)),), place.dtype)


def filled(program: Program, folder: Path, seed: int = 0):
    """An instance with random weights and inputs."""
    instance, rng = program.bind(table=kernel_table(folder=folder)), np.random.default_rng(seed)
    for name, (buffer, *_, dtype) in program.leaves.items():
        if dtype in ("f32", "f64") and buffer in ("weights", "inputs"):
            instance[name][...] = rng.standard_normal(instance[name].shape)
    return instance
