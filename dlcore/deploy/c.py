"""A trained model as one C99 file: no library but libm, no allocation, weights as constants.

The way from a raw sample to the answer is planned like any inference program, for one sample and for the portable level
of the kernels; the file is these kernels' C text, the weights, a static arena, and the program's calls one after another:

    void <stem>_predict(const float *x, float *out);

x: one raw sample (pixel values as they are; of a table the encoded row, as `encode` gives it).  out: what `predict_proba`
gives, or `predict` for numbers.  The arena is static, so two threads must not be inside at once.
"""
from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from dlcore import __version__
from dlcore.deploy.c_check import compare
from dlcore.errors import DeviceError, ModelFileError, UsageError, WriteError
from dlcore.runtime import table as runtime_table
from dlcore.training.answers import answering

if TYPE_CHECKING:
    from dlcore.graph import Tensor
    from dlcore.runtime import Program, Step


class Exportable(Protocol):
    """What an estimator tells about the way from a raw sample to its answer."""

    model: Any                          # the network, whose store holds the weights
    sample_shape: tuple[int, ...]

    def trace(self, x: Tensor) -> Tensor:
        """The answer (1, outputs) for one raw sample, by ops on tensors of a graph."""

    def samples(self, x: Any) -> np.ndarray:
        """Raw inputs as C is given them, f32 (N, *sample_shape)."""

    def answers(self, samples: np.ndarray) -> np.ndarray:
        """The answers to such samples, f32 (N, outputs): what C is compared with."""

    def random_samples(self, count: int) -> np.ndarray:
        """Samples to compare on where there are no data, of the size that data have."""


@dataclass(frozen=True)
class Export:
    """What was written, and how far its answers were from the model's; without a C compiler `difference` is None."""

    path: Path
    function: str
    size: int
    inputs: int
    outputs: int
    compiler: str
    samples: int
    difference: float | None


class _Kernels:
    """The portable kernels, as the planner asks for them."""

    level = "c99"

    def __init__(self) -> None:
        native = runtime_table.kernel_table()
        path = Path(runtime_table.__file__).with_name("kernels_c99.json")
        try:
            self.text: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DeviceError("the C text of the kernels cannot be read", where=str(path), got=str(error),
                              hint=runtime_table.BUILD) from None
        self.calls, self.lowerings = native.calls, native.lowerings
        self.constants: dict[str, int] = {**native.constants, **self.text["constants"]}

    def has(self, name: str, dtypes: str = "f32") -> bool:
        """Whether there is C text for this kernel."""
        return name in self.text["kernels"] and self.text["kernels"][name]["dtypes"] == dtypes


def export(model: Any, path: str | os.PathLike[str], x: Any = None) -> Export:
    """Write `path` (its stem names the function), compile it if there is a C compiler, and compare it with the model.

    `model` is an estimator or a model with one input and one output; `x` are raw inputs to compare on, by default 100
    random samples.  Raises `UsageError` for a model that C has no kernels for, `DeviceError` if the compiled file is
    further from the model than 1e-5 (of answers up to 1, and relatively beyond), and `WriteError`.
    """
    path = Path(path)
    source = model if hasattr(model, "trace") else _ModelSource(model)
    function = _identifier(path.name.partition(".")[0]) + "_predict"
    kernels = _Kernels()
    program = _program(source, kernels)
    text = "".join(_file(program, kernels, source, function))
    samples = source.random_samples(100) if x is None else source.samples(x)
    with answering(source.model, "float32"):        # as the C file computes, whatever the model answers in
        want = source.answers(samples)
    compiler, difference = compare(text, function, samples.reshape(len(samples), -1), want)
    _write(path, text)
    return Export(path, function, len(text.encode()), samples[0].size, want.shape[1], compiler, len(samples), difference)


class _ModelSource:
    """A model of layers as something to export."""

    def __init__(self, model: Any):
        network = getattr(model, "network", None)
        if network is None or len(network.inputs) != 1 or len(network.outputs) != 1 or network.inputs[0].dtype != "f32":
            raise UsageError("only a model with one float32 input and one output can be written as C")
        self.model = model
        self.sample_shape = network.inputs[0].shape[1:]

    def trace(self, x: Tensor) -> Tensor:
        out = self.model.network.apply([x])[0]
        return out.reshape(1, out.size)

    def samples(self, x: Any) -> np.ndarray:
        return np.asarray(x, np.float32)

    def answers(self, samples: np.ndarray) -> np.ndarray:
        return self.model.predict(samples).reshape(len(samples), -1)

    def random_samples(self, count: int) -> np.ndarray:
        return np.random.default_rng(0).standard_normal((count, *self.sample_shape), dtype=np.float32)


def _program(source: Exportable, kernels: _Kernels) -> Program:
    from dlcore.graph import Graph, plan
    from dlcore.layers.trace import Trace, tracing
    graph = Graph(source.model.store.parameters)
    with tracing(Trace(graph, False, False)):
        out = source.trace(graph.input("x", 1, *source.sample_shape))
    try:
        return plan(graph, {"out": out}, table=kernels)
    except DeviceError as error:
        raise UsageError("the model needs a kernel that has no C text", got=error.message) from error


# ---- the file --------------------------------------------------------------------------------------------------------

def _file(program: Program, kernels: _Kernels, source: Exportable, function: str) -> Iterator[str]:
    places = _Places(program, source)
    inputs, outputs = _size(program.leaves["x"][2]), _size(program.outputs["out"][2])
    yield (f"/* Written by dlcore {__version__}.\n\n   void {function}(const float *x, float *out);\n\n"
           f"   x: {inputs} numbers, one raw sample.  out: {outputs} numbers.  C99 and libm; nothing is allocated.\n"
           f"   Not to be called by two threads at once: the memory between the calls is static. */\n")
    yield kernels.text["prelude"]
    yield f"\nvoid {function}(const float *x, float *out);\n\n"
    yield from _kernel_texts(program, kernels)
    yield from places.declarations()
    yield f"\nvoid {function}(const float *x, float *out)\n{{\n"
    for step in program.steps:
        yield _call(step, kernels, places)
    yield f"    memcpy(out, {places.pointer(*program.outputs['out'][:2])}, {outputs} * sizeof(float));\n}}\n"


def _kernel_texts(program: Program, kernels: _Kernels) -> Iterator[str]:
    names = dict.fromkeys(step.kernel for step in program.steps)
    missing = [step.kernel for step in program.steps if not kernels.has(step.kernel, step.dtypes)]
    if missing:
        raise UsageError("the model needs a kernel that has no C text", got=missing[0])
    needed = {name for kernel in names for name in kernels.text["kernels"][kernel]["needs"]}
    for name, text in kernels.text["functions"].items():                        # in an order that C can read
        if name in needed:
            yield text + "\n"
    for kernel in names:
        yield kernels.text["kernels"][kernel]["text"] + "\n"


class _Places:
    """Where the program's memory lies in the C file: weights by name, the sample, static arrays for the rest."""

    def __init__(self, program: Program, source: Exportable):
        store = source.model.store
        places = store.parameters.places
        self.weights = sorted((place.buffer, place.offset, place.size, name) for name, place in places.items()
                              if place.buffer in ("weights", "statistics"))
        self.view = store.view
        self.program = program
        self.used: dict[str, str] = {}                      # name of a weight -> its name in C
        self.static: set[str] = set()

    def pointer(self, buffer: str, offset: int) -> str:
        """A C expression for an address in a buffer."""
        if (buffer, offset) == tuple(self.program.leaves["x"][:2]):
            return "x"
        for home, begin, size, name in self.weights:
            if home == buffer and begin <= offset < begin + 4 * size:
                return _plus(self._weight(name), offset - begin)
        self.static.add(buffer)
        return _plus(_identifier(buffer), offset)

    def _weight(self, name: str) -> str:
        if name not in self.used:
            self.used[name] = _free(_identifier("weight_" + name), set(self.used.values()))
        return self.used[name]

    def declarations(self) -> Iterator[str]:
        """Constants and static memory; every step's pointers are asked for first, to learn what is used."""
        for step in self.program.steps:
            for array in step.arrays:
                if array is not None:
                    self.pointer(*array[:2])
        self.pointer(*self.program.outputs["out"][:2])
        for name, c_name in self.used.items():
            yield from _constant(c_name, name, self.view(name))
        for buffer in sorted(self.static):
            yield f"static float {_identifier(buffer)}[{-(-self.program.sizes[buffer] // 4)}];\n"


def _plus(name: str, offset: int) -> str:
    if offset % 4:
        raise UsageError("the model has memory that is not made of float32")
    return f"{name} + {offset // 4}" if offset else name


def _constant(c_name: str, name: str, values: np.ndarray) -> Iterator[str]:
    if not np.isfinite(values).all():
        raise ModelFileError("a weight is not a finite number", where=name)
    yield f"\n/* {name}: {' x '.join(map(str, values.shape))} */\nstatic const float {c_name}[{values.size}] = {{\n"
    flat = [_float(value) for value in values.reshape(-1).tolist()]
    for i in range(0, len(flat), 8):
        yield "    " + ", ".join(flat[i:i + 8]) + ",\n"
    yield "};\n"


def _float(value: float) -> str:
    """Nine digits tell every float32 from its neighbours."""
    text = f"{value:.9g}"
    return (text if "." in text or "e" in text else text + ".0") + "f"


def _call(step: Step, kernels: _Kernels, places: _Places) -> str:
    for array in step.arrays:
        if array is not None and array[3] != "f32":
            raise UsageError("the model has memory that is not made of float32", where=step.label, got=array[3])
    pointers = ["0" if array is None else f"(void *)({places.pointer(*array[:2])})" for array in step.arrays]
    scalars = [_scalar(value, item.dtype, step) for value, item in zip(step.scalars, step.spec.scalars, strict=True)]
    # 2: adds where a run accumulates micro-batches, which inference does not
    scalars += [f"{{ .i64 = {int(bit == 1)} }}" for bit in step.add]
    lines = [f"    {{   /* {step.label} */",
             f"        static const int64_t dims[] = {{ {', '.join(map(str, step.dims)) or '0'} }};",
             f"        void *const pointers[] = {{ {', '.join(pointers)} }};",
             f"        static const dl_scalar scalars[] = {{ {', '.join(scalars) or '{ .i64 = 0 }'} }};",
             f"        {kernels.text['kernels'][step.kernel]['symbol']}(0, {step.extent}, dims, pointers, scalars);", "    }"]
    return "\n".join(lines) + "\n"


def _scalar(value: Any, dtype: str, step: Step) -> str:
    if not isinstance(value, (int, float)):
        raise UsageError("the model reads a number that is set at run time", where=step.label, got=str(value))
    return f"{{ .f32 = {_float(float(np.float32(value)))} }}" if dtype == "f32" else f"{{ .i64 = {int(value)} }}"


def _size(shape: tuple[int, ...]) -> int:
    return int(np.prod(shape))


def _identifier(text: str) -> str:
    name = re.sub(r"\W", "_", text, flags=re.ASCII)
    return name if name[:1].isalpha() else "m" + name


def _free(name: str, taken: set[str]) -> str:
    n, free = 1, name
    while free in taken:
        n += 1
        free = f"{name}_{n}"
    return free


def _write(path: Path, text: str) -> None:
    temporary = path.parent / f".{path.name}.{os.getpid()}.tmp"
    try:
        with open(temporary, "x", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise WriteError("the C file could not be written", where=str(path), got=error.strerror or str(error)) from error
